"""Augmentation: batched, on the training device, drawn before it is applied."""

from __future__ import annotations

from medseg.transforms.augmenter import AUGMENTATIONS, Augmenter, resolve_settings

__all__ = ["AUGMENTATIONS", "Augmenter", "resolve_settings"]
