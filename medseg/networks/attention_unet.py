"""Attention U-Net in 2-D and 3-D: additive gates on the skips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.arguments import per_level
from medseg.networks.attention_gate import AttentionGate, OpenGate
from medseg.networks.blocks import CONV, crop_to, init_weights, pad_to_divisor
from medseg.networks.layers import MAX_POOL
from medseg.networks.levels import LevelNetwork
from medseg.networks.output import Prediction
from medseg.networks.unet_parts import Enlarge, relu_convs
from medseg.registry import nearest


class AttentionUNet(LevelNetwork):
    """U-Net whose skips are gated by the decoder's coarser features before concatenation [1]_.

    Max-pooling down, linear interpolation and a convolution up. The finest skip is not gated, since
    it does not yet stand for anything [1]_. The default form's parameter count is not in the paper.
    MONAI's variant (5.91 M parameters in 3-D) is ``gating="fine", gate_finest=True,
    gate_norm="batch", decoder_convs=1, deep_supervision=False``, up to the kind of upsampling and
    normalisation.

    Parameters
    ----------
    widths, **arguments
        Of `medseg.networks.levels.LevelNetwork`; strides are those of max-pooling.
    decoder_convs : int or sequence of int
        Convolutions per decoder level, finest first, one entry less than levels.
    gate_norm : {"none", "batch", "instance", "group"}
        Normalisation after each convolution of the gates.
    gating : {"coarse", "fine"}
        What gates a skip: the decoder features of the level below as they are [1]_, or brought up
        to the skip's grid first.
    gate_finest : bool
        Gate the finest skip too.
    deep_supervision : bool
        In training, also return logits of the coarser decoder levels.

    References
    ----------
    .. [1] Oktay et al., Attention U-Net: learning where to look for the pancreas, MIDL 2018.

    Examples
    --------
    >>> import torch
    >>> net = AttentionUNet(ndim=2, in_channels=1, num_classes=2, widths=(4, 8, 8))
    >>> net(torch.zeros(1, 1, 9, 6)).aux[0].shape
    torch.Size([1, 2, 6, 4])
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        decoder_convs: int | Sequence[int] = 2,
        gate_norm: str = "none",
        gating: str = "coarse",
        gate_finest: bool = False,
        deep_supervision: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__(widths=widths, **arguments)
        if gating not in ("coarse", "fine"):
            raise ConfigError(
                f"network.arguments.gating: there is no '{gating}'; "
                f"{nearest(gating, ('coarse', 'fine'))}"
            )
        self.gating = gating
        ndim, steps, kernels, norm = self.ndim, self.steps, self.kernels, self.norm
        levels = len(widths)
        up = per_level(decoder_convs, levels - 1, "network.arguments.decoder_convs")
        before = (self.in_channels, *widths)
        self.encoder, self.pools = nn.ModuleList(), nn.ModuleList()
        self.ups, self.gates, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(widths):
            self.encoder.append(
                relu_convs(ndim, before[i], width, count=2, kernel=kernels[i], norm=norm)
            )
        for i, width in enumerate(widths[:-1]):  # finest first, like the encoder
            below, step, kernel = widths[i + 1], steps[i + 1], kernels[i]
            self.pools.append(MAX_POOL[ndim](step, step))
            smooth = relu_convs(ndim, below, width, count=1, kernel=kernel, norm=norm)
            self.ups.append(nn.Sequential(Enlarge(step), smooth))
            signal, ratio = (below, step) if gating == "coarse" else (width, (1,) * ndim)
            gated = i > 0 or gate_finest
            gate = AttentionGate(ndim, width, signal, step=ratio, norm=gate_norm) if gated else None
            self.gates.append(gate or OpenGate())
            self.decoder.append(
                relu_convs(ndim, 2 * width, width, count=up[i], kernel=kernel, norm=norm)
            )
        heads = max(1, levels - 1) if deep_supervision else 1
        self.heads = nn.ModuleList(CONV[ndim](w, self.num_classes, 1) for w in widths[:heads])
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        x = self.encoder[0](pad_to_divisor(image, self.divisor))
        skips = []
        for pool, convs in zip(self.pools, self.encoder[1:], strict=True):
            skips.append(x)
            x = convs(pool(x))
        maps = []  # coarsest first
        for level in reversed(range(len(self.decoder))):
            above = self.ups[level](x)
            skip = self.gates[level](skips[level], x if self.gating == "coarse" else above)
            x = self.decoder[level](torch.cat((skip, above), dim=1))
            maps.append(x)
        full = crop_to(self.heads[0](x), image.shape[2:])
        if self.training and len(self.heads) > 1:
            coarser = reversed(maps[:-1])
            aux = tuple(head(x) for head, x in zip(self.heads[1:], coarser, strict=True))
            return Prediction(full, aux)
        return full
