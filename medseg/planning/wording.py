"""Small helpers of the planner: axes in and out, and how decisions read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from medseg.artefacts import ChannelNormalization

T = TypeVar("T")


def argument_rule(key: str, capacity: str) -> str:
    """Name the rule behind a network argument."""
    rules: Mapping[str, str] = {
        "ndim": "network.ndim",
        "in_channels": "channels of the manifest, and the labels of resample.previous",
        "num_classes": "background and labels, or the regions",
        "strides": "halve an axis while it has 8 voxels and is not twice as coarse as the finest",
        "kernel_sizes": "1 along an axis twice as coarse as the finest, until it is pooled level",
        "deep_supervision": "the coarser levels of the decoder answer too, as in nnU-Net",
        "norm": "instance for fewer than 8 cases and on a GPU; else, and in V-Net, batch",
        "residual": "residual blocks on a CPU, where training is short; else nnU-Net's plain ones",
        "thin": "one convolution a side at full resolution on a CPU, where the time goes; else two",
        "convs": "the paper's: 1, 2, 3, 3, ... a level",
        "decoder_convs": "the paper's: as many as on the way down",
        "img_size": "the patch, in whole pieces of 16 voxels",
    }
    return rules.get(key, capacity)


def normalization_words(plan: ChannelNormalization) -> str:
    """Describe a normalisation in a line."""
    if plan.clip is not None:
        low, high = plan.clip
        return f"ct: clip to {low:.4g} .. {high:.4g}, then (x - {plan.mean:.4g}) / {plan.std:.4g}"
    if plan.scheme == "zscore":
        return "zscore of each case" + (", non-zero voxels only" if plan.mask_nonzero else "")
    return "none"


def by(values: Iterable[float]) -> str:
    """Format sizes for a person."""
    return " x ".join(f"{v:.4g}" for v in values)


def thousands(number: int) -> str:
    """Write a whole number with a space between groups of three digits.

    Examples
    --------
    >>> thousands(800_000)
    '800 000'
    """
    return f"{number:,}".replace(",", " ")


def drop(values: tuple[T, ...], axis: int | None) -> tuple[T, ...]:
    """Leave one axis out."""
    return tuple(v for a, v in enumerate(values) if a != axis)


def insert(values: Sequence[int], axis: int | None, value: int) -> tuple[int, ...]:
    """Put one axis back."""
    return tuple(values) if axis is None else (*values[:axis], value, *values[axis:])
