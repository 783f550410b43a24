"""Networks made of an encoder and heads: any input size, auxiliary heads, train and eval output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

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
        Maps the list of the encoder's maps to logits, or to a `Prediction` with what it makes
        beside them.
    aux : iterable of nn.Module
        Heads of the same kind whose logits stay at their own size; left out in eval mode.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.
    aux_weight : float
        Weight of the loss of each auxiliary head; 0.4 in most papers.
    """

    aux_weight: ClassVar[float] = 0.4

    def __init__(self, encoder: Encoder, head: nn.Module, aux: Iterable[nn.Module] = ()) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.aux = nn.ModuleList(aux)
        self.divisor = encoder.divisor

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = pad_to_divisor(image, self.divisor)
        maps = self.encoder(padded)
        made = self.head(maps)
        own = made if isinstance(made, Prediction) else Prediction(made)
        logits = crop_to(resize(own.logits, padded.shape[2:]), image.shape[2:])
        if not self.training or not (own.aux or own.extras or len(self.aux)):
            return logits
        aux = (*own.aux, *(head(maps) for head in self.aux))
        return Prediction(logits, aux, own.extras, (self.aux_weight,) * len(aux))
