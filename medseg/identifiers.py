"""Who a patient is: kept out of ids, tables, logs and file names unless the user keeps it.

Images are read for their voxels. What their headers say of the patient is compared (to join the
scans of one patient, to notice ids that are names) and then dropped, numbered or hashed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from medseg.case import Case

Identifiers = Literal["keep", "drop", "hash"]
"""``keep``: as they are; ``drop``: patients are numbered; ``hash``: the same hash everywhere."""

KEY_VARIABLE = "MEDSEG_IDENTIFIER_KEY"
"""Secret of the hashes; without one, who knows all possible patient ids can try them."""

HEADER = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "StudyDate",
    "AccessionNumber",
    "PatientIdentityRemoved",
)
"""DICOM attributes that an `Identity` is made of."""

SHORTEST_PART = 3
"""Letters a word of a name must have to be looked for inside an id; shorter ones must be all."""
NOBODY = frozenset(
    "patient anonymous anonymized anonymised anon unknown none test phantom".split()  # noqa: SIM905
)
"""Words that stand where a name was."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a DICOM header says of its patient. It is never stored."""

    patient_id: str = ""
    name: str = ""
    birth_date: str = ""
    study_date: str = ""
    accession: str = ""
    removed: bool = False
    """The header says that the identity was removed (0012,0062): what is left is a pseudonym."""

    @classmethod
    def of(cls, header: Any) -> Identity:
        """Take it from a header that can be asked by keyword (a pydicom data set)."""
        found = [str(header.get(keyword) or "").strip() for keyword in HEADER]
        return cls(
            patient_id=found[0],
            name=found[1],
            birth_date=found[2],
            study_date=found[3],
            accession=found[4],
            removed=found[5].upper() == "YES",
        )

    @property
    def words(self) -> tuple[str, ...]:
        """What identifies the patient, each in small letters and digits alone."""
        if self.removed:
            return ()
        names = [_bare(part) for part in re.split(r"[\^=\s,]+", self.name)]
        known = [part for part in names if part not in NOBODY and not part.isdigit()]
        others = (self.patient_id, self.birth_date, self.study_date, self.accession)
        numbers = [word for word in map(_bare, others) if word not in NOBODY]
        return tuple(dict.fromkeys(word for word in (*numbers, *known) if word))

    def is_in(self, text: str) -> bool:
        """Tell whether a text (an id, a folder's name) holds a word that identifies the patient.

        Examples
        --------
        >>> doe = Identity(patient_id="4711", name="Doe^Jane", birth_date="19710203")
        >>> [doe.is_in(t) for t in ("DOE_JANE_ct", "p-4711", "1971-02-03", "scan_1", "janet")]
        [True, True, True, False, True]
        """
        parts = {_bare(part) for part in re.split(r"[^0-9A-Za-z\u0080-\uffff]+", text)}
        whole = _bare(text)
        return any(
            word in parts or (len(word) >= SHORTEST_PART and word in whole) for word in self.words
        )


NOBODY_KNOWN = Identity()
"""What an empty header says."""


def pseudonym(text: str, *, kind: str) -> str:
    """Return a name that stands for a text and does not show it.

    BLAKE2b, keyed by ``$MEDSEG_IDENTIFIER_KEY`` where it is set; the same text has the same
    pseudonym everywhere under one key.

    Examples
    --------
    >>> pseudonym("4711", kind="patient") == pseudonym("4711", kind="patient")
    True
    >>> len(pseudonym("4711", kind="patient"))
    18
    """
    key = hashlib.blake2b(os.environ.get(KEY_VARIABLE, "").encode(), digest_size=32).digest()
    digest = hashlib.blake2b(f"{kind}\0{text}".encode(), key=key, digest_size=5).hexdigest()
    return f"{kind}-{digest}"


def without_patients(cases: Sequence[Case], mode: Identifiers) -> list[Case]:
    """Replace the patients (groups) of cases by numbers or hashes.

    Parameters
    ----------
    cases : sequence of Case
    mode : {"keep", "drop", "hash"}
        ``drop`` numbers them in the order of the case ids.
    """
    shown = shown_patients({case.id: case.group for case in cases}, mode)
    return [replace(case, group=shown[case.id]) for case in cases]


def shown_patients(
    groups: Mapping[str, str | None], mode: Identifiers, *, again: bool = False
) -> dict[str, str | None]:
    """Return what stands for the patient of each case; None stays None.

    Parameters
    ----------
    groups : mapping of str to str or None
        Case id to patient.
    mode : {"keep", "drop", "hash"}
    again : bool
        Leave patients as they are if all look as if they had been replaced before.
    """
    known = list(dict.fromkeys(groups[case] for case in sorted(groups)))
    named = [group for group in known if group]
    if mode == "keep" or (again and all(_REPLACED.fullmatch(group) for group in named)):
        return dict(groups)
    if mode == "hash":
        names = {group: pseudonym(group, kind="patient") for group in named}
    else:
        digits = max(3, len(str(len(named))))
        names = {group: f"patient-{n:0{digits}d}" for n, group in enumerate(named, start=1)}
    return {case: names[group] if group else None for case, group in groups.items()}


_REPLACED = re.compile(r"patient-(\d{3,9}|[0-9a-f]{10})")

_HIDDEN: dict[str, str] = {}
"""Words that messages of this process must not show, and what they show instead."""


def hide(words: Iterable[str], instead: str) -> None:
    """Let `concealed` replace words from now on; what is replaced already stays so.

    Words of fewer than three letters are not replaced: they stand in every other message.
    """
    for word in words:
        if len(_bare(word)) >= SHORTEST_PART:
            _HIDDEN.setdefault(word, instead)


def hide_id(old: str, new: str) -> bool:
    """Let `concealed` show a case's new id in place of the old one; tell whether that is new."""
    if len(_bare(old)) < SHORTEST_PART or _HIDDEN.get(old) == new:
        return False
    _HIDDEN[old] = new
    return True


def concealed(text: str) -> str:
    """Return a message without the words that were hidden; longest first, whole words alone."""
    if not _HIDDEN:
        return text
    ordered = sorted(_HIDDEN, key=len, reverse=True)
    pattern = "|".join(re.escape(word) for word in ordered)
    return re.sub(
        rf"(?<![0-9A-Za-z])(?:{pattern})(?![0-9A-Za-z])", lambda found: _HIDDEN[found[0]], text
    )


def _bare(text: str) -> str:
    """Keep letters and digits, in small letters."""
    return "".join(c for c in text.casefold() if c.isalnum())
