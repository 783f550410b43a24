"""Several volumes in one series (echoes, b-values, phases): told apart, and one chosen by a rule.

A series, or a file of many frames, may hold several slices at each place. What differs between
them stands in the functional groups (PS3.3 C.7.6.16) or, for single slices, in the plain header.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from medseg.case import VolumeRule
from medseg.errors import FormatError
from medseg.io.dicom_headers import SliceHeader, Trait

logger = logging.getLogger(__name__)

SHOWN_AS = {
    "frame_type": "frame type {}",
    "echo_time": "echo time {} ms",
    "b_value": "b-value {} s/mm2",
    "direction": "diffusion direction {}",
    "cardiac_phase": "cardiac phase {} %",
    "temporal_position": "temporal position {}",
    "acquisition": "acquisition {}",
}
"""Traits that may tell volumes apart, in the order in which they are tried, and their wording."""

MOST_PLACES = 0.5
"""A volume covers more than this share of the places; less is a stray copy of some slices."""

SAME = 1e-3
"""Relative difference up to which two numbers are the same."""


@dataclass(frozen=True, kw_only=True)
class FrameVolume:
    """Slices that form one volume."""

    members: tuple[int, ...]
    """Indices of its slices in the list that was split."""
    traits: Mapping[str, Trait | None]
    """What tells it apart; empty where the series holds one volume."""

    def describe(self) -> str:
        """Say which volume it is, such as ``b-value 800 s/mm2``."""
        return ", ".join(
            f"no {key.replace('_', ' ')}" if value is None else SHOWN_AS[key].format(_t(value))
            for key, value in self.traits.items()
        )

    @property
    def name(self) -> str:
        """Tell it from the others in the name of a case, such as ``b_value_800``."""
        return "_".join(
            f"{key}_{'none' if value is None else _t(value)}" for key, value in self.traits.items()
        )

    def rule(self) -> VolumeRule:
        """Return the rule that only this volume of the series fulfils."""
        return VolumeRule(
            **{key: "none" if value is None else value for key, value in self.traits.items()}  # type: ignore[arg-type]
        )


def split_volumes(headers: Sequence[SliceHeader]) -> list[FrameVolume]:
    """Divide the slices of a series into volumes that hold each place once.

    Parameters
    ----------
    headers : sequence of SliceHeader
        All slices, in any order.

    Returns
    -------
    list of FrameVolume
        Ordered by what tells them apart. One volume with all slices where no place is taken twice,
        or where nothing tells the slices at one place apart.
    """
    places = [tuple(round(x, 2) + 0.0 for x in (*h.position, *h.along_row)) for h in headers]
    counts = Counter(places)
    most = max(counts.values(), default=0)
    groups: dict[tuple[Trait | None, ...], list[int]] = {(): list(range(len(headers)))}
    used: list[str] = []
    for trait in SHOWN_AS:
        if len(groups) >= most:
            break
        finer: dict[tuple[Trait | None, ...], list[int]] = {}
        for key, members in groups.items():
            for i in members:
                finer.setdefault((*key, headers[i].traits.get(trait)), []).append(i)
        held = [len({places[i] for i in members}) for members in finer.values()]
        if len(groups) < len(finer) <= most and min(held) > MOST_PLACES * len(counts):
            groups, used = finer, [*used, trait]
    doubled = any(len({places[i] for i in held}) < len(held) for held in groups.values())
    if most < 2 or doubled:
        return [FrameVolume(members=tuple(range(len(headers))), traits={})]
    return [
        FrameVolume(members=tuple(groups[key]), traits=dict(zip(used, key, strict=True)))
        for key in sorted(groups, key=lambda key: [_order(value) for value in key])
    ]


def choose_volume(
    volumes: Sequence[FrameVolume], rule: VolumeRule | None, where: Path
) -> FrameVolume:
    """Return the one volume of a series, or the one that a rule means.

    Parameters
    ----------
    volumes : sequence of FrameVolume
        As `split_volumes` returns them.
    rule : VolumeRule or None
        Not asked where there is one volume only.
    where : Path
        For messages.

    Raises
    ------
    FormatError
        If no volume fulfils the rule, or several do and it does not pick one; all are listed.
    """
    if len(volumes) == 1:
        return volumes[0]
    asked = rule or VolumeRule()
    fits = [volume for volume in volumes if _fits(volume, asked)]
    if fits and asked.pick != "only":
        fits = [fits[0 if asked.pick == "first" else -1]]
    if len(fits) != 1:
        key, value = next(iter(volumes[-1].traits.items()))
        example = "none" if value is None else _t(value)
        meant = "" if rule is None else f", {len(fits)} of which fulfil the rule"
        raise FormatError(
            f"{where}: holds {len(volumes)} volumes of the same slices{meant}: {listing(volumes)}",
            f"choose one in the manifest's options, such as 'volume: {{{key}: {example}}}' or "
            "'volume: {pick: first}', or export it alone",
        )
    others = [volume for volume in volumes if volume is not fits[0]]
    logger.info("%s: took %s; passed over %s", where, fits[0].describe(), listing(others))
    return fits[0]


def listing(volumes: Sequence[FrameVolume]) -> str:
    """List volumes for a message."""
    return "; ".join(volume.describe() for volume in volumes)


def _fits(volume: FrameVolume, rule: VolumeRule) -> bool:
    """Tell whether a volume fulfils a rule; what does not tell the volumes apart is not asked."""
    for key, value in volume.traits.items():
        wanted = getattr(rule, key)
        if wanted is None:
            continue
        if value is None or wanted == "none":
            if value is not None or wanted != "none":
                return False
        elif isinstance(wanted, str):
            if not fnmatchcase(str(value).lower(), wanted.lower()):
                return False
        elif isinstance(value, str) or not math.isclose(value, wanted, rel_tol=SAME):
            return False
    return True


def _order(value: Trait | None) -> tuple[int, float, str]:
    """Sort what is missing first, numbers by size, words by letters."""
    if value is None:
        return 0, 0.0, ""
    return (2, 0.0, value) if isinstance(value, str) else (1, float(value), "")


def _t(value: Trait) -> str:
    """Write a trait for a message."""
    return value if isinstance(value, str) else f"{value:g}"
