from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medseg.losses import build_loss
from medseg.losses.cross_entropy import binary_cross_entropy, cross_entropy
from tests.losses.worked import B_LABEL, B_LOGITS, LABEL, LAST_IGNORED, LOGITS


def test_worked_values():
    assert cross_entropy(LOGITS, LABEL).item() == pytest.approx(0.4793306731, abs=1e-9)
    assert cross_entropy(LOGITS, LAST_IGNORED).item() == pytest.approx(0.4080585039, abs=1e-9)


def test_equals_torch():
    expected = functional.cross_entropy(LOGITS, LABEL)
    torch.testing.assert_close(cross_entropy(LOGITS, LABEL), expected)
    truth = B_LABEL.bool().unsqueeze(1)
    torch.testing.assert_close(
        binary_cross_entropy(B_LOGITS, truth, truth | True),
        functional.binary_cross_entropy_with_logits(B_LOGITS, truth.double()),
    )


def test_a_masked_channel_takes_no_part_in_the_mean():
    logits = torch.tensor([[[2.0, -1.0], [0.5, 0.5]]])
    truth = torch.tensor([[[True, False], [True, True]]])
    valid = torch.tensor([[[True, True], [False, False]]])
    alone = binary_cross_entropy(logits[:, :1], truth[:, :1], valid[:, :1])
    torch.testing.assert_close(binary_cross_entropy(logits, truth, valid), alone)


def test_gradient_is_probability_minus_truth_over_voxels():
    logits = LOGITS.clone().requires_grad_()
    cross_entropy(logits, LABEL).backward()
    truth = functional.one_hot(LABEL, 3).movedim(-1, 1)
    torch.testing.assert_close(logits.grad, (LOGITS.softmax(1) - truth) / 4)


def test_int16_labels_are_taken():
    loss = build_loss({"name": "cross_entropy"}, "softmax")
    assert loss(LOGITS, LABEL.short()).item() == pytest.approx(0.4793306731, abs=1e-6)
