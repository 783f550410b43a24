from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from medseg.artefacts import ChannelNormalization
from medseg.errors import ConfigError
from medseg.finished import PostprocessRule
from medseg.labels import Label, LabelScheme, Region
from medseg.model_folder import read_model_folder
from tests.inference.toys import WINDOW, make_model_folder, make_plan

SCHEME = LabelScheme(
    labels=(Label(value=1, name="oedema", snomed="1"), Label(value=4, name="core")),
    regions=(Region(name="whole", labels=("oedema", "core")),),
    ignore_value=255,
)
PLAN = make_plan(spacing=(1.0, 1.0), patch_size=(4, 4))
RULES = (PostprocessRule(structure="whole", keep_largest=True, dice_before=0.8, dice_after=0.9),)


def folder_of(tmp_path):
    plan = make_plan(
        spacing=(1.0, 0.5, 2.0),
        patch_size=(8, 8, 1),
        channels=("flair", "t1"),
        scheme=SCHEME,
        slice_axis=2,
        coarse_axis=2,
        order=1,
        crop=False,
        mirror_axes=(0,),
        normalization=(
            ChannelNormalization(scheme="ct", clip=(-100.0, 300.0), mean=50.0, std=70.0),
            ChannelNormalization(scheme="zscore", mask_nonzero=True),
        ),
    )
    return plan, make_model_folder(tmp_path, plan, RULES)


def test_what_was_written_is_read_back(tmp_path):
    plan, path = folder_of(tmp_path)
    folder = read_model_folder(path)
    read = folder.plan
    shapes_training_only = {"batch_size", "budget", "decisions"}
    for name in vars(plan).keys() - shapes_training_only:
        assert getattr(read, name) == getattr(plan, name), name
    assert folder.rules == RULES
    assert folder.document.inference == WINDOW
    (weights,) = folder.weights
    assert weights.read_bytes() == (tmp_path / "trained/weights.safetensors").read_bytes()


def test_the_document_says_where_the_data_came_from_and_what_goes_in(tmp_path):
    _, path = folder_of(tmp_path)
    document = json.loads((path / "model.json").read_text())
    assert document["data"]["origin"] == "SYNTHETIC"
    assert document["input_example"] == {
        "shape": [1, 2, 8, 8, 1],
        "axes": ["batch", "channel", "i", "j", "k"],
        "dtype": "float32",
    }
    assert document["members"][0]["validation_dice"] == {"bright": None}  # NaN is no JSON
    assert sorted(p.name for p in path.iterdir()) == ["model.json", "weights.safetensors"]


def test_what_chose_the_step_is_kept(tmp_path):
    _, path = folder_of(tmp_path)
    assert read_model_folder(path).score == "dice"
    document = json.loads((path / "model.json").read_text())
    document["members"][0]["validation_miou"] = 0.7
    (path / "model.json").write_text(json.dumps(document))
    assert read_model_folder(path).score == "miou"


def test_a_document_from_before_tiles_of_air_could_be_left_out(tmp_path):
    """It ran every tile, and so it must now, whatever the default has become."""
    _, path = folder_of(tmp_path)
    document = json.loads((path / "model.json").read_text())
    del document["inference"]["skip_empty"]
    (path / "model.json").write_text(json.dumps(document))
    assert read_model_folder(path).document.inference.skip_empty is False


def test_a_run_folder_is_taken_too(tmp_path):
    _, path = folder_of(tmp_path)
    assert read_model_folder(tmp_path) == read_model_folder(path)


def test_missing_model_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        read_model_folder(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"no model\.json here nor in"):
        read_model_folder(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match="finish the run"):
        read_model_folder(tmp_path)


def test_each_fold_has_its_weights_and_one_can_be_taken_alone(tmp_path):
    path = make_model_folder(tmp_path, PLAN, thresholds=(0.1, 0.2, 0.3))
    names = ["model.json", *(f"weights-{fold}.safetensors" for fold in range(3))]
    assert sorted(p.name for p in path.iterdir()) == names
    folder = read_model_folder(path)
    values = [float(load_file(file)["threshold"]) for file in folder.weights]
    assert values == [pytest.approx(v) for v in (0.1, 0.2, 0.3)]
    (file,) = folder.with_folds([1]).weights
    assert file.name == "weights-1.safetensors"
    with pytest.raises(ConfigError, match="has no fold 3; it has 0, 1, 2"):
        folder.with_folds([3])
    make_model_folder(tmp_path, PLAN)  # a model of one fold replaces it whole
    assert sorted(p.name for p in path.iterdir()) == ["model.json", "weights.safetensors"]


def test_a_folder_of_the_first_format_is_read_as_one_member(tmp_path):
    path = make_model_folder(tmp_path, PLAN)
    new = read_model_folder(path)
    document = json.loads((path / "model.json").read_text())
    (member,) = document.pop("members")
    del member["weights"]
    (path / "model.json").write_text(json.dumps({**document, "format": 1, "training": member}))
    old = read_model_folder(path)
    assert old.weights == new.weights
    assert old.document.members == new.document.members
    assert old.plan == new.plan


@pytest.mark.parametrize("members", [[], [{"weights": "../weights.safetensors"}]])
def test_members_are_files_of_the_folder(tmp_path, members):
    path = make_model_folder(tmp_path, PLAN)
    document = json.loads((path / "model.json").read_text())
    document["members"] = [{**document["members"][0], **one} for one in members]
    (path / "model.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="must name at least one file of this folder"):
        read_model_folder(path)


def test_missing_weights_are_named(tmp_path):
    _, path = folder_of(tmp_path)
    (path / "weights.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"weights\.safetensors is missing"):
        read_model_folder(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=99), "format is 99"),
        (lambda d: d.pop("network"), "network"),
        (lambda d: d["tiles"].update(patch_size="x"), r"tiles\.patch_size"),
    ],
)
def test_faulty_document_is_named(tmp_path, change, message):
    _, path = folder_of(tmp_path)
    document = json.loads((path / "model.json").read_text())
    change(document)
    (path / "model.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=rf"model\.json: .*{message}"):
        read_model_folder(path)


def test_truncated_document_is_named(tmp_path):
    _, path = folder_of(tmp_path)
    (path / "model.json").write_text('{"format": 1')
    with pytest.raises(ConfigError, match="not readable as JSON"):
        read_model_folder(path)
