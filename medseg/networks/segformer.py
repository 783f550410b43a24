"""SegFormer in 2-D and 3-D: a Mix Transformer and a decoder of linear layers alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.blocks import CONV, crop_to, make_norm, pad_to_divisor
from medseg.networks.mit import MiT

_LINEAR = {2: "bilinear", 3: "trilinear"}
_DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}


class SegFormer(nn.Module):
    """SegFormer [1]_: MiT encoder, All-MLP decoder; the defaults are the form B0.

    Each map of the pyramid goes through a linear layer, is resized to the finest one (a quarter
    of the image), all are fused by one more, and the logits are resized to the image. Any input
    size is padded to `divisor` and cropped back. The registry has the forms B0 to B5.

    Millions of parameters in 2-D with 3 input channels and 150 classes (ADE20K): 3.75 (B0),
    13.72 (B1), 27.46 (B2), 47.34 (B3), 64.11 (B4) and 84.71 (B5).

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths, depths, heads : sequence of int
        Channels, blocks and attention heads of each stage, finest first.
    strides, reductions : sequence of (int or tuple of int), optional
        Per stage and axis; see `medseg.networks.mit.MiT`. An axis that is thin gets 1s.
    decoder_channels : int
        Channels of the decoder: 256 for B0 and B1, 768 from B2 on. (Some ports keep 256; B5 then
        has 82.01 million parameters with 150 classes.)
    norm : {"batch", "instance", "group", "none"}
        Normalisation of the fused map, the only one that is not a layer norm.
    drop_path, dropout : float
        Probability in training to skip a branch of the encoder (growing to this with depth), and
        to drop a channel before the classifier.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

    References
    ----------
    .. [1] Xie et al., SegFormer: simple and efficient design for semantic segmentation with
       transformers, NeurIPS 2021.

    Examples
    --------
    >>> import torch
    >>> net = SegFormer(ndim=2, in_channels=1, num_classes=2)
    >>> net.divisor
    (32, 32)
    >>> net.eval()(torch.zeros(1, 1, 33, 20)).shape
    torch.Size([1, 2, 33, 20])
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 5, 8),
        strides: Sequence[int | Sequence[int]] | None = None,
        reductions: Sequence[int | Sequence[int]] | None = None,
        decoder_channels: int = 256,
        norm: str = "batch",
        drop_path: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.mode = _LINEAR[ndim]
        self.encoder = MiT(
            ndim=ndim,
            in_channels=in_channels,
            widths=widths,
            depths=depths,
            heads=heads,
            strides=strides,
            reductions=reductions,
            drop_path=drop_path,
        )
        self.divisor = self.encoder.divisor
        self.project = nn.ModuleList(CONV[ndim](w, decoder_channels, 1) for w in widths)
        self.fuse = nn.Sequential(
            CONV[ndim](len(widths) * decoder_channels, decoder_channels, 1, bias=norm == "none"),
            make_norm(norm, ndim, decoder_channels),
            nn.ReLU(inplace=True),
            _DROPOUT[ndim](dropout),
        )
        self.head = CONV[ndim](decoder_channels, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = pad_to_divisor(image, self.divisor)
        pyramid = self.encoder(padded)
        finest = pyramid[0].shape[2:]
        maps = [
            self._resize(project(x), finest)
            for project, x in zip(self.project, pyramid, strict=True)
        ]
        logits = self.head(self.fuse(torch.cat(maps[::-1], dim=1)))
        return crop_to(self._resize(logits, padded.shape[2:]), image.shape[2:])

    def _resize(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Bring a map to ``size``, linearly."""
        return functional.interpolate(x, tuple(size), mode=self.mode, align_corners=False)


_WIDE: Mapping[str, Any] = {"widths": (64, 128, 320, 512), "decoder_channels": 768}
SEGFORMERS: Mapping[str, Callable[..., nn.Module]] = {
    "segformer_b0": SegFormer,
    "segformer_b1": partial(SegFormer, widths=(64, 128, 320, 512)),
    "segformer_b2": partial(SegFormer, **_WIDE, depths=(3, 4, 6, 3)),
    "segformer_b3": partial(SegFormer, **_WIDE, depths=(3, 4, 18, 3)),
    "segformer_b4": partial(SegFormer, **_WIDE, depths=(3, 8, 27, 3)),
    "segformer_b5": partial(SegFormer, **_WIDE, depths=(3, 6, 40, 3)),
}
"""The forms of the paper (table 6)."""
