"""Templates to pages, and what every page says about itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medseg.artefacts import DataInfo
from medseg.reporting.words import number, place_text, size_range, size_text

HIDDEN_PATH = "[file]"
_SPACED_PATH = re.compile(
    r"(?:[A-Za-z]:)?[/\\][^:;,'\"\n]*?\.(?:nii\.gz|nii|nrrd|nhdr|mha|mhd|dcm|png|jpe?g|tiff?|csv)\b",
    re.IGNORECASE,
)
_TOKEN_PATH = re.compile(r"[^\s'\"(),;:]*[/\\][^\s'\"(),;]*")
_FILE_NAME = re.compile(
    r"[^\s'\"(),;:]+\.(?:nii\.gz|nii|nrrd|nhdr|mha|mhd|dcm|png|jpe?g|tiff?)\b", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class About:
    """The footer of every page."""

    model: str
    """Network, steps and fold in words; empty where masks were compared without a model."""
    version: str
    """Version of medseg."""
    info: DataInfo
    made: str
    """Date, ISO 8601."""
    foreign: bool = False
    """The images are none of the data set that ``info`` describes (`medseg predict`)."""


@cache
def environment() -> Environment:
    """Return the template environment: values are escaped, a missing one is an error."""
    found = Environment(
        loader=PackageLoader("medseg.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(number=number, size=size_text)
    found.globals.update(size_range=size_range, place_text=place_text)
    return found


def render(template: str, **values: Any) -> str:
    """Fill a template of ``medseg/reporting/templates``."""
    return environment().get_template(template).render(**values)


def without_paths(text: str) -> str:
    """Take file names and paths out of a message: they may hold names of patients.

    Rather too much than too little: every word with a slash goes too.

    Examples
    --------
    >>> without_paths("case a: /data/Jane Doe/ct.nii.gz is truncated; copy it again")
    'case a: [file] is truncated; copy it again'
    """
    for pattern in (_SPACED_PATH, _TOKEN_PATH, _FILE_NAME):
        text = pattern.sub(HIDDEN_PATH, text)
    return text
