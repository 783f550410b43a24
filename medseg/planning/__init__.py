"""What a data set is like, and what follows from it: checks, splits, fingerprint, plan."""
