from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medseg.artefacts import ChannelNormalization
from medseg.errors import CaseError
from medseg.geometry.logits import logits_to_indices
from medseg.geometry.volume import Grid
from medseg.inference.air import air_values
from medseg.inference.decode import decoder
from medseg.inference.predictor import Predictor
from medseg.inference.window import WindowSettings, tiles_per_batch
from medseg.labels import Label, LabelScheme, Region
from tests.inference.toys import SCHEME, Threshold, make_plan

REGIONS = LabelScheme(
    labels=(Label(value=1, name="oedema"), Label(value=2, name="core")),
    regions=(Region(name="core", labels=("core",)), Region(name="all", labels=("oedema", "core"))),
)
EXACT = WindowSettings(precision="32-true")


def predictor(patch_size, network=None, settings=EXACT, **changes):
    plan = make_plan(spacing=(1.0,) * len(patch_size), patch_size=patch_size, **changes)
    return Predictor(network or Threshold(ndim=3, in_channels=1, num_classes=2), plan, settings)


def indices(predictor, image, source, start=None, stop=None):
    return predictor.indices(
        image.astype(np.float32),
        case="a",
        crop_start=start or (0,) * source.ndim,
        crop_stop=stop or source.shape,
        source=source,
    )


def test_softmax_takes_the_largest_logit():
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, 1.0, -3.0], [0.5, 3.0, -2.0]])
    assert decoder(SCHEME)(logits).tolist() == [1, 2, 0]
    assert decoder(SCHEME)(logits).dtype == torch.int16


def test_of_equal_logits_the_lower_class_wins():
    logits = torch.zeros(3, 70, 5)
    logits[0] = -1.0
    assert torch.equal(decoder(SCHEME)(logits), torch.ones(70, 5, dtype=torch.int16))


def test_regions_are_painted_from_wide_to_narrow():
    """Columns: nothing; all alone (oedema); both (core); core alone is painted all the same."""
    core, everything = [-1.0, -1.0, 2.0, 0.1], [-1.0, 3.0, 0.5, -2.0]
    assert decoder(REGIONS)(torch.tensor([core, everything])).tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 7)])
def test_unchanged_spacing_gives_the_network_voxel_by_voxel(shape):
    image = np.random.default_rng(0).random((1, *shape))
    grid = Grid.of(shape, np.eye(len(shape) + 1))
    pred = indices(predictor((4,) * len(shape)), image, grid)
    assert pred.dtype == np.int16
    assert np.array_equal(pred, image[0] > 0.5)


def test_outside_the_crop_is_background():
    grid = Grid.of((6, 5, 4), np.eye(4))
    pred = indices(predictor((4, 4, 4)), np.ones((1, 2, 3, 4)), grid, (1, 2, 0), (3, 5, 4))
    expected = np.zeros((6, 5, 4))
    expected[1:3, 2:5, 0:4] = 1
    assert np.array_equal(pred, expected)


def test_logits_are_interpolated_before_they_are_decoded():
    """Voxels 0 and 1 at twice the spacing: centres -0.25, .25, .75, 1.25 give 0, .25, .75, 1."""
    grid = Grid.of((4, 1, 1), np.eye(4))
    pred = indices(predictor((2, 1, 1)), np.array([0.0, 1.0]).reshape(1, 2, 1, 1), grid)
    assert pred.ravel().tolist() == [0, 0, 1, 1]
    low = predictor((2, 1, 1))
    low.network.threshold.data.fill_(0.2)
    assert indices(low, np.array([0.0, 1.0]).reshape(1, 2, 1, 1), grid).ravel().tolist() == [
        0, 1, 1, 1,
    ]  # fmt: skip


def test_along_the_coarse_axis_logits_are_repeated():
    low = predictor((2, 1, 1), coarse_axis=0)
    low.network.threshold.data.fill_(0.2)
    grid = Grid.of((4, 1, 1), np.eye(4))
    pred = indices(low, np.array([0.0, 1.0]).reshape(1, 2, 1, 1), grid)
    assert pred.ravel().tolist() == [0, 0, 1, 1]


def test_mirroring_uses_the_axes_of_the_plan():
    class FirstRow(nn.Module):
        def forward(self, image):
            out = torch.full_like(image, -1.0)
            out[:, :, 0] = 3.0  # flipped and averaged: rows 0 and 3 get 1, the others -1
            return torch.cat([-out, out], dim=1)

    grid = Grid.of((4, 3), np.eye(3))
    image = np.zeros((1, 4, 3))
    plain = predictor((4, 3), FirstRow())
    assert indices(plain, image, grid)[:, 0].tolist() == [1, 0, 0, 0]
    settings = WindowSettings(mirror=True, precision="32-true")
    both = predictor((4, 3), FirstRow(), settings)
    assert indices(both, image, grid)[:, 0].tolist() == [1, 0, 0, 1]
    across = predictor((4, 3), FirstRow(), settings, mirror_axes=(1,))
    assert indices(across, image, grid)[:, 0].tolist() == [1, 0, 0, 0]


class Scores(nn.Module):
    """Three smooth logits of one image channel."""

    def forward(self, image):
        thick = image.ndim == 5 and min(image.shape[2:]) > 2
        blurred = nn.functional.avg_pool3d(image, 3, 1, 1) if thick else image
        return torch.cat([blurred, 0.9 - blurred, 1.2 * blurred - 0.2], dim=1)


@pytest.mark.parametrize(
    ("size", "patch", "shape", "coarse_axis"),
    [
        ((23, 9, 8), (6, 4, 8), (40, 9, 11), None),  # swept along axis 0
        ((9, 8, 23), (4, 8, 6), (11, 8, 31), None),  # along axis 2
        ((9, 23, 8), (4, 6, 8), (5, 17, 8), 2),  # along axis 1, smaller, one axis coarse
        ((6, 23, 3), (4, 6, 8), (9, 30, 7), 1),  # padded; swept along the coarse axis
        ((5, 21, 6), (8, 1, 8), (5, 30, 9), None),  # slice by slice, padded
        ((21, 10), (6, 4), (30, 10), None),
        ((3, 2), (6, 4), (5, 7), None),  # smaller than a tile
    ],
)
def test_planes_decoded_one_by_one_equal_all_logits_decoded_at_once(
    size, patch, shape, coarse_axis
):
    generator = np.random.default_rng(0)
    image = generator.random((1, *size)).astype(np.float32)
    labels = tuple(Label(value=i, name=str(i)) for i in (1, 2))
    network = predictor(patch, Scores(), coarse_axis=coarse_axis, scheme=LabelScheme(labels=labels))
    found = indices(network, image, Grid.of(shape, np.eye(len(shape) + 1)))
    expected = logits_to_indices(
        network.logits(image), shape, decoder(network.scheme), coarse_axis=coarse_axis
    )
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(found, expected)


def test_air_is_known_for_ct_alone():
    ct = ChannelNormalization(scheme="ct", clip=(-1100.0, 300.0), mean=-100.0, std=200.0)
    clipped = ChannelNormalization(scheme="ct", clip=(-100.0, 300.0), mean=100.0, std=100.0)
    plain = ChannelNormalization(scheme="ct", mean=0.0, std=100.0)
    assert air_values([ct]) == pytest.approx((-850 / 200 + 0.05,))  # -950 HU, not -1100
    assert air_values([clipped]) == pytest.approx((-2 + 0.05,))  # all up to -100 HU is alike
    assert air_values([plain]) == pytest.approx((-9.5 + 0.05,))
    assert air_values([ct, ChannelNormalization(scheme="zscore")]) is None


def test_tiles_of_air_are_left_out_of_a_ct_unless_told():
    normalization = (ChannelNormalization(scheme="ct", clip=(-100.0, 200.0), std=100.0),)
    image = np.full((1, 24, 6, 6), -1.0)
    image[0, 2:5] = 1.0
    grid = Grid.of((24, 6, 6), np.eye(4))
    kind = {"case": "a", "crop_start": (0, 0, 0), "crop_stop": (24, 6, 6), "source": grid}
    run = {}
    for skip in (True, False):
        settings = WindowSettings(precision="32-true", skip_empty=skip)
        network = predictor((6, 6, 6), settings=settings, normalization=normalization)
        done = network.predict(image.astype(np.float32), **kind)
        assert np.array_equal(done.indices, image[0] > 0.5)
        assert set(done.times.seconds) == {"network", "decode"}
        run[skip] = done.tally
    assert run[False].run == run[True].run + run[True].empty == 7
    assert run[True].empty == 5  # tiles at 0 and 3 hold something


def test_several_networks_are_one_predictor():
    plan = make_plan(spacing=(1.0, 1.0), patch_size=(4, 4))
    folds = [Threshold(ndim=2, in_channels=1, num_classes=2) for _ in range(2)]
    folds[1].threshold.data.fill_(0.7)  # the mean of the logits is that of a threshold of 0.6
    image = np.array([[0.55, 0.65]])[None]
    together = Predictor(folds, plan, EXACT)
    assert indices(together, image, Grid.of((1, 2), np.eye(3))).tolist() == [[0, 1]]


def test_output_that_is_not_finite_sets_the_case_aside():
    image = np.zeros((1, 4, 4, 4))
    image[0, 1, 2, 3] = np.nan
    with pytest.raises(CaseError, match=r"case a: .*not finite"):
        indices(predictor((4, 4, 4)), image, Grid.of((4, 4, 4), np.eye(4)))


def test_out_of_memory_sets_the_case_aside_with_a_cure():
    class Hungry(nn.Module):
        def forward(self, image):
            raise torch.OutOfMemoryError("no")

    with pytest.raises(CaseError, match="batch_size=1"):
        indices(predictor((4, 4), Hungry()), np.zeros((1, 4, 4)), Grid.of((4, 4), np.eye(3)))


def test_tiles_per_batch():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert tiles_per_batch("auto", (64, 64, 64), cpu) == 2
    assert tiles_per_batch("auto", (128, 128, 128), gpu) == 4
    assert tiles_per_batch("auto", (256, 256, 256), cpu) == 1
    assert tiles_per_batch("auto", (8, 8), cpu) == 32
    assert tiles_per_batch(7, (8, 8), cpu) == 7
