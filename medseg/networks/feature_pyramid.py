"""The feature pyramid: every map of an encoder with what the coarser ones know."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.blocks import CONV
from medseg.networks.encoders import Encoder
from medseg.networks.layers import ConvNormAct


class FeaturePyramid(nn.Module):
    """Maps from the second on through 1x1 convolutions, summed top down, then convolved [1]_.

    Parameters
    ----------
    encoder : Encoder
    channels : int
        Of every level.
    ndim : int

    References
    ----------
    .. [1] Lin et al., Feature pyramid networks for object detection, CVPR 2017, figure 3.
    """

    def __init__(self, encoder: Encoder, channels: int, *, ndim: int) -> None:
        super().__init__()
        kernel, given = encoder.kernel, encoder.channels[1:]
        self.laterals = nn.ModuleList(CONV[ndim](c, channels, 1) for c in given)
        self.smooth = nn.ModuleList(
            ConvNormAct(ndim, channels, channels, kernel=kernel, norm="none", activate=False)
            for _ in given
        )

    def pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the feature pyramid, finest first."""
        laterals = [f(x) for f, x in zip(self.laterals, maps[1:], strict=True)]
        for i in reversed(range(len(laterals) - 1)):  # top down, nearest as in the paper
            sizes = laterals[i].shape[2:]
            laterals[i] = laterals[i] + functional.interpolate(laterals[i + 1], sizes)
        return [f(x) for f, x in zip(self.smooth, laterals, strict=True)]
