"""Plots of the cohort page, as PNG bytes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medseg.metrics.case import StructureScore
from medseg.reporting.figure import new_figure, png_bytes
from medseg.reporting.tables import column

PANELS_PER_ROW = 3
AGREEMENT_Z = 1.96
"""Limits of agreement: mean difference plus and minus this many standard deviations."""
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = "osD^vPX*"

Scores = Mapping[str, Sequence[StructureScore]]
"""Structure to its scores over the cases."""


def distribution_chart(scores: Scores, colors: Mapping[str, str], unit: str) -> bytes:
    """Draw each structure's Dice and HD95 over the cases: every case a dot, quartiles as a box.

    Parameters
    ----------
    scores : mapping of str to sequence of StructureScore
    colors : mapping of str to str
        Structure to ``#rrggbb``.
    unit : str
        mm or px.
    """
    figure = new_figure(8.2, 1.3 + 0.45 * len(scores))
    dice, hd95 = figure.subplots(1, 2, sharey=True)
    for row, (name, found) in enumerate(scores.items()):
        _draw_row(dice, row, [s.dice for s in found], colors[name])
        _draw_row(hd95, row, [s.hd95_mm for s in found], colors[name])
    dice.set_yticks(range(len(scores)), list(scores))
    dice.set_ylim(len(scores) - 0.5, -0.5)
    dice.set_xlim(-0.03, 1.03)
    dice.set_xlabel("Dice (1 is perfect)", fontsize=8)
    hd95.set_xlabel(f"HD95 in {unit} (0 is perfect)", fontsize=8)
    hd95.set_xlim(left=0)
    for axes in (dice, hd95):
        plain_axes(axes)
    figure.tight_layout()
    return png_bytes(figure)


def agreement_chart(scores: Scores, colors: Mapping[str, str], unit: str) -> bytes:
    """Draw predicted minus reference volume against their mean, one panel per structure.

    References
    ----------
    .. [1] Bland and Altman, Statistical methods for assessing agreement between two methods of
       clinical measurement, Lancet 1986.
    """
    measure = "mL" if unit == "mm" else "px"
    figure, panels = panel_grid(len(scores))
    for axes, (name, found) in zip(panels, scores.items(), strict=False):
        _draw_agreement(axes, found, colors[name])
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(f"mean of both ({measure})", fontsize=8)
        axes.set_ylabel(f"prediction - reference ({measure})", fontsize=8)
        plain_axes(axes)
    figure.tight_layout()
    return png_bytes(figure)


def size_chart(scores: Scores, colors: Mapping[str, str], unit: str) -> bytes:
    """Draw Dice against the reference's volume, on a logarithmic axis, one panel per structure."""
    measure = "mL" if unit == "mm" else "px"
    figure, panels = panel_grid(len(scores))
    for axes, (name, found) in zip(panels, scores.items(), strict=False):
        shown = [s for s in found if s.reference_volume_ml > 0]
        axes.scatter(
            [s.reference_volume_ml for s in shown],
            [s.dice for s in shown],
            s=18,
            color=colors[name],
            edgecolor="black",
            linewidth=0.5,
            zorder=3,
        )
        axes.set_title(name, fontsize=9)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel(f"reference ({measure})", fontsize=8)
        axes.set_ylabel("Dice", fontsize=8)
        plain_axes(axes)
        if shown:
            axes.set_xscale("log")
            marks = size_marks([s.reference_volume_ml for s in shown])
            axes.set_xticks(list(marks), list(marks.values()))
            axes.minorticks_off()
    figure.tight_layout()
    return png_bytes(figure)


def size_marks(volumes: Sequence[float]) -> dict[float, str]:
    """Return at most three places on a logarithmic axis with what stands there: ends and middle.

    Powers of ten, which such an axis marks by itself, are too many or none where volumes are alike.

    Examples
    --------
    >>> list(size_marks([1150.4, 1316.6]).values()), list(size_marks([5.0, 5.0]).values())
    (['1,150', '1,231', '1,317'], ['5'])
    """
    marks: dict[float, str] = {}
    for place in np.geomspace(min(volumes), max(volumes), 3):
        text = f"{place:,.0f}" if place >= 100 else f"{place:.3g}"
        if text not in marks.values():
            marks[float(place)] = text
    return marks


def limits_of_agreement(scores: Sequence[StructureScore]) -> tuple[float, float, float] | None:
    """Return the mean difference of volumes and its 95 % limits; None for fewer than 3 cases."""
    errors = np.array([s.volume_error_ml for s in scores if s.status != "both_empty"])
    if errors.size < 3:
        return None
    mean, spread = float(errors.mean()), AGREEMENT_Z * float(errors.std(ddof=1))
    return mean, mean - spread, mean + spread


def training_chart(history: Path) -> bytes | None:
    """Draw the losses and the validation scores of a training; None where nothing was recorded.

    Parameters
    ----------
    history : Path
        CSV with a column ``step``; columns with ``loss`` in their name are losses. Where mIoU
        decided there is a column ``val/miou``: it and the IoU of each class are the scores; else
        those with ``dice`` in their name.
    """
    with history.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        return None
    steps = [float(row["step"]) for row in rows]
    losses = [name for name in rows[0] if "loss" in name.lower()]
    by_iou = "val/miou" in rows[0]
    wanted = ("miou", "class_iou") if by_iou else ("dice",)
    scores = [
        name
        for name in rows[0]
        if name not in losses and any(word in name.lower() for word in wanted)
    ]
    measure = "IoU" if by_iou else "Dice"
    names = {"loss": losses, "score": scores}
    drawn = [kind for kind in names if names[kind]]
    if not drawn:
        return None
    figure = new_figure(4.1 * len(drawn), 2.8)
    for axes, kind in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        for i, name in enumerate(names[kind]):
            values = [float(row[name]) if row[name] else np.nan for row in rows]
            style = {"color": LINES[i % len(LINES)], "marker": MARKERS[i % len(MARKERS)]}
            axes.plot(steps, values, label=name, markersize=3.5, linewidth=1.2, **style)
        axes.set_xlabel("optimiser step", fontsize=8)
        axes.set_ylabel(
            "training loss" if kind == "loss" else f"{measure} on validation", fontsize=8
        )
        axes.legend(fontsize=7, frameon=False)
        plain_axes(axes)
    figure.tight_layout()
    return png_bytes(figure)


def distribution_alt(scores: Scores, unit: str) -> str:
    """Say in words what the distribution plot shows."""
    parts = []
    for name, found in scores.items():
        dice = np.array([s.dice for s in found if not np.isnan(s.dice)])
        if dice.size:
            median = float(np.median(dice))
            parts.append(f"{name} from {dice.min():.3f} to {dice.max():.3f}, median {median:.3f}")
    text = "; ".join(parts) or "nothing to measure"
    return f"Dice of each case per structure: {text}. {column('hd95_mm', unit)} beside it."


def agreement_alt(scores: Scores, unit: str) -> str:
    """Say in words what the volume agreement plot shows."""
    measure = "mL" if unit == "mm" else "px"
    parts = []
    for name, found in scores.items():
        limits = limits_of_agreement(found)
        if limits is not None:
            mean, low, high = limits
            parts.append(f"{name} mean {mean:.3g} {measure}, limits {low:.3g} to {high:.3g}")
    text = "; ".join(parts) or "fewer than three cases, so no limits of agreement"
    return f"Volume of the prediction minus that of the reference: {text}."


def size_alt(scores: Scores, unit: str) -> str:
    """Say in words what the plot of Dice against volume shows."""
    measure = "mL" if unit == "mm" else "px"
    parts = []
    for name, found in scores.items():
        shown = sorted((s.reference_volume_ml, s.dice) for s in found if s.reference_volume_ml > 0)
        if shown:
            half = max(1, len(shown) // 2)
            small = float(np.mean([dice for _, dice in shown[:half]]))
            large = float(np.mean([dice for _, dice in shown[-half:]]))
            parts.append(
                f"{name} from {shown[0][0]:.3g} to {shown[-1][0]:.3g} {measure}, mean Dice "
                f"{small:.3f} in the smaller half, {large:.3f} in the larger"
            )
    text = "; ".join(parts) or "no reference shows a structure"
    return f"Dice against the volume of the reference: {text}."


def panel_grid(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel for each of several structures."""
    rows, columns = -(-count // PANELS_PER_ROW), min(count, PANELS_PER_ROW)
    figure = new_figure(max(4.2, 3.0 * columns), 2.7 * rows)
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def _draw_row(axes: Axes, row: int, values: Sequence[float], color: str) -> None:
    """Draw one structure's values as dots over their quartile box."""
    array = np.array(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    spread = 0.22 * np.sin(2.4 * np.arange(finite.size))  # a fixed scatter, not a random one
    if finite.size > 2:
        q1, middle, q3 = np.percentile(finite, (25, 50, 75))
        axes.barh(row, q3 - q1, left=q1, height=0.6, color="#DDDDDD", zorder=1)
        axes.plot([middle, middle], [row - 0.3, row + 0.3], color="black", linewidth=1.5, zorder=2)
    axes.scatter(
        finite, row + spread, s=16, color=color, edgecolor="black", linewidth=0.5, zorder=3
    )
    infinite = int(np.isinf(array).sum())
    if infinite:
        axes.scatter(
            [0.97],
            [row],
            marker="x",
            s=40,
            color="black",
            zorder=4,
            transform=axes.get_yaxis_transform(),
        )
        axes.text(
            0.94, row, f"{infinite}", transform=axes.get_yaxis_transform(), ha="right", va="center"
        )


def _draw_agreement(axes: Axes, scores: Sequence[StructureScore], color: str) -> None:
    """Draw one panel: the cases, the mean difference and the limits of agreement."""
    shown = [s for s in scores if s.status != "both_empty"]
    means = [(s.volume_ml + s.reference_volume_ml) / 2 for s in shown]
    errors = [s.volume_error_ml for s in shown]
    axes.axhline(0, color="#666666", linewidth=0.8)
    axes.scatter(means, errors, s=18, color=color, edgecolor="black", linewidth=0.5, zorder=3)
    limits = limits_of_agreement(shown)
    if limits is not None:
        for value, dashes in zip(limits, ("solid", "dashed", "dashed"), strict=True):
            axes.axhline(value, color="black", linewidth=1.0, linestyle=dashes)


def plain_axes(axes: Axes) -> None:
    """Leave only what carries data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.ticklabel_format(axis="x", useOffset=False)
