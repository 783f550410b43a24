from __future__ import annotations

import csv
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from medseg.artefacts import Resampled
from medseg.config import read_document, validate
from medseg.errors import ConfigError, StageError
from medseg.inference.weights import load_network
from medseg.networks import build_network
from medseg.pipelines.context import RunContext
from medseg.pipelines.progress import Display
from medseg.pipelines.store import Places
from medseg.settings import Compute, NetworkSettings
from medseg.stages.train import Train
from medseg.training import launch, loop
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
    (fold,) = model.folds
    assert (fold.fold, fold.cases) == (0, ("case1", "case3"))
    assert fold.steps == 6  # the plan's budget
    assert fold.weights.parent.parent == context.workdir
    assert set(fold.validation_dice) == {"left", "right"}
    load_network(model.network, fold.weights)
    with fold.history.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6"]
    best = next(row for row in rows if int(row["step"]) == fold.best_step)
    assert float(best["val/dice/left"]) == pytest.approx(fold.validation_dice["left"])
    assert {name for _, metrics in context.metrics for name in metrics} >= {
        "train/loss",
        "val/dice/mean",
    }


def test_running_it_again_in_the_same_folder_changes_nothing(tmp_path):
    stage = Train(budget="4it", validations=2, precision="32-true")
    (first,) = run(stage, tmp_path)[0].folds
    before = load_file(first.weights)
    (second,) = run(stage, tmp_path)[0].folds
    after = load_file(second.weights)
    assert all((before[name] == after[name]).all() for name in before)
    assert (first.steps, first.best_step) == (second.steps, second.best_step)


def kept_context(folder, device="cpu"):
    """The runner's own context, so that what is kept between runs is kept."""
    workdir = folder / "run/stages/train/x.partial"
    workdir.mkdir(parents=True, exist_ok=True)
    return RunContext(
        "train", workdir, places=Places(run=folder / "run", scratch=folder / "scratch"),
        device=device, compute=Compute(), tracker=NullTracker(), display=Display(quiet=True),
    )  # fmt: skip


class NullTracker:
    def __init__(self):
        self.names = set()

    def log_metrics(self, metrics, step):
        self.names |= set(metrics)


SHORT = {"budget": "4it", "validations": 2, "precision": "32-true"}


def weights_of(model):
    return [load_file(fold.weights) for fold in model.folds]


def same(first, second):
    return all((first[name] == second[name]).all() for name in first)


def test_every_fold_is_trained_on_the_others_and_logged_under_its_name(tmp_path):
    model, context = run(Train(folds="all", **SHORT), tmp_path)
    assert [(one.fold, one.cases) for one in model.folds] == [
        (0, ("case1", "case3")),
        (1, ("case0", "case2")),
    ]
    assert not same(*weights_of(model))
    names = {name for _, metrics in context.metrics for name in metrics}
    assert {"fold0/train/loss", "fold1/train/loss", "fold1/val/dice/mean"} <= names
    assert not [name for name in names if not name.startswith("fold")]


def test_a_finished_fold_is_never_trained_again(tmp_path, monkeypatch):
    """One fold, then a list, then all; another budget asks for new ones."""
    task = make_task(tmp_path)
    resampled = Resampled(cases=task.train + task.validation)
    trained = []
    plain = launch.train

    def counted(task, monitor, **how):
        trained.append(task.validation[0].fold)
        return plain(task, monitor, **how)

    monkeypatch.setattr(launch, "train", counted)

    def ask(**settings):
        context = kept_context(tmp_path)
        stage = Train(**{**SHORT, **settings})
        return stage.run(resampled, task.patches, task.plan, context), context.tracker.names

    alone, names = ask(folds=1)
    assert "train/loss" in names
    both, names = ask(folds="all")
    assert trained == [1, 0]
    assert "fold0/train/loss" in names
    assert both.folds[1] == alone.folds[0]
    again, _ = ask(folds=[1, 0])
    assert again == both
    assert trained == [1, 0]
    ask(folds=1, budget="2it")
    assert trained == [1, 0, 1]


def test_a_killed_fold_goes_on_and_ends_as_an_undisturbed_one(tmp_path, monkeypatch):
    """Killed in the second of two folds; then the first is known and the second is resumed."""
    task = make_task(tmp_path)
    resampled = Resampled(cases=task.train + task.validation)
    stage = Train(folds="all", checkpoint_every="1it", **SHORT)
    calm = stage.run(resampled, task.patches, task.plan, kept_context(tmp_path / "calm"))
    steps = []
    plain = loop.train_step

    def dies(learner, batch, lr, clip, step, task):
        if len(steps) == 6:
            steps.append(step)
            raise KeyboardInterrupt
        steps.append(step)
        return plain(learner, batch, lr, clip, step, task)

    monkeypatch.setattr(loop, "train_step", dies)
    with pytest.raises(KeyboardInterrupt):
        stage.run(resampled, task.patches, task.plan, kept_context(tmp_path / "killed"))
    done = stage.run(resampled, task.patches, task.plan, kept_context(tmp_path / "killed"))
    assert steps == [0, 1, 2, 3, 0, 1, 2, 2, 3]
    for first, second in zip(weights_of(calm), weights_of(done), strict=True):
        assert same(first, second)
    assert not list((tmp_path / "killed/run/stages/train/cases").glob("*.partial"))


def test_every_fold_begins_from_the_given_weights_and_other_content_trains_anew(
    tmp_path, monkeypatch
):
    """Steps of next to nothing leave what was loaded; the path is the same, or moves."""
    task = make_task(tmp_path)
    resampled = Resampled(cases=task.train + task.validation)
    file = tmp_path / "given.safetensors"
    trained = []
    plain = launch.train

    def counted(task, monitor, **how):
        trained.append(task.validation[0].fold)
        return plain(task, monitor, **how)

    monkeypatch.setattr(launch, "train", counted)

    def ask(path):
        stage = Train(
            folds="all", lr=1e-9, weight_decay=0.0, network=NetworkSettings(weights=str(path)),
            **SHORT,
        )  # fmt: skip
        model = stage.run(resampled, task.patches, task.plan, kept_context(tmp_path))
        given = load_file(path)
        for fold in model.folds:
            found = load_file(fold.weights)
            assert all(torch.allclose(found[name], given[name], atol=1e-5) for name in given)
            assert (fold.history.parent / "pretrained.csv").is_file()
        return stage.inputs_token()

    save_file(build_network(task.plan.network).state_dict(), file)
    first = ask(file)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(file.read_bytes())
    assert ask(moved) == first
    assert trained == [0, 1]  # what counts is the content
    save_file({name: 1.5 * value for name, value in load_file(moved).items()}, file)
    assert ask(file) != first
    assert trained == [0, 1, 0, 1]
    assert Train().inputs_token() == ""


def test_weights_that_are_not_there_are_missed_at_once(tmp_path):
    with pytest.raises(ConfigError, match=r"network\.weights: .*gone\.pth is no file"):
        NetworkSettings(weights=str(tmp_path / "gone.pth"))
    with pytest.raises(ConfigError, match=r"network\.inflate is for network\.weights"):
        NetworkSettings(inflate=True)


def test_the_old_key_names_the_new_one(tmp_path):
    (tmp_path / "c.yaml").write_text("fold: 0\n")
    with pytest.raises(ConfigError, match=r"fold: no such key; did you mean 'folds'"):
        validate(Train, read_document(tmp_path / "c.yaml"))
    (tmp_path / "c.yaml").write_text("folds: most\n")
    with pytest.raises(ConfigError, match="folds"):
        validate(Train, read_document(tmp_path / "c.yaml"))
    for text in ("all", "[0, 2]", "3"):
        (tmp_path / "c.yaml").write_text(f"folds: {text}\n")
        validate(Train, read_document(tmp_path / "c.yaml"))


def test_a_size_without_a_unit_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match=r"train\.memory is '24'; write a size such as 8GB"):
        Train(memory="24")


def test_all_folds_of_cases_without_any_are_explained(tmp_path):
    task = make_task(tmp_path)
    cases = tuple(replace(case, fold=None) for case in task.train + task.validation)
    with pytest.raises(StageError, match=r"'splits\.folds' in the manifest"):
        run(Train(folds="all"), tmp_path, cases=cases)


def test_folds_without_cases_are_explained(tmp_path):
    task = make_task(tmp_path)
    with pytest.raises(StageError, match=r"fold 7 has no annotated case.*the folds are 0, 1"):
        run(Train(folds=7), tmp_path)
    with pytest.raises(StageError, match="no annotated case is left to train on: 2 are in fold 0"):
        run(Train(folds=0), tmp_path, cases=task.validation)


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
        {"folds": -1},
        {"folds": []},
        {"folds": [0, 0]},
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
    assert (recipe.lr, recipe.batch_size, recipe.budget.iterations) == (4e-3, 2, 6)
    assert recipe.precision in ("32-true", "bf16-mixed")
    sgd = Train(optimizer="sgd", batch_size=5, budget="2h").recipe(plan, "cpu")
    assert (sgd.lr, sgd.batch_size, sgd.budget.seconds) == (1e-2, 5, 7200)
    assert recipe.ema == 0
    plateau = Train(budget="plateau,2h").recipe(plan, "cpu")
    assert (plateau.budget.plateau, plateau.ema) == (True, "auto")
    assert Train(budget="plateau", ema=0.99).recipe(plan, "cpu").ema == 0.99
