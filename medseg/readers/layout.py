"""How a folder is laid out, as `medseg.readers.detect` finds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medseg.readers.describe import Description

LABEL_WORDS = re.compile(
    r"label|mask|seg(?!\d)|annot|ground|truth|manual|target|(?<![a-z])(gt|roi|rois|lbl|lb|y)(?![a-z])"
)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a folder is laid out, in the words of a manifest."""

    reader: str
    what: str
    """What it is, for people."""
    options: Mapping[str, Any] = field(default_factory=dict)
    structures: tuple[str, ...] = ()
    """Names of the labels, where each has masks of its own; their values do not matter."""
    described: Description | None = None
    channels: tuple[str, ...] = ()
    modality: str | None = None
    notes: tuple[str, ...] = ()
    """What a person should look at."""


def looks_like_labels(name: str) -> bool:
    """Tell whether a folder's or file's name speaks of annotation.

    Examples
    --------
    >>> [looks_like_labels(name) for name in ("labelsTr", "MASKS_DICOM", "scan_gt", "imagesTr")]
    [True, True, True, False]
    """
    return LABEL_WORDS.search(name.lower()) is not None
