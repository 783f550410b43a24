from __future__ import annotations

import csv

import pytest
from safetensors.torch import load_file

from medseg.artefacts import Resampled
from medseg.config import read_document, validate
from medseg.errors import ConfigError, StageError
from medseg.inference.weights import load_network
from medseg.stages.train import Train
from medseg.training.task import split_fold
from tests.fakes import LocalContext
from tests.training.made import make_task


def run(stage: Train, folder, **changes):
    task = make_task(folder)
    context = LocalContext(folder)
    cases = changes.get("cases", task.train + task.validation)
    return stage.run(Resampled(cases=cases), task.patches, task.plan, context), context


def test_the_stage_trains_and_describes_its_model(tmp_path):
    model, context = run(Train(validations=2, precision="32-true"), tmp_path)
    assert model.steps == 6  # the plan's budget
    assert model.weights.parent == context.workdir
    assert set(model.validation_dice) == {"left", "right"}
    load_network(model.network, model.weights)
    with model.history.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6"]
    best = next(row for row in rows if int(row["step"]) == model.best_step)
    assert float(best["val/dice/left"]) == pytest.approx(model.validation_dice["left"])
    assert {name for _, metrics in context.metrics for name in metrics} >= {
        "train/loss",
        "val/dice/mean",
    }


def test_running_it_again_in_the_same_folder_changes_nothing(tmp_path):
    stage = Train(budget="4it", validations=2, precision="32-true")
    first, _ = run(stage, tmp_path)
    before = load_file(first.weights)
    second, _ = run(stage, tmp_path)
    after = load_file(second.weights)
    assert all((before[name] == after[name]).all() for name in before)
    assert (first.steps, first.best_step) == (second.steps, second.best_step)


def test_folds_without_cases_are_explained(tmp_path):
    task = make_task(tmp_path)
    with pytest.raises(StageError, match=r"fold 7 has no annotated case.*the folds are 0, 1"):
        run(Train(fold=7), tmp_path)
    with pytest.raises(StageError, match="no annotated case is left to train on: 2 are in fold 0"):
        run(Train(fold=0), tmp_path, cases=task.validation)


def test_a_case_without_patches_only_leaves_the_training(tmp_path):
    task = make_task(tmp_path)
    both = task.train + task.validation
    gone = task.train[0].id
    located = {row.id for row in task.patches.locations} - {gone}
    train, validation = split_fold(both, 0, located)
    assert gone not in {case.id for case in train}
    assert len(train) == len(task.train) - 1
    assert validation == task.validation


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": "10 parsecs"},
        {"checkpoint_every": "often"},
        {"ema": 1.0},
        {"lr": 0.0},
        {"validations": 0},
        {"batch_size": 0},
        {"devices": 0},
        {"fold": -1},
        {"loss": {"name": "tverksy"}},
        {"loss": {"name": "tversky", "fn_wieght": 0.7}},
        {"loss": []},
        {"loss": [{"name": "dice"}, {"name": "focal", "weight": {"start": 1, "shape": "bent"}}]},
    ],
)
def test_wrong_values_are_refused_at_once(wrong):
    with pytest.raises(ConfigError, match=rf"train\.{next(iter(wrong))}"):
        Train(**wrong)


def test_a_list_replaces_the_loss_that_is_extended_and_a_mapping_joins_it(tmp_path):
    (tmp_path / "base.yaml").write_text("loss: {name: tversky, fn_weight: 0.8}\n")
    (tmp_path / "joins.yaml").write_text("extends: base.yaml\nloss: {fp_weight: 0.2}\n")
    (tmp_path / "list.yaml").write_text(
        "extends: base.yaml\nloss: [{name: dice}, {name: focal, weight: {start: 0, end: 1}}]\n"
    )

    def loss(name, *overrides):
        return validate(Train, read_document(tmp_path / name, overrides=overrides)).loss

    assert loss("joins.yaml") == {"name": "tversky", "fn_weight": 0.8, "fp_weight": 0.2}
    assert [term["name"] for term in loss("list.yaml")] == ["dice", "focal"]
    assert loss("base.yaml", "loss=[{name: dice}, {name: topk, weight: 2}]")[1]["weight"] == 2
    assert loss("list.yaml", "loss.1.weight=increase")[1]["weight"] == "increase"
    with pytest.raises(ConfigError, match=r"did you mean 'until'"):
        loss("list.yaml", "loss.1.weight.untill=0.5")


def test_auto_values(tmp_path):
    plan = make_task(tmp_path).plan
    recipe = Train().recipe(plan, "cpu")
    assert (recipe.lr, recipe.batch_size, recipe.budget.iterations) == (2e-3, 2, 6)
    assert recipe.precision in ("32-true", "bf16-mixed")
    sgd = Train(optimizer="sgd", batch_size=5, budget="2h").recipe(plan, "cpu")
    assert (sgd.lr, sgd.batch_size, sgd.budget.seconds) == (1e-2, 5, 7200)
