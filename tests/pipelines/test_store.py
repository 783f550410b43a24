"""Results on disk: paths that survive a move, folders that appear whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from medseg.pipelines import store
from medseg.pipelines.store import Places, publish, put_folder, read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Result:
    file: Path
    scores: Mapping[int, float]
    names: tuple[str, ...] = ()


def places(root: Path) -> Places:
    return Places(run=root / "runs" / "x", scratch=root / "runs" / "_scratch")


def test_paths_follow_the_folders(tmp_path: Path) -> None:
    old, new = places(tmp_path / "old"), places(tmp_path / "new")
    stage = old.run / "stages" / "s" / "k.partial"
    for file, mark in (
        (stage / "a.txt", "@stage/a.txt"),
        (stage, "@stage"),
        (old.run / "b", "@run/b"),
        (old.scratch / "c", "@scratch/c"),
        (tmp_path / "data" / "d", str(tmp_path / "data" / "d")),
        (Path(f"{old.run}-other"), f"{old.run}-other"),
    ):
        text = old.within(stage).dump(Result(file=file, scores={}), Result)
        assert f'"{mark}"' in text
    text = old.within(stage).dump(Result(file=stage / "a.txt", scores={}), Result)
    final = new.run / "stages" / "s" / "k"
    assert new.within(final).load(text, Result).file == final / "a.txt"


def test_numbers_and_keys_come_back(tmp_path: Path) -> None:
    text = places(tmp_path).dump(
        Result(file=Path("f"), scores={1: 0.1 + 0.2, 2: math.nan, 3: math.inf}, names=("a",)),
        Result,
    )
    back = places(tmp_path).load(text, Result)
    assert back.scores[1] == 0.1 + 0.2
    assert math.isnan(back.scores[2])
    assert back.scores[3] == math.inf
    assert back.names == ("a",)


def test_a_json_file_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.json"
    write_json(file, {"a": 1})

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_json(file, {"a": 2})
    assert read_json(file) == {"a": 1}
    assert read_json(tmp_path / "nothing.json") == {}


def test_publish_replaces_the_whole_folder(tmp_path: Path) -> None:
    first, second, shown = tmp_path / "first", tmp_path / "second", tmp_path / "report"
    for folder, name in ((first, "a"), (second, "b")):
        (folder / "cases").mkdir(parents=True)
        (folder / "cases" / name).write_text(name)
    publish(first, shown)
    publish(second, shown)
    assert [p.name for p in (shown / "cases").iterdir()] == ["b"]
    assert (first / "cases" / "a").read_text() == "a"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "report", "second"]


def test_publish_copies_where_links_do_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError("no links here")

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("x")
    monkeypatch.setattr(store.os, "link", refuse)
    publish(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "x").read_text() == "x"


def test_put_folder_over_an_old_one(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    put_folder(tmp_path / "new", tmp_path / "old")
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert [p.name for p in (tmp_path / "old").iterdir()] == ["new"]
