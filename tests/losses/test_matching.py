from __future__ import annotations

import math

import pytest
import torch

from medseg.errors import ConfigError
from medseg.labels import IGNORE_INDEX
from medseg.losses import build_loss
from medseg.losses.deep_supervision import supervise
from medseg.losses.matching import matching_loss
from medseg.networks.maskformer import MaskFormer

DICE_CE = build_loss({"name": "dice_ce"}, "softmax")
LOSS_WEIGHTS = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}


def extras(classes, masks, layer=0):
    """Pack classes (B, Q, K + 1) and masks (B, Q, *s) as a network hands them over."""
    ones = (1,) * (masks.ndim - 2)
    return {
        f"query_classes_{layer}": classes.flatten(1).reshape(len(classes), -1, *ones),
        f"query_masks_{layer}": masks,
    }


def test_queries_that_say_nothing_by_hand():
    """Two voxels of two classes, two queries, all scores 0: each probability is one half."""
    label = torch.tensor([[[0, 1]]])
    got = matching_loss(DICE_CE, extras(torch.zeros(1, 2, 3), torch.zeros(1, 2, 1, 2)), label)
    focal = (0.25 + 0.75) * 0.5**2 * math.log(2) / 2
    dice = 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
    assert got.item() == pytest.approx(math.log(3) + 20 * focal + dice, abs=1e-6)
    four = torch.zeros(1, 4, 3)  # two more queries are left over; "none" weighs 0.1 of a class
    got = matching_loss(DICE_CE, extras(four, torch.zeros(1, 4, 1, 2)), label)
    assert got.item() == pytest.approx(math.log(3) + 20 * focal + dice, abs=1e-6)
    four[..., 2] = 5.0  # all say "none": right for two, wrong for two
    got = matching_loss(DICE_CE, extras(four, torch.zeros(1, 4, 1, 2)), label)
    total = math.log(2 + math.exp(5))
    named = (2 * total + 0.1 * 2 * (total - 5)) / 2.2
    assert got.item() == pytest.approx(named + 20 * focal + dice, abs=1e-5)


@pytest.mark.parametrize("sizes", [(4, 6), (4, 2, 6)])
def test_the_right_answer_costs_nothing_whichever_query_gives_it(sizes):
    torch.manual_seed(0)
    label = torch.randint(0, 3, (2, *sizes))
    classes = torch.full((2, 5, 4), -20.0)
    masks = torch.randn(2, 5, *sizes)
    for b in range(2):
        for q, name in enumerate((3, 1, 0, 3, 2)):  # 3 is "none"
            classes[b, q, name] = 20.0
            if name < 3:
                masks[b, q] = torch.where(label[b] == name, 30.0, -30.0)
    assert matching_loss(DICE_CE, extras(classes, masks), label).item() == pytest.approx(
        0, abs=1e-4
    )
    torch.manual_seed(1)
    classes, masks = torch.randn(2, 5, 4), torch.randn(2, 5, *sizes)
    one = matching_loss(DICE_CE, extras(classes, masks), label)
    order = torch.tensor([3, 0, 4, 2, 1])
    other = matching_loss(DICE_CE, extras(classes[:, order], masks[:, order]), label)
    torch.testing.assert_close(one, other)
    both = extras(classes, masks) | extras(classes[:, order], masks[:, order], layer=1)
    torch.testing.assert_close(matching_loss(DICE_CE, both, label), 2 * one)


def test_agrees_with_hugging_face():
    pytest.importorskip("transformers")
    from transformers.models.maskformer import modeling_maskformer as theirs

    torch.manual_seed(0)
    classes, masks = torch.randn(2, 6, 4), torch.randn(2, 6, 5, 7)
    label = torch.randint(0, 3, (2, 5, 7))
    label[1][label[1] == 1] = 2  # the second image lacks a class
    matcher = theirs.MaskFormerHungarianMatcher(cost_class=1.0, cost_dice=1.0, cost_mask=20.0)
    weights = {"loss_cross_entropy": 1.0, "loss_mask": 20.0, "loss_dice": 1.0}
    loss = theirs.MaskFormerLoss(3, matcher, weights, eos_coef=0.1)
    shown = [torch.unique(one) for one in label]
    truth = [
        torch.stack([(one == c).float() for c in found])
        for one, found in zip(label, shown, strict=True)
    ]
    wanted = sum(weights[k] * v for k, v in loss(masks, classes, truth, shown).items())
    got = matching_loss(DICE_CE, extras(classes, masks), label)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_agrees_with_hugging_faces_mask2former(monkeypatch):
    """Theirs compares masks at drawn points; here these are all pixels, so nothing is drawn."""
    pytest.importorskip("transformers")
    from transformers.models.mask2former import configuration_mask2former as settings
    from transformers.models.mask2former import modeling_mask2former as theirs

    torch.manual_seed(0)
    classes, masks = torch.randn(2, 6, 4), torch.randn(2, 6, 5, 7)
    label = torch.randint(0, 3, (2, 5, 7))
    label[1][label[1] == 1] = 2  # the second image lacks a class
    rows, columns = torch.meshgrid(torch.arange(5) / 5 + 0.1, torch.arange(7) / 7 + 1 / 14,
                                   indexing="ij")  # fmt: skip
    pixels = torch.stack((columns, rows), -1).reshape(1, 35, 2)
    loss = theirs.Mask2FormerLoss(
        settings.Mask2FormerConfig(num_labels=3, train_num_points=35), LOSS_WEIGHTS
    )
    monkeypatch.setattr(
        loss, "sample_points_using_uncertainty", lambda x, *_: pixels.expand(len(x), -1, -1)
    )
    shown = [torch.unique(one) for one in label]
    truth = [
        torch.stack([(one == c).float() for c in found])
        for one, found in zip(label, shown, strict=True)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda *_, **__: pixels)
        terms = loss(masks, classes, truth, shown)
    wanted = sum(LOSS_WEIGHTS[k] * v for k, v in terms.items())
    given = {name.replace("s_0", "s_ce_0"): x for name, x in extras(classes, masks).items()}
    got = matching_loss(DICE_CE, given, label)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    assert not torch.isclose(got, matching_loss(DICE_CE, extras(classes, masks), label))


def test_what_is_ignored_counts_nowhere():
    torch.manual_seed(0)
    label = torch.randint(0, 2, (1, 4, 4))
    label[0, 2:] = IGNORE_INDEX
    classes, masks = torch.randn(1, 3, 3), torch.randn(1, 3, 4, 4)
    one = matching_loss(DICE_CE, extras(classes, masks), label)
    masks[0, :, 2:] = 7.0
    torch.testing.assert_close(matching_loss(DICE_CE, extras(classes, masks), label), one)
    nothing = matching_loss(DICE_CE, extras(classes, masks), torch.full_like(label, IGNORE_INDEX))
    said = torch.nn.functional.cross_entropy(classes[0], torch.full((3,), 2))
    torch.testing.assert_close(nothing, said)


def test_more_segments_than_queries_is_no_failure():
    label = torch.arange(4).reshape(1, 2, 2)
    got = matching_loss(DICE_CE, extras(torch.randn(1, 2, 5), torch.randn(1, 2, 2, 2)), label)
    assert torch.isfinite(got)


def test_regions_and_partial_annotation_are_refused():
    given, label = extras(torch.randn(1, 2, 3), torch.randn(1, 2, 2, 2)), torch.zeros(1, 2, 2)
    regions = build_loss({"name": "dice_ce"}, "sigmoid", [(1, 2), (2,)])
    with pytest.raises(ConfigError, match="regions overlap"):
        matching_loss(regions, given, label.long())
    with pytest.raises(ConfigError, match="annotated for every label"):
        matching_loss(DICE_CE, given, label.long(), annotated=torch.tensor([[True, False]]))


SMALL = {"encoder": "resnet18", "width": 0.125, "channels": 16, "heads": 2, "hidden": 32}


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_network_learns_by_it_alone(ndim):
    """Every parameter has a gradient, and the loss of one image falls."""
    torch.manual_seed(0)
    sizes = (32,) * ndim
    network = MaskFormer(
        ndim=ndim, in_channels=1, num_classes=2, layers=2, queries=6, matching=True, **SMALL
    )
    label = torch.zeros(2, *sizes, dtype=torch.long)
    label[:, 8:24, 8:20] = 1
    image = label[:, None].float() + 0.1 * torch.randn(2, 1, *sizes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    seen = []
    for _ in range(12 if ndim == 2 else 4):
        prediction = network(image)
        assert not prediction.aux
        loss, terms = supervise(DICE_CE, prediction.logits, (), label, extras=prediction.extras)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in network.parameters())
        optimizer.step()
        seen.append(loss.item())
    assert torch.equal(terms["matching"], loss.detach())
    assert min(seen[1:]) < seen[0]
    assert network.eval()(image).shape == (2, 2, *sizes)


def test_without_matching_the_network_is_as_it_was():
    torch.manual_seed(0)
    plain = MaskFormer(ndim=2, in_channels=1, num_classes=2, layers=2, queries=6, **SMALL)
    torch.manual_seed(0)
    other = MaskFormer(
        ndim=2, in_channels=1, num_classes=2, layers=2, queries=6, matching=True, **SMALL
    )
    image = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(plain.train()(image).logits, other.train()(image).logits)
    assert not plain(image).extras
    assert len(plain(image).aux) == 1
