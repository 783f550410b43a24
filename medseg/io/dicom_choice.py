"""Choose among the DICOM series of a folder, by a rule."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.errors import FormatError
from medseg.io.dicom_series import SeriesInfo


@dataclass(frozen=True, kw_only=True)
class SeriesRule:
    """Which series of a folder is meant; a series must fulfil all that is given."""

    modality: str | None = None
    """DICOM modality, such as ``CT``."""
    description: str | None = None
    """Pattern of the series description, such as ``*portal*``; upper and lower case are alike."""
    number: int | None = None
    """SeriesNumber."""
    pick: Literal["only", "most_slices", "fewest_slices", "first", "last"] = "only"
    """Which of several that fulfil it: ``only`` refuses them, ``first`` and ``last`` go by series
    number, then by UID."""

    def fits(self, info: SeriesInfo) -> bool:
        """Tell whether a series fulfils the rule."""
        pattern = (self.description or "*").lower()
        return (
            self.modality in (None, info.modality)
            and fnmatch.fnmatchcase(info.description.lower(), pattern)
            and self.number in (None, info.number)
        )

    def describe(self) -> str:
        """Say what the rule asks for."""
        parts = {
            "modality": self.modality,
            "description": self.description,
            "number": self.number,
        }
        return ", ".join(f"{k}: {v}" for k, v in parts.items() if v is not None) or "any series"


def fitting_series(
    folder: Path, found: Sequence[SeriesInfo], rule: SeriesRule
) -> SeriesInfo | None:
    """Return the series of a folder that a rule means; None where none fulfils it.

    Parameters
    ----------
    folder : Path
        For messages.
    found : sequence of SeriesInfo
        Scouts (localisers) are never chosen.
    rule : SeriesRule

    Raises
    ------
    FormatError
        If several fulfil the rule and it does not pick one; every series is listed.

    Examples
    --------
    >>> fitting_series(Path("p1"), [], SeriesRule(modality="CT")) is None
    True
    """
    fits = [info for info in found if rule.fits(info) and not info.scout]
    if not fits:
        return None
    ordered = sorted(fits, key=lambda i: (i.number is None, i.number or 0, i.uid))
    if rule.pick in ("first", "last"):
        return ordered[0 if rule.pick == "first" else -1]
    if rule.pick != "only":
        sizes = [info.slices for info in ordered]
        wanted = max(sizes) if rule.pick == "most_slices" else min(sizes)
        ordered = [info for info in ordered if info.slices == wanted]
    if len(ordered) > 1:
        raise FormatError(
            f"{folder}: {len(ordered)} series fulfil '{rule.describe()}'"
            f"{'' if rule.pick == 'only' else f' with {rule.pick}'}; the folder holds "
            + "; ".join(info.describe() for info in found),
            "narrow the manifest's option 'series' (modality, description, number), or let it "
            "'pick: first', last, most_slices or fewest_slices",
        )
    return ordered[0]
