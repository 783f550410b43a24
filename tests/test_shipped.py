"""Shipped files are found by name, and each of them loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from medseg.config import read_document
from medseg.errors import ConfigError
from medseg.pipelines.schema import schema_text
from medseg.pipelines.sections import Pipeline
from medseg.shipped import KINDS, find_document, list_shipped, shipped, shipped_folder


def test_names_with_and_without_suffix_and_folder() -> None:
    path = shipped("pipelines", "volume")
    assert path.is_file()
    assert shipped("pipelines", "volume.yaml") == path
    assert shipped("pipelines", "pipelines/volume.yaml") == path


def test_a_mistyped_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'volume'"):
        shipped("pipelines", "volum")


@pytest.mark.parametrize("name", ["liverr.yaml", "livr", "sub/../liver.yml"])
def test_a_mistyped_path_gets_the_nearest_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "liver.yaml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no such file; did you mean '.*liver\.yaml'\?"):
        find_document(name, "configs")
    with pytest.raises(ConfigError, match="sub is a folder; name a file in it"):
        find_document("sub", "configs")
    with pytest.raises(ConfigError, match=r"known: .*scenes"):
        find_document("qqqqqqq", "configs")


def test_a_path_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_document("volume", "pipelines") == shipped("pipelines", "volume")
    (tmp_path / "volume").write_text("stages: []\n")
    assert find_document("volume", "pipelines") == Path("volume")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "volume").touch()
    found = find_document("volume", "pipelines", beside=tmp_path / "deep")
    assert found == tmp_path / "deep" / "volume"


def test_a_wheel_has_its_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "medseg"
    inner = package / "shipped" / "configs"
    inner.mkdir(parents=True)
    (inner / "mine.yaml").touch()
    monkeypatch.setattr("medseg.shipped.__file__", str(package / "shipped.py"))
    assert shipped_folder("configs") == inner
    assert list_shipped("configs") == ["mine"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_ships_something(kind: str) -> None:
    assert list_shipped(kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list_shipped("pipelines"))
def test_every_pipeline_is_wired(name: str) -> None:
    from medseg.config import validate
    from medseg.manifest import Manifest
    from medseg.pipelines.wiring import wire
    from medseg.stages import STAGES

    pipeline = validate(Pipeline, read_document(name, kind="pipelines"))
    manifest = Manifest(name="none", reader="table", root=Path(), labels=())
    built = [
        (stage, STAGES[stage](**({"manifest": manifest} if stage == "ingest" else {})))
        for stage in pipeline.stages
    ]
    assert [node.name for node in wire(built, pipeline.inputs)] == list(pipeline.stages)


@pytest.mark.parametrize("name", list_shipped("configs"))
def test_every_config_fits_the_schema_and_opens_with_its_story(name: str) -> None:
    schema = json.loads(schema_text())
    Draft202012Validator.check_schema(schema)
    document = read_document(name)
    assert list(Draft202012Validator(schema).iter_errors(document.data)) == []
    head = shipped("configs", name).read_text().splitlines()
    assert head[0] == "# yaml-language-server: $schema=schema.json"
    assert "python -m medseg.pipelines.run" in "\n".join(line for line in head if line[:1] == "#")


def test_the_published_schema_is_current() -> None:
    published = shipped_folder("configs") / "schema.json"
    assert published.read_text() == schema_text(), "run: medseg schema -o configs/schema.json"


def test_the_schema_refuses_what_the_config_refuses() -> None:
    validator = Draft202012Validator(json.loads(schema_text()))
    assert not validator.is_valid({"experiment": "x", "train": {"budgt": "1h"}})
    assert not validator.is_valid({"experiment": "x", "ingest": {"seed": 3}})
    assert validator.is_valid({"experiment": "x", "tracking": "off", "train": {"lr": 0.1}})
