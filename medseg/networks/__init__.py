"""Segmentation networks: images to logits. Modules own no activation; losses and inference do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError
from medseg.networks.attention_unet import AttentionUNet
from medseg.networks.deconvnet import DeconvNet
from medseg.networks.deeplabv3 import DeepLabV3
from medseg.networks.deeplabv3plus import DeepLabV3Plus
from medseg.networks.enet import ENet
from medseg.networks.fc_densenet import fc_densenet56, fc_densenet67, fc_densenet103
from medseg.networks.fcn import FCN
from medseg.networks.fcn_skip import FCN8s, FCN16s, FCN32s
from medseg.networks.linknet import LinkNet
from medseg.networks.output import Prediction
from medseg.networks.pspnet import PSPNet
from medseg.networks.resenc import ResEncUNet
from medseg.networks.segformer import SEGFORMERS
from medseg.networks.segnet import SegNet, SegNetBasic
from medseg.networks.semantic_fpn import SemanticFPN
from medseg.networks.slicewise import SliceWise
from medseg.networks.unet import UNet
from medseg.networks.unet_2015 import UNet2015
from medseg.networks.unetpp import UNetPlusPlus
from medseg.networks.upernet import UPerNet
from medseg.networks.vnet import VNet
from medseg.networks.wraps import MONAI
from medseg.registry import lookup

__all__ = ["NETWORKS", "Prediction", "SliceWise", "build_network"]

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    **SEGFORMERS,
    "attention_unet": AttentionUNet,
    "deconvnet": DeconvNet,
    "deeplabv3": DeepLabV3,
    "deeplabv3plus": DeepLabV3Plus,
    "enet": ENet,
    "fc_densenet103": fc_densenet103,
    "fc_densenet56": fc_densenet56,
    "fc_densenet67": fc_densenet67,
    "fcn": FCN,
    "fcn16s": FCN16s,
    "fcn32s": FCN32s,
    "fcn8s": FCN8s,
    "linknet": LinkNet,
    "pspnet": PSPNet,
    "resenc_unet": ResEncUNet,
    "segnet": SegNet,
    "segnet_basic": SegNetBasic,
    "semantic_fpn": SemanticFPN,
    "unet": UNet,
    "unet_2015": UNet2015,
    "unetpp": UNetPlusPlus,
    "upernet": UPerNet,
    "vnet": VNet,
}


def build_network(spec: NetworkSpec, slice_axis: int | None = None) -> nn.Module:
    """Build the network that ``spec`` describes.

    Parameters
    ----------
    spec : NetworkSpec
        Name (of `NETWORKS`, or ``monai:`` and a class of MONAI) and keyword arguments.
    slice_axis : int, optional
        Axis of a 3-D image along which a 2-D network sees one slice at a time.

    Returns
    -------
    nn.Module
        Maps (B, in_channels, *spatial) to logits (B, num_classes, *spatial); in training it may
        return a `Prediction`. ``divisor`` says to which multiples it pads.

    Raises
    ------
    ConfigError
        If there is no such network, or it has no such argument.
    MissingExtraError
        If it is a network of MONAI, which is not installed.
    """
    build = lookup({**NETWORKS, **MONAI}, spec.name, "network")
    try:
        network = build(**spec.arguments)
    except TypeError as error:
        raise ConfigError(f"network.arguments of '{spec.name}': {error}") from error
    return network if slice_axis is None else SliceWise(network, slice_axis)
