"""What docs/losses.md says of every loss."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from medseg.losses import LOSSES, build_loss, check_loss

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "losses.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## All names")[2].partition("\n## ")[0]
ROWS = {line.split("`")[1]: line.split("|")[1:-1] for line in TABLE.splitlines() if "| `" in line}


def test_the_table_names_every_loss_and_no_other():
    assert sorted(ROWS) == sorted(LOSSES)
    assert all(len(cells) == 4 and cells[3].strip() for cells in ROWS.values())


def test_every_paper_named_is_listed():
    papers = PAGE.partition("## Papers")[2].replace("\n", " ")
    named = {paper for row in ROWS.values() for paper in re.findall(r"(\w+) (\d{4})", row[1])}
    named |= set(re.findall(r"\[(\w+) (\d{4})\]", PAGE))
    assert len(named) > 20
    for author, year in named:
        listed = re.search(rf"{author} ([^.]*?)[:;]", papers) or re.search(author, papers)
        assert listed, author
        assert re.search(rf"{author}[^.]*\b{year}\b", papers), f"{author} {year}"


def test_the_picture_is_there_and_small():
    assert "(img/loss_gradients.png)" in PAGE
    assert (DOCS / "img" / "loss_gradients.png").stat().st_size < 300_000


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_range_and_the_optimum_hold(name):
    low, high = re.match(r" [\[(](\S+), (\S+)[\])]", ROWS[name][2]).groups()
    bounds = [
        {"\u2212\u221e": -float("inf"), "\u221e": float("inf")}.get(bound) for bound in (low, high)
    ]
    least, most = (float(b) if c is None else c for b, c in zip((low, high), bounds, strict=True))
    loss = build_loss({"name": name}, "softmax")
    generator = torch.Generator().manual_seed(0)
    label = torch.zeros(2, 16, 16, dtype=torch.long)
    label[:, 3:9, 4:12], label[:1, 11:13, 2:6] = 1, 2
    true = torch.stack([label == c for c in range(3)], 1).double() * 80 - 40
    best = loss(true, label).item()
    if "below 0" in ROWS[name][2]:
        assert best < 0
    else:
        assert best == pytest.approx(float(ROWS[name][2].rpartition(",")[2]), abs=1e-5)
    guesses = [-true, true.roll(1, 1), true.roll(5, 2), torch.zeros_like(true)]
    guesses += [k * torch.randn(true.shape, generator=generator) for k in (0.1, 3, 60)]
    for guess in guesses:
        value = loss(guess, label).item()
        assert least - 1e-6 <= value <= most + 1e-6
        assert value >= best - 1e-6
    assert loss(-true, label) > best


def examples() -> list[object]:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    inline = re.findall(r"`'train.loss=(\[.*?\])'`|\| `(\[\{.*?\}\])` \|", PAGE)
    return [yaml.safe_load(text)["train"]["loss"] for text in blocks] + [
        yaml.safe_load(a or b) for a, b in inline
    ]


def test_every_example_of_the_page_can_be_built():
    assert len(examples()) == 4
    for settings in examples():
        check_loss(settings)
