"""What to do about values in annotation files that mean nothing: the nearest remedy."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.labels import LabelScheme
from medseg.registry import nearest

SHOWN = 12
"""Unknown values that a message lists."""

VOID = 255
"""Value that most natural-image data sets give to what is not scored."""

CITYSCAPES_IDS = frozenset(range(-1, 34))
TRAIN_IDS = frozenset(range(19))


def counted(rows: Sequence[tuple[str, int]], ndim: int) -> str:
    """Write what occurs how often, the most frequent first; in a volume there are voxels.

    Examples
    --------
    >>> counted([("7", 1), ("255", 40)], 3)
    '255 on 40 voxels, 7 on 1 voxel'
    """
    unit = "pixel" if ndim == 2 else "voxel"
    ordered = sorted(rows, key=lambda row: -row[1])
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return (
        ", ".join(
            f"{name} on {count} {unit}{'' if count == 1 else 's'}"
            for name, count in ordered[:SHOWN]
        )
        + more
    )


def remedy_for_names(unknown: Sequence[str], scheme: LabelScheme) -> str:
    """Say how to mend names that are neither labels nor in the label map.

    Parameters
    ----------
    unknown : sequence of str
        Names in the annotation file.
    scheme : LabelScheme
    """
    known = [label.name for label in scheme.labels]
    hint = nearest(unknown[0], known)
    return (
        f"write what they mean into the manifest's label_map ({{'{unknown[0]}': <label>}}, or "
        f"'background', 'ignore', or 'other: ignore' for all of them); '{unknown[0]}': {hint}"
    )


def remedy_for_values(present: Sequence[int], unknown: Sequence[int], scheme: LabelScheme) -> str:
    """Say how to mend values that are not in the label map or table.

    The likely cause is read off the values: instance ids, a mask of 0 and 255, a void value that
    was not declared, all values shifted by one, Cityscapes labelIds in place of trainIds, a mask
    that was interpolated. Without a sign, the general remedy.

    Parameters
    ----------
    present, unknown : sequence of int
        Values that occur in the file, ascending, and those that mean nothing.
    scheme : LabelScheme
    """
    known = set(scheme.stored_values())
    names = [label.name for label in scheme.labels]
    signs = (
        _instance_ids(unknown, known),
        _two_values(present, names),
        _void(unknown),
        _shift(present, known),
        _cityscapes(present, unknown, known),
        _interpolated(unknown, known),
    )
    found = next((sign for sign in signs if sign), None)
    return found or (
        "add them to the manifest's labels or label_map, set its ignore value, or name the wanted "
        "values with 'select' (an empty list selects any non-zero value)"
    )


def _instance_ids(unknown: Sequence[int], known: set[int]) -> str | None:
    """Recognise class * 1000 + instance, and class * 256 + instance."""
    for divisor, encoding in ((1000, "thousands"), (256, "high_byte")):
        if min(unknown) >= divisor and {value // divisor for value in unknown} <= known:
            return (
                f"they look like instance ids (class x {divisor} + instance): set 'encoding: "
                f"{encoding}' in the manifest's options, or use the files with class ids"
            )
    return None


def _two_values(present: Sequence[int], names: Sequence[str]) -> str | None:
    """Recognise a binary mask with another value than 1."""
    if len(names) == 1 and len(set(present) - {0}) == 1:
        value = max(present)
        return (
            f"it is a mask of 0 and {value}: write label_map: "
            f"{{0: background, {value}: {names[0]}}} into the manifest"
        )
    return None


def _void(unknown: Sequence[int]) -> str | None:
    """Recognise an undeclared void value."""
    if list(unknown) == [VOID]:
        return (
            "255 usually means void: write 'ignore_value: 255' into the manifest, or "
            "'255: ignore' into its label_map"
        )
    if list(unknown) == [-1]:
        return "-1 usually means void: write '-1: ignore' into the manifest's label_map"
    return None


def _shift(present: Sequence[int], known: set[int]) -> str | None:
    """Recognise values that all fit once one is added or subtracted."""
    values = set(present) - {VOID, 0}
    for step, word in ((-1, "more"), (1, "less")):
        if len(values) > 2 and {value + step for value in values} <= known:
            return (
                f"every value would fit if it were one {'less' if step < 0 else 'more'}: the files "
                f"count from one {word} than the label_map; shift the keys of the label_map"
            )
    return None


def _cityscapes(present: Sequence[int], unknown: Sequence[int], known: set[int]) -> str | None:
    """Recognise labelIds where trainIds are expected."""
    expects_train_ids = known - {VOID, -1, 19} == TRAIN_IDS
    if expects_train_ids and set(present) <= CITYSCAPES_IDS and max(unknown) > max(TRAIN_IDS):
        return "they look like Cityscapes labelIds: use manifest 'cityscapes', which reads them"
    return None


def _interpolated(unknown: Sequence[int], known: set[int]) -> str | None:
    """Recognise masks saved as JPEG, resized smoothly, or turned from colours to grey."""
    if len(unknown) > max(30, 2 * len(known)):
        return (
            f"{len(unknown)} values are too many for classes: the mask was probably saved as JPEG, "
            "resized with interpolation, or turned from colours to grey levels; export it again "
            "as PNG, nearest neighbour"
        )
    return None
