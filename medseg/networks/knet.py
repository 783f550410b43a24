"""K-Net (semantic) in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import CONV, init_weights
from medseg.networks.context.aspp import make_aspp
from medseg.networks.encoders import build_encoder
from medseg.networks.layers import scaled
from medseg.networks.output import Prediction
from medseg.networks.transformer import Attention, mlp


class KNet(EncoderNetwork):
    """The classifier's weights are kernels, updated by what their own masks show [1]_.

    On DeepLab v3: its context module and classifier make first masks and kernels; each round pools
    the map under every mask, updates the kernels by gates, lets them attend to each other, and
    makes new masks. The masks before each round have a loss of their own. Vectors under a mask are
    averaged, not summed as in [1]_, so that a larger image means no larger vectors. The number of
    parameters is not in the paper: unverified.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    encoder : str
        A key of `medseg.networks.encoders.ENCODERS`.
    width : float
        Multiplies the channels of encoder and heads; 0.5 is a fair start in 3-D.
    output_stride : int or sequence of int, optional
        Strides of the encoder beyond it turn into dilation.
    channels : int
        Of the context module and the kernels, before ``width``.
    rates : sequence of int, optional
        Dilations of the context module; by default from the output stride.
    rounds, heads : int
        Updates of the kernels, and attention heads in each.
    norm : {"instance", "batch", "group", "none"}
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...

    References
    ----------
    .. [1] Zhang et al., K-Net: towards unified image segmentation, NeurIPS 2021.
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet50_v1c",
        width: float = 1.0,
        output_stride: int | Sequence[int] | None = 8,
        channels: int = 512,
        rates: Sequence[int] | None = None,
        rounds: int = 3,
        heads: int = 8,
        norm: str = "batch",
        **encoder_arguments: Any,
    ) -> None:
        pyramid = build_encoder(
            encoder,
            ndim=ndim,
            in_channels=in_channels,
            width=width,
            norm=norm,
            output_stride=output_stride,
            **encoder_arguments,
        )
        wide = scaled(channels, width)
        context = make_aspp(pyramid, ndim, wide, rates=rates, norm=norm)
        updates = [KernelUpdate(ndim, wide, heads) for _ in range(rounds)]
        super().__init__(pyramid, _Head(context, CONV[ndim](wide, num_classes, 1), updates))
        self.ndim = ndim


class _Head(nn.Module):
    """Context, first masks, and the rounds that follow."""

    def __init__(self, context: nn.Module, classify: nn.Module, updates: list[Any]) -> None:
        super().__init__()
        self.context = context
        self.classify: Any = classify
        self.updates = nn.ModuleList(updates)
        self.context.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Prediction:
        """Return logits at the size of the coarsest map, and those before each round."""
        x = self.context(maps[-1])
        made = [self.classify(x)]
        kernels = self.classify.weight.flatten(1).expand(len(x), -1, -1)
        for update in self.updates:
            logits, kernels = update(x, made[-1], kernels)
            made.append(logits)
        return Prediction(made[-1], tuple(made[:-1]))


class KernelUpdate(nn.Module):
    """One round: pool under the masks, update by gates, attend, make new masks (section 3.2)."""

    def __init__(self, ndim: int, channels: int, heads: int) -> None:
        super().__init__()
        self.transform = CONV[ndim](channels, channels, 1)
        self.of_group = nn.Linear(channels, 2 * channels)
        self.of_kernel = nn.Linear(channels, 2 * channels)
        self.gates = nn.ModuleList(nn.Linear(channels, channels) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(4))
        self.fuse = nn.Sequential(
            nn.Linear(channels, channels), nn.LayerNorm(channels), nn.ReLU(inplace=True)
        )
        self.attention, self.attended = Attention(channels, heads), nn.LayerNorm(channels)
        self.feed, self.fed = mlp(channels, 4 * channels, nn.ReLU), nn.LayerNorm(channels)
        self.mask = nn.Sequential(
            nn.Linear(channels, channels, bias=False),
            nn.LayerNorm(channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
        )

    def forward(self, x: Tensor, masks: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return new masks and kernels.

        Parameters
        ----------
        x : float Tensor of shape (B, channels, *spatial)
        masks : float Tensor of shape (B, num_classes, *spatial)
            Logits.
        kernels : float Tensor of shape (B, num_classes, channels)
        """
        x = self.transform(x)
        seen = x.flatten(2)  # (B, C, N)
        given = masks.flatten(2).float()
        share = given.softmax(1) if given.shape[1] > 1 else given.sigmoid()
        share = share / share.sum(2, keepdim=True).clamp(min=1e-6)
        group = share.to(seen.dtype) @ seen.transpose(1, 2)  # (B, K, C)
        group_in, group_out = self.of_group(group).chunk(2, dim=2)
        kernel_in, kernel_out = self.of_kernel(kernels).chunk(2, dim=2)
        both = group_in * kernel_in
        keep = self.norms[0](self.gates[0](both)).sigmoid()
        take = self.norms[1](self.gates[1](both)).sigmoid()
        new = self.fuse(take * self.norms[2](group_out) + keep * self.norms[3](kernel_out))
        new = self.attended(new + self.attention(new))
        new = self.fed(new + self.feed(new))
        logits: Tensor = self.mask(new) @ seen
        return logits.view(*logits.shape[:2], *x.shape[2:]), new
