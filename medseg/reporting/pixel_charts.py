"""Plots of a set of photographs: IoU of each class, and the confusion matrix, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.reporting.figure import new_figure, png_bytes

NUMBERED = 16
"""Classes up to which the cells of a confusion matrix have numbers."""
NAMED = 60
"""Classes up to which its rows have names."""


def iou_chart(names: Sequence[str], iou: NDArray[np.float64], colors: Mapping[str, str]) -> bytes:
    """Draw a bar per class, the best on top; a class that never occurs has none.

    Parameters
    ----------
    names : sequence of str
    iou : float64 ndarray of shape (K,)
        NaN where a class is neither in the truth nor predicted.
    colors : mapping of str to str
        Class to ``#rrggbb``.
    """
    order = np.argsort(np.nan_to_num(iou, nan=-1.0), kind="stable")
    figure = new_figure(7.0, 0.7 + 0.26 * len(names), dpi=110)
    axes = figure.subplots()
    axes.barh(
        range(len(names)),
        np.nan_to_num(iou)[order],
        color=[colors.get(names[i], "#bbbbbb") for i in order],
        edgecolor="#333333",
        linewidth=0.6,
    )
    for row, i in enumerate(order):
        text = "does not occur" if np.isnan(iou[i]) else f"{iou[i]:.3f}"
        axes.text(np.nan_to_num(iou[i]) + 0.01, row, text, va="center", fontsize=8)
    axes.set_yticks(range(len(names)), [names[i] for i in order], fontsize=8)
    axes.set_xlim(0, 1.12)
    axes.set_xlabel("IoU over all pixels of the set (1 is perfect)", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    return png_bytes(figure)


def confusion_chart(names: Sequence[str], matrix: NDArray[np.int64]) -> bytes:
    """Draw the confusion matrix, each row in percent of its class's true pixels.

    Parameters
    ----------
    names : sequence of str
    matrix : int64 ndarray of shape (K, K)
        Rows are the truth.
    """
    count = len(names)
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(12.0, 2.4 + 0.42 * count)
    figure = new_figure(side + 0.8, side, dpi=110)
    axes = figure.subplots()
    shown = axes.imshow(share, vmin=0, vmax=100, cmap="Blues")
    bar = figure.colorbar(shown, ax=axes, fraction=0.045, pad=0.02)
    bar.set_label("% of the true pixels", fontsize=8)
    if count <= NUMBERED:
        for row, col in np.argwhere(share >= 0.5):
            ink = "white" if share[row, col] > 55 else "black"
            axes.text(
                col, row, f"{share[row, col]:.0f}", ha="center", va="center", fontsize=7, color=ink
            )
    ticks = range(count) if count <= NAMED else []
    axes.set_xticks(ticks, list(names) if count <= NAMED else [], rotation=90, fontsize=7)
    axes.set_yticks(ticks, list(names) if count <= NAMED else [], fontsize=7)
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("truth", fontsize=8)
    figure.tight_layout()
    return png_bytes(figure)
