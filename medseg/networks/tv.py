"""Networks of torchvision under the contract of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.output import Prediction
from medseg.networks.wrapped import OwnsNetwork, Wrapped, first_conv_to, import_extra, need_2d

SMALLEST = 1e-6


class TvNetwork(Wrapped):
    """A segmentation network of torchvision: a mapping of ``out`` and perhaps ``aux``."""

    pairs: ClassVar[bool] = True

    def outputs(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits, and those of the auxiliary head."""
        out = self.network(image)
        return (out["out"], out["aux"]) if self.training and "aux" in out else (out["out"],)


class TvMaskRCNN(OwnsNetwork):
    """Mask R-CNN [1]_ for prediction: its instances, painted by class.

    It trains on instances, which a label map has not, so it takes weights trained elsewhere.
    The logits are the logarithm of probabilities: of a class, the largest ``score * mask`` of its
    instances at a pixel; of background, what is left of 1.

    References
    ----------
    .. [1] He et al., Mask R-CNN, ICCV 2017.
    """

    divisor = (1, 1)

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__(network)
        self.num_classes = num_classes

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, rows, cols) to logits (B, num_classes, rows, cols)."""
        if self.training:
            raise ConfigError(
                "network.name: 'tv:maskrcnn' only predicts, with weights trained elsewhere: it "
                "learns from instances, which a label map has not; train another network"
            )
        found = self.network(list(image))
        return torch.stack([paint(one, self.num_classes, image.shape[2:]) for one in found])


def paint(found: Mapping[str, Tensor], num_classes: int, sizes: tuple[int, ...]) -> Tensor:
    """Paint the instances of one image by class.

    Parameters
    ----------
    found : mapping
        ``labels`` (n), ``scores`` (n) and ``masks`` (n, 1, rows, cols) with values in [0, 1].
    num_classes : int
        With background, class 0.
    sizes : tuple of int
        Rows and columns.

    Returns
    -------
    float Tensor of shape (num_classes, rows, cols)
        Logarithm of each class's probability.
    """
    masks = found["masks"][:, 0] * found["scores"][:, None, None]
    probs = masks.new_zeros((num_classes, *sizes))
    for label, mask in zip(found["labels"].tolist(), masks, strict=True):
        probs[label] = torch.maximum(probs[label], mask)
    probs[0] = 1 - probs[1:].amax(0)
    return probs.clamp(min=SMALLEST).log()


@dataclass(frozen=True, kw_only=True)
class TvForm:
    """How a network of torchvision is brought under the contract."""

    paper: str
    build: str
    """Function of ``torchvision.models.segmentation`` or ``.detection``."""
    auxiliary: bool = True
    """It can have a head beside the one whose logits count."""


_DEEPLAB = "Chen et al., DeepLab v3, arXiv 1706.05587"
_FCN = "Long et al., FCN, CVPR 2015"
FORMS: Mapping[str, TvForm] = {
    "fcn": TvForm(paper=_FCN, build="fcn_resnet50"),
    "fcn_resnet101": TvForm(paper=_FCN, build="fcn_resnet101"),
    "deeplabv3": TvForm(paper=_DEEPLAB, build="deeplabv3_resnet50"),
    "deeplabv3_resnet101": TvForm(paper=_DEEPLAB, build="deeplabv3_resnet101"),
    "deeplabv3_mobilenet": TvForm(paper=_DEEPLAB, build="deeplabv3_mobilenet_v3_large"),
    "lraspp": TvForm(
        paper="Howard et al., Searching for MobileNetV3, ICCV 2019",
        build="lraspp_mobilenet_v3_large",
        auxiliary=False,
    ),
}


def tv_network(
    name: str,
    *,
    ndim: int,
    in_channels: int,
    num_classes: int,
    auxiliary: bool = True,
    **arguments: Any,
) -> nn.Module:
    """Build a segmentation network of torchvision with random weights; nothing is downloaded.

    Parameters
    ----------
    name : str
        A key of `FORMS`.
    ndim, in_channels, num_classes : int
        2; channels of the image; classes of the logits.
    auxiliary : bool
        In training, also return the logits of a second head, where there is one.
    **arguments
        More of torchvision's function.

    Raises
    ------
    MissingExtraError
        If torchvision is not installed, or does not import.
    ConfigError
        If it is to be 3-D, or torchvision refuses an argument.
    """
    form = FORMS[name]
    need_2d(f"tv:{name}", ndim)
    _no_downloads(name, arguments)
    library = import_extra("torchvision.models.segmentation", f"tv:{name}", "tv")
    own = {"aux_loss": auxiliary} if form.auxiliary else {}
    try:
        network = getattr(library, form.build)(
            weights=None, weights_backbone=None, num_classes=num_classes, **own, **arguments
        )
    except ValueError as error:
        raise ConfigError(f"network.arguments of 'tv:{name}': {error}") from error
    first_conv_to(network, in_channels)
    return TvNetwork(network, (32, 32))


def tv_mask_rcnn(
    *, ndim: int, in_channels: int, num_classes: int, min_size: int = 800, **arguments: Any
) -> nn.Module:
    """Build torchvision's Mask R-CNN on ResNet-50 with a pyramid, for prediction.

    Parameters
    ----------
    ndim, in_channels, num_classes : int
        2; channels of the image; classes with background, as it was trained.
    min_size : int
        Shorter side to which an image is resized before it is looked at.
    **arguments
        More of torchvision's function: ``max_size``, ``box_score_thresh``, ...

    Raises
    ------
    MissingExtraError
        If torchvision is not installed, or does not import.
    ConfigError
        If it is to be 3-D, or torchvision refuses an argument.
    """
    need_2d("tv:maskrcnn", ndim)
    _no_downloads("maskrcnn", arguments)
    library = import_extra("torchvision.models.detection", "tv:maskrcnn", "tv")
    # images are normalised before they come here
    neutral = {"image_mean": [0.0] * in_channels, "image_std": [1.0] * in_channels}
    try:
        network = library.maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=num_classes,
            min_size=min_size,
            **{**neutral, **arguments},
        )
    except ValueError as error:
        raise ConfigError(f"network.arguments of 'tv:maskrcnn': {error}") from error
    first_conv_to(network, in_channels)
    return TvMaskRCNN(network, num_classes)


def _no_downloads(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse what would make torchvision fetch weights."""
    asked = {"weights", "weights_backbone"} & set(arguments)
    if asked:
        raise ConfigError(
            f"network.arguments of 'tv:{name}': {', '.join(sorted(asked))} would be downloaded; "
            "leave it out and load a local file of weights"
        )


PAPERS: Mapping[str, str] = {
    **{name: form.paper for name, form in FORMS.items()},
    "maskrcnn": "He et al., Mask R-CNN, ICCV 2017; predicts alone",
}
TV: Mapping[str, Callable[..., nn.Module]] = {
    **{f"tv:{name}": partial(tv_network, name) for name in FORMS},
    "tv:maskrcnn": tv_mask_rcnn,
}
"""Further values of ``network.name``."""
