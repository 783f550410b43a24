"""A bundle is run by MONAI itself, from its own config, and its masks compared with ours."""

from __future__ import annotations

import json
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from medseg.artefacts import ChannelNormalization
from medseg.export.bundle import export_bundle
from medseg.export.bundle_config import _normalization, not_in_bundle
from medseg.finished import PostprocessRule
from medseg.labels import Label, LabelScheme, Region
from medseg.pipelines.predict import predict
from medseg.preprocessing import normalize
from tests.export.models import LARGEST, make_folder
from tests.inference.toys import install

CT = ChannelNormalization(scheme="ct", clip=(0.0, 0.9), mean=0.05, std=0.9)


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    install(monkeypatch)


def write_balls(path):
    """Write a large soft ball and a small one in an image with an empty rim, stored as LPS."""
    x, y, z = np.ogrid[:52, :48, :30]
    radius = np.sqrt((1.1 * (x - 24)) ** 2 + (0.9 * (y - 22)) ** 2 + (1.8 * (z - 14)) ** 2)
    small = np.sqrt((x - 44.0) ** 2 + (y - 40.0) ** 2 + (1.8 * (z - 5)) ** 2)
    data = np.clip(1.0 - (radius - 14) / 12, 0, 1) + np.clip(1.0 - small / 6, 0, 1)
    affine = np.diag([-1.1, -0.9, 1.8, 1.0])
    affine[:3, 3] = (31.0, -17.0, 40.0)
    data[:2] = 0
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)


def run_bundle(bundle):
    """Do what ``python -m monai.bundle run`` does."""
    pytest.importorskip("ignite")
    monai_bundle = pytest.importorskip("monai.bundle")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monai_bundle.run(
            config_file=str(bundle / "configs/inference.json"), bundle_root=str(bundle)
        )


def voxels(path):
    image = nib.load(path)
    return np.asanyarray(image.dataobj), image.affine


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("spacing", [(1.1, 0.9, 1.8), (1.6, 1.4, 1.3)], ids=["same", "resampled"])
def test_monai_runs_the_bundle_and_agrees(tmp_path, spacing):
    folder = make_folder(
        tmp_path / "run",
        folds=(0, 1),
        spacing=spacing,
        patch_size=(16, 16, 16),
        rules=LARGEST,
        normalization=(CT,),
    )
    check = export_bundle(folder, tmp_path / "bundle")
    assert check.max_logit_difference < 1e-4
    (tmp_path / "bundle/input").mkdir()
    image = tmp_path / "bundle/input/a.nii.gz"
    write_balls(image)
    predict(folder.folder, image, tmp_path / "own", device="cpu")
    run_bundle(tmp_path / "bundle")
    own, affine = voxels(tmp_path / "own/a.nii.gz")
    predict(tmp_path / "bundle", image, tmp_path / "graphs", device="cpu")
    assert np.array_equal(own, voxels(tmp_path / "graphs/a.nii.gz")[0])  # medseg's own road
    other, other_affine = voxels(tmp_path / "bundle/eval/a.nii.gz")
    np.testing.assert_allclose(other_affine, affine, atol=1e-5)
    assert own.dtype == other.dtype == np.uint8
    assert set(np.unique(other)) == {0, 5}
    assert own[44, 40, 5] == other[44, 40, 5] == 0  # the small ball: largest component only
    if spacing == (1.1, 0.9, 1.8):
        assert np.array_equal(own, other)  # nothing is interpolated: the same mask
    else:
        assert dice(own > 0, other > 0) >= 0.99
        shift = np.argwhere(own).mean(axis=0) - np.argwhere(other).mean(axis=0)
        assert np.abs(shift).max() < 0.1  # voxels: no systematic displacement


def test_photographs(tmp_path):
    scheme = LabelScheme(labels=(Label(value=255, name="vessel"),))
    folder = make_folder(
        tmp_path / "run",
        spacing=(1.0, 1.0),
        patch_size=(8, 8),
        channels=("red", "green", "blue"),
        scheme=scheme,
        normalization=(ChannelNormalization(scheme="ct", mean=60.0, std=80.0),) * 3,
    )
    export_bundle(folder, tmp_path / "bundle")
    (tmp_path / "bundle/input").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (13, 21, 3), dtype=np.uint8)
    pixels[:, 15:] = 0
    Image.fromarray(pixels).save(tmp_path / "bundle/input/eye.png")
    predict(folder.folder, tmp_path / "bundle/input/eye.png", tmp_path / "own", device="cpu")
    run_bundle(tmp_path / "bundle")
    own, other = (
        np.asarray(Image.open(tmp_path / place / "eye.png")) for place in ("own", "bundle/eval")
    )
    assert own.shape == other.shape == (13, 21)
    assert 0 < (own == 255).mean() < 1
    assert np.array_equal(own, other)


def test_metadata_say_what_it_is_and_that_it_is_synthetic(tmp_path):
    folder = make_folder(tmp_path / "run", spacing=(1.0,) * 3, patch_size=(4, 4, 4))
    export_bundle(folder, tmp_path / "bundle")
    meta = json.loads((tmp_path / "bundle/configs/metadata.json").read_text())
    for key in ("monai_version", "pytorch_version", "numpy_version", "required_packages_version"):
        assert meta[key]
    image = meta["network_data_format"]["inputs"]["image"]
    assert (image["num_channels"], image["spatial_shape"]) == (1, [4, 4, 4])
    outputs = meta["network_data_format"]["outputs"]["pred"]
    assert outputs["channel_def"] == {"0": "background", "1": "bright"}
    assert meta["licence"] == "none"
    assert "Not a medical device" in meta["intended_use"]
    assert meta["data_origin"] == "SYNTHETIC"
    assert meta["task"].startswith("SYNTHETIC: ")
    assert "SYNTHETIC" in (tmp_path / "bundle/docs/README.md").read_text()
    assert str(tmp_path) not in "".join(
        p.read_text() for p in (tmp_path / "bundle").rglob("*.json")
    )


@pytest.mark.parametrize(
    "how",
    [
        ChannelNormalization(scheme="none"),
        ChannelNormalization(scheme="none", mask_nonzero=True),
        CT,
        ChannelNormalization(scheme="ct", mean=3.0, std=2.0, mask_nonzero=True),
        ChannelNormalization(scheme="zscore"),
        ChannelNormalization(scheme="zscore", clip=(0.2, 0.7), mask_nonzero=True),
    ],
    ids=str,
)
def test_the_expression_of_a_normalisation_equals_ours(how):
    other = ChannelNormalization(scheme="ct", mean=1.0, std=2.0)
    data = np.random.default_rng(0).random((2, 4, 5, 6), dtype=np.float32)
    data[:, :2] = 0
    function = eval(_normalization((how, other))[1:], {"torch": torch})
    ours = normalize(data, (how, other))
    np.testing.assert_allclose(function(torch.from_numpy(data)).numpy(), ours, atol=1e-5)


def test_regions_are_painted_widest_first(tmp_path):
    scheme = LabelScheme(
        labels=(Label(value=1, name="oedema"), Label(value=4, name="core")),
        regions=(
            Region(name="core only", labels=("core",)),
            Region(name="whole", labels=("oedema", "core")),
        ),
    )
    folder = make_folder(
        tmp_path / "run", spacing=(1.1, 0.9, 1.8), patch_size=(16, 16, 16), scheme=scheme
    )
    export_bundle(folder, tmp_path / "bundle")
    (tmp_path / "bundle/input").mkdir()
    write_balls(tmp_path / "bundle/input/a.nii.gz")
    predict(folder.folder, tmp_path / "bundle/input/a.nii.gz", tmp_path / "own", device="cpu")
    run_bundle(tmp_path / "bundle")
    own, _ = voxels(tmp_path / "own/a.nii.gz")
    other, _ = voxels(tmp_path / "bundle/eval/a.nii.gz")
    assert set(np.unique(own)) == {0, 1, 4}  # outside the crop, dark, bright
    assert np.array_equal(own, other)


def test_what_monai_cannot_do_is_said(tmp_path, caplog):
    rules = (PostprocessRule(structure="bright", keep_largest=True, min_volume_ml=2.0),)
    folder = make_folder(
        tmp_path / "run", spacing=(1.0,) * 3, patch_size=(4, 4, 4), rules=rules, coarse_axis=2
    )
    lost = not_in_bundle(folder.document, folder.plan)
    assert lost == [
        "post-processing of bright: nothing smaller than 2 mL",
        "nearest-voxel resampling along axis 2: the spline is used there too",
    ]
    export_bundle(folder, tmp_path / "bundle")
    assert [m for m in caplog.messages if m.startswith("not in the bundle")] == [
        f"not in the bundle: {one}" for one in lost
    ]
    meta = json.loads((tmp_path / "bundle/configs/metadata.json").read_text())
    assert meta["not_in_bundle"] == lost
