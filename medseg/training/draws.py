"""What training was shown: how often each class and each case was drawn."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.labels import LabelScheme
from medseg.sampling.sampler import PatchSampler

SAMPLING = "sampling.csv"
COLUMNS = ("step", "kind", "name", "drawn", "share", "weight", "mean_loss")
COUNTED = 20_000
"""Of a longer interval, the last so many patches are counted."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Counts over an interval of patches; pure, since each draw is."""

    total: int
    classes: Mapping[int | None, int]
    """Class index that a patch was centred on, None for anywhere, to number of patches."""
    cases: Mapping[str, int]

    def class_shares(self, scheme: LabelScheme) -> dict[str, float]:
        """Return the share of patches centred on each label, and of those lying ``anywhere``."""
        if not self.total:
            return {}
        rows: dict[str, int | None] = {n.name: i for i, n in enumerate(scheme.labels, start=1)}
        rows["anywhere"] = None
        return {name: self.classes.get(index, 0) / self.total for name, index in rows.items()}


def count_draws(sampler: PatchSampler, start: int, stop: int) -> Draws:
    """Count patches ``start`` to ``stop`` (excluded) with the sampler's weights in force."""
    start = max(start, stop - COUNTED)
    drawn = [sampler.case_and_class(number) for number in range(start, stop)]
    return Draws(
        total=len(drawn),
        classes=Counter(chosen for _, chosen in drawn),
        cases=Counter(case for case, _ in drawn),
    )


def write_draws(
    folder: Path,
    step: int,
    draws: Draws,
    scheme: LabelScheme,
    weights: Mapping[str, float],
    means: Mapping[str, float],
) -> Path:
    """Add the interval that ends at ``step`` to ``sampling.csv``.

    Rows of this step or later, left by a run that was killed or went back, are replaced.
    """
    path, aside = folder / SAMPLING, folder / f".{SAMPLING}.part"
    kept: list[dict[str, str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.DictReader(file) if int(row["step"]) < step]
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(kept)
        for name, share in draws.class_shares(scheme).items():
            drawn = round(share * draws.total)
            row = {"step": step, "kind": "class", "name": name, "drawn": drawn, "share": share}
            writer.writerow(row)
        for case in sorted({*draws.cases, *weights}):
            drawn = draws.cases.get(case, 0)
            writer.writerow(
                {
                    "step": step,
                    "kind": "case",
                    "name": case,
                    "drawn": drawn,
                    "share": drawn / max(draws.total, 1),
                    "weight": weights.get(case, 1.0),
                    "mean_loss": means.get(case, ""),
                }
            )
    aside.replace(path)
    return path
