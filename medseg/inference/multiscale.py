"""Test-time scaling: an image at several sizes, the mean of what the network says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn.functional import interpolate

MODE = {1: "linear", 2: "bilinear", 3: "trilinear"}
LEAST = 1e-7
"""Probabilities are kept this far from 0 and 1, so that their logarithms are finite."""


def multiscale_logits(
    image: Tensor,
    scales: Sequence[float],
    predict: Callable[[Tensor], Tensor],
    *,
    regions: bool,
    advance: Callable[[float], None] | None = None,
) -> Tensor:
    """Predict an image at several scales and average the probabilities.

    Each scale's logits are brought back to the image's size before the softmax (the sigmoid for
    regions), as published multi-scale results are.

    Parameters
    ----------
    image : float Tensor of shape (C, *spatial)
    scales : sequence of float
        Factors of the size; 1 is the image as it is.
    predict : callable
        Image of any size to logits (num_classes, *its size).
    regions : bool
        Sigmoid in place of softmax.
    advance : callable, optional
        Called with the share of the scales done since its last call.

    Returns
    -------
    float32 Tensor of shape (num_classes, *spatial)
        Values whose softmax (sigmoid) is the mean.
    """
    size = tuple(image.shape[1:])
    total: Tensor | None = None
    for scale in scales:
        sides = [max(1, round(n * scale)) for n in size]
        logits = scaled(predict(scaled(image, sides)).float(), size)
        probs = logits.sigmoid() if regions else logits.softmax(0)
        total = probs if total is None else total.add_(probs)
        if advance is not None:
            advance(1 / len(scales))
    if total is None:
        raise ValueError("there must be at least one scale")
    mean = total.div_(len(scales)).clamp_(LEAST, 1 - LEAST)
    return mean.logit() if regions else mean.log()


def scaled(values: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate (C, *spatial) linearly to a size; the same tensor where it has that already."""
    if tuple(values.shape[1:]) == tuple(size):
        return values
    smooth = interpolate(values[None], size=tuple(size), mode=MODE[len(size)], align_corners=False)
    return smooth[0]
