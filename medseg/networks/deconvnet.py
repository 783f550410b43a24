"""DeconvNet in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.arguments import per_axis
from medseg.networks.blocks import CONV, TRANSPOSED, init_weights, make_norm
from medseg.networks.mirror import MirrorNetwork, conv_row, vgg_counts


class DeconvNet(MirrorNetwork):
    """DeconvNet [1]_: VGG16 with its two dense layers as convolutions, then all of it mirrored.

    The deconvolutions of the paper have step 1, that is, they are convolutions; the one that leads
    back from the dense layers is a transposed convolution. The dense layers take ``dense_kernel``
    voxels of the coarsest map (7, an image of 224) and pad nothing: a smaller image is padded to
    that size. One whose coarsest map would then be a single voxel is padded to two of them, so that
    batch norm works with one image.

    In 2-D with 21 classes it has 252 M parameters (the paper's number, unverified by a build of its
    authors' code). In 3-D the 7^3 window makes that 1.5 G: choose a smaller ``dense_kernel`` and
    ``dense_width``.

    Parameters
    ----------
    widths, **arguments
        Of `medseg.networks.mirror.MirrorNetwork`.
    convs : int or sequence of int, optional
        Convolutions per level, in the encoder as in the decoder. Default: VGG16's 2, 2, 3, 3, 3.
    dense_width : int
        Channels of the two dense layers.
    dense_kernel : int or tuple of int
        Window of the first dense layer on the coarsest map.

    Attributes
    ----------
    smallest : tuple of int
        Each spatial size is padded to at least this.

    References
    ----------
    .. [1] Noh, Hong and Han, Learning deconvolution network for semantic segmentation, ICCV 2015,
       figure 2 and the table of its supplement.

    Examples
    --------
    >>> import torch
    >>> net = DeconvNet(ndim=2, in_channels=1, num_classes=3, widths=(4, 8), dense_width=8)
    >>> net.eval()(torch.zeros(1, 1, 9, 6)).shape
    torch.Size([1, 3, 9, 6])
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        convs: int | Sequence[int] | None = None,
        dense_width: int = 4096,
        dense_kernel: int | Sequence[int] = 7,
        **arguments: Any,
    ) -> None:
        super().__init__(widths=widths, **arguments)
        counts = vgg_counts(convs, len(widths))
        ndim, kernel, norm = self.ndim, self.kernel, self.norm
        window = per_axis(dense_kernel, ndim, "network.arguments.dense_kernel")
        self.smallest = tuple(d * w for d, w in zip(self.divisor, window, strict=True))
        for level, (width, count) in enumerate(zip(widths, counts, strict=True)):
            above = self.in_channels if level == 0 else widths[level - 1]
            back = width if level == 0 else above
            row = (width,) * count
            self.encoder.append(conv_row(ndim, (above, *row), kernel, norm))
            self.decoder.append(conv_row(ndim, (*row, back), kernel, norm))
        wide, deep = dense_width, widths[-1]
        self.dense = nn.Sequential(
            *_unit(ndim, CONV[ndim](deep, wide, window), wide, norm),  # type: ignore[arg-type]
            *_unit(ndim, CONV[ndim](wide, wide, 1), wide, norm),
            *_unit(ndim, TRANSPOSED[ndim](wide, deep, window), deep, norm),  # type: ignore[arg-type]
        )
        self.head = CONV[ndim](widths[0], self.num_classes, 1)
        self.apply(init_weights)

    def between(self, x: Tensor) -> Tensor:
        """Map the coarsest map (B, widths[-1], *spatial) through the dense layers and back."""
        out: Tensor = self.dense(x)
        return out

    def pad(self, image: Tensor) -> Tensor:
        """Pad to the divisor, to the smallest size, and to two voxels behind the dense layers."""
        x = super().pad(image)
        target = [max(n, least) for n, least in zip(x.shape[2:], self.smallest, strict=True)]
        if target == list(self.smallest):
            target[-1] += self.divisor[-1]
        missing = [t - n for t, n in zip(target, x.shape[2:], strict=True)]
        pairs = [p for m in reversed(missing) for p in (0, m)]
        return functional.pad(x, pairs, mode="replicate") if any(missing) else x


def _unit(ndim: int, conv: nn.Module, width: int, norm: str) -> tuple[nn.Module, ...]:
    """Return the convolution with norm and ReLU."""
    return conv, make_norm(norm, ndim, width), nn.ReLU()
