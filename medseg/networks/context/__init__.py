"""Context modules: a map to a map of the same size that has seen more of the image."""
