"""Context encoding: residuals to learnt codewords, and the gate that they give."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks import make_norm
from medseg.networks.layers import ConvNormAct


class Encoding(nn.Module):
    """The sum of a map's residuals to each of ``codes`` codewords, softly assigned [1]_.

    Parameters
    ----------
    channels, codes : int

    References
    ----------
    .. [1] Zhang, Xue and Dana, Deep TEN: texture encoding network, CVPR 2017, equations 2 and 3.
    """

    def __init__(self, channels: int, codes: int) -> None:
        super().__init__()
        bound = (channels * codes) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codes, channels).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.empty(codes).uniform_(-1, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *spatial) to (B, codes, C), in float32."""
        with torch.autocast(x.device.type, enabled=False):  # squared distances
            voxels, words = x.float().flatten(2), self.codewords.float()  # (B, C, N), (K, C)
            squared = voxels.square().sum(1, keepdim=True) + words.square().sum(1)[None, :, None]
            distance = squared - 2 * (words @ voxels)  # (B, K, N)
            share = (self.scale.float()[:, None] * distance).softmax(dim=1)
            # sum over n of share[k, n] * (x[n] - d[k])
            return share @ voxels.transpose(1, 2) - share.sum(-1, keepdim=True) * words


class ContextEncoding(nn.Module):
    """Encode a map and let the code amplify its channels [1]_.

    Parameters
    ----------
    ndim, channels, codes : int
    norm : str

    References
    ----------
    .. [1] Zhang et al., Context encoding for semantic segmentation, CVPR 2018, figure 2.
    """

    def __init__(self, ndim: int, channels: int, *, codes: int, norm: str) -> None:
        super().__init__()
        self.project = ConvNormAct(ndim, channels, channels, kernel=(1,) * ndim, norm=norm)
        self.encode = Encoding(channels, codes)
        self.norm = make_norm(norm, ndim, codes)  # of the codes, each over its components
        self.gate = nn.Linear(channels, channels)
        self.thin = (1,) * (ndim - 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, *spatial) to the same shape, and to the code (B, C)."""
        encoded = self.encode(self.project(x))  # (B, K, C)
        encoded = self.norm(encoded.reshape(*encoded.shape, *self.thin)).relu()
        code = encoded.flatten(2).mean(1)
        gate = self.gate(code).sigmoid()
        return (x + x * gate[(..., *(None,) * (x.ndim - 2))]).relu().to(x.dtype), code
