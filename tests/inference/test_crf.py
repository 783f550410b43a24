from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.artefacts import Resampled
from medseg.errors import CaseError, ConfigError
from medseg.geometry.volume import Grid
from medseg.inference.crf import check_affordable, refine, refine_logits
from medseg.inference.predictor import Predictor, WindowSettings
from medseg.inference.weights import load_predictor
from medseg.io.store import open_array
from medseg.model_folder import read_model_folder, write_model_folder
from medseg.settings import CRF
from medseg.stages.infer import Infer
from tests.fakes import LocalContext
from tests.inference.toys import WINDOW, Threshold, install, make_model, make_plan
from tests.stages.test_infer import resampled_case


def dense_mean_field(probs, image, spacing, crf):
    """Do algorithm 1 of the paper on full matrices, pair by pair."""
    sizes = image.shape[1:]
    axes = [torch.arange(n) * float(mm) for n, mm in zip(sizes, spacing, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(sizes)).double()
    grey = image.flatten(1).T.double()
    far = torch.cdist(places, places).square()
    unlike = torch.cdist(grey, grey).square()
    kernels = [
        torch.exp(-far / (2 * crf.appearance_scale**2) - unlike / (2 * crf.intensity_scale**2)),
        torch.exp(-far / (2 * crf.smoothness_scale**2)),
    ]
    scaled = []
    for kernel in kernels:
        kernel.fill_diagonal_(0)
        root = kernel.sum(1).rsqrt()
        scaled.append(root[:, None] * kernel * root)
    total = crf.appearance_weight * scaled[0] + crf.smoothness_weight * scaled[1]
    start = belief = probs.flatten(1).double()
    for _ in range(crf.iterations):
        belief = (start.log() + belief @ total).softmax(0)
    return belief.reshape(probs.shape)


@pytest.mark.parametrize(("sizes", "spacing"), [((5, 4), (1.0, 2.5)), ((3, 4, 2), (1.0, 0.5, 3))])
def test_a_window_as_large_as_the_image_is_the_dense_crf(sizes, spacing):
    torch.manual_seed(0)
    probs = torch.randn(3, *sizes).softmax(0)
    image = torch.randn(2, *sizes)
    crf = CRF(radius=max(sizes), iterations=3, appearance_scale=1.5, intensity_scale=0.8)
    expected = dense_mean_field(probs, image, spacing, crf)
    got = refine(probs, image, spacing, crf)
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(got, probs, atol=0.05)


def test_two_voxels_by_hand():
    probs = torch.tensor([[[0.9, 0.4]], [[0.1, 0.6]]])
    crf = CRF(iterations=1, appearance_weight=2.0, smoothness_weight=0.0)
    out = refine(probs, torch.zeros(1, 1, 2), (1.0, 1.0), crf)
    # one neighbour each, so the normalised kernel is 1: add twice the neighbour's belief
    first = [math.log(0.9) + 2 * 0.4, math.log(0.1) + 2 * 0.6]
    expected = math.exp(first[0]) / sum(math.exp(v) for v in first)
    assert out[0, 0, 0].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_wrong_voxel_is_mended_and_an_edge_of_the_image_kept(ndim):
    image = torch.zeros(1, *(8,) * ndim)
    image[:, 4:] = 5.0
    truth = (image[0] > 0).long()
    probs = torch.full((2, *(8,) * ndim), 0.3)
    probs.scatter_(0, truth[None], 0.7)
    wrong = (1, *(2,) * (ndim - 1))
    probs[(slice(None), *wrong)] = torch.tensor([0.4, 0.6])
    assert probs.argmax(0)[wrong] == 1
    out = refine(probs, image, (1.0,) * ndim)
    assert torch.equal(out.argmax(0), truth)
    torch.testing.assert_close(out.sum(0), torch.ones_like(out[0]))


def test_distance_is_in_mm():
    torch.manual_seed(0)
    probs, image = torch.randn(2, 6, 6).softmax(0), torch.randn(1, 6, 6)
    near = refine(probs, image, (1.0, 1.0))
    far = refine(probs.transpose(1, 2), image.transpose(1, 2), (1.0, 3.0)).transpose(1, 2)
    assert not torch.allclose(near, far, atol=1e-3)
    torch.testing.assert_close(far, refine(probs, image, (3.0, 1.0)))


def test_one_voxel_stays_and_mistakes_are_explained():
    probs = torch.tensor([0.3, 0.7]).view(2, 1, 1)
    torch.testing.assert_close(refine(probs, torch.zeros(1, 1, 1), (1.0, 1.0)), probs)
    with pytest.raises(ValueError, match="one grid"):
        refine(probs, torch.zeros(1, 1, 2), (1.0, 1.0))
    with pytest.raises(ConfigError, match=r"crf\.intensity_scale is 0"):
        CRF(intensity_scale=0)
    with pytest.raises(ConfigError, match=r"crf\.radius is 0"):
        CRF(radius=0)
    with pytest.raises(ConfigError, match=r"crf\.smoothness_weight is -1"):
        CRF(smoothness_weight=-1)


def test_each_region_is_a_field_of_its_own():
    torch.manual_seed(0)
    logits, image = torch.randn(2, 5, 6), torch.randn(1, 5, 6)
    got = refine_logits(logits, image, (1.0, 1.0), CRF(), regions=True).sigmoid()
    for channel, probs in zip(got, logits.sigmoid(), strict=True):
        two = refine(torch.stack((1 - probs, probs)), image, (1.0, 1.0))
        torch.testing.assert_close(channel, two[1])
    classes = refine_logits(logits, image, (1.0, 1.0), CRF(), regions=False).softmax(0)
    torch.testing.assert_close(classes, refine(logits.softmax(0), image, (1.0, 1.0)))


def test_what_is_too_large_is_refused_in_words():
    check_affordable("a", (64, 64), 3, 1, CRF(), 10**9)
    with pytest.raises(CaseError, match=r"a: .*CRF of 64 x 64 voxels takes 0\.00 GB, and 0\.00 GB"):
        check_affordable("a", (64, 64), 3, 1, CRF(), 1000)
    with pytest.raises(CaseError, match=r"9\.0e\+12 products.*infer\.crf\.radius smaller"):
        check_affordable("a", (256, 256, 256), 3, 1, CRF(radius=16), 10**12)


LONE = CRF(appearance_weight=0.0, smoothness_weight=8.0)
"""Takes away a voxel that stands alone, whatever the image shows."""


def lone_voxel(ndim):
    image = np.zeros((1, *(6,) * ndim), np.float32)
    image[(0, *(2,) * ndim)] = 1.0
    grid = Grid.of((6,) * ndim, np.eye(ndim + 1))
    how = {"case": "a", "crop_start": (0,) * ndim, "crop_stop": (6,) * ndim, "source": grid}
    return image, how


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_prediction_is_that_of_the_refined_probabilities(ndim):
    image, how = lone_voxel(ndim)
    plan = make_plan(spacing=(1.0,) * ndim, patch_size=(4,) * ndim)
    network = Threshold(ndim=ndim, in_channels=1, num_classes=2)
    plain = WindowSettings(precision="32-true")
    assert Predictor(network, plan, plain).predict(image, **how).indices.sum() == 1
    predictor = Predictor(network, plan, replace(plain, crf=LONE))
    found = predictor.predict(image, **how, maps=("classes",))
    assert found.indices.sum() == 0
    probs = predictor.logits(image).softmax(0)
    wanted = refine(probs, torch.from_numpy(image), plan.spacing, LONE)[1]
    np.testing.assert_allclose(found.maps["classes"][1] / 255, wanted.numpy(), atol=1 / 255)
    with pytest.raises(CaseError, match="nor behind a CRF"):
        predictor.predict(image, **how, maps=("disagreement",))


def test_the_stage_and_the_model_folder_do_the_same(tmp_path, monkeypatch):
    install(monkeypatch)
    plan = make_plan(spacing=(2.0, 1.0, 1.0), patch_size=(4, 4, 4))
    model = make_model(tmp_path / "trained", plan)
    case = resampled_case(tmp_path, "tests")

    def marked(crf):
        stage = Infer(precision="32-true", crf=crf)
        found = stage.run(Resampled(cases=(case,)), plan, model, LocalContext(tmp_path))
        return open_array(found.cases[0].pred).read_all()

    strong = CRF(appearance_weight=0.0, smoothness_weight=50.0, radius=4)
    assert marked(None).sum() == 16
    assert marked(strong).sum() == 0
    folder = write_model_folder(
        tmp_path / "model", plan=plan, model=model, rules=(), inference=replace(WINDOW, crf=strong)
    )
    predictor = load_predictor(read_model_folder(folder), "cpu")
    image = open_array(case.image).read_all()
    box = {"crop_start": case.crop_start, "crop_stop": case.crop_stop, "source": case.source}
    assert predictor.predict(image, case="tests", **box).indices.sum() == 0
    content = json.loads((folder / "model.json").read_text())
    assert content["inference"].pop("crf")["smoothness_weight"] == 50.0
    (folder / "model.json").write_text(json.dumps(content))  # as an earlier version wrote it
    assert load_predictor(read_model_folder(folder), "cpu").settings.crf is None
