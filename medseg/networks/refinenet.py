"""RefineNet in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import CONV, make_norm, same_conv
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.encoders.base import Axes
from medseg.networks.layers import DROPOUT, MAX_POOL, resize, scaled


class RefineNet(EncoderNetwork):
    """Four cascaded blocks refine the coarse map with the finer ones of a ResNet [1]_.

    118 M parameters in 2-D on ResNet-101, as the paper's authors' form has it: two residual units
    at each input, three at each output, four poolings in a chain, 3x3 convolutions without bias
    between the blocks.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    encoder : str
        A key of `medseg.networks.encoders.ENCODERS`.
    width : float
        Multiplies the channels of encoder and blocks; 0.5 is a fair start in 3-D.
    channels : (int, int)
        Of the coarsest block and of the others, before ``width``.
    pools : int
        In each chain.
    head_norm : {"instance", "batch", "group", "none"}
        Of the convolutions of the blocks; the paper has none there and begins with a trained
        encoder.
    norm : {"instance", "batch", "group", "none"}
        Of the encoder.
    dropout : float
        Probability for a whole channel before the two coarsest blocks and the logits.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ...

    References
    ----------
    .. [1] Lin et al., RefineNet: multi-path refinement networks for high-resolution semantic
       segmentation, CVPR 2017, figures 2 and 3.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet101",
        width: float = 1.0,
        channels: Sequence[int] = (512, 256),
        pools: int = 4,
        head_norm: str = "none",
        norm: str = "batch",
        dropout: float = 0.5,
        **encoder_arguments: Any,
    ) -> None:
        pyramid = build_encoder(
            encoder,
            ndim=ndim,
            in_channels=in_channels,
            width=width,
            norm=norm,
            **encoder_arguments,
        )
        coarse, fine = (scaled(c, width) for c in channels)
        head = _Head(pyramid, num_classes, ndim, (coarse, fine), pools, head_norm, dropout)
        super().__init__(pyramid, head)
        self.ndim = ndim


class _Head(nn.Module):
    """The cascade, coarsest first, and logits from its last map."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        ndim: int,
        channels: tuple[int, int],
        pools: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        kernel, given = encoder.kernel, encoder.channels[:0:-1]  # coarsest first
        coarse, fine = channels
        widths = (coarse, *(fine,) * (len(given) - 1))
        self.reduce = nn.ModuleList(
            _conv(ndim, c, w, kernel, norm) for c, w in zip(given, widths, strict=True)
        )
        self.drop = nn.ModuleList(
            DROPOUT[ndim](dropout if i < 2 else 0.0) for i in range(len(given))
        )
        self.blocks = nn.ModuleList(
            _Block(ndim, w, widths[i - 1] if i else 0, kernel, pools, norm)
            for i, w in enumerate(widths)
        )
        margin = tuple(k // 2 for k in kernel)
        self.classify = nn.Sequential(
            DROPOUT[ndim](dropout),
            CONV[ndim](fine, num_classes, kernel, padding=margin),  # type: ignore[arg-type]
        )
        self.apply(_start_small)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the first stage's map."""
        below = None
        levels = zip(self.reduce, self.drop, self.blocks, maps[:0:-1], strict=True)
        for reduce, drop, block, x in levels:
            below = block(reduce(drop(x)), below)
        logits: Tensor = self.classify(below)
        return logits


class _Block(nn.Module):
    """Residual units on the level's map, fusion with the coarser one, pooling chain, more units."""

    def __init__(
        self, ndim: int, width: int, below: int, kernel: Axes, pools: int, norm: str
    ) -> None:
        super().__init__()
        self.adapt = nn.Sequential(*(_Residual(ndim, width, kernel, norm) for _ in range(2)))
        self.here = _conv(ndim, width, width, kernel, norm) if below else nn.Identity()
        self.below = _conv(ndim, below, width, kernel, norm) if below else None
        window = tuple(5 if k > 1 else 1 for k in kernel)
        margin = tuple(k // 2 for k in window)
        self.chain = nn.ModuleList(
            nn.Sequential(
                MAX_POOL[ndim](window, 1, margin), _conv(ndim, width, width, kernel, norm)
            )
            for _ in range(pools)
        )
        self.out = nn.Sequential(*(_Residual(ndim, width, kernel, norm) for _ in range(3)))

    def forward(self, x: Tensor, below: Tensor | None) -> Tensor:
        """Map (B, width, *spatial), and a coarser map, to (B, width, *spatial)."""
        x = self.here(self.adapt(x))
        if below is not None and self.below is not None:
            x = x + resize(self.below(below), x.shape[2:])
        x = link = x.relu()
        for pool in self.chain:  # chained residual pooling: each link pools the one before
            link = pool(link)
            x = x + link
        out: Tensor = self.out(x)
        return out


class _Residual(nn.Module):
    """ReLU and convolution, twice, and the input added."""

    def __init__(self, ndim: int, width: int, kernel: Axes, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            _conv(ndim, width, width, kernel, norm, bias=norm == "none"),
            nn.ReLU(),
            _conv(ndim, width, width, kernel, norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, *spatial) to the same shape."""
        out: Tensor = x + self.body(x)
        return out


def _conv(
    ndim: int, channels: int, width: int, kernel: Axes, norm: str, *, bias: bool = False
) -> nn.Sequential:
    """Return a convolution that keeps the size, and its norm."""
    return nn.Sequential(
        same_conv(ndim, channels, width, kernel, (1,) * ndim, bias=bias),
        make_norm(norm, ndim, width),
    )


def _start_small(module: nn.Module) -> None:
    """Draw weights as the authors do: the many unnormalised sums would else swell the map."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
