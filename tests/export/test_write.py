from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError, ExportError
from medseg.export.check import CheckImage
from medseg.export.graph import free_axes, trace
from medseg.export.load import load_predictor
from medseg.export.write import appearing, export_folder, export_graphs, members
from medseg.labels import Label, LabelScheme
from medseg.model_folder import read_model_folder
from medseg.pipelines.predict import predict
from tests.export.models import LARGEST, make_folder, unet, write_image

KINDS = ("onnx", "torch-export")
VOLUME = {"spacing": (1.0, 1.0, 2.5), "patch_size": (8, 8, 8), "network": unet(3)}
SLICES = {
    "spacing": (1.0, 1.0, 2.0),
    "patch_size": (8, 8, 1),
    "slice_axis": 2,
    "network": unet(2),
}
PHOTOGRAPH = {
    "spacing": (1.0, 1.0),
    "patch_size": (8, 8),
    "channels": ("red", "green", "blue"),
    "network": unet(2, channels=3, classes=3),
    "scheme": LabelScheme(labels=(Label(value=7, name="vessel"), Label(value=9, name="disc"))),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model of two folds in all forms: written once, read by many tests."""
    root = tmp_path_factory.mktemp("exported")
    folder = make_folder(root / "run", folds=(0, 2), rules=LARGEST, **VOLUME)
    checks = {kind: export_graphs(folder, root / kind, kind) for kind in KINDS}
    return root, folder, checks


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_answer_as_the_network(exported, kind):
    root, folder, checks = exported
    check = checks[kind]
    assert check.passed
    assert check.max_logit_difference < 1e-4
    assert check.mask_agreement == 1.0
    assert check.on == "seeded noise, no real image"
    written = json.loads((root / kind / "export.json").read_text())
    assert written["check"]["max_logit_difference"] == check.max_logit_difference
    assert written["tile"] == [8, 8, 8]
    image = np.random.default_rng(1).standard_normal((1, 11, 9, 8), dtype=np.float32)
    own = load_predictor(folder, "cpu").logits(image)
    other = load_predictor(read_model_folder(root / kind), "cpu").logits(image)
    torch.testing.assert_close(other, own, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_of_an_export_are_those_of_the_model(exported, kind, tmp_path):
    root, folder, _ = exported
    image = write_image(tmp_path / "a.nii.gz")
    predict(folder.folder, image, tmp_path / "own", device="cpu")
    predict(root / kind, image, tmp_path / "other", device="cpu")
    own, other = (nib.load(tmp_path / name / "a.nii.gz") for name in ("own", "other"))
    assert np.array_equal(own.affine, other.affine)
    assert set(np.unique(own.dataobj)) == {0, 5}  # there is something to agree on
    assert np.array_equal(np.asanyarray(own.dataobj), np.asanyarray(other.dataobj))


@pytest.mark.parametrize("kind", KINDS)
def test_one_fold_of_an_export(exported, kind):
    root, folder, _ = exported
    image = np.random.default_rng(1).standard_normal((1, 8, 8, 8), dtype=np.float32)
    one = load_predictor(read_model_folder(root / kind).with_folds([2]), "cpu").logits(image)
    own = load_predictor(folder.with_folds([2]), "cpu").logits(image)
    both = load_predictor(folder, "cpu").logits(image)
    torch.testing.assert_close(one, own, atol=1e-4, rtol=0)
    assert not torch.allclose(one, both, atol=1e-2)


def test_onnx_needs_neither_torch_nor_medseg(exported):
    """Any number of tiles through plain onnxruntime."""
    root, folder, _ = exported
    document = json.loads((root / "onnx/export.json").read_text())
    session = onnxruntime.InferenceSession(root / "onnx" / document["graphs"]["0"])
    network = members(folder)[0]
    for batch in (1, 3):
        tiles = np.random.default_rng(batch).standard_normal((batch, 1, 8, 8, 8), dtype=np.float32)
        (logits,) = session.run([document["output"]], {document["input"]: tiles})
        with torch.no_grad():
            expected = network(torch.from_numpy(tiles)).numpy()
        np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plan", [SLICES, PHOTOGRAPH], ids=["slices", "photographs"])
def test_two_dimensional_networks(tmp_path, kind, plan):
    folder = make_folder(tmp_path / "run", **plan)
    check = export_graphs(folder, tmp_path / "out", kind)
    assert check.max_logit_difference < 1e-4
    if len(plan["patch_size"]) == 2:
        pixels = np.random.default_rng(0).integers(0, 255, (13, 21, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        image = tmp_path / "a.png"
    else:
        image = write_image(tmp_path / "a.nii.gz")
    (own,) = predict(folder.folder, image, tmp_path / "own", device="cpu").written
    (other,) = predict(tmp_path / "out", image, tmp_path / "other", device="cpu").written
    read = (
        (lambda p: np.asarray(Image.open(p)))
        if own.suffix == ".png"
        else (lambda p: np.asanyarray(nib.load(p).dataobj))
    )
    assert np.array_equal(read(own), read(other))


def test_any_multiple_of_the_divisor(tmp_path):
    network = members(make_folder(tmp_path / "run", **VOLUME))[0]
    program = trace(network, 1, (8, 8, 8), any_size=True)
    image = torch.rand(1, 1, 4, 10, 14)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), network(image))
    assert free_axes(network, (8, 8, 1)) == {0: 2, 1: 2}


def test_a_given_image_is_what_is_compared_on(tmp_path):
    folder = make_folder(tmp_path / "run", **VOLUME)
    image = CheckImage(name="mine", image=np.ones((1, 40, 9, 8), np.float32))
    check = export_graphs(folder, tmp_path / "out", "torch-export", image=image)
    assert check.on == "mine"
    assert check.shape == (1, 16, 9, 8)  # the middle, two tiles wide at most


def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "run", **VOLUME)
    real = trace

    def worse(network, *args, **kwargs):
        class Off(nn.Module):
            def __init__(self):
                super().__init__()
                self.network, self.divisor = network, network.divisor

            def forward(self, image):
                return self.network(image) * 1.01

        return real(Off().eval(), *args, **kwargs)

    monkeypatch.setattr("medseg.export.write.trace", worse)
    with pytest.raises(ExportError, match="differs from the network by"):
        export_graphs(folder, tmp_path / "out", "torch-export")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]  # nothing half-written either


def test_a_network_that_gives_nan_cannot_be_checked(tmp_path):
    folder = make_folder(tmp_path / "run", **VOLUME)
    image = CheckImage(name="holes", image=np.full((1, 8, 8, 8), np.nan, np.float32))
    with pytest.raises(ExportError, match="holes is not finite"):
        export_graphs(folder, tmp_path / "out", "torch-export", image=image)


def test_a_network_that_cannot_be_traced_is_named(tmp_path):
    class Moody(nn.Module):
        def forward(self, image):
            return image if image.mean() > 0 else -image

    with pytest.raises(ConfigError, match="Moody cannot be traced for tiles"):
        trace(Moody().eval(), 1, (8, 8, 8), any_size=False)


def test_a_network_of_monai(tmp_path):
    pytest.importorskip("monai")
    arguments = {"ndim": 3, "in_channels": 1, "num_classes": 2}
    spec = NetworkSpec(
        name="monai:UNet",
        arguments={**arguments, "channels": (4, 8), "strides": (2,), "num_res_units": 1},
    )
    folder = make_folder(tmp_path / "run", **{**VOLUME, "network": spec})
    assert export_graphs(folder, tmp_path / "out", "torch-export").max_logit_difference < 1e-4


def test_a_plain_copy_predicts_too(exported, tmp_path):
    _, folder, _ = exported
    copy = export_folder(folder, tmp_path / "copy")
    assert sorted(p.name for p in copy.iterdir()) == [
        "model.json",
        "weights-0.safetensors",
        "weights-2.safetensors",
    ]
    assert read_model_folder(copy).document == folder.document


def test_an_export_is_not_exported_again(exported, tmp_path):
    root, _, _ = exported
    with pytest.raises(ConfigError, match="is an export already"):
        export_graphs(read_model_folder(root / "onnx"), tmp_path / "out", "onnx")


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(ConfigError, match="is there already"), appearing(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "kept"
    (tmp_path / "empty").mkdir()
    with appearing(tmp_path / "empty") as aside:
        (aside / "x").touch()
    assert (tmp_path / "empty/x").is_file()
