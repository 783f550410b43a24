"""Reading, merging, overriding and checking of configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from medseg.config import Document, check, json_schema, read_document, validate
from medseg.errors import ConfigError, ManifestError


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part."""

    name: str
    weight: float = 1.0
    """How much it counts."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ConfigError("weight is negative; use 0 or more")


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The whole."""

    title: str
    size: tuple[int, ...] | Literal["auto"] = "auto"
    """Voxels along each axis."""
    lr: float | Literal["auto"] = "auto"
    part: Part = field(default_factory=lambda: Part(name="x"))
    parts: tuple[Part, ...] = ()
    table: Mapping[str, Part] = field(default_factory=dict)
    free: Mapping[str, Any] = field(default_factory=dict)
    on: bool = True


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_every_mistake_at_once_with_its_place(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "titel: x\nsize: [a, 2]\npart:\n  nmae: y\nparts:\n  - name: p\n    wieght: 2\n"
        "table:\n  one: {name: q, weihgt: 1}\nlr: fast\n",
    )
    document = read_document(path, overrides=["on=maybe", "part.zzz=3"])
    with pytest.raises(ConfigError) as caught:
        validate(Whole, document)
    lines = str(caught.value).splitlines()
    assert f"{path}:1:1: titel: no such key; did you mean 'title'?" in lines
    assert f"{path}:4:3: part.nmae: no such key; did you mean 'name'?" in lines
    assert f"{path}:3:1: part.name: is missing; add it" in lines
    assert f"{path}:7:5: parts.0.wieght: no such key; did you mean 'weight'?" in lines
    assert f"{path}:9:18: table.one.weihgt: no such key; did you mean 'weight'?" in lines
    assert f"{path}:10:1: lr: should be a valid number, or should be 'auto'; got 'fast'" in lines
    assert any(
        line.startswith(f"{path}:2:1: size: should be a valid integer at 0") for line in lines
    )
    assert any(line.startswith("command line: on: should be a valid boolean") for line in lines)
    assert "command line: part.zzz: no such key; known: name, weight" in lines
    assert f"{path}: title: is missing; add it" in lines
    assert len(lines) == 10


def test_lines_come_in_reading_order(tmp_path: Path) -> None:
    path = write(tmp_path, "title: t\nzz: 1\nsize: b\naa: 2\n")
    with pytest.raises(ConfigError) as caught:
        validate(Whole, read_document(path))
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["2", "3", "4"]


def test_yaml_is_read_as_it_is_meant(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a: off\nb: 1e-3\nc: 007\nd: 12:30\ne: 2024-01-31\nf: true\ng: -2\nh: .5\ni: 1.2.840\n"
        "j: no\n",
    )
    assert read_document(path).data == {
        "a": "off", "b": 0.001, "c": "007", "d": "12:30", "e": "2024-01-31",
        "f": True, "g": -2, "h": 0.5, "i": "1.2.840", "j": "no",
    }  # fmt: skip


def test_off_is_false_where_a_boolean_is_wanted(tmp_path: Path) -> None:
    path = write(tmp_path, "title: 12345678\non: off\nlr: 1e-3\n")
    whole = validate(Whole, read_document(path))
    assert whole == Whole(title="12345678", on=False, lr=1e-3)


def test_extends_merges_mappings_and_replaces_the_rest(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path, "title: base\nsize: [1, 2]\npart: {name: b, weight: 2}\n", "base.yaml")
    write(tmp_path, "extends: ../base.yaml\ntitle: middle\n", "deep/middle.yaml")
    top = write(tmp_path, "extends: deep/middle.yaml\nsize: [3]\npart: {weight: 5}\n", "top.yaml")
    document = read_document(top, overrides=["part.weight=7", "part.weight=8"])
    assert document.data == {"title": "middle", "size": [3], "part": {"name": "b", "weight": 8}}
    assert document.at(("title",)).endswith("middle.yaml:2:1")
    assert document.at(("size",)) == f"{top}:2:1"
    assert document.at(("part", "name")).endswith("base.yaml:3:8")
    assert document.at(("part", "weight")) == "command line"


def test_a_circle_of_extends_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    write(tmp_path, "extends: a.yaml\n", "b.yaml")
    with pytest.raises(ConfigError, match=r"a.yaml -> b.yaml -> a.yaml"):
        read_document(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", r"a.yaml:2:1: a: stands twice"),
        ("a: [1\n", r"a.yaml:2:1: not YAML"),
        ("- 1\n", r"a.yaml:1:1: holds no mapping"),
        ("extends: nowhere.yaml\n", r"a.yaml:1:1: extends: nowhere.yaml: no such file"),
        ("a: ${b}\n", r"a.yaml: .*b"),
    ],
)
def test_a_broken_file_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_document(write(tmp_path, text))


def test_overrides_reach_lists_mappings_and_text(tmp_path: Path) -> None:
    path = write(tmp_path, "parts: [{name: a}, {name: b}]\nseed: 3\n")
    overrides = ["parts.1.name=c", "free.x.y=[1, 2]", "tracking=off", "copy=${seed}", "e=", "u=a=b"]
    assert read_document(path, overrides=overrides).data == {
        "parts": [{"name": "a"}, {"name": "c"}],
        "seed": 3,
        "free": {"x": {"y": [1, 2]}},
        "tracking": "off",
        "copy": 3,
        "e": None,
        "u": "a=b",
    }


@pytest.mark.parametrize("override", ["seed", "=3", "a=[1"])
def test_a_bad_override_is_told(tmp_path: Path, override: str) -> None:
    path = write(tmp_path, "seed: 3\n")
    with pytest.raises(ConfigError, match="command line"):
        read_document(path, overrides=[override])


def test_the_error_type_can_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        read_document(tmp_path / "x.yaml", kind="data_manifests", error=ManifestError)
    with pytest.raises(ManifestError, match="title: is missing"):
        validate(Whole, Document({}), error=ManifestError)


def test_a_check_of_the_class_itself_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "title: t\npart: {name: a, weight: -1}\n")
    with pytest.raises(ConfigError, match="weight is negative"):
        validate(Whole, read_document(path))


def test_given_values_are_not_the_documents_to_set(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, "title: t\n"))
    made, problems = check(Whole, Document({}), given={"title": "from above"})
    assert problems == []
    assert made is not None
    assert made.title == "from above"
    _, problems = check(Whole, document, given={"title": "from above"})
    assert len(problems) == 1
    assert "is set at the top of the config" in problems[0]
    assert check(Whole, Document({}), given={"title": None}) == (None, [])


def test_sections_know_where_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path, "part:\n  name: a\n  x: 1\n")
    with pytest.raises(ConfigError) as caught:
        validate(Part, read_document(path).section("part"))
    assert str(caught.value) == f"{path}:3:3: part.x: no such key; known: name, weight"
    with pytest.raises(ConfigError, match="part: should be a mapping"):
        read_document(path, overrides=["part=3"]).section("part")


@dataclass(frozen=True, kw_only=True)
class Heir(Part):
    """A part with one more setting."""

    height: int = 1
    """Of its own."""


def test_schema_carries_the_docstrings_of_inherited_fields() -> None:
    properties = json_schema(Heir)["properties"]
    assert properties["weight"]["description"] == "How much it counts."
    assert properties["height"]["description"] == "Of its own."


def test_schema_forbids_unknown_keys_and_carries_docstrings() -> None:
    schema = json_schema(Whole)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["size"]["description"] == "Voxels along each axis."
    assert schema["$defs"]["Part"]["properties"]["weight"]["description"] == "How much it counts."


@pytest.mark.parametrize("cut", ["part={name:", "part=[1,"])
def test_a_value_that_the_shell_cut_asks_for_quotes(tmp_path: Path, cut: str) -> None:
    path = write(tmp_path, "title: x\n")
    with pytest.raises(ConfigError, match=r"command line: part: .* the shell cut it.*quotes"):
        read_document(path, overrides=[cut, "q}"])
