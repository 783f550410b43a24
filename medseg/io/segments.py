"""Which label or region the named segments of DICOM objects mean: by name, code or number."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.case import SegmentRule
from medseg.errors import FormatError
from medseg.label_map import BACKGROUND, IGNORE
from medseg.labels import IGNORE_INDEX, Label, LabelScheme, Region
from medseg.registry import nearest

SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A segment of a SEG, or a structure (ROI) of an RTSTRUCT."""

    path: Path
    number: int
    name: str
    code: tuple[str, str] | None = None
    """Coding scheme and code value of its type, such as ``("SCT", "10200004")``."""

    def describe(self) -> str:
        """Name it for a message."""
        code = f" ({':'.join(self.code)})" if self.code else ""
        return f"{self.number} '{self.name}'{code}"


def describe_segments(segments: Sequence[Segment]) -> str:
    """List segments for a message."""
    listed = ", ".join(segment.describe() for segment in segments[:SHOWN])
    more = f" and {len(segments) - SHOWN} more" if len(segments) > SHOWN else ""
    return listed + more or "none"


def labels_of_segments(
    predicted: Sequence[Segment], annotated: Sequence[Segment]
) -> tuple[Label, ...]:
    """Make a label table of what the segments of references and predictions are called.

    Each name of a reference is a label, with its SNOMED CT code; so is each name of a prediction
    that is neither a label's name nor coded as one.

    Parameters
    ----------
    predicted, annotated : sequence of Segment
        Of all cases.
    """
    found: dict[str, Label] = {}
    for segment in annotated:
        found.setdefault(_plain(segment.name), _label(segment, len(found) + 1))
    for segment in predicted:
        codes = _codes(LabelScheme(labels=tuple(found.values())))
        if not any(_same(code, segment.code) for code in codes):
            found.setdefault(_plain(segment.name), _label(segment, len(found) + 1))
    return tuple(found.values())


def _label(segment: Segment, value: int) -> Label:
    """Make a label of a segment."""
    scheme, code = segment.code or ("", "")
    return Label(value=value, name=segment.name, snomed=code if scheme == "SCT" else None)


def meanings(
    segments: Sequence[Segment], scheme: LabelScheme, rule: SegmentRule, where: Path
) -> dict[Segment, str]:
    """Say which label, region or reserved word each segment means.

    Parameters
    ----------
    segments : sequence of Segment
        All segments of an annotation.
    scheme : LabelScheme
        Label table with its regions and label map.
    rule : SegmentRule
    where : Path
        For messages.

    Returns
    -------
    dict of Segment to str
        Without the segments that are background.

    Raises
    ------
    FormatError
        If a segment means nothing, or two things; the segments are listed.
    """
    found = (
        _looked_up(segments, scheme, rule, where)
        if rule.structures is None
        else _selected(segments, scheme, rule.structures, where)
    )
    return {segment: name for segment, name in found.items() if name != BACKGROUND}


def _looked_up(
    segments: Sequence[Segment], scheme: LabelScheme, rule: SegmentRule, where: Path
) -> dict[Segment, str]:
    """Look each segment up in the label table."""
    by_name, by_code, by_number = _names(scheme), _codes(scheme), scheme.stored_values()
    labels = [label.name for label in scheme.labels]
    other = None if scheme.other is None else _word(scheme.other, labels)
    found, unknown = {}, []
    for segment in segments:
        name: str | None = None
        if rule.match in ("auto", "name"):
            name = by_name.get(_plain(segment.name))
        if name is None and rule.match in ("auto", "code"):
            name = next((n for code, n in by_code.items() if _same(code, segment.code)), None)
        if rule.match == "number" and segment.number in by_number:
            name = _word(by_number[segment.number], labels)
        name = other if name is None else name
        if name is None:
            unknown.append(segment)
        else:
            found[segment] = name
    if unknown:
        raise FormatError(
            f"{where}: segments that no label of the table is called or coded as: "
            f"{describe_segments(unknown)}; all segments: {describe_segments(segments)}",
            "say in the manifest's option 'structures' which segments mean which label, such as "
            f"{{{labels[0]}: ['{unknown[0].name}']}}, or in its label_map "
            f"({{'{unknown[0].name}': background}}); '{unknown[0].name}': "
            f"{nearest(unknown[0].name, [*labels, *(r.name for r in scheme.regions)])}",
        )
    return found


def _selected(
    segments: Sequence[Segment],
    scheme: LabelScheme,
    structures: Mapping[str, tuple[str, ...]],
    where: Path,
) -> dict[Segment, str]:
    """Find the segments that are selected for each label or region."""
    known = [*(label.name for label in scheme.labels), *(r.name for r in scheme.regions)]
    found: dict[Segment, str] = {}
    for name, patterns in structures.items():
        if name not in known:
            raise FormatError(
                f"{where}: 'structures' names '{name}', which is no label or region",
                nearest(name, known),
            )
        for segment in segments:
            if not any(_is_meant(segment, pattern, segments) for pattern in patterns):
                continue
            if found.setdefault(segment, name) != name:
                raise FormatError(
                    f"{where}: segment {segment.describe()} is selected as '{found[segment]}' and "
                    f"as '{name}'",
                    "make the patterns in the manifest's option 'structures' exact",
                )
    if segments and not found:
        asked = [pattern for patterns in structures.values() for pattern in patterns]
        hint = nearest(asked[0], [s.name for s in segments]) if asked else "name some"
        raise FormatError(
            f"{where}: no segment is one of {', '.join(asked)}; all segments: "
            f"{describe_segments(segments)}",
            f"mend the manifest's option 'structures'; '{asked[0] if asked else ''}': {hint}",
        )
    return found


def _is_meant(segment: Segment, pattern: str, segments: Sequence[Segment]) -> bool:
    """Tell whether a pattern means a segment: by name, by ``scheme:code``, or by number."""
    if fnmatch.fnmatchcase(_plain(segment.name), _plain(pattern)):
        return True
    coded = re.fullmatch(r"(SCT|SRT|DCM|FMA|99\w+):(.+)", pattern)
    if coded:
        return _same((coded[1], coded[2]), segment.code)
    named = any(_plain(one.name) == _plain(pattern) for one in segments)
    return not named and pattern.isdigit() and int(pattern) == segment.number


def _names(scheme: LabelScheme) -> dict[str, str]:
    """Map each plain name that a segment may have to what it means."""
    labels = [label.name for label in scheme.labels]
    regions = {_plain(region.name): region.name for region in scheme.regions}
    stored = {_plain(name): _word(i, labels) for name, i in scheme.stored_names().items()}
    return regions | stored


def _codes(scheme: LabelScheme) -> dict[tuple[str, str], str]:
    """Map each SNOMED CT code of the table to its label or region; a code of several to none."""
    rows: list[Label | Region] = [*scheme.labels, *scheme.regions]
    used = Counter(row.snomed for row in rows if row.snomed)
    return {("SCT", row.snomed): row.name for row in rows if row.snomed and used[row.snomed] == 1}


def _word(index: int, labels: Sequence[str]) -> str:
    """Return the label name, or the reserved word, of a class index."""
    if index == IGNORE_INDEX:
        return IGNORE
    return labels[index - 1] if index else BACKGROUND


def _same(first: tuple[str, str], second: tuple[str, str] | None) -> bool:
    """Compare codes; SNOMED's older SRT codes equal their SCT codes."""
    if second is None:
        return False
    from pydicom.sr.coding import Code  # brings large tables

    one, other = (Code(value, scheme, "") for scheme, value in (first, second))
    return bool(one == other)


def _plain(name: str) -> str:
    """Write a name without the differences that do not count: case, spaces, ``_`` and ``-``."""
    return " ".join(re.split(r"[\s_\-]+", name.casefold())).strip()
