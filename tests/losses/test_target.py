from __future__ import annotations

import torch

from medseg.losses.target import merge_unannotated, one_hot, region_target, softmax_target


def test_ignored_voxels_become_background_that_does_not_count():
    index, valid = softmax_target(torch.tensor([[2, -1, 0]], dtype=torch.int16))
    assert index.tolist() == [[2, 0, 0]]
    assert valid.tolist() == [[True, False, True]]
    assert one_hot(index, 3)[0].int().tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]


def test_regions_unite_labels():
    label = torch.tensor([[0, 1, 2, -1]], dtype=torch.int16)
    truth, valid = region_target(label, ((1, 2), (2,)), None)
    assert truth[0].int().tolist() == [[0, 1, 1, 0], [0, 0, 1, 0]]
    assert valid[0].int().tolist() == [[1, 1, 1, 0]] * 2


def test_merging_adds_probabilities_and_leaves_the_others():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    annotated = torch.tensor([[True, False, True, False], [True, True, True, True]])
    before, after = logits.softmax(1), merge_unannotated(logits, annotated).softmax(1)
    torch.testing.assert_close(after[0, 0], before[0, [0, 1, 3]].sum(0))
    torch.testing.assert_close(after[0, 2], before[0, 2])
    assert after[0, [1, 3]].sum() == 0
    torch.testing.assert_close(after[1], before[1])
