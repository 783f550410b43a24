"""Draw one slice: grey values, contours, orientation letters and a scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from medseg.reporting.figure import new_figure, png_bytes
from medseg.reporting.outline import outlines

LONG_SIDE_INCHES, SHORT_SIDE_INCHES = 3.8, 0.9
ENLARGED = 2.0
"""Pixels per voxel above which grey values are interpolated, as viewers do; outlines are not."""
HALO = "#000000"
DASHES = (0, (4, 2))


@dataclass(frozen=True, kw_only=True)
class Contour:
    """One structure on one slice."""

    mask: NDArray[np.bool_]
    """(rows, cols)."""
    color: str
    dashed: bool = False
    """True for the reference: dashed, in a paler tone."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What surrounds the grey values of a slice."""

    pixel: tuple[float, float]
    """Width and height of a pixel in mm (px for photographs)."""
    letters: tuple[str, str, str, str]
    """At the left, right, top and bottom."""
    unit: str


def draw_section(
    picture: NDArray[Any], contours: Sequence[Contour], frame: Frame, low: float, high: float
) -> bytes:
    """Draw a slice as PNG, in the proportions of the body.

    Parameters
    ----------
    picture : ndarray of shape (rows, cols) or (rows, cols, 3)
        Row 0 is the top.
    contours : sequence of Contour
        Drawn in order, along the borders of the pixels.
    frame : Frame
    low, high : float
        Intensities shown black and white.
    """
    rows, cols = picture.shape[:2]
    width, height = cols * frame.pixel[0], rows * frame.pixel[1]
    scale = LONG_SIDE_INCHES / max(width, height)
    figure = new_figure(
        max(width * scale, SHORT_SIDE_INCHES), max(height * scale, SHORT_SIDE_INCHES)
    )
    figure.set_facecolor("black")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    shown = figure.get_size_inches() * figure.dpi / (cols, rows)
    axes.imshow(
        picture,
        cmap="gray",
        vmin=low,
        vmax=high,
        extent=(0, width, height, 0),
        aspect="equal",
        interpolation="bilinear" if shown.min() > ENLARGED else None,
    )
    for contour in contours:
        _draw_contour(axes, contour, frame.pixel)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    _draw_letters(axes, frame.letters)
    _draw_scale_bar(axes, width, height, frame.unit)
    return png_bytes(figure)


def contour_path(mask: NDArray[np.bool_], pixel: tuple[float, float]) -> Outline | None:
    """Return the outline of a mask in mm (px), from the top left corner; None where it is empty.

    Parameters
    ----------
    mask : bool ndarray of shape (rows, cols)
    pixel : tuple of float
        Width and height of a pixel.
    """
    loops = [Outline(loop * np.array(pixel), closed=True) for loop in outlines(mask)]
    return Outline.make_compound_path(*loops) if loops else None


def scale_bar_length(width: float) -> float:
    """Return the longest of 1, 2, 5, 10, 20, ... that fits a quarter of the picture's width.

    Examples
    --------
    >>> scale_bar_length(350.0)
    50.0
    """
    limit = width / 4
    power = 10.0 ** math.floor(math.log10(limit))
    return max(step * power for step in (1, 2, 5) if step * power <= limit)


def pale(color: str) -> tuple[float, ...]:
    """Mix a colour with white, for the reference's contour."""
    return tuple(0.45 * part + 0.55 for part in to_rgb(color))


def _draw_contour(axes: Axes, contour: Contour, pixel: tuple[float, float]) -> None:
    """Draw one contour with a dark halo, so that it shows on bright tissue too."""
    path = contour_path(contour.mask, pixel)
    if path is None:
        return
    patch = PathPatch(
        path,
        fill=False,
        edgecolor=pale(contour.color) if contour.dashed else contour.color,
        linewidth=1.1 if contour.dashed else 1.5,
        linestyle=DASHES if contour.dashed else "solid",
        joinstyle="miter",
    )
    if not contour.dashed:
        patch.set_path_effects([Stroke(linewidth=2.6, foreground=HALO, alpha=0.6), Normal()])
    axes.add_patch(patch)


def _draw_letters(axes: Axes, letters: tuple[str, str, str, str]) -> None:
    """Write the orientation letters in the middle of the picture's sides."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    sides = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, place, (horizontal, vertical) in zip(letters, places, sides, strict=True):
        text = axes.text(
            *place,
            letter,
            transform=axes.transAxes,
            ha=horizontal,
            va=vertical,
            color="white",
            fontsize=11,
            fontweight="bold",
        )
        text.set_path_effects([Stroke(linewidth=2.5, foreground=HALO), Normal()])


def _draw_scale_bar(axes: Axes, width: float, height: float, unit: str) -> None:
    """Draw a bar of a round length at the bottom right."""
    length = scale_bar_length(width)
    side = max(width, height)
    right, bottom, thick = width - 0.03 * width, height - 0.03 * side, 0.01 * side
    axes.add_patch(
        Rectangle(
            (right - length, bottom - thick),
            length,
            thick,
            facecolor="white",
            edgecolor=HALO,
            linewidth=0.8,
        )
    )
    text = axes.text(
        right - length / 2,
        bottom - 1.8 * thick,
        f"{length:g} {unit}",
        ha="center",
        va="bottom",
        color="white",
        fontsize=8,
    )
    text.set_path_effects([Stroke(linewidth=2.0, foreground=HALO), Normal()])
