"""Apply post-processing rules to class indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ConfigError
from medseg.finished import ALL_FOREGROUND, PostprocessRule
from medseg.geometry.volume import Grid
from medseg.labels import LabelScheme, Structure
from medseg.postprocess.components import fill_holes, keep_components
from medseg.registry import nearest


def apply_rules(
    indices: NDArray[np.int16],
    grid: Grid,
    scheme: LabelScheme,
    rules: Sequence[PostprocessRule],
) -> NDArray[np.int16]:
    """Clean all foreground, then each structure, by its rule.

    A rule for `ALL_FOREGROUND` comes first and takes all structures for one. Then structures are
    treated one after another, in table order; regions from the one of most labels to the one of
    fewest, so that what stands inside another is cleaned last. Within a structure: largest
    component, minimum volume, then holes.

    A removed voxel becomes background; a voxel removed from a region becomes what the narrowest
    region around it paints (removed from the tumour core: oedema), or background. A filled voxel
    becomes the structure only where it was background (or that surrounding region), so a tumour
    inside a liver stays.

    Parameters
    ----------
    indices : int16 ndarray, 2-D or 3-D
        Class indices; not changed.
    grid : Grid
        Its voxel volume turns mL into voxels. In 2-D a thousand px (mm2) count as 1 mL.
    scheme : LabelScheme
    rules : sequence of PostprocessRule
        At most one per structure; a structure without one stays as it is.

    Returns
    -------
    int16 ndarray of the same shape

    Raises
    ------
    ConfigError
        If a rule names no structure of the scheme.
    """
    check_rules(rules, scheme)
    by_name = {rule.structure: rule for rule in rules}
    cleaned = indices.copy()
    if ALL_FOREGROUND in by_name:
        mask = cleaned > 0
        kept, _ = clean_mask(mask, by_name[ALL_FOREGROUND], grid.voxel_volume_ml)
        cleaned[mask & ~kept] = 0
    for structure in cleaning_order(scheme):
        rule = by_name.get(structure.name)
        if rule is not None:
            _apply(cleaned, structure, rule, grid.voxel_volume_ml, scheme)
    return cleaned


def acts(rule: PostprocessRule) -> bool:
    """Tell whether a rule does anything."""
    return rule.keep_largest or rule.min_volume_ml > 0 or rule.fill_holes


def acting_rules(rules: Sequence[PostprocessRule]) -> tuple[PostprocessRule, ...]:
    """Keep of the rules what decides a mask: which act, and how."""
    return tuple(
        replace(rule, dice_before=None, dice_after=None, reason="") for rule in rules if acts(rule)
    )


def clean_mask(
    mask: NDArray[np.bool_], rule: PostprocessRule, voxel_ml: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Apply one rule to one structure's mask.

    Returns
    -------
    bool ndarray, bool ndarray
        What stays of the mask, and that with its holes filled.
    """
    kept = mask
    if rule.keep_largest or rule.min_volume_ml > 0:
        kept = keep_components(
            mask,
            keep_largest=rule.keep_largest,
            # A hair less, so that a component of just that volume stays in floating point.
            min_voxels=rule.min_volume_ml / voxel_ml * (1 - 1e-9),
        )
    return kept, fill_holes(kept) if rule.fill_holes else kept


def cleaning_order(scheme: LabelScheme) -> tuple[Structure, ...]:
    """List the structures as they are cleaned: table order, or regions from wide to narrow."""
    if not scheme.regions:
        return scheme.structures
    return tuple(scheme.structures[channel] for channel, _ in scheme.paint_order())


def surrounding(structure: Structure, scheme: LabelScheme) -> int:
    """Return the class index that stands around a structure: what a removed voxel becomes.

    It is what the narrowest region that holds all of the structure's labels, and more, paints
    (if that is not itself part of the structure), else 0.
    """
    if not scheme.regions:
        return 0
    for channel, index in reversed(scheme.paint_order()):  # narrowest first
        if set(scheme.structures[channel].indices) > set(structure.indices):
            return 0 if index in structure.indices else index
    return 0


def check_rules(rules: Sequence[PostprocessRule], scheme: LabelScheme) -> None:
    """Raise ConfigError for a rule whose structure the scheme does not have.

    Likewise for one that would fill holes of all foreground: with which structure?
    """
    names = [structure.name for structure in scheme.structures]
    for rule in rules:
        if rule.structure == ALL_FOREGROUND:
            if rule.fill_holes:
                raise ConfigError(
                    f"postprocess.rules: '{ALL_FOREGROUND}' stands for all structures together, "
                    "whose holes cannot be filled; give fill_holes to a structure"
                )
        elif rule.structure not in names:
            raise ConfigError(
                f"postprocess.rules: no structure is named '{rule.structure}'; "
                f"{nearest(rule.structure, names)}"
            )


def painted_index(structure: Structure, scheme: LabelScheme) -> int:
    """Return the class index that a filled voxel of a structure gets."""
    if not scheme.regions:
        return structure.indices[0]
    painted = {scheme.structures[channel].name: index for channel, index in scheme.paint_order()}
    return painted[structure.name]


def _apply(
    cleaned: NDArray[np.int16],
    structure: Structure,
    rule: PostprocessRule,
    voxel_ml: float,
    scheme: LabelScheme,
) -> None:
    """Clean one structure in place."""
    around = surrounding(structure, scheme)
    mask = np.isin(cleaned, structure.indices)
    kept, filled = clean_mask(mask, rule, voxel_ml)
    cleaned[mask & ~kept] = around
    holes = filled & ~kept & ((cleaned == 0) | (cleaned == around))
    cleaned[holes] = painted_index(structure, scheme)
