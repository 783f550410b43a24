"""Which patches training sees, and how they are read."""
