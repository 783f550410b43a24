"""Hide a part of an image."""

from __future__ import annotations

from torch import Tensor


def erase_box(image: Tensor, values: Tensor) -> Tensor:
    """Fill a box with the mean of its image and channel; the label is not touched.

    Parameters
    ----------
    image : float Tensor of shape (n, C, *spatial)
    values : float Tensor of shape (n, 2 * ndim)
        Share of each side that the box takes, then where it lies: 0 at the start, 1 at the end.

    References
    ----------
    .. [1] Zhong et al., Random erasing data augmentation, AAAI 2020.
    """
    out, size = image.clone(), image.shape[2:]
    ndim = len(size)
    means = image.flatten(2).mean(2)
    for part, row, mean in zip(out, values.tolist(), means, strict=True):
        box = []
        for n, share, place in zip(size, row[:ndim], row[ndim:], strict=True):
            side = min(n, max(1, round(n * share)))
            start = round((n - side) * place)
            box.append(slice(start, start + side))
        part[(slice(None), *box)] = mean.view(-1, *(1,) * ndim)
    return out
