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
from medseg.hidden_words import HiddenWords

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
DATE_DIGITS = 8
"""Of a date in a header: ``YYYYMMDD``."""
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
        dates = [form for date in (self.birth_date, self.study_date) for form in _date_forms(date)]
        others = (self.patient_id, *dates, self.accession)
        numbers = [word for word in map(_bare, others) if word not in NOBODY]
        joined = ["".join(known), "".join(reversed(known))]  # of a short name the parts are no clue
        return tuple(dict.fromkeys(word for word in (*numbers, *known, *joined) if word))

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


def shown_id(case: str, identity: Identity, unique: str, mode: Identifiers) -> str:
    """Return a case's id, or a hash where the id holds what the header says of the patient.

    Messages show the hash in place of the id from then on. ``unique`` is hashed with the id; a
    SeriesInstanceUID nobody can guess.
    """
    if mode == "keep" or not identity.is_in(case):
        return case
    new = case_pseudonym(case, unique)
    hide_id(case, new)
    return new


def case_pseudonym(case: str, unique: str) -> str:
    """Return the hash that stands for a case's id; see `shown_id`."""
    return pseudonym(f"{unique}\0{case}", kind="case")


def is_pseudonym(case: str) -> bool:
    """Tell whether an id looks like one that `case_pseudonym` made."""
    return re.fullmatch(r"case-[0-9a-f]{10}", case) is not None


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

PATIENT = "[patient]"
"""What messages show in place of a patient."""

_HIDDEN = HiddenWords()
"""What messages of this process must not show."""


def hide(words: Iterable[str], instead: str) -> None:
    """Let `concealed` replace words from now on; what is replaced already stays so.

    Words of fewer than three letters are not replaced: they stand in every other message.
    """
    for word in words:
        if len(_bare(word)) >= SHORTEST_PART and word not in _HIDDEN.words:
            _HIDDEN.add(word, instead)


def hide_id(old: str, new: str) -> bool:
    """Let `concealed` show a case's new id in place of the old one; tell whether that is new."""
    if len(_bare(old)) < SHORTEST_PART or _HIDDEN.words.get(old) == new:
        return False
    _HIDDEN.add(old, new)
    _HIDDEN.add(new, new)  # whatever short name its digits hold
    return True


def hide_patient(identity: Identity, names: Sequence[str] = ()) -> None:
    """Keep a patient, and files and folders that are named after the patient, out of messages.

    Parameters
    ----------
    identity : Identity
        What a header says; of one that was removed nothing is hidden.
    names : sequence of str
        Of the header's file and the folders above it.
    """
    parts = re.split(r"[\^=\s,]+", identity.name)
    spelled = (identity.name, identity.name.replace("^", " "), identity.patient_id)
    dates = [
        form
        for date in (identity.birth_date, identity.study_date)
        for between in ("", "-", "_", ".")
        for form in _date_forms(date, between)
    ]
    words = [w for w in (*spelled, *parts, identity.accession, *dates) if identity.is_in(w)]
    if not words:
        return
    hide(words, PATIENT)
    for name in (one for one in names if identity.is_in(one)):
        if not identity.is_in(concealed(name).replace(PATIENT, "")):
            continue  # nothing is left of the patient where the words are replaced
        stem = re.sub(r"[\d\W_]+$", "", name.removesuffix(".dcm"))  # the same for all slices
        part = stem if identity.is_in(stem) else name
        if len(_bare(part)) < SHORTEST_PART and part.isalpha():  # as a part of paths alone
            _HIDDEN.add(f"/{part}", f"/{PATIENT}")
        hide([part], PATIENT)


def hidden_words() -> dict[str, str]:
    """Return what messages of this process do not show, for a process that helps it."""
    return dict(_HIDDEN.words)


def hide_only(words: Mapping[str, str]) -> None:
    """Let `concealed` replace these words, as `hidden_words` returned them, and no others."""
    _HIDDEN.replace_all(words)


def concealed(text: str) -> str:
    """Return a message without the words that were hidden, see `HiddenWords`."""
    return _HIDDEN.replaced_in(text)


def _date_forms(date: str, between: str = "") -> tuple[str, ...]:
    """Spell a DICOM date with the year, the day and the month first."""
    if len(date) != DATE_DIGITS or not date.isdigit():
        return (date,) if date and not between else ()
    year, month, day = date[:4], date[4:6], date[6:]
    orders = ((year, month, day), (day, month, year), (month, day, year))
    return tuple(dict.fromkeys(between.join(order) for order in orders))


def _bare(text: str) -> str:
    """Keep letters and digits, in small letters."""
    return "".join(c for c in text.casefold() if c.isalnum())
