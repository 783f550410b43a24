"""From a config file to stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from medseg.errors import ConfigError, ManifestError
from medseg.manifest import Manifest
from medseg.pipelines.build import load_experiment
from medseg.settings import NetworkSettings
from medseg.stages.context import Context
from tests.pipelines.toys import Numbers, Squares


@dataclass(frozen=True, kw_only=True)
class Load:
    """Needs a manifest."""

    writes: ClassVar[str] = "numbers"
    manifest: Manifest
    seed: int = 0

    def run(self, context: Context) -> Numbers:
        raise AssertionError("never run here")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Has a section."""

    writes: ClassVar[str] = "squares"
    rate: float = 0.1
    steps: int = 10
    seed: int = 0
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError("fit.steps: is below 1; use 1 or more")

    def run(self, numbers: Numbers, context: Context) -> Squares:
        raise AssertionError("never run here")


@dataclass(frozen=True, kw_only=True)
class Think:
    """Takes another stage's section; has none of its own."""

    writes: ClassVar[str] = "thought"
    fit: Fit = field(default_factory=Fit)

    def run(self, numbers: Numbers, context: Context) -> Squares:
        raise AssertionError("never run here")


TABLE = {"load": Load, "think": Think, "fit": Fit}
MANIFEST = Manifest(name="m", reader="table", root=Path(), labels=(), synthetic=True)


@pytest.fixture(autouse=True)
def manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``m`` be the one manifest there is."""

    def load(name: str | Path, *, data_root: Path | None, scratch: Path) -> Manifest:
        if name == "m":
            return MANIFEST
        raise ManifestError(f"{name}: its data is not there")

    monkeypatch.setattr("medseg.manifest_file.load_manifest", load)


def write(folder: Path, text: str, stages: str = "[load, think, fit]", more: str = "") -> Path:
    (folder / "pipe.yaml").write_text(f"stages: {stages}\n{more}")
    path = folder / "config.yaml"
    path.write_text("experiment: toy\npipeline: pipe.yaml\n" + text)
    return path


def test_shared_keys_and_sections_reach_every_stage_that_has_such_a_field(tmp_path: Path) -> None:
    path = write(tmp_path, "manifest: m\nseed: 7\nnetwork: {name: vnet}\nfit: {rate: 1e-3}\n")
    made = load_experiment(path, ["fit.steps=5"], stages=TABLE)
    stages = dict(made.stages)
    assert list(stages) == ["load", "think", "fit"]
    assert stages["load"] == Load(manifest=MANIFEST, seed=7)
    assert stages["fit"] == Fit(rate=1e-3, steps=5, seed=7, network=NetworkSettings(name="vnet"))
    assert stages["think"].fit == stages["fit"]
    assert (made.name, made.seed, made.manifest) == ("toy", 7, MANIFEST)


def test_the_resolved_config_gives_the_same_experiment(tmp_path: Path) -> None:
    path = write(tmp_path, "manifest: m\nfit: {rate: 1e-3}\ntracking: off\n")
    first = load_experiment(path, stages=TABLE)
    assert first.resolved["fit"] == {"rate": 1e-3, "steps": 10}
    again = tmp_path / "elsewhere" / "config.yaml"
    again.parent.mkdir()
    again.write_text(yaml.safe_dump(first.resolved))
    second = load_experiment(again, stages=TABLE)
    assert second.stages == first.stages
    assert second.resolved == first.resolved


@pytest.mark.parametrize("how", ["tracking: off\n", "tracking: false\n", None])
def test_tracking_off(tmp_path: Path, how: str | None) -> None:
    path = write(tmp_path, "manifest: m\n" + (how or ""))
    overrides = [] if how else ["tracking=off"]
    assert load_experiment(path, overrides, stages=TABLE).tracking.enabled is False


def test_pipeline_defaults_stand_under_the_config(tmp_path: Path) -> None:
    path = write(
        tmp_path, "manifest: m\nfit: {steps: 3}\n", more="defaults: {fit: {steps: 2, rate: 0.5}}\n"
    )
    assert dict(load_experiment(path, stages=TABLE).stages)["fit"] == Fit(rate=0.5, steps=3)


def test_all_mistakes_of_all_sections_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "manifest: nowhere\nseed: x\nfti: {rate: 1}\nfit: {rat: 1}\nload: {seed: 3}\n"
        "think: {fit: {rate: 1}}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, ["compute.wrokers=3"], stages=TABLE)
    lines = str(caught.value).splitlines()
    assert any("seed: should be a valid integer" in line for line in lines)
    assert any(line.endswith("fti: no such key; did you mean 'fit'?") for line in lines)
    assert any(line.endswith("fit.rat: no such key; did you mean 'rate'?") for line in lines)
    assert "command line: compute.wrokers: no such key; did you mean 'workers'?" in lines
    assert any("load: no such key" in line for line in lines)
    assert any("think: no such key" in line for line in lines)


def test_a_stage_checks_its_own_values(tmp_path: Path) -> None:
    path = write(tmp_path, "manifest: m\nfit: {steps: 0}\n")
    with pytest.raises(ConfigError, match=r"fit\.steps: is below 1"):
        load_experiment(path, stages=TABLE)


@pytest.mark.parametrize(
    ("text", "stages", "message"),
    [
        ("", "[load]", "manifest: is missing, and stage 'load' needs it"),
        (
            "manifest: m\n",
            "[load, thnik]",
            "pipe.yaml:1:16: stages: no stage 'thnik'; did you mean",
        ),
        ("manifest: m\n", "[load, load]", "'load' stands twice"),
        ("manifest: m\n", "load", "stages: should be a valid tuple"),
        ("experiment: a/b\n", "[fit]", "stands twice"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, stages: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiment(write(tmp_path, text, stages), stages=TABLE)


def test_a_name_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "manifest: m\n")
    with pytest.raises(ConfigError, match="'a/b' cannot name a folder"):
        load_experiment(path, ["experiment=a/b"], stages=TABLE)


def test_of_several_manifests_the_first_with_data_is_used_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "manifest: [far, m]\n")
    assert load_experiment(path, stages=TABLE).manifest is MANIFEST
    assert "manifest 'far' cannot be used" in caplog.text
    with pytest.raises(ManifestError, match="far: its data is not there"):
        load_experiment(path, ["manifest=[far, away]"], stages=TABLE)


def test_a_data_root_that_is_not_there_is_no_reason_for_made_up_data(tmp_path: Path) -> None:
    path = write(tmp_path, "manifest: m\n")
    with pytest.raises(ConfigError, match=r"--data-root .*gone: no such folder"):
        load_experiment(path, stages=TABLE, data_root=tmp_path / "gone")
    assert load_experiment(path, stages=TABLE, data_root=tmp_path).manifest == MANIFEST
