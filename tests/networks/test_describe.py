from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from medseg.networks import NETWORKS, WRAPPED
from medseg.networks.describe import (
    BEGIN,
    END,
    describe_all,
    describe_wrapped,
    main,
    paper_of,
    refreshed,
)
from medseg.pipelines.cli import main as medseg

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


@pytest.fixture(scope="module")
def rows():
    return {row.name: row for row in describe_all()}


def test_the_page_is_current():
    page = PAGE.read_text(encoding="utf-8")
    assert refreshed(page) == page, "run: python -m medseg.networks.describe docs/networks.md"


def test_every_network_is_described(rows):
    assert list(rows) == sorted(NETWORKS)
    assert [row.name for row in describe_wrapped()] == list(WRAPPED)
    for row in rows.values():
        assert row.dims
        assert row.parameters > 1000
        assert any(word[:4].isdigit() for word in row.paper.split()), row.paper


def test_a_row_counted_by_another_hand(rows):
    network = NETWORKS["unet"](ndim=2, in_channels=1, num_classes=2)
    assert rows["unet"].parameters == sum(p.numel() for p in network.parameters())
    assert rows["unet"].dims_text == "2D, 3D"
    assert rows["unet"].paper == "Ronneberger et al., U-Net, MICCAI 2015"
    assert rows["segformer_b0"].size_text == "3.71 M"


def test_the_list_gives_dims_parameters_and_paper(capsys, rows):
    assert medseg(["list", "networks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(NETWORKS) + len(WRAPPED)
    line = next(text for text in lines if text.startswith("unet "))
    row = rows["unet"]
    assert line.split() == ["unet", "2D,", "3D", *row.size_text.split(), *row.paper.split()]


def test_a_paper_may_run_over_lines_and_ends_before_the_next():
    def network() -> None:
        """Do.

        References
        ----------
        .. [1] A and B, A very long
           title, MICCAI 2015.
        .. [2] C, Another, 2016.

        Examples
        --------
        """

    assert paper_of(partial(network)) == "A and B, A very long title, MICCAI 2015"
    with pytest.raises(ValueError, match="add its paper"):
        paper_of(len)


def test_a_stale_page_is_mended_and_one_without_marks_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    assert main([str(page)]) == 0
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    assert "old" not in text
    assert "| `vnet` |" in text
    with pytest.raises(ValueError, match="lacks the lines"):
        refreshed("nothing here")


def test_the_list_does_not_import_the_libraries():
    code = "import sys, medseg.networks.describe as d; d.describe_wrapped(); d.describe_all();"
    ended = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(bool({'monai', 'transformers'} & {*sys.modules}))"],
        timeout=120,
    )
    assert ended.returncode == 0
