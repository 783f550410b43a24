from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import CaseError
from medseg.geometry.volume import Grid
from medseg.inference.predictor import Predictor, WindowSettings, decoder, tiles_per_batch
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
