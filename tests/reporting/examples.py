"""Small made-up cases and a checker of pages, for the tests of this folder."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch

import numpy as np

from medseg.artefacts import DataInfo
from medseg.geometry.volume import Volume
from medseg.labels import Label, LabelScheme
from medseg.reporting.assess import describe_case
from medseg.reporting.case_report import CaseReport
from medseg.reporting.render import About

SCHEME = LabelScheme(labels=(Label(value=7, name="liver"), Label(value=9, name="tumour")))
SPACING = (1.0, 2.0, 4.0)

VOID = {"meta", "img", "br", "link", "input", "hr"}
ATTRIBUTES_THAT_LOAD = {"src", "href", "data", "poster", "action", "srcset"}


def info(origin: str = "real") -> DataInfo:
    return DataInfo(
        name="made_up",
        title="Made <up> data",
        modality="CT",
        channels=("image",),
        origin=origin,
        licence="CC0",
        citation="",
        digest="0123456789abcdef",
    )


def about(origin: str = "real") -> About:
    return About(model="unet, 10 steps", version="1.2.3", info=info(origin), made="2026-01-02")


def volume(data: np.ndarray) -> Volume:
    spacing = SPACING if data.ndim == 3 else (1.0, 1.0)
    return Volume(data=data[None], affine=np.diag([*spacing, 1.0]))


def label_map(shape=(16, 14, 10)) -> np.ndarray:
    label = np.zeros(shape, dtype=np.int16)
    inner = tuple(slice(4, n - 4) for n in shape)
    label[inner] = 1
    label[tuple(slice(5, 6) for _ in shape)] = 2
    return label


def report(folder: Path, name: str, pred, label, *, role="test", fold=None, pictures=False):
    """Describe a case of noise; its pictures, if any, lie in ``folder``/``name``."""
    out = folder / name
    out.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).normal(40, 50, pred.shape).astype(np.float32)
    modality = "CT" if pred.ndim == 3 else "photo"
    arguments = (name, volume(image), pred, label, SCHEME, None, modality, role, fold, out)
    with nullcontext() if pictures else without_pictures():
        made: CaseReport = describe_case(*arguments)
    return made


@contextmanager
def without_pictures():
    """Leave out what takes time: slices, surfaces, the viewer's volumes."""
    with (
        patch("medseg.reporting.assess.draw_case", lambda *_: ()),
        patch("medseg.reporting.assess.draw_surfaces", lambda *_: ()),
        patch("medseg.reporting.assess.write_viewer", lambda *_: None),
    ):
        yield


class Page(HTMLParser):
    """The facts about a page that the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[int] = []
        self.title = self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"not closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag in {"h1", "h2", "h3", "h4"}:
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if self._open and self._open[-1] == "title":
            self.title += data
        elif not {"style", "script"} & set(self._open):
            self.words += data

    def of(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def check_page(text: str) -> Page:
    """Assert what holds for every page of the report, and return it parsed."""
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.of("html") == [{"lang": "en"}]
    assert page.title
    assert "Not for diagnostic use" in page.words
    assert "made_up" in page.words
    assert "medseg " in page.words
    assert page.headings.count(1) == 1
    assert page.headings[0] == 1
    steps = np.diff(page.headings)
    assert (steps <= 1).all(), page.headings
    for tag, attrs in page.tags:
        for name in ATTRIBUTES_THAT_LOAD & set(attrs):
            value = attrs[name] or ""
            local = value.startswith("data:") or (tag == "a" and "//" not in value)
            assert local, f"<{tag} {name}={value[:60]}> needs another file"
    for attrs in page.of("img"):
        assert attrs.get("alt")
        assert (attrs.get("src") or "").startswith("data:image/png;base64,")
    for attrs in page.of("th"):
        assert attrs.get("scope") in {"col", "row"}
    assert "url(" not in text
    assert "@import" not in text
    assert not page.of("link")
    assert all("src" not in attrs for attrs in page.of("script"))
    return page
