from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medseg.artefacts import Resampled, ResampledCase
from medseg.errors import ConfigError, StageError
from medseg.geometry.volume import Grid
from medseg.inference.predictor import Predictor
from medseg.io.store import open_array, write_array
from medseg.pipelines.context import RunContext
from medseg.pipelines.progress import Display
from medseg.pipelines.store import Places
from medseg.settings import Compute
from medseg.stages.infer import Infer
from tests.fakes import LocalContext
from tests.inference.toys import install, make_model, make_plan

INFER = Infer(precision="32-true")


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    install(monkeypatch)


@pytest.fixture
def plan():
    return make_plan(spacing=(2.0, 1.0, 1.0), patch_size=(4, 4, 4))


def resampled_case(folder, name, split="test", fold=None):
    """Source (6, 5, 4) at 1 mm; its voxels 1..4 along the first axis, at 2 mm, are the store."""
    image = np.zeros((1, 2, 5, 4), np.float32)
    image[0, 1, 2:4] = 1.0  # store voxel 1 is source voxels 3 and 4
    source = Grid.of((6, 5, 4), np.eye(4))
    (folder / name).mkdir(parents=True)
    return ResampledCase(
        id=name, split=split, fold=fold,
        image=write_array(folder / name / "image.b2nd", image), label=None,
        grid=Grid.of((2, 5, 4), np.diag([2.0, 1.0, 1.0, 1.0])),
        crop_start=(1, 0, 0), crop_stop=(5, 5, 4), source=source, annotated=(),
    )  # fmt: skip


def run_context(folder, device="cpu"):
    workdir = folder / "run/stages/infer/x.partial"
    workdir.mkdir(parents=True, exist_ok=True)
    places = Places(run=folder / "run", scratch=folder / "scratch")
    return RunContext(
        "infer", workdir, places=places, device=device, compute=Compute(), tracker=None,
        display=Display(quiet=True),
    )  # fmt: skip


def test_validation_test_and_unlabelled_cases_are_predicted(tmp_path, plan):
    resampled = Resampled(
        cases=(
            resampled_case(tmp_path, "validates", "train", 0),
            resampled_case(tmp_path, "trains", "train", 1),
            resampled_case(tmp_path, "tests"),
            resampled_case(tmp_path, "predicts", "predict"),
        )
    )
    model = make_model(tmp_path / "model", plan)
    found = INFER.run(resampled, plan, model, LocalContext(tmp_path)).cases
    assert [c.id for c in found] == ["validates", "tests", "predicts"]
    assert [(c.split, c.fold) for c in found] == [("train", 0), ("test", None), ("predict", None)]
    other = replace(model, folds=(replace(model.folds[0], fold=1),))
    found = INFER.run(resampled, plan, other, LocalContext(tmp_path)).cases
    assert [c.id for c in found] == ["trains", "tests", "predicts"]


def marked(case):
    """Tell from a prediction which networks made it: how many of the voxels are marked."""
    return int(np.count_nonzero(open_array(case.pred).read_all()))


def test_each_case_is_predicted_by_networks_that_did_not_see_it(tmp_path, plan):
    """The threshold of fold 0 marks all, that of fold 1 nothing, the mean of both one half."""
    cases = [
        resampled_case(tmp_path, "of0", "train", 0),
        resampled_case(tmp_path, "tests"),
        resampled_case(tmp_path, "of1", "train", 1),
        resampled_case(tmp_path, "of2", "train", 2),
        resampled_case(tmp_path, "new", "predict"),
    ]
    model = make_model(tmp_path / "model", plan, -1.0, 2.0)
    folds = (
        replace(model.folds[0], cases=("of1", "of2")),
        replace(model.folds[1], cases=("of0", "of2")),
    )
    model = replace(model, folds=folds)
    found = INFER.run(Resampled(cases=tuple(cases)), plan, model, LocalContext(tmp_path)).cases
    inside, bright = 4 * 5 * 4, 2 * 2 * 4  # of the crop; of the voxels above one half
    assert {case.id: marked(case) for case in found} == {
        "of0": inside, "tests": bright, "of1": 0, "new": bright
    }  # fmt: skip
    assert [case.id for case in found] == ["of0", "tests", "of1", "new"]


@pytest.mark.parametrize(("split", "fold"), [("train", 1), ("test", None)])
def test_a_case_that_a_network_saw_stops_the_stage(tmp_path, plan, split, fold):
    model = make_model(tmp_path / "model", plan, 0.5, 0.5)
    leaky = replace(model.folds[1], cases=("a",))
    model = replace(model, folds=(model.folds[0], leaky))
    resampled = Resampled(cases=(resampled_case(tmp_path, "a", split, fold),))
    with pytest.raises(StageError, match=r"case a is a .* case, and the network of fold 1"):
        INFER.run(resampled, plan, model, LocalContext(tmp_path))


def test_more_folds_leave_out_of_fold_predictions_as_they_are(tmp_path, plan, monkeypatch):
    run = tmp_path / "run"
    resampled = Resampled(
        cases=(
            resampled_case(run, "of0", "train", 0),
            resampled_case(run, "of1", "train", 1),
            resampled_case(run, "tests"),
        )
    )
    model = make_model(run / "model", plan, 0.5, 0.4)
    seen = []
    plain = Predictor.indices

    def counted(self, image, *, case, **rest):
        seen.append(case)
        return plain(self, image, case=case, **rest)

    monkeypatch.setattr(Predictor, "indices", counted)
    INFER.run(resampled, plan, replace(model, folds=model.folds[:1]), run_context(tmp_path))
    INFER.run(resampled, plan, model, run_context(tmp_path))
    assert sorted(seen) == ["of0", "of1", "tests", "tests"]


def test_prediction_lies_on_the_canonical_grid(tmp_path, plan):
    """Resampled linearly, source voxels 3 and 4 lie on the bright side of the threshold."""
    resampled = Resampled(cases=(resampled_case(tmp_path, "a"),))
    model = make_model(tmp_path / "model", plan)
    (case,) = INFER.run(resampled, plan, model, LocalContext(tmp_path)).cases
    pred = open_array(case.pred).read_all()
    expected = np.zeros((6, 5, 4), np.int16)
    expected[3:5, 2:4] = 1
    assert pred.dtype == np.int16
    assert np.array_equal(pred, expected)


def test_a_killed_stage_goes_on_and_a_finished_one_loads_nothing(tmp_path, plan, monkeypatch):
    resampled = Resampled(cases=tuple(resampled_case(tmp_path / "run", n) for n in "abc"))
    model = make_model(tmp_path / "run/model", plan)
    seen = []
    plain = Predictor.indices

    def killed_at_b(self, image, *, case, **rest):
        seen.append(case)
        if case == "b" and seen.count("b") == 1:
            raise KeyboardInterrupt
        return plain(self, image, case=case, **rest)

    monkeypatch.setattr(Predictor, "indices", killed_at_b)
    with pytest.raises(KeyboardInterrupt):
        INFER.run(resampled, plan, model, run_context(tmp_path))
    INFER.run(resampled, plan, model, run_context(tmp_path))
    assert seen == ["a", "b", "b", "c"]
    model.folds[0].weights.unlink()
    again = INFER.run(resampled, plan, model, run_context(tmp_path, device="cuda:7"))
    assert [c.id for c in again.cases] == ["a", "b", "c"]  # another device asks the same
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("infer", "changes", "known"),
    [
        (Infer(precision="32-true", batch_size=1), {}, True),
        (Infer(precision="32-true", overlap=0.25), {}, False),
        (INFER, {"budget": "2h", "decisions": ()}, True),
        (INFER, {"patch_size": (2, 4, 4)}, False),
    ],
)
def test_what_decides_a_prediction_makes_it_anew(
    tmp_path, plan, monkeypatch, infer, changes, known
):
    resampled = Resampled(cases=(resampled_case(tmp_path / "run", "a"),))
    model = make_model(tmp_path / "run/model", plan)
    INFER.run(resampled, plan, model, run_context(tmp_path))
    made = []
    plain = Predictor.indices
    monkeypatch.setattr(
        Predictor, "indices", lambda self, *a, **k: made.append(1) or plain(self, *a, **k)
    )
    infer.run(resampled, replace(plan, **changes), model, run_context(tmp_path))
    assert not made if known else made


def test_a_case_that_fails_is_set_aside(tmp_path, plan):
    good, bad = resampled_case(tmp_path, "good"), resampled_case(tmp_path, "bad")
    write_array(bad.image, np.full((1, 2, 5, 4), np.nan, np.float32))
    context = LocalContext(tmp_path)
    model = make_model(tmp_path / "model", plan)
    found = INFER.run(Resampled(cases=(bad, good)), plan, model, context)
    assert [c.id for c in found.cases] == ["good"]
    assert [row.case for row in context.listed] == ["bad"]


def test_settings_are_checked():
    with pytest.raises(ConfigError, match=r"infer\.overlap is 1"):
        Infer(overlap=1.0)
    with pytest.raises(ConfigError, match=r"infer\.batch_size is 0"):
        Infer(batch_size=0)
