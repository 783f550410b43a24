"""Case against case: the scores of two runs as points of an inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from medseg.reporting.comparison import METRICS, Comparison, Row
from medseg.reporting.words import number

SIDE, LEFT, TOP, BOTTOM = 200.0, 58.0, 8.0, 42.0
"""The square that holds the points, and the room around it, in px."""
MOST_POINTS = 20_000
"""Points on a page; more of them make it slow to open."""
SHOWN_METRICS = 2


@dataclass(frozen=True)
class Point:
    """One case."""

    x: float
    y: float
    text: str
    infinite: bool


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One label and metric of two runs."""

    row: Row
    title: str
    alt: str
    points: tuple[Point, ...]
    ticks: tuple[tuple[float, float, str], ...]
    """Place from the left, place from the top, and number."""


def panels(comparison: Comparison) -> tuple[list[Panel], int]:
    """Lay out the scatter plots of an overlap and of a distance, as far as a page can hold them.

    Returns
    -------
    list of Panel
    int
        How many were left out.
    """
    rows = [row for row in comparison.rows if row.metric in _shown_metrics(comparison.metrics)]
    found: list[Panel] = []
    points = left_out = 0
    for row in rows:
        points += len(row.values)
        if points > MOST_POINTS:
            left_out += 1
        elif row.paired.n:
            found.append(panel(row))
    return found, left_out


def panel(row: Row) -> Panel:
    """Lay out one scatter plot; a case that is infinite on a side stands on the far edge."""
    metric = METRICS[row.metric]
    pairs = {c: pair for c, pair in row.values.items() if not any(map(math.isnan, pair))}
    ticks = _ticks([v for pair in pairs.values() for v in pair if math.isfinite(v)])
    low, high = ticks[0], ticks[-1]

    def place(value: float) -> float:
        share = (value - low) / (high - low) if math.isfinite(value) else float(value > 0)
        return round(SIDE * share, 1)

    points = tuple(
        Point(
            LEFT + place(a),
            TOP + SIDE - place(b),
            f"{case}: {row.first} {number(a, metric.digits)}, {row.second} "
            f"{number(b, metric.digits)}",
            math.isinf(a) or math.isinf(b),
        )
        for case, (a, b) in pairs.items()
    )
    counted = f"{len(points)} cases"
    if row.paired.n < len(points):
        counted += f" of {row.paired.n} patients"
    return Panel(
        row=row,
        title=f"{row.label}, {metric.title}",
        alt=(
            f"{metric.title} of {row.label}, {counted}: {row.second} is better on "
            f"{row.wins}, {row.first} on {row.losses}, equal on {row.ties}."
        ),
        points=points,
        ticks=tuple((LEFT + place(t), TOP + SIDE - place(t), f"{t:g}") for t in ticks),
    )


def _shown_metrics(metrics: Sequence[str]) -> list[str]:
    """Choose the first metric of each direction: an overlap and a distance."""
    first = {METRICS[metric].better: metric for metric in reversed(metrics)}
    return list(first.values())[:SHOWN_METRICS]


def _ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers around the values, both ends included."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        low, high = low - 0.05 * (abs(low) or 1), high + 0.05 * (abs(high) or 1)
    return [float(t) for t in MaxNLocator(4).tick_values(low, high)]
