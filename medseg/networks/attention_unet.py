"""Attention U-Net in 2-D and 3-D: additive gates on the skips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.arguments import divisor_of, level_geometry, per_level
from medseg.networks.blocks import CONV, crop_to, init_weights, make_norm, pad_to_divisor
from medseg.networks.layers import MAX_POOL
from medseg.networks.output import Prediction
from medseg.networks.unet_parts import Enlarge, relu_convs
from medseg.registry import nearest


class AttentionGate(nn.Module):
    """Additive attention [1]_: a weight in (0, 1) per voxel of a skip, from a coarser signal.

    ``skip * resize(sigmoid(psi(relu(w_x(skip) + w_g(gating)))))``, all three maps being 1x1
    convolutions, ``w_x`` strided onto the grid of ``gating``.

    Parameters
    ----------
    ndim : int
        2 or 3.
    channels, gating_channels : int
        Channels of the skip and of the gating signal.
    step : tuple of int
        How much finer the skip is than the gating signal, per axis.
    norm : {"none", "instance", "batch", "group"}
        Normalisation after each of the three convolutions; [1]_ has none.

    References
    ----------
    .. [1] Oktay et al., Attention U-Net: learning where to look for the pancreas, MIDL 2018,
       equations 1 and 2.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        gating_channels: int,
        *,
        step: tuple[int, ...],
        norm: str = "none",
    ) -> None:
        super().__init__()
        width = max(1, channels // 2)
        bias = norm == "none"
        conv = CONV[ndim]
        self.w_x = nn.Sequential(
            conv(channels, width, 1, step, bias=False),  # type: ignore[arg-type]
            make_norm(norm, ndim, width),
        )
        self.w_g = nn.Sequential(
            conv(gating_channels, width, 1, bias=bias), make_norm(norm, ndim, width)
        )
        self.psi = nn.Sequential(conv(width, 1, 1, bias=bias), make_norm(norm, ndim, 1))
        self.enlarge = Enlarge(step)

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        """Weigh ``skip`` (B, channels, *spatial) by ``gating`` (B, gating_channels, *coarse)."""
        weight = self.psi(torch.relu(self.w_x(skip) + self.w_g(gating))).sigmoid()
        out: Tensor = skip * self.enlarge(weight)
        return out


class AttentionUNet(nn.Module):
    """U-Net whose skips are gated by the decoder's coarser features before concatenation [1]_.

    Max-pooling down, linear interpolation and a convolution up. The finest skip is not gated, since
    it does not yet stand for anything [1]_. The default form's parameter count is not in the paper.
    MONAI's variant (5.91 M parameters in 3-D) is ``gating="fine", gate_finest=True,
    gate_norm="batch", decoder_convs=1, deep_supervision=False``, up to the kind of upsampling and
    normalisation.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths : sequence of int
        Feature channels of each level, finest first.
    decoder_convs : int or sequence of int
        Convolutions per decoder level, finest first, one entry less than levels.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Max-pooling and odd kernel per level and axis; the first stride is 1. Default: 1, then 2s;
        kernels of 3.
    norm, gate_norm : {"batch", "instance", "group", "none"}
        Normalisation after each convolution, and after those of the gates.
    gating : {"coarse", "fine"}
        What gates a skip: the decoder features of the level below as they are [1]_, or brought up
        to the skip's grid first.
    gate_finest : bool
        Gate the finest skip too.
    deep_supervision : bool
        In training, also return logits of the coarser decoder levels.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

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
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        decoder_convs: int | Sequence[int] = 2,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        norm: str = "batch",
        gate_norm: str = "none",
        gating: str = "coarse",
        gate_finest: bool = False,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        if gating not in ("coarse", "fine"):
            raise ConfigError(
                f"network.gating: there is no '{gating}'; {nearest(gating, ('coarse', 'fine'))}"
            )
        self.ndim = ndim
        self.gating = gating
        levels = len(widths)
        steps, kernels = level_geometry(widths, strides, kernel_sizes, ndim)
        self.divisor = divisor_of(steps)
        up = per_level(decoder_convs, levels - 1, "network.decoder_convs")
        before = (in_channels, *widths)
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
            self.gates.append(
                AttentionGate(ndim, width, signal, step=ratio, norm=gate_norm) if gated else _Open()
            )
            self.decoder.append(
                relu_convs(ndim, 2 * width, width, count=up[i], kernel=kernel, norm=norm)
            )
        heads = max(1, levels - 1) if deep_supervision else 1
        self.heads = nn.ModuleList(CONV[ndim](w, num_classes, 1) for w in widths[:heads])
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


class _Open(nn.Module):
    """A gate that lets everything through."""

    def forward(self, skip: Tensor, _gating: Tensor) -> Tensor:
        """Return ``skip``."""
        return skip
