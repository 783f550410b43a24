from __future__ import annotations

from pathlib import Path

from medseg.tracking.spool import Spool


def test_no_file_while_nothing_waits(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "run" / "spool.jsonl")
    assert list(spool.read()) == []
    spool.append({"op": "tags", "run": "a"})
    (end, _), *rest = spool.read()
    assert rest == []
    spool.drop(end, {})
    assert not spool.path.exists()


def test_what_is_left_knows_the_ids(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.jsonl")
    for name in ("a", "b", "c"):
        spool.append({"op": "tags", "run": name})
    (end, _), *_ = spool.read()
    spool.drop(end, {"a": "real"})
    assert [record for _, record in spool.read()] == [
        {"op": "ids", "ids": {"a": "real"}},
        {"op": "tags", "run": "b"},
        {"op": "tags", "run": "c"},
    ]


def test_half_a_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    path.write_text('{"op": "tags", "run": "a"}\n{"op": "tags", "ru')
    spool = Spool(path)
    spool.append({"op": "tags", "run": "b"})
    spool.append({"op": "tags", "run": "c"})
    assert [record["run"] for _, record in spool.read()] == ["a", "b", "c"]
