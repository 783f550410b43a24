"""Augmentation: batched, on the training device, drawn before it is applied."""

from __future__ import annotations

from medseg.transforms.augmenter import Augmenter
from medseg.transforms.settings import list_presets, load_preset, resolve_settings

__all__ = ["Augmenter", "list_presets", "load_preset", "resolve_settings"]
