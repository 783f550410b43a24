"""Calibration: whether probabilities mean what they say.

Two kinds of error go by one name. ``fg``: the probability of a class against whether the voxel is
of the class. ``top``: the largest probability against whether its class is right. Over a whole
scan either is close to 0, since background is easy, so a score names the region it was taken over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.labels import IGNORE_INDEX

Kind = Literal["fg", "top"]
Region = Literal["box", "union", "all"]
Binning = Literal["width", "mass"]
Probs = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

BINS = 15
MARGIN = 5
"""Voxels by which a box is wider than the object."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Errors of one case; NaN where the region holds no voxel."""

    kind: Kind
    region: Region
    """``box``: a box around the object with a margin; ``union``: reference and prediction."""
    binning: Binning
    """``width``: bins of equal width; ``mass``: bins of equal numbers of voxels."""
    bins: int
    n: int
    """Voxels counted."""
    ece: float
    """Expected calibration error: gaps weighted by the voxels of their bin."""
    mce: float
    """Maximum calibration error: the largest gap."""
    ace: float
    """Average calibration error: the mean gap over the bins that are not empty."""
    brier: float
    """``fg``: mean (p - y)²; ``top``: mean over voxels of the sum over classes of (p - y)²."""


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram; empty bins are left out."""

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    """Mean probability of each bin."""
    accuracy: NDArray[np.float64]
    """Share of hits in each bin."""

    @property
    def gaps(self) -> NDArray[np.float64]:
        """|confidence - accuracy| of each bin."""
        return np.abs(self.confidence - self.accuracy)


def calibrate_class(
    probs: Probs,
    label: Mask,
    *,
    region: Region = "box",
    bins: int = BINS,
    binning: Binning = "width",
    margin: int = MARGIN,
    valid: Mask | None = None,
) -> Calibration:
    """Score the probability of one class against its mask (kind ``fg``).

    Parameters
    ----------
    probs : float ndarray of shape (*spatial)
        Probability of the class.
    label : bool ndarray of shape (*spatial)
        Reference mask of the class.
    region : {"box", "union", "all"}
        Voxels that count: a box around reference and prediction (p > .5), their union, or all.
    bins : int
    binning : {"width", "mass"}
        ``mass`` is the adaptive error of Nixon et al.
    margin : int
        Voxels around the box.
    valid : bool ndarray of shape (*spatial), optional
        False where the reference ignores a voxel.

    Raises
    ------
    ValueError
        If shapes differ, or a probability is outside [0, 1] or NaN.

    References
    ----------
    .. [1] Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015
       (ECE and MCE, equation 3).
    .. [2] Neumann et al., Relaxed softmax, 2018 (ACE); Nixon et al., Measuring calibration in deep
       learning, CVPR workshops 2019 (bins of equal mass).
    """
    _check(probs, probs.shape, label.shape)
    where = _region(label, probs > 0.5, region, margin, valid)
    p, y = probs[where].astype(np.float64), label[where]
    brier = float(np.mean((p - y) ** 2)) if p.size else math.nan
    return _score("fg", region, binning, bins, reliability(p, y, bins, binning), brier)


def calibrate_top(
    probs: Probs,
    label: NDArray[np.integer[Any]],
    *,
    region: Region = "box",
    bins: int = BINS,
    binning: Binning = "width",
    margin: int = MARGIN,
) -> Calibration:
    """Score the largest probability against whether its class is right (kind ``top``).

    Parameters
    ----------
    probs : float ndarray of shape (K, *spatial)
        Probabilities of all classes, background first; they sum to 1.
    label : integer ndarray of shape (*spatial)
        Class indices; voxels with ``IGNORE_INDEX`` do not count.
    region, bins, binning, margin
        As for `calibrate_class`; the object is everything but background.

    References
    ----------
    .. [1] Guo et al., On calibration of modern neural networks, ICML 2017, equations 2 to 5.
    """
    _check(probs, probs.shape[1:], label.shape)
    chosen = probs.argmax(axis=0)
    where = _region(label > 0, chosen > 0, region, margin, label != IGNORE_INDEX)
    truth, p = label[where], probs[:, where].astype(np.float64)
    hit = chosen[where] == truth
    squares = (p**2).sum(axis=0) - 2 * p[truth, np.arange(truth.size)] + 1  # sum_k (p_k - y_k)²
    brier = float(squares.mean()) if truth.size else math.nan
    return _score(
        "top", region, binning, bins, reliability(p.max(axis=0), hit, bins, binning), brier
    )


def reliability(
    confidence: NDArray[np.float64], hit: Mask, bins: int = BINS, binning: Binning = "width"
) -> Reliability:
    """Sort probabilities into bins.

    Parameters
    ----------
    confidence : float64 ndarray of shape (n,)
        In [0, 1].
    hit : bool ndarray of shape (n,)
    bins : int
    binning : {"width", "mass"}
        A bin of equal width holds its left edge; the last one holds 1 too.
    """
    if binning == "width":
        edges = np.linspace(0.0, 1.0, bins + 1)
        index = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1)
    else:
        index = np.empty(confidence.size, dtype=np.int64)
        index[np.argsort(confidence, kind="stable")] = (
            np.arange(confidence.size) * bins // max(confidence.size, 1)
        )
    counts = np.bincount(index, minlength=bins)
    sums = np.bincount(index, weights=confidence, minlength=bins)
    hits = np.bincount(index, weights=hit, minlength=bins)
    full = counts > 0
    return Reliability(counts[full], sums[full] / counts[full], hits[full] / counts[full])


def _score(
    kind: Kind, region: Region, binning: Binning, bins: int, diagram: Reliability, brier: float
) -> Calibration:
    """Reduce a diagram to its errors."""
    gaps, counts = diagram.gaps, diagram.counts
    n = int(counts.sum())
    return Calibration(
        kind=kind,
        region=region,
        binning=binning,
        bins=bins,
        n=n,
        ece=float((gaps * counts).sum() / n) if n else math.nan,
        mce=float(gaps.max()) if n else math.nan,
        ace=float(gaps.mean()) if n else math.nan,
        brier=brier,
    )


def _region(label: Mask, pred: Mask, region: Region, margin: int, valid: Mask | None) -> Mask:
    """Return the voxels that count."""
    if region == "all":
        where: Mask = np.ones(label.shape, dtype=np.bool_)
    else:
        where = pred | label
        if region == "box" and where.any():
            box = ndimage.find_objects(where.view(np.uint8))[0]
            wide = tuple(slice(max(0, s.start - margin), s.stop + margin) for s in box)
            where[wide] = True
    return where if valid is None else where & valid


def _check(probs: Probs, shape: Sequence[int], label_shape: Sequence[int]) -> None:
    """Refuse arrays that do not fit, and numbers that are no probabilities."""
    if tuple(shape) != tuple(label_shape):
        raise ValueError(f"probs cover {tuple(shape)}, label {tuple(label_shape)}")
    if probs.size and not (probs.min() >= 0 and probs.max() <= 1 + 1e-6):
        raise ValueError(
            f"probs run from {probs.min()} to {probs.max()}; give probabilities, not logits"
        )
