"""Joint pyramid upsampling: the coarsest maps of any encoder, brought to a finer one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.arguments import per_axis
from medseg.networks.blocks import init_weights
from medseg.networks.encoders.base import Encoder
from medseg.networks.layers import ConvNormAct, Separable, resize, scaled


class JPU(Encoder):
    """Another encoder, undilated, with a finer last map made of its coarsest ones [1]_.

    It stands in for dilation: whatever reads the last map of an encoder reads it at
    ``output_stride``, while the stages before it run at their own strides.

    Parameters
    ----------
    build : callable
        Builds the encoder.
    ndim, in_channels : int
        Axes and channels of the image.
    width : float
        Multiplies all channels.
    output_stride : int or sequence of int, optional
        Maps at that stride or coarser are joined, at the size of the finest of them. Default:
        the last three maps.
    join_channels : int
        Of each map that is joined, and of each dilated branch, before ``width``.
    rates : sequence of int
        Of the dilated branches.
    norm : {"instance", "batch", "group", "none"}
    **arguments
        Of the encoder.

    References
    ----------
    .. [1] Wu et al., FastFCN: rethinking dilated convolution in the backbone for semantic
       segmentation, arXiv 1903.11816, section 3.3 and figure 4.
    """

    def __init__(
        self,
        *,
        build: Callable[..., Encoder],
        ndim: int,
        in_channels: int,
        width: float = 1.0,
        output_stride: int | Sequence[int] | None = None,
        join_channels: int = 512,
        rates: Sequence[int] = (1, 2, 4, 8),
        norm: str = "batch",
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.inner = build(ndim=ndim, in_channels=in_channels, width=width, norm=norm, **arguments)
        strides, kernel = self.inner.strides, self.inner.kernel
        self.first = max(0, len(strides) - 3)
        if output_stride is not None:
            limit = per_axis(output_stride, ndim, "network.arguments.output_stride")
            far = [i for i, s in enumerate(strides) if _reaches(s, limit)]
            self.first = far[0] if far else len(strides) - 1
        wide, joined = scaled(join_channels, width), self.inner.channels[self.first :]
        self.units = nn.ModuleList(
            ConvNormAct(ndim, c, wide, kernel=kernel, norm=norm) for c in joined
        )
        self.branches = nn.ModuleList(
            Separable(
                ndim,
                len(joined) * wide,
                wide,
                kernel=kernel,
                norm=norm,
                dilation=rate,
                between=False,
            )
            for rate in rates
        )
        self.channels = (*self.inner.channels[:-1], len(rates) * wide)
        self.strides = (*strides[:-1], strides[self.first])
        self.kernel = kernel
        self.units.apply(init_weights)
        self.branches.apply(init_weights)

    @property
    def divisor(self) -> tuple[int, ...]:
        """That of the encoder within."""
        return self.inner.divisor

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to the encoder's maps, the last one made finer."""
        maps = self.inner(image)
        seen = [f(x) for f, x in zip(self.units, maps[self.first :], strict=True)]
        joined = torch.cat([resize(x, seen[0].shape[2:]) for x in seen], dim=1)
        return [*maps[:-1], torch.cat([branch(joined) for branch in self.branches], dim=1)]


def _reaches(stride: tuple[int, ...], limit: tuple[int, ...]) -> bool:
    """Tell whether a stride is at the limit or past it, along some axis that has strides."""
    return any(s >= m and s > 1 for s, m in zip(stride, limit, strict=True))
