"""Volumes, affines, orientation, cropping and resampling; touches no file."""
