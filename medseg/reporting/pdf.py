"""A page of the report as PDF, from the same HTML."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

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
            "report.pdf is true, and weasyprint is not installed; pip install 'medseg[report]', or "
            "set report.pdf to false"
        )


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
    check_pdf()
    try:
        import weasyprint
    except OSError as error:  # its C libraries are loaded at import
        raise MissingExtraError(
            f"report.pdf is true, and weasyprint finds no Pango ({error}); install it (Debian: "
            "libpango-1.0-0 libpangoft2-1.0-0), or set report.pdf to false"
        ) from error
    document: Any = weasyprint.HTML(string=html)  # not typed
    made: bytes = document.write_pdf()
    return made
