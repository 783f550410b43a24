"""`medseg predict --report`: the page of each predicted case, from nothing but the model folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import medseg
from medseg.artefacts import SetAside
from medseg.expected import Calibration, ExpectedDice
from medseg.pipelines.predict_quality import calibrations_of
from medseg.pipelines.predict_record import describe_networks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medseg.ensemble_folder import Model
    from medseg.io.load import LoadedImage
    from medseg.model_document import ModelDocument
    from medseg.reporting.background import Background
    from medseg.reporting.render import About

logger = logging.getLogger(__name__)

REPORT, CASES = "report", "cases"
"""Pages are ``OUT/report/cases/<case>.html``."""


@dataclass(frozen=True, kw_only=True)
class Pages:
    """What the pages of all cases of a model have in common."""

    document: ModelDocument
    about: About
    background: Background
    pdf: bool
    """Write each page as PDF too."""
    calibrations: tuple[Calibration, ...] = ()
    """What the estimates of quality rest on."""

    def names(self, case: str) -> tuple[str, ...]:
        """Name the files of a case in the folder of the pages."""
        kinds = ("html", "json", "pdf") if self.pdf else ("html", "json")
        return tuple(f"{case}.{kind}" for kind in kinds)


@dataclass(frozen=True, kw_only=True)
class Page:
    """The finished files of one case, before they are moved into their place."""

    files: tuple[Path, ...]

    @property
    def pdf(self) -> bytes | None:
        """The page as PDF, where there is one."""
        found = [file for file in self.files if file.suffix == ".pdf"]
        return found[0].read_bytes() if found else None


def open_pages(folder: Model) -> Pages:
    """Read what pages need of a model; say so where no PDF can be made.

    Raises
    ------
    ConfigError
        If the model's ``cohort.json`` cannot be read.
    """
    from medseg.ensemble_folder import EnsembleFolder
    from medseg.reporting.background import Background, read_background
    from medseg.reporting.pdf import why_no_pdf
    from medseg.reporting.render import About

    reason = why_no_pdf()
    if reason:
        logger.info("pages are written without PDF: %s", reason)
    # the rules and the mean of an ensemble make other volumes than its parts' validation saw
    several = isinstance(folder, EnsembleFolder)
    return Pages(
        document=folder.document,
        about=About(
            model=describe_networks(folder),
            version=medseg.__version__,
            info=folder.document.data,
            made=date.today().isoformat(),
            foreign=True,
        ),
        background=Background() if several else read_background(folder.folder),
        pdf=not reason,
        calibrations=calibrations_of(folder),
    )


@contextmanager
def page_of(
    case: str,
    image: LoadedImage | None,
    indices: NDArray[np.int16],
    pages: Pages | None,
    aside: Path,
    expected: Sequence[ExpectedDice] = (),
) -> Iterator[Page | None]:
    """Describe a predicted case and write its page, JSON and PDF into a folder of their own.

    Parameters
    ----------
    case : str
        Case id.
    image : LoadedImage, optional
        On the canonical grid; None: no page.
    indices : int16 ndarray of shape (*spatial)
        Class indices on the same grid, after post-processing.
    pages : Pages, optional
        None: no page.
    aside : Path
        Folder in which the new folder is made; it is gone when the context ends.
    expected : sequence of ExpectedDice
        The quality to expect of each structure.

    Yields
    ------
    Page or None
    """
    if image is None or pages is None:
        yield None
        return
    from medseg.reporting.assess import describe_case
    from medseg.reporting.case_context import lone_context
    from medseg.reporting.write import PageOptions, ReportInput, write_case

    with TemporaryDirectory(prefix="page_", dir=aside) as made:
        work = Path(made)
        scheme, modality = pages.document.scheme, pages.document.data.modality
        report = describe_case(
            case, image.volume, indices, None, scheme, None, modality, "predict", None, work,
            image.orientation,
        )  # fmt: skip
        report = replace(report, expected=tuple(expected))
        done = work / "done"
        done.mkdir()
        write_case(
            done,
            report,
            lone_context(report, pages.background, modality, pages.calibrations),
            pages.about,
            ReportInput(folder=work, identifiers={}),
            PageOptions(pdf=pages.pdf),
        )
        yield Page(files=tuple(done / name for name in pages.names(case)))


def put_page(page: Page, out: Path) -> None:
    """Move a case's files to where a reader looks for them."""
    place = out / REPORT / CASES
    place.mkdir(parents=True, exist_ok=True)
    for file in page.files:
        file.replace(place / file.name)


def has_page(target: Path, case: str, pages: Pages | None) -> bool:
    """Tell whether a case's page is there, if one is wanted; ``target`` is its prediction."""
    folder = target.parent / REPORT / CASES
    return pages is None or all((folder / name).is_file() for name in pages.names(case))


def write_index(out: Path, pages: Pages, set_aside: Sequence[SetAside] = ()) -> Path:
    """Write ``report/index.html``: all cases that have a page in OUT, also from earlier calls.

    Parameters
    ----------
    out : Path
    pages : Pages
    set_aside : sequence of SetAside
        What could not be predicted; file names are taken out of the reasons.
    """
    from medseg.reporting.predicted_page import render_predicted_page
    from medseg.reporting.render import without_paths

    folder = out / REPORT
    (folder / CASES).mkdir(parents=True, exist_ok=True)
    rows = [
        SetAside(case=one.case, stage=one.stage, reason=without_paths(one.reason))
        for one in set_aside
    ]
    page = render_predicted_page(folder / CASES, pages.about, rows)
    part = folder / ".index.html.partial"
    part.write_text(page, encoding="utf-8")
    return part.replace(folder / "index.html")
