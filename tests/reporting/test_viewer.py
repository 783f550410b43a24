import gzip
import hashlib
import json
from importlib.resources import files

import nibabel as nib
import numpy as np
import pytest

import medseg.reporting.viewer as viewer_module
from medseg.geometry.volume import Volume
from medseg.reporting.viewer import NIIVUE, viewer_parts, write_viewer
from tests.reporting.examples import SCHEME, label_map, volume

SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"


def test_the_vendored_script_is_the_published_one_with_its_licence():
    folder = files("medseg.reporting").joinpath("vendor")
    source = gzip.decompress(folder.joinpath(NIIVUE).read_bytes())
    assert hashlib.sha256(source).hexdigest() == SHA256
    assert "BSD 2-Clause License" in folder.joinpath("LICENSE.txt").read_text()


def written(folder, image, pred, label=None, modality="CT"):
    found = write_viewer(image, pred, label, SCHEME, modality, folder)
    return found, nib.load(folder / found.image), nib.load(folder / found.pred)


def test_the_volumes_lie_where_the_scan_does(tmp_path):
    pred = label_map()
    values = np.random.default_rng(0).uniform(-100, 200, pred.shape).astype(np.float32)
    affine = np.array([[0.9, 0.1, 0, -30], [-0.1, 1.9, 0, 20], [0, 0, 4, 7], [0, 0, 0, 1.0]])
    found, image, mask = written(tmp_path, Volume(data=values[None], affine=affine), pred)
    assert found.reference is None
    assert np.allclose(image.affine, affine)
    assert np.array_equal(np.asarray(mask.dataobj), pred)
    assert np.abs(image.get_fdata() - values).max() < 800 / 255  # 256 levels over twice the window
    assert image.header.get_xyzt_units()[0] == "mm"


def test_far_from_the_structures_is_cut_away(tmp_path):
    pred = np.zeros((90, 20, 10), dtype=np.int16)
    pred[60, 10, 5] = 2
    found, image, mask = written(tmp_path, volume(np.zeros(pred.shape, np.float32)), pred, pred)
    assert image.shape == (41, 20, 10)  # 20 mm on both sides
    (place,) = np.argwhere(np.asarray(mask.dataobj))
    assert np.allclose(mask.affine[:3] @ [*place, 1], [60, 20, 20])
    assert "within 20 mm" in found.note
    assert (tmp_path / found.reference).is_file()


def test_a_large_volume_is_thinned_out_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(viewer_module, "MOST_VOXELS", 700)
    pred = np.ones((20, 14, 10), dtype=np.int16)
    pred[10:] = 2
    values = np.indices(pred.shape)[0].astype(np.float32)
    found, image, mask = written(tmp_path, volume(values), pred)
    assert image.shape == mask.shape
    assert np.prod(image.shape) <= 700
    assert "blocks of" in found.note
    world = nib.affines.apply_affine(image.affine, np.argwhere(np.ones(image.shape)))
    assert np.allclose(world[:, 0], image.get_fdata().ravel(), atol=1.0)  # x is the voxel number
    assert set(np.unique(np.asarray(mask.dataobj))) == {1, 2}


def test_ignored_voxels_are_background(tmp_path):
    label = label_map()
    label[5, 5, 5] = -1
    found, _, _ = written(tmp_path, volume(np.zeros(label.shape, np.float32)), label_map(), label)
    shown = np.asarray(nib.load(tmp_path / found.reference).dataobj)
    assert set(np.unique(shown)) == {0, 1}


def test_photographs_and_masks_without_image_have_no_viewer(tmp_path):
    flat = label_map((16, 14))
    assert write_viewer(volume(flat.astype(float)), flat, None, SCHEME, "photo", tmp_path) is None
    solid = label_map()
    assert write_viewer(volume(solid.astype(float)), solid, None, SCHEME, "none", tmp_path) is None


def test_the_settings_name_and_colour_every_label(tmp_path):
    pred = label_map()
    found, _, _ = written(tmp_path, volume(np.zeros(pred.shape, np.float32)), pred)
    parts = viewer_parts(found, tmp_path, (1.0, 2.0, 3.0))
    settings = json.loads(parts.settings)
    assert settings["name"] == ["", "liver", "tumour"]
    assert settings["rgb"][1] == [0xE6, 0x9F, 0x00]
    assert settings["focus"] == [1.0, 2.0, 3.0]
    assert (settings["low"], settings["high"]) == (-160.0, 240.0)


@pytest.mark.parametrize("name", ["</script><script>alert(1)"])
def test_a_name_cannot_leave_its_script(tmp_path, name):
    scheme = viewer_module.LabelScheme(labels=(type(SCHEME.labels[0])(value=1, name=name),))
    pred = label_map().clip(0, 1)
    found = write_viewer(
        volume(np.zeros(pred.shape, np.float32)), pred, None, scheme, "CT", tmp_path
    )
    assert "<" not in viewer_parts(found, tmp_path).settings
