"""The worked cases as what region losses take: probabilities, target, where it counts, channels."""

from __future__ import annotations

import torch

from tests.losses.worked import B_LABEL, B_LOGITS, LABEL, LAST_IGNORED, PROBS, WITHOUT_2


def parts(label, channels):
    """Target, mask and known channels of class indices."""
    truth = torch.stack([label == c for c in range(channels)], dim=1)
    known = torch.ones(label.shape[0], channels, dtype=torch.bool)
    return truth, (label >= 0).unsqueeze(1), known


A = (PROBS, *parts(LABEL, 3))
A_WITHOUT_BACKGROUND = (PROBS[:, 1:], A[1][:, 1:], A[2], A[3][:, 1:])
A0 = (PROBS, *parts(WITHOUT_2, 3))
A_IGNORED = (PROBS, *parts(LAST_IGNORED, 3))
A_CROPPED = (PROBS.flatten(2)[..., :3], *parts(LABEL.flatten(1)[:, :3], 3))
PAIR = tuple(torch.cat(pair) for pair in zip(A, (PROBS.flip(1), *parts(WITHOUT_2, 3)), strict=True))
B = (
    B_LOGITS.sigmoid(),
    B_LABEL.bool().unsqueeze(1),
    torch.ones(1, 1, 4, dtype=torch.bool),
    torch.ones(1, 1, dtype=torch.bool),
)


def random_regions(shape, channels=3, seed=0, present=None):
    """Probabilities, a target of the first ``present`` classes, and full masks, in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape[0], channels, *shape[1:], generator=generator, dtype=torch.float64)
    label = torch.randint(0, present or channels, shape, generator=generator)
    return logits.softmax(1), *parts(label, channels)
