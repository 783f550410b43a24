"""Encoders: an image to a list of maps, fine to coarse, with ``channels`` and ``strides``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from medseg.networks.encoders.base import Encoder
from medseg.networks.encoders.resnet import ResNet
from medseg.networks.encoders.vgg import VGG
from medseg.registry import lookup

__all__ = ["ENCODERS", "VGG", "Encoder", "ResNet", "build_encoder"]

ENCODERS: Mapping[str, Callable[..., Encoder]] = {
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
    "vgg16": partial(VGG, norm="none"),
    "vgg16_bn": partial(VGG, norm="batch"),
}


def build_encoder(name: str, *, ndim: int, in_channels: int, **arguments: Any) -> Encoder:
    """Build the encoder of that name.

    Parameters
    ----------
    name : str
        A key of `ENCODERS`.
    ndim, in_channels : int
        Axes and channels of the image.
    **arguments
        Of the encoder: ``width``, ``output_stride``, ``strides``, ``kernel_sizes``, ..., and
        ``norm``, which goes before what the name says ("vgg16" has none, the others batch).

    Raises
    ------
    ConfigError
        If there is no such encoder; the message gives the nearest name.
    """
    build = lookup(ENCODERS, name, "encoder")
    return build(ndim=ndim, in_channels=in_channels, **arguments)
