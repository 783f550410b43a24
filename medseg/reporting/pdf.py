"""A page of the report as PDF, from the same HTML."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from PIL import ImageFile

from medseg.errors import MissingExtraError


def check_pdf() -> None:
    """Raise where PDF pages were asked for and cannot be made.

    Raises
    ------
    MissingExtraError
        If weasyprint is not installed.
    """
    if find_spec("weasyprint") is None:
        raise MissingExtraError(
            "a PDF was asked for, and weasyprint is not installed; pip install 'medseg[report]', "
            "or set report.pdf to false (predict: leave out --dicom-pdf)"
        )


def why_no_pdf() -> str:
    """Return why no PDF can be made here; empty where one can."""
    try:
        _weasyprint()
    except MissingExtraError as error:
        return str(error)
    return ""


def pdf_bytes(html: str) -> bytes:
    """Return a page as PDF, laid out by its print style.

    Parameters
    ----------
    html : str
        A page without viewer (`medseg.reporting.case_page.render_case_page`, ``viewer=False``).

    Raises
    ------
    MissingExtraError
        If weasyprint, or a system library that it needs, is not installed.
    """
    with _strict_images():
        document: Any = _weasyprint().HTML(string=html)  # not typed
        made: bytes = document.write_pdf()
    return made


def _weasyprint() -> Any:
    """Import weasyprint; MissingExtraError where it, or what it needs, is not installed."""
    check_pdf()
    try:
        with _strict_images():
            import weasyprint
    except OSError as error:  # its C libraries are loaded at import
        raise MissingExtraError(
            f"a PDF was asked for, and weasyprint finds no Pango ({error}); install it (Debian: "
            "libpango-1.0-0 libpangoft2-1.0-0), or set report.pdf to false (predict: leave out "
            "--dicom-pdf)"
        ) from error
    return weasyprint


@contextmanager
def _strict_images() -> Iterator[None]:
    """Undo what weasyprint's modules do when imported, some of them late.

    They have all of Pillow take cut-off images for whole ones; our readers refuse such files.
    """
    strict = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = strict
