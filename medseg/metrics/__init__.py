"""Metrics: each file one kind; units stand in the result's name."""
