"""Models of Hugging Face's transformers that give logits of pixels, under one contract."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medseg.networks.blocks import crop_to, pad_to_divisor
from medseg.networks.layers import resize
from medseg.networks.output import Prediction
from medseg.networks.wrapped import Wrapped

SMALLEST = 1e-6


class HfSegformer(Wrapped):
    """Logits at a quarter of the resolution."""

    def outputs(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits."""
        return (self.network(pixel_values=image).logits,)


class HfUperNet(Wrapped):
    """Logits and, in training, those of the auxiliary head, which the library keeps to itself."""

    pairs: ClassVar[bool] = True

    def outputs(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of both heads."""
        model: Any = self.network
        maps = model.backbone.forward_with_filtered_kwargs(image).feature_maps
        logits = model.decode_head(maps)
        if not self.training or model.auxiliary_head is None:
            return (logits,)
        return logits, model.auxiliary_head(maps)


class HfMask2Former(Wrapped):
    """Sums of the masks of each class over the queries, after each layer of the decoder [1]_.

    The logits are the logarithm of ``sum_q p_q(class) * mask_q(pixel)``. They are what the loss of
    the recipe sees, or with ``matching`` the queries are matched to the segments of the truth and
    trained by `medseg.losses.matching`, with the weights of [1]_.

    Parameters
    ----------
    network : nn.Module
    divisor : tuple of int
        See `medseg.networks.wrapped.Wrapped`.
    matching : bool

    References
    ----------
    .. [1] Cheng et al., Masked-attention mask transformer for universal image segmentation,
       CVPR 2022.
    """

    aux_weight: ClassVar[float] = 1.0

    def __init__(
        self, network: nn.Module, divisor: tuple[int, ...], *, matching: bool = False
    ) -> None:
        super().__init__(network, divisor)
        self.matching = matching

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, rows, cols) to logits (B, num_classes, rows, cols)."""
        if not (self.training and self.matching):
            return super().forward(image)
        padded = pad_to_divisor(image, self.divisor)

        def fitted(x: Tensor) -> Tensor:
            return crop_to(resize(x, padded.shape[2:]), image.shape[2:])

        made, extras = self._queries(padded), {}
        for i, (classes, masks) in enumerate(made):
            extras[f"query_classes_ce_{i}"] = classes.flatten(1)[..., None, None]
            # a padded image's masks would cover more than its label does
            extras[f"query_masks_ce_{i}"] = masks if padded.shape == image.shape else fitted(masks)
        return Prediction(fitted(segment(*made[-1]).detach()), (), extras)

    def outputs(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of the last layer, then of the earlier ones."""
        *earlier, last = self._queries(image)
        return tuple(segment(*one) for one in (last, *earlier))

    def _queries(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return classes and masks of the queries: in training of each layer, the last one last."""
        # its sampling of values at points needs both in one type
        with torch.autocast(image.device.type, enabled=False):
            out = self.network(pixel_values=image.float(), output_auxiliary_logits=self.training)
        last = (out.class_queries_logits, out.masks_queries_logits)
        if not self.training:
            return [last]
        earlier = (
            (one["class_queries_logits"], one["masks_queries_logits"])
            for one in out.auxiliary_logits
        )
        return [*earlier, last]


def segment(classes: Tensor, masks: Tensor) -> Tensor:
    """Sum the masks of queries by class.

    Parameters
    ----------
    classes : float Tensor of shape (B, queries, num_classes + 1)
        Logits; the last class is "none".
    masks : float Tensor of shape (B, queries, rows, cols)
        Logits.

    Returns
    -------
    float Tensor of shape (B, num_classes, rows, cols)
        Logarithm of the sums.
    """
    with torch.autocast(masks.device.type, enabled=False):
        shares = classes.float().softmax(-1)[..., :-1]
        sums = torch.einsum("bqc,bqhw->bchw", shares, masks.float().sigmoid())
        return sums.clamp(min=SMALLEST).log()
