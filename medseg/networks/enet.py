"""ENet in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import crop_to, init_weights, make_norm, pad_to_divisor, same_conv
from medseg.networks.enet_blocks import STRIPS, DownBottleneck, UpBottleneck, bottlenecks
from medseg.networks.stepped import SteppedNetwork
from medseg.networks.unpooling import make_upsampling, max_pool


class ENet(SteppedNetwork):
    """ENet [1]_: early downsampling, narrow bottlenecks, a small decoder that unpools to places.

    With 19 classes and 3 channels in 2-D it has 0.37 M parameters (0.35 to 0.37 are quoted;
    unverified by a build of its authors' code). Train it with class weights 1 / ln(1.02 + share).
    Upsampling is by interpolation unless asked for otherwise.

    Parameters
    ----------
    filters : int
        Channels of the first convolution; the pooled image is concatenated to it.
    widths : (int, int)
        Feature channels of stages 1 and 4, and of stages 2 and 3.
    regular : int
        Regular bottlenecks of stage 1 behind the one that pools.
    repeats : int
        How often the bottlenecks of ``dilations`` are run through: stages 2 and 3.
    dilations : sequence of int
        An even number of dilations. Each pair (p, q) makes four bottlenecks: regular, dilated by
        p, strips (one kernel of 5 along each axis in turn), dilated by q. Dilations past the
        coarsest map, an eighth of the image, see padding alone: choose less for small 3-D patches.
    dropout : (float, float)
        Share of maps dropped in stage 1, and later in the encoder.
    upsampling : {"resize", "transposed"}
        Interpolation and a convolution, or the paper's transposed convolution of as many weights.
    **arguments
        Of `medseg.networks.stepped.SteppedNetwork`; steps are those of the first block and of
        stages 1 and 2, and a kernel's side of 1 has no strip along its axis.

    References
    ----------
    .. [1] Paszke, Chaurasia, Kim and Culurciello, ENet: a deep neural network architecture for
       real-time semantic segmentation, arXiv 1606.02147, 2016, table 1 and figure 2.

    Examples
    --------
    >>> import torch
    >>> net = ENet(ndim=2, in_channels=1, num_classes=3, widths=(16, 32), repeats=1)
    >>> net.eval()(torch.zeros(1, 1, 9, 6)).shape
    torch.Size([1, 3, 9, 6])
    """

    def __init__(
        self,
        *,
        filters: int = 13,
        widths: Sequence[int] = (64, 128),
        regular: int = 4,
        repeats: int = 2,
        dilations: Sequence[int] = (2, 4, 8, 16),
        dropout: Sequence[float] = (0.01, 0.1),
        upsampling: str = "resize",
        **arguments: Any,
    ) -> None:
        _check(widths, dilations, dropout)
        super().__init__(3, **arguments)
        ndim, kernel, norm, in_channels = self.ndim, self.kernel, self.norm, self.in_channels
        (fine, coarse), (rarely, often) = widths, dropout
        first = filters + in_channels  # as wide as what stage 1 pools, so that its places fit
        bias = norm == "none"
        self.initial = same_conv(ndim, in_channels, filters, kernel, self.strides[0], bias=bias)
        self.initial_act = nn.Sequential(make_norm(norm, ndim, first), nn.PReLU(first))
        self.down1 = DownBottleneck(ndim, first, fine, kernel, self.strides[1], norm, rarely)
        self.stage1 = bottlenecks(ndim, fine, kernel, (1,) * regular, norm, rarely)
        self.down2 = DownBottleneck(ndim, fine, coarse, kernel, self.strides[2], norm, often)
        pairs = zip(dilations[::2], dilations[1::2], strict=True)
        pattern = tuple(d for p, q in pairs for d in (1, p, STRIPS, q))
        self.stage2 = bottlenecks(ndim, coarse, kernel, pattern * repeats, norm, often)
        self.up4 = UpBottleneck(ndim, coarse, fine, kernel, self.strides[2], norm, upsampling)
        self.stage4 = bottlenecks(ndim, fine, kernel, (1, 1), norm, 0.0)
        self.up5 = UpBottleneck(ndim, fine, first, kernel, self.strides[1], norm, upsampling)
        self.stage5 = bottlenecks(ndim, first, kernel, (1,), norm, 0.0)
        grow, classes = self.strides[0], self.num_classes
        self.head = make_upsampling(
            upsampling, ndim, first, classes, kernel=kernel, step=grow, bias=True
        )
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        x = pad_to_divisor(image, self.divisor)
        pooled, _ = max_pool(x, self.strides[0])
        x = self.initial_act(torch.cat((self.initial(x), pooled), dim=1))
        x, places1 = self.down1(x)
        x, places2 = self.down2(self.stage1(x))
        x = self.stage4(self.up4(self.stage2(x), places2))
        x = self.stage5(self.up5(x, places1))
        return crop_to(self.head(x), image.shape[2:])


def _check(widths: Sequence[int], dilations: Sequence[int], dropout: Sequence[float]) -> None:
    """Refuse settings that the parts could not explain."""
    if len(widths) != 2 or min(widths) < 1:
        raise ConfigError(f"network.arguments.widths: {widths!r} must be two positive integers")
    if len(dilations) % 2 or any(d < 1 for d in dilations):
        raise ConfigError(
            f"network.arguments.dilations: {dilations!r} must be an even number of positive "
            "integers"
        )
    if len(dropout) != 2 or not all(0 <= share < 1 for share in dropout):
        raise ConfigError(f"network.arguments.dropout: {dropout!r} must be two shares in [0, 1)")
