"""Estimated against true Dice, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medseg.expected import ExpectedDice
from medseg.reporting.charts import panel_grid, plain_axes
from medseg.reporting.figure import png_bytes
from medseg.reporting.quality import PERCENT, EstimateCheck
from medseg.reporting.words import number

Pairs = Mapping[str, Sequence[tuple[ExpectedDice, float]]]
"""Structure to its estimates and true Dice."""


def estimate_chart(pairs: Pairs, colors: Mapping[str, str]) -> bytes:
    """Draw true against expected Dice, one panel per structure; bars are the intervals."""
    figure, axes_of = panel_grid(len(pairs))
    for axes, (name, found) in zip(axes_of, pairs.items(), strict=False):
        shown = [
            (e.value, e.low, e.high, true)
            for e, true in found
            if e.value is not None and e.low is not None and e.high is not None
        ]
        every = [value for row in shown for value in row]
        low = max(0.0, min(every, default=0.0) - 0.03)
        high = min(1.01, max(every, default=1.0) + 0.03)
        axes.plot([low, high], [low, high], color="black", linewidth=1.0, linestyle="dashed")
        for _, below, above, true in shown:
            axes.plot([below, above], [true, true], color="#BBBBBB", linewidth=1.0, zorder=2)
        axes.scatter(
            [row[0] for row in shown],
            [row[3] for row in shown],
            s=18,
            color=colors[name],
            edgecolor="black",
            linewidth=0.5,
            zorder=3,
        )
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("expected Dice", fontsize=8)
        axes.set_ylabel("true Dice", fontsize=8)
        plain_axes(axes)
    figure.tight_layout()
    return png_bytes(figure)


def estimate_alt(checks: Sequence[EstimateCheck]) -> str:
    """Say in words what the plot of expected and true Dice shows."""
    parts = [
        f"{one.structure}, {one.cases} cases: off by {number(one.error)} on average, Spearman "
        f"{number(one.spearman, 2)}, {one.covered} inside their {PERCENT} % interval"
        for one in checks
        if one.cases
    ]
    return f"True Dice against expected Dice: {'; '.join(parts) or 'no case has both'}."
