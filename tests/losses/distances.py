"""What the tests of the distance losses share: the row R of losses.md and random smooth masks."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

R_PROBS = torch.tensor([[[0.1, 0.2, 0.8, 0.6, 0.7, 0.1]]], dtype=torch.float64)
R_TRUTH = torch.tensor([[[0, 0, 1, 1, 0, 0]]]).bool()
KNOWN = torch.ones(1, 1, dtype=torch.bool)


def loss_of(function, probs=R_PROBS, truth=R_TRUTH, valid=None, known=None, **settings) -> float:
    """Return the value of a loss function, of R unless told otherwise."""
    valid = truth | True if valid is None else valid
    known = torch.ones(probs.shape[:2], dtype=torch.bool) if known is None else known
    return function(probs, truth, valid, known, **settings).item()


def scipy_field(mask: torch.Tensor, spacing) -> np.ndarray:
    """Return the distance to the nearest voxel of the other value, of one mask, with scipy."""
    one = mask.numpy()
    if one.all() or not one.any():
        return np.zeros(one.shape)
    measure = ndimage.distance_transform_edt
    return measure(one, sampling=spacing) + measure(~one, sampling=spacing)


def random_case(shape, channels=3, seed=0, ignored=False) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (B, C, *spatial) and label (B, *spatial) of smooth random shapes."""
    rng = np.random.default_rng(seed)
    smooth = (0,) + (1.5,) * (len(shape) - 1)
    label = np.stack(
        [ndimage.gaussian_filter(rng.standard_normal(shape), smooth) for _ in range(channels)]
    ).argmax(0)
    logits = np.stack(
        [ndimage.gaussian_filter(rng.standard_normal(shape), smooth) * 30 for _ in range(channels)],
        1,
    )
    if ignored:
        label[rng.random(shape) < 0.2] = -1
    return torch.from_numpy(logits), torch.from_numpy(label)
