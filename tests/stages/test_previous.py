"""What a cascade refuses of an earlier run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.artefacts import (
    DataInfo,
    Dataset,
    Fingerprint,
    IngestedCase,
    NetworkSpec,
    PredictedCase,
    Predictions,
)
from medseg.case import Case, Split
from medseg.errors import ConfigError, StageError
from medseg.geometry.volume import Grid
from medseg.labels import Label, LabelScheme
from medseg.stages.previous import PreviousRun, previous_token, unseen_predictions
from medseg.trained import TrainedFold, TrainedModel

GRID = Grid.of((4, 4, 4), np.eye(4))
SPLITS: dict[str, tuple[Split, int | None]] = {
    "a": ("train", 0),
    "b": ("train", 1),
    "t": ("test", None),
}


def dataset() -> Dataset:
    rows = [
        IngestedCase(
            case=Case(id=name, image=()), split=split, fold=fold, grid=GRID,
            orientation="RAS", content_start=(0, 0, 0), content_stop=(4, 4, 4), label_voxels={},
            digest=f"content of {name}",
        )
        for name, (split, fold) in SPLITS.items()
    ]  # fmt: skip
    info = DataInfo(
        name="made up", title="", modality="CT", channels=("CT",), origin="SYNTHETIC",
        licence="", citation="", digest="",
    )  # fmt: skip
    return Dataset(
        info=info,
        scheme=LabelScheme(labels=(Label(value=1, name="liver"),)),
        cases=tuple(rows),
        fingerprint=Fingerprint(spacings=(), shapes=(), crop_ratio=1.0, intensities=()),
    )


def trained(fold: int, *cases: str) -> TrainedFold:
    return TrainedFold(
        fold=fold, weights=Path("w"), cases=cases, steps=1, best_step=1, validation_dice={},
        history=Path("h"), seconds=1.0,
    )  # fmt: skip


def earlier_run(*predicted: str) -> PreviousRun:
    """Fold 0 trained on b and validated on a; fold 1 the other way round."""
    preds = [
        PredictedCase(
            id=name, split=SPLITS[name][0], fold=SPLITS[name][1],
            pred=Path("cases") / name / "pred.b2nd", seconds=1.0,
        )
        for name in predicted
    ]  # fmt: skip
    return PreviousRun(
        run=Path("runs/low"),
        dataset=dataset(),
        model=TrainedModel(
            network=NetworkSpec(name="unet", arguments={}),
            folds=(trained(0, "b"), trained(1, "a")),
        ),
        predictions=Predictions(cases=tuple(preds)),
    )


def test_every_case_by_networks_that_did_not_train_on_it() -> None:
    found = unseen_predictions(dataset(), earlier_run("a", "b", "t"))
    assert found == {name: Path("cases") / name / "pred.b2nd" for name in "abt"}


def test_a_test_case_without_prediction_is_left_out() -> None:
    assert set(unseen_predictions(dataset(), earlier_run("a", "b"))) == {"a", "b"}


def test_a_training_case_without_prediction_is_refused() -> None:
    with pytest.raises(StageError, match=r"no out-of-fold prediction of 1 .*\(b\).*folds=all"):
        unseen_predictions(dataset(), earlier_run("a", "t"))


@pytest.mark.parametrize(
    ("fold", "cases", "named"),
    [(0, ("a", "b"), "a"), (1, ("a", "t"), "t")],
    ids=["in-fold", "a test case trained on"],
)
def test_a_network_in_the_know_is_refused(fold: int, cases: tuple[str, ...], named: str) -> None:
    run = earlier_run("a", "b", "t")
    folds = [one if one.fold != fold else trained(fold, *cases) for one in run.model.folds]
    run = replace(run, model=replace(run.model, folds=tuple(folds)))
    with pytest.raises(StageError, match=rf"1 case.*trained on them \({named}\)"):
        unseen_predictions(dataset(), run)


@pytest.mark.parametrize(
    "change", [{"digest": "another image"}, {"fold": 1}, {"split": "test"}], ids=str
)
def test_another_case_under_the_same_name_is_refused(change: dict[str, object]) -> None:
    now = dataset()
    rows = (replace(now.cases[0], **change), *now.cases[1:])  # type: ignore[arg-type]
    with pytest.raises(StageError, match=r"1 case\(s\) have another image.*\(a\)"):
        unseen_predictions(replace(now, cases=rows), earlier_run("a", "b", "t"))


def test_another_label_table_is_refused() -> None:
    other = LabelScheme(labels=(Label(value=1, name="spleen"),))
    with pytest.raises(ConfigError, match="another label table"):
        unseen_predictions(replace(dataset(), scheme=other), earlier_run("a", "b", "t"))


def test_the_token_is_the_key_of_the_predictions(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"resample\.previous: .* is no run folder"):
        previous_token(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"stages": {"infer": {"key": "abc"}}}))
    assert previous_token(tmp_path) == "abc"
