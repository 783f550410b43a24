"""Pipelines from folders of scans or photographs to a trained segmentation and its report."""

__version__ = "0.1.0"
