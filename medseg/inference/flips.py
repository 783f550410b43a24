"""Test-time flips: what a network says of the mirrored images, turned back, and the mean of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn


def all_flips(axes: Sequence[int]) -> list[list[int]]:
    """List the subsets of spatial axes as axes of a batch (B, C, *spatial), none first.

    Examples
    --------
    >>> all_flips((0, 2))
    [[], [2], [4], [2, 4]]
    """
    return [
        [axis + 2 for axis in chosen]
        for count in range(len(axes) + 1)
        for chosen in itertools.combinations(axes, count)
    ]


def flipped(network: nn.Module, inputs: Tensor, axes: Sequence[int]) -> Iterator[Tensor]:
    """Yield a network's logits (B, num_classes, *patch) of all flips, each turned back.

    The first are those of the inputs as they are, and may be a tensor that the network keeps.
    """
    for flip in all_flips(axes):
        yield network(inputs.flip(flip)).flip(flip) if flip else network(inputs)


def predict_mirrored(
    network: nn.Module,
    inputs: Tensor,
    axes: Sequence[int],
    told: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Average a network's logits over all flips of the given spatial axes.

    Parameters
    ----------
    network : nn.Module
        Maps (B, C, *patch) to logits (B, num_classes, *patch).
    inputs : float Tensor of shape (B, C, *patch)
    axes : sequence of int
        Spatial axes to flip.
    told : callable, optional
        Is given each flip's logits, before they are averaged.

    Returns
    -------
    float Tensor of shape (B, num_classes, *patch)
        float32 where there are flips, else what the network returns.
    """
    total: Tensor | None = None
    for logits in flipped(network, inputs, axes):
        if told is not None:
            told(logits)
        if not axes:
            return logits
        total = logits.float().clone() if total is None else total.add_(logits)
    assert total is not None  # there is always the flip of no axis
    return total.div_(2 ** len(axes))
