from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.artefacts import (
    ChannelIntensity,
    Dataset,
    Fingerprint,
    IngestedCase,
    PredictedCase,
    Predictions,
    Resampled,
    ResampledCase,
)
from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import ConfigError
from medseg.inference.weights import window_settings
from medseg.io.load import load_image
from medseg.io.store import open_array, write_array
from medseg.model_folder import read_model_folder
from medseg.pipelines.predict import predict
from medseg.preprocessing import Recipe, preprocess
from medseg.stages.infer import Infer
from medseg.stages.postprocess import Postprocess
from tests.fakes import LocalContext
from tests.inference.toys import SCHEME, install, make_model, make_plan

AFFINE = np.diag([-1.0, -1.5, 2.0, 1.0])  # stored as LPS
AFFINE[:3, 3] = (20.0, 30.0, -5.0)
BRIGHT = np.zeros((9, 8, 7), np.float32)
BRIGHT[1:5, 2:6, 1:5] = 1.0


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    install(monkeypatch)


@pytest.fixture
def plan():
    return make_plan(spacing=(1.0, 1.5, 2.0), patch_size=(4, 4, 4))


def write_case(folder, name, image, label=None, split="train", fold=0):
    """Write image and label as LPS NIfTI and describe them as ingest does."""
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(image, AFFINE), path)
    parts = ()
    if label is not None:
        nib.save(nib.Nifti1Image(label.astype(np.uint8), AFFINE), folder / f"{name}_label.nii.gz")
        parts = (LabelPart(path=folder / f"{name}_label.nii.gz"),)
    case = Case(id=name, image=(ImageFile(path=path),), label=parts)
    loaded = load_image(case)
    return IngestedCase(
        case=case, split=split, fold=fold, grid=loaded.volume.grid,
        orientation=loaded.orientation, content_start=(0, 0, 0),
        content_stop=loaded.volume.grid.shape, label_voxels={}, digest=name,
    )  # fmt: skip


def dataset_of(plan, *cases):
    row = ChannelIntensity(
        mean=0, std=1, min=0, median=0, max=1, percentile_00_5=0, percentile_99_5=1
    )
    fingerprint = Fingerprint(spacings=(), shapes=(), crop_ratio=1.0, intensities=(row,))
    return Dataset(info=plan.info, scheme=plan.scheme, cases=cases, fingerprint=fingerprint)


def predictions_of(folder, cases, indices):
    """Store class indices given in stored (LPS) order; the canonical grid has two axes flipped."""
    done = []
    for case in cases:
        canonical = np.ascontiguousarray(indices[case.case.id][::-1, ::-1]).astype(np.int16)
        path = write_array(folder / f"{case.case.id}.b2nd", canonical)
        done.append(
            PredictedCase(id=case.case.id, split=case.split, fold=case.fold, pred=path, seconds=1.0)
        )
    return Predictions(cases=tuple(done))


def run(stage, plan, cases, indices, folder):
    context = LocalContext(folder)
    dataset = dataset_of(plan, *cases)
    model = make_model(folder / "trained", plan)
    predictions = predictions_of(folder, cases, indices)
    return stage.run(dataset, plan, predictions, model, context), context


def with_island():
    pred = (BRIGHT > 0).astype(np.int16)
    pred[8, 7, 6] = 1
    return pred


def test_rules_are_decided_on_validation_and_applied_to_all(tmp_path, plan):
    label = 5 * (BRIGHT > 0)
    validation = [write_case(tmp_path, f"val{i}", BRIGHT, label, fold=i % 2) for i in range(6)]
    test = write_case(tmp_path, "test", BRIGHT, None, "predict", None)
    cases = [*validation, test]
    preds = {case.case.id: with_island() for case in cases}
    found, context = run(Postprocess(), plan, cases, preds, tmp_path)
    (rule,) = found.rules
    assert rule.structure == "bright"
    assert rule.min_volume_ml == 0.01  # the gentlest of the rules that remove the island of 3 mm3
    assert rule.dice_before == pytest.approx(2 * 64 / (64 + 65))
    assert rule.dice_after == 1
    for case in found.cases:
        assert case.file == context.workdir / "predictions" / f"{case.id}.nii.gz"
        image = nib.load(case.file)
        assert np.array_equal(image.get_fdata(), label)
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-9)
        assert np.array_equal(open_array(case.pred).read_all()[::-1, ::-1], BRIGHT > 0)
    assert not context.listed


def test_few_validation_cases_decide_nothing_and_say_so(tmp_path, plan, caplog):
    validation = write_case(tmp_path, "val", BRIGHT, 5 * (BRIGHT > 0))
    caplog.set_level("INFO", logger="medseg.stages.learn_rules")
    found, _ = run(Postprocess(), plan, [validation], {"val": with_island()}, tmp_path)
    assert np.array_equal(nib.load(found.cases[0].file).get_fdata(), 5 * with_island())
    assert "bright: nothing is done (rules change at most 1 of 1 cases; 6 are" in caplog.text
    assert read_model_folder(found.model).rules == found.rules


def test_a_rule_of_the_config_for_all_foreground(tmp_path, plan):
    case = write_case(tmp_path, "a", BRIGHT, 5 * (BRIGHT > 0))
    stage = Postprocess(rules={"*": {"keep_largest": True}})
    found, _ = run(stage, plan, [case], {"a": with_island()}, tmp_path)
    assert nib.load(found.cases[0].file).get_fdata()[8, 7, 6] == 0
    with pytest.raises(ConfigError, match="whose holes cannot be filled"):
        run(
            Postprocess(rules={"*": {"fill_holes": True}}), plan, [case], {"a": with_island()},
            tmp_path,
        )  # fmt: skip


def test_rules_of_the_config_stand(tmp_path, plan):
    case = write_case(tmp_path, "a", BRIGHT, 5 * (BRIGHT > 0))
    off, _ = run(Postprocess(rules="off"), plan, [case], {"a": with_island()}, tmp_path / "off")
    assert off.rules == ()
    assert nib.load(off.cases[0].file).get_fdata()[8, 7, 6] == 5
    wanted = Postprocess(rules={"bright": {"min_volume_ml": 0.01}})
    set_, _ = run(wanted, plan, [case], {"a": with_island()}, tmp_path / "set")
    assert nib.load(set_.cases[0].file).get_fdata()[8, 7, 6] == 0
    assert set_.rules[0].min_volume_ml == 0.01


def test_without_annotated_validation_nothing_is_decided(tmp_path, plan):
    case = write_case(tmp_path, "a", BRIGHT, None, "test", None)
    found, _ = run(Postprocess(), plan, [case], {"a": with_island()}, tmp_path)
    assert found.rules == ()
    assert np.array_equal(nib.load(found.cases[0].file).get_fdata(), 5 * with_island())


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"bright": {"keep_largets": True}}, r"keep_largets: no such key; did you mean"),
        ({"bright": {"keep_largest": 1}}, "must be true or false"),
        ({"bright": {"min_volume_ml": -1}}, "0 or more"),
        ({"bright": {"dice_before": 1.0}}, "no such key"),
    ],
)
def test_faulty_rules_are_refused_before_anything_runs(rules, message):
    with pytest.raises(ConfigError, match=message):
        Postprocess(rules=rules)


def test_a_rule_for_no_structure_is_refused(tmp_path, plan):
    case = write_case(tmp_path, "a", BRIGHT)
    stage = Postprocess(rules={"brihgt": {"keep_largest": True}})
    with pytest.raises(ConfigError, match=r"'brihgt'; did you mean 'bright'"):
        run(stage, plan, [case], {"a": with_island()}, tmp_path)


def test_a_photograph_is_written_as_png(tmp_path):
    plan = make_plan(spacing=(1.0, 1.0), patch_size=(4, 4))
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "eye.png")
    case = Case(id="eye", image=(ImageFile(path=tmp_path / "eye.png"),))
    grid = load_image(case).volume.grid
    ingested = IngestedCase(
        case=case, split="test", fold=None, grid=grid, orientation="", content_start=(0, 0),
        content_stop=(3, 4), label_voxels={}, digest="x",
    )  # fmt: skip
    pred = np.zeros((3, 4), np.int16)
    pred[0, 3] = 1
    path = write_array(tmp_path / "eye.b2nd", pred)
    predicted = PredictedCase(id="eye", split="test", fold=None, pred=path, seconds=1.0)
    found = Postprocess().run(
        dataset_of(plan, ingested), plan, Predictions(cases=(predicted,)),
        make_model(tmp_path / "trained", plan), LocalContext(tmp_path),
    )  # fmt: skip
    assert found.cases[0].file.name == "eye.png"
    assert np.asarray(Image.open(found.cases[0].file)).tolist() == (5 * pred).tolist()


def test_predict_with_the_model_folder_gives_what_the_stages_gave(tmp_path):
    """The same file from a run's stages and from `medseg predict`, rules included."""
    plan = make_plan(spacing=(1.4, 1.2, 2.9), patch_size=(4, 4, 4))
    image = BRIGHT.copy()
    image[7:9, 6:8, 5:7] = 0.9  # a second component
    cases = [
        *(write_case(tmp_path, name, image, 5 * (BRIGHT > 0)) for name in "acdefg"),
        write_case(tmp_path, "b", image[:, ::-1].copy(), None, "predict", None),
    ]
    context = LocalContext(tmp_path)
    model = make_model(tmp_path / "trained", plan)
    infer = Infer(overlap=0.25, mirror=True, shifts=2, precision="32-true")
    resampled = Resampled(cases=tuple(_resample(case, plan, tmp_path) for case in cases))
    predictions = infer.run(resampled, plan, model, context)
    stage = Postprocess(infer=infer)
    found = stage.run(dataset_of(plan, *cases), plan, predictions, model, context)
    assert found.rules[0].min_volume_ml == 0.05
    folder = read_model_folder(found.model)
    assert folder.rules == found.rules
    window = window_settings(folder)
    assert (window.overlap, window.mirror, window.shifts) == (0.25, True, 2)
    for case in found.cases:
        (path,) = predict(found.model, tmp_path / f"{case.id}.nii.gz", tmp_path / "again").written
        ours, theirs = nib.load(path), nib.load(case.file)
        assert np.array_equal(ours.get_fdata(), theirs.get_fdata())
        assert 0 < np.count_nonzero(ours.get_fdata()) < 120
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-6)


def _resample(case, plan, folder):
    ready = preprocess(load_image(case.case).volume, Recipe.of(plan))
    path = write_array(folder / f"{case.case.id}_image.b2nd", ready.image)
    return ResampledCase(
        id=case.case.id, split=case.split, fold=case.fold, image=path, label=None,
        grid=ready.grid, crop_start=ready.crop_start, crop_stop=ready.crop_stop,
        source=case.grid, annotated=(),
    )  # fmt: skip


def test_the_model_folder_is_part_of_the_stage(tmp_path, plan):
    case = write_case(tmp_path, "a", BRIGHT)
    found, context = run(Postprocess(rules="off"), plan, [case], {"a": with_island()}, tmp_path)
    assert found.model == context.workdir / "model"
    folder = read_model_folder(found.model)
    assert replace(folder.plan, batch_size=2, budget="1it") == plan
    assert folder.document.scheme == SCHEME
