"""Class weights from how often each class occurs in the training images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medseg.labels import IGNORE_INDEX
from medseg.registry import lookup

logger = logging.getLogger(__name__)

Rule = Literal["inverse", "median_frequency", "enet"]
"""Names that ``class_weights`` of a loss takes in place of numbers."""
RULES: tuple[str, ...] = get_args(Rule)
ENET_OFFSET = 1.02

Counts = NDArray[np.int64]
Loss = dict[str, Any] | list[dict[str, Any]]


def class_counts(labels: Iterable[NDArray[np.int16]], num_classes: int) -> tuple[Counts, Counts]:
    """Count each class's pixels, and the annotated pixels of the images that have it.

    Parameters
    ----------
    labels : iterable of int16 ndarray
        Class indices of each image; ignored pixels count nowhere.
    num_classes : int
        Background included.

    Returns
    -------
    (int64 ndarray, int64 ndarray) of shape (num_classes,)
    """
    pixels = np.zeros(num_classes, dtype=np.int64)
    within = np.zeros(num_classes, dtype=np.int64)
    for label in labels:
        found = np.bincount(label[label != IGNORE_INDEX].ravel(), minlength=num_classes)
        pixels += found
        within[found > 0] += found.sum()
    return pixels, within


def class_weights(pixels: Counts, within: Counts, rule: Rule) -> list[float]:
    """Return the weight of each class; 0 for one that does not occur.

    - ``inverse``: N / (K n), with n pixels of the class, N of all and K classes that occur.
    - ``median_frequency`` [1]_: median of all f over f, where f is n over the pixels of the images
      that have the class.
    - ``enet`` [2]_: 1 / ln(1.02 + n / N), between 1.4 and 50.

    Parameters
    ----------
    pixels, within : int64 ndarray of shape (K,)
        From `class_counts`.
    rule : str

    References
    ----------
    .. [1] Eigen and Fergus, Predicting depth, surface normals and semantic labels, ICCV 2015,
       section 6.3.2; used by SegNet (Badrinarayanan et al., TPAMI 2017).
    .. [2] Paszke et al., ENet, arXiv 1606.02147, 2016, section 5.2.

    Examples
    --------
    >>> pixels, within = np.array([60, 30, 10]), np.array([100, 100, 50])
    >>> [round(w, 3) for w in class_weights(pixels, within, "median_frequency")]
    [0.5, 1.0, 1.5]
    """
    present = pixels > 0
    if not present.any():
        return [0.0] * len(pixels)
    shares = pixels[present] / int(pixels.sum())
    if rule == "inverse":
        values = 1 / (shares * len(shares))
    elif rule == "median_frequency":
        frequency = pixels[present] / within[present]
        values = np.median(frequency) / frequency
    else:
        values = 1 / np.log(ENET_OFFSET + shares)
    weights = np.zeros(len(pixels))
    weights[present] = values
    return [float(weight) for weight in weights]


def with_class_weights(loss: Loss, weigh: Callable[[Rule], list[float] | None]) -> Loss:
    """Put numbers in place of the rules that a loss names.

    Parameters
    ----------
    loss : mapping or list of mappings
        As ``train.loss``; where ``class_weights`` is the name of a rule, ``weigh`` is asked.
    weigh : callable
        Rule to one weight per class; None leaves the setting out.

    Raises
    ------
    ConfigError
        If there is no such rule.
    """
    if isinstance(loss, list):
        return [_weighted(term, weigh) for term in loss]
    return _weighted(loss, weigh)


def _weighted(
    term: Mapping[str, Any], weigh: Callable[[Rule], list[float] | None]
) -> dict[str, Any]:
    """Put numbers in place of the rule of one term."""
    rule = term.get("class_weights")
    if not isinstance(rule, str):
        return dict(term)
    known: Mapping[str, Rule] = {name: name for name in get_args(Rule)}
    weights = weigh(lookup(known, rule, "rule for class weights"))
    rest = {key: value for key, value in term.items() if key != "class_weights"}
    return rest if weights is None else {**rest, "class_weights": weights}


def say_weights(rule: str, names: Sequence[str], weights: Sequence[float]) -> None:
    """Log what a rule came to."""
    listed = ", ".join(
        f"{name} {weight:.3g}" for name, weight in zip(names, weights, strict=True) if weight
    )
    logger.info("class weights (%s): %s", rule, listed)
