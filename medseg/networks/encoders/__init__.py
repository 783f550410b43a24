"""Encoders: an image to a list of maps, fine to coarse, with ``channels`` and ``strides``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from medseg.networks.encoders.base import Encoder
from medseg.networks.encoders.densenet import DenseNet
from medseg.networks.encoders.jpu import JPU
from medseg.networks.encoders.mit import MITS, MixTransformer
from medseg.networks.encoders.mobilenet import LARGE, SMALL, MobileNetV3
from medseg.networks.encoders.mscan import FORMS, MSCAN
from medseg.networks.encoders.plain import Plain
from medseg.networks.encoders.resnet import ResNet
from medseg.networks.encoders.timm import PREFIX, timm_encoder
from medseg.networks.encoders.vgg import VGG
from medseg.networks.encoders.xception import Xception
from medseg.registry import lookup

__all__ = ["ENCODERS", "VGG", "Encoder", "ResNet", "build_encoder"]

_PLAIN: Mapping[str, Callable[..., Encoder]] = {
    "resnet18": partial(ResNet, depth=18),
    "resnet34": partial(ResNet, depth=34),
    "resnet50": partial(ResNet, depth=50),
    "resnet101": partial(ResNet, depth=101),
    "resnet152": partial(ResNet, depth=152),
    "resnet18_v1c": partial(ResNet, depth=18, deep_stem=True),
    "resnet34_v1c": partial(ResNet, depth=34, deep_stem=True),
    "resnet50_v1c": partial(ResNet, depth=50, deep_stem=True),
    "resnet101_v1c": partial(ResNet, depth=101, deep_stem=True),
    "resnet152_v1c": partial(ResNet, depth=152, deep_stem=True),
    "densenet121": partial(DenseNet, depth=121),
    "densenet161": partial(DenseNet, depth=161),
    "densenet169": partial(DenseNet, depth=169),
    "densenet201": partial(DenseNet, depth=201),
    "mobilenet_v3_large": partial(MobileNetV3, rows=LARGE),
    "mobilenet_v3_small": partial(MobileNetV3, rows=SMALL),
    **{name: partial(MSCAN, **form) for name, form in FORMS.items()},
    **{name: partial(MixTransformer, **form) for name, form in MITS.items()},
    "plain": Plain,
    "vgg16": partial(VGG, norm="none"),
    "vgg16_bn": partial(VGG, norm="batch"),
    "xception41": partial(Xception, middle=8),
    "xception65": partial(Xception, middle=16),
}
# any of them with joint pyramid upsampling in place of dilation
ENCODERS: Mapping[str, Callable[..., Encoder]] = {
    **_PLAIN,
    **{f"{name}_jpu": partial(JPU, build=build) for name, build in _PLAIN.items()},
}


def build_encoder(name: str, *, ndim: int, in_channels: int, **arguments: Any) -> Encoder:
    """Build the encoder of that name.

    Parameters
    ----------
    name : str
        A key of `ENCODERS`, or ``timm:`` and a model of timm (`medseg.networks.encoders.timm`).
    ndim, in_channels : int
        Axes and channels of the image.
    **arguments
        Of the encoder: ``width``, ``output_stride``, ``strides``, ``kernel_sizes``, ..., and
        ``norm``, which goes before what the name says ("vgg16" has none, the others batch).

    Raises
    ------
    ConfigError
        If there is no such encoder; the message gives the nearest name.
    MissingExtraError
        If it is one of timm, which is not installed.
    """
    if name.startswith(PREFIX):
        return timm_encoder(name, ndim=ndim, in_channels=in_channels, **arguments)
    build = lookup(ENCODERS, name, "encoder")
    return build(ndim=ndim, in_channels=in_channels, **arguments)
