"""Choosing among runs: the arithmetic on made-up scores, the command on two small runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medseg.ensemble_folder import open_model
from medseg.errors import ConfigError
from medseg.pipelines.best import choose, compare, told
from medseg.pipelines.best_runs import Candidate, FinishedRun, choose_score, shared_cases
from medseg.pipelines.cli import main
from tests.pipelines.tiny import write_tiny


def made_run(name, cases, digest="x", group=None):
    ingested = {
        case: SimpleNamespace(case=SimpleNamespace(group=group and group(case)), digest=digest)
        for case in cases
    }
    return FinishedRun(name=name, model=None, ingested=ingested, out_of_fold=dict.fromkeys(cases))


def made_candidate(name, values, group=None):
    cases = {f"c{i}": {"liver": value} for i, value in enumerate(values)}
    return Candidate(runs=(made_run(name, cases, group=group),), dice=cases)


def test_the_best_mean_is_chosen_and_a_steady_margin_is_beyond_chance():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 12)
    choice = compare(
        [
            made_candidate("plain", base),
            made_candidate("better", base + 0.02),
            made_candidate("close", base + 0.02 + rng.normal(-0.001, 0.05, 12)),
        ]
    )
    assert choice.best.name == "better"
    assert list(choice.means) == ["better", "close", "plain"]
    assert choice.beyond_chance("plain")
    assert not choice.beyond_chance("close")
    assert choice.means["better"] - choice.means["plain"] == pytest.approx(0.02)
    first, *others = told(choice)
    assert first.startswith("best: better, mean Dice ")
    assert "may be chance" in others[0]
    assert "0.0200 less: beyond chance" in others[1]


def test_of_equal_ones_the_first_is_taken():
    assert compare([made_candidate("a", [0.5]), made_candidate("b", [0.5])]).best.name == "a"


def test_photographs_are_chosen_by_the_miou_over_the_set():
    """Two pictures of 100 pixels, rows the truth. One run finds the rare class, the other is better
    on the common ones: by Dice per picture the second, by mIoU over the set the first.
    """
    rare = np.array([[90, 6, 0], [0, 0, 0], [0, 0, 4]])
    common = np.array([[96, 0, 0], [0, 0, 0], [4, 0, 0]])
    other = np.array([[50, 0, 0], [0, 50, 0], [0, 0, 0]])
    finds, misses = made_candidate("finds", [0.5, 1.0]), made_candidate("misses", [0.9, 1.0])
    finds.pixels.update(c0=rare, c1=other)
    misses.pixels.update(c0=common, c1=other)
    assert compare([finds, misses]).best.name == "misses"
    choice = compare([finds, misses], "miou")
    assert choice.best.name == "finds"
    # finds: 140/146, 50/56, 4/4; misses: 146/150, 50/50, 0/4
    assert choice.means["finds"] == pytest.approx((140 / 146 + 50 / 56 + 1) / 3)
    assert choice.means["misses"] == pytest.approx((146 / 150 + 1 + 0) / 3)
    assert choice.against["misses"].n == 2  # picture by picture
    assert told(choice)[0].startswith("best: finds, mIoU over the set 0.9506 on 2")


def scored_run(score, *, annotated=None, regions=()):
    model = SimpleNamespace(score=score, document=SimpleNamespace(scheme=SimpleNamespace()))
    model.document.scheme.regions = regions
    case = SimpleNamespace(case=SimpleNamespace(annotated=annotated))
    return FinishedRun(name="run", model=model, ingested={"a": case}, out_of_fold={})


def test_what_chose_the_networks_decides():
    by_miou, by_dice = scored_run("miou"), scored_run("dice")
    assert choose_score("auto", [by_miou, by_miou], ["a"]) == "miou"
    assert choose_score("auto", [by_miou, by_dice], ["a"]) == "dice"
    assert choose_score("miou", [by_dice, by_dice], ["a"]) == "miou"
    assert choose_score("dice", [by_miou, by_miou], ["a"]) == "dice"
    with pytest.raises(ConfigError, match="case a is annotated in part; choose dice"):
        choose_score("miou", [scored_run("dice", annotated=("road",))], ["a"])
    with pytest.raises(ConfigError, match="their regions overlap"):
        choose_score("miou", [scored_run("dice", regions=("whole",))], ["a"])


def test_scans_of_one_patient_count_once():
    """Cases 0 and 1 are one patient: means (0.2, 0.9) of a, (0.6, 0.6) of b."""
    patient = {"c0": "p", "c1": "p", "c2": "q"}.get
    one = made_candidate("a", [0.2, 0.2, 0.9], patient)
    two = made_candidate("b", [0.6, 0.6, 0.6], patient)
    choice = compare([one, two])
    assert dict(choice.means) == {"b": pytest.approx(0.6), "a": pytest.approx(0.55)}
    assert choice.against["a"].n == 2


def test_only_cases_that_all_runs_predicted_count(caplog):
    one, two = made_run("one", "abc"), made_run("two", "bcd")
    assert shared_cases([one, two]) == ("b", "c")
    assert "one: 1 of 3 out-of-fold cases" in caplog.text
    with pytest.raises(ConfigError, match="no case was predicted out of fold in all"):
        shared_cases([one, made_run("two", "xy")])
    with pytest.raises(ConfigError, match="case a of other is not the case a of one"):
        shared_cases([one, made_run("other", "abc", digest="y")])


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="1 run given"):
        choose([tmp_path], tmp_path / "out")
    with pytest.raises(ConfigError, match="is there already"):
        choose([tmp_path, tmp_path], tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        choose([tmp_path / "a", tmp_path / "b"], tmp_path / "out")


@pytest.mark.slow
def test_two_runs_end_to_end(tmp_path: Path) -> None:
    """The pair is judged by networks that did not see the case; `medseg predict` runs the best."""
    config, runs = write_tiny(tmp_path), tmp_path / "runs"
    shared = ["run", str(config), "--runs-dir", str(runs), "train.folds=all"]
    assert main(shared) == 0
    assert main([*shared, "experiment=coarse", "resample.spacing=[12, 12, 12]"]) == 0
    paths = [runs / "tiny", runs / "coarse"]
    choice = choose(paths, tmp_path / "model", device="cpu")
    assert set(choice.means) == {"tiny", "coarse", "tiny + coarse"}
    summary = json.loads((runs / "tiny" / "report" / "summary.json").read_text())
    assert len(choice.best.dice) == sum(fold["cases"] for fold in summary["folds"])
    record = json.loads((tmp_path / "model" / "best.json").read_text())
    assert record["best"] == choice.best.name
    assert open_model(tmp_path / "model").rules is not None
    image = next(p for p in sorted(tmp_path.rglob("*.nii.gz")) if "predictions" not in p.parts)
    out = tmp_path / "out"
    assert main(["predict", str(tmp_path / "model"), str(image), "-o", str(out)]) == 0
    assert len(list(out.glob("*.nii.gz"))) == 1
