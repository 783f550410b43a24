from __future__ import annotations

import pytest
import torch
from monai.losses import TverskyLoss as MonaiTversky

from medseg.losses.asymmetric import AsymmetricSimilarityLoss, asymmetric_similarity_loss
from medseg.losses.dice import dice_loss
from tests.losses.region_cases import A_CROPPED, A_IGNORED, A, random_regions
from tests.losses.worked import LABEL, LOGITS


def test_worked_values():
    assert asymmetric_similarity_loss(*A).item() == pytest.approx(0.3811080096, abs=1e-9)
    module = AsymmetricSimilarityLoss("softmax", include_background=True)
    assert module(LOGITS, LABEL).item() == pytest.approx(0.3811080096, abs=1e-9)


@pytest.mark.parametrize("shape", [(3, 6, 7), (2, 3, 4, 5)])
def test_equals_monai_tversky(shape):
    case = random_regions(shape)
    peer = MonaiTversky(alpha=1 / 3.25, beta=2.25 / 3.25, smooth_nr=1e-5, smooth_dr=1e-5)
    ours = asymmetric_similarity_loss(*case)
    torch.testing.assert_close(ours, peer(case[0], case[1].double()))


def test_a_beta_above_one_asks_for_recall():
    # With beta^2 on the false positives, as in one peer, it would ask for precision.
    yes = torch.ones(1, 1, dtype=torch.bool)
    truth = torch.tensor([[[True, True, False, False]]])
    missed = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    invented = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
    for probs, tp, fp, fn in ((missed, 1, 0, 1), (invented, 2, 1, 0)):
        f2 = 5 * tp / (5 * tp + 4 * fn + fp)  # the F-measure of beta 2
        loss = asymmetric_similarity_loss(probs, truth, truth | True, yes, beta=2.0, smooth=0)
        assert loss.item() == pytest.approx(1 - f2)


def test_a_beta_of_one_is_dice():
    case = random_regions((2, 6, 7))
    ours = asymmetric_similarity_loss(*case, beta=1.0, smooth=0)
    torch.testing.assert_close(ours, dice_loss(*case, smooth=0))


def test_ignored_voxels_are_as_if_cut_off():
    torch.testing.assert_close(
        asymmetric_similarity_loss(*A_IGNORED), asymmetric_similarity_loss(*A_CROPPED)
    )
