"""Networks made of an encoder and heads: any input size, auxiliary heads, train and eval output."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from medseg.networks.blocks import crop_to, pad_to_divisor
from medseg.networks.encoders import Encoder
from medseg.networks.layers import resize
from medseg.networks.output import Prediction


class EncoderNetwork(nn.Module):
    """An encoder, a head on its maps and, while training, auxiliary heads.

    The image is padded to multiples of the coarsest stride; the head's logits, at whatever size
    they are, are interpolated linearly to that of the image.

    Parameters
    ----------
    encoder : Encoder
    head : nn.Module
        Maps the list of the encoder's maps to logits.
    aux : iterable of nn.Module
        Heads of the same kind whose logits stay at their own size; left out in eval mode.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, aux: Iterable[nn.Module] = ()) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.aux = nn.ModuleList(aux)
        self.divisor = encoder.strides[-1]

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = pad_to_divisor(image, self.divisor)
        maps = self.encoder(padded)
        logits = crop_to(resize(self.head(maps), padded.shape[2:]), image.shape[2:])
        if self.training and len(self.aux):
            return Prediction(logits, tuple(head(maps) for head in self.aux))
        return logits
