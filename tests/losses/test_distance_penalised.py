from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.cross_entropy import cross_entropy
from medseg.losses.distance_penalised import (
    distance_penalised_cross_entropy,
    distance_penalty,
)

P_TRUE = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.9], dtype=torch.float64)
R7 = torch.tensor([[0, 0, 1, 1, 1, 0, 0]])
P_ONE = P_TRUE.where(R7[0] == 1, 1 - P_TRUE)
R7_LOGITS = torch.stack((1 - P_ONE, P_ONE)).log()[None]


def make(activation="softmax", spacing=None):
    regions = () if activation == "softmax" else ((1, 2), (2,))
    return build_loss({"name": "distance_penalised"}, activation, regions, spacing)


def by_scipy(label, num_classes, spacing):
    """One image: the definition, class by class."""
    result = np.zeros(label.shape)
    for c in range(num_classes):
        inside = label == c
        if not inside.any() or inside.all():
            continue
        d = distance_transform_edt(inside, sampling=spacing)
        low, high = d[inside].min(), d[inside].max()
        result[inside] = 1 if low == high else ((high - d) / (high - low))[inside]
    return result


def test_worked_row():
    assert make().target_field(R7).tolist() == [[0, 1, 1, 0, 1, 1, 0]]
    assert cross_entropy(R7_LOGITS, R7).item() == pytest.approx(0.4158290090, abs=1e-9)
    loss = make()(R7_LOGITS, R7)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(0.7285799244, abs=1e-9)  # and not the plain mean


def test_each_voxel_by_hand():
    penalty = torch.tensor([[0, 1, 1, 0, 1, 1, 0]])
    each = distance_penalised_cross_entropy(R7_LOGITS, R7, penalty, reduction="none")
    torch.testing.assert_close(each, -P_TRUE.log()[None] * (1 + penalty))


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((20,), None), ((12, 15), None), ((12, 15), (2.5, 0.7)), ((6, 9, 7), (1.0, 0.8, 3.0))],
)
def test_equals_the_definition_with_scipy(shape, spacing):
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 3, tuple(-(-n // 3) for n in shape)) for _ in range(3)]
    label = np.stack([np.kron(c, np.ones((3,) * len(shape), int)) for c in coarse])
    label = label[(slice(None), *(slice(n) for n in shape))]
    label[2][label[2] == 2] = 0  # a class is absent in the last image
    expected = np.stack([by_scipy(one, 3, spacing) for one in label])
    got = make(spacing=spacing).target_field(torch.from_numpy(label))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)
    assert len(np.unique(expected)) > 2


def test_spacing_decides_which_voxels_are_nearest():
    mask = torch.zeros(1, 1, 5, 5, dtype=torch.bool)
    mask[..., 1:4, 1:4] = True
    assert distance_penalty(mask, (4.0, 1.0))[0, 0, 1:4, 1:4].tolist() == [[1, 0, 1]] * 3
    assert distance_penalty(mask, (1.0, 4.0))[0, 0, 1:4, 1:4].tolist() == [
        [1] * 3,
        [0] * 3,
        [1] * 3,
    ]


def test_thin_objects_have_the_full_penalty_and_whole_images_none():
    assert make().target_field(torch.tensor([[0, 1, 0, 0]])).tolist() == [[1, 1, 1, 0]]
    assert make().target_field(torch.zeros(1, 4).long()).tolist() == [[0, 0, 0, 0]]
    assert make().target_field(torch.ones(1, 4).long()).tolist() == [[0, 0, 0, 0]]
    assert make().target_field(torch.tensor([[1]])).tolist() == [[0]]


def test_no_distance_runs_across_the_batch():
    alone = make().target_field(R7)
    pair = make().target_field(torch.cat((R7, torch.zeros_like(R7))))
    torch.testing.assert_close(pair[:1], alone)
    assert pair[1].abs().sum() == 0
    assert make()(R7_LOGITS, R7).isfinite()  # a batch of one is a batch


def test_lies_between_cross_entropy_and_twice_that():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 7, generator=generator)
    label = torch.randint(-1, 3, (2, 6, 7), generator=generator)
    plain, loss = cross_entropy(logits, label), make()(logits, label)
    assert plain < loss < 2 * plain


def test_a_perfect_prediction_costs_nothing():
    logits = 200.0 * torch.nn.functional.one_hot(R7, 2).movedim(-1, 1) - 100
    assert make()(logits, R7).item() == 0  # a softmax taken twice leaves 0.246


def test_ignored_voxels_are_background_of_the_map_and_weigh_nothing():
    label = torch.tensor([[0, 0, 1, 1, 1, -1, -1]])
    assert make().target_field(label).tolist() == [[0, 1, 1, 0, 1, 1, 0]]
    kept = slice(0, 5)
    factor = torch.tensor([1, 2, 2, 1, 2])
    expected = (-P_TRUE.log()[kept] * factor).sum() / 5
    torch.testing.assert_close(make()(R7_LOGITS, label), expected)


def test_nothing_to_count_is_zero_with_a_zero_gradient():
    logits = R7_LOGITS.clone().requires_grad_()
    loss = make()(logits, torch.full_like(R7, -1))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().sum() == 0


def test_a_field_made_ahead_is_the_same():
    for activation in ("softmax", "sigmoid"):
        loss = make(activation, (0.5,))
        field = loss.target_field(R7)
        torch.testing.assert_close(loss(R7_LOGITS, R7, field=field), loss(R7_LOGITS, R7))


def test_regions_and_their_outside_are_penalised():
    label = torch.tensor([[0, 0, 1, 2, 1, 0, 0]])
    field = make("sigmoid").target_field(label)[0]
    assert field[0].tolist() == [0, 1, 1, 0, 1, 1, 0]
    assert field[1].tolist() == [0, 0.5, 1, 1, 1, 0.5, 0]
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        R7_LOGITS, torch.stack((label > 0, label == 2), 1).double(), reduction="none"
    )
    torch.testing.assert_close(make("sigmoid")(R7_LOGITS, label), ((1 + field) * each).mean())


def test_gradients_are_those_of_the_formula():
    logits = R7_LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: make()(x, R7), (logits,))


def test_spacing_must_fit_the_image():
    with pytest.raises(ConfigError, match="one size in mm per axis"):
        make(spacing=(1.0, 1.0))(R7_LOGITS, R7)
