"""Segmentation networks: images to logits. Modules own no activation; losses and inference do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError
from medseg.networks.apcnet import APCNet
from medseg.networks.attention_unet import AttentionUNet
from medseg.networks.bisenet import BiSeNet
from medseg.networks.bisenetv2 import BiSeNetV2
from medseg.networks.checkpointing import checkpoint_stages
from medseg.networks.deconvnet import DeconvNet
from medseg.networks.deeplabv1 import DeepLabV1
from medseg.networks.deeplabv2 import DeepLabV2
from medseg.networks.deeplabv3 import DeepLabV3
from medseg.networks.deeplabv3plus import DeepLabV3Plus
from medseg.networks.dfanet import DFANet
from medseg.networks.dmnet import DMNet
from medseg.networks.duc import DUC
from medseg.networks.encnet import EncNet
from medseg.networks.encoder_unet import EncoderUNet
from medseg.networks.enet import ENet
from medseg.networks.fastfcn import fastfcn
from medseg.networks.fc_densenet import fc_densenet56, fc_densenet67, fc_densenet103
from medseg.networks.fcn import FCN
from medseg.networks.fcn_skip import FCN8s, FCN16s, FCN32s
from medseg.networks.gated_scnn import GatedSCNN
from medseg.networks.gcn import GCN
from medseg.networks.gruunet import GRUUNet
from medseg.networks.hf import HF
from medseg.networks.knet import KNet
from medseg.networks.linknet import LinkNet
from medseg.networks.maskformer import MaskFormer
from medseg.networks.mnet import MNet
from medseg.networks.ocrnet import OCRNet
from medseg.networks.output import Prediction
from medseg.networks.pointrend import PointRend
from medseg.networks.psanet import PSANet
from medseg.networks.pspnet import PSPNet
from medseg.networks.refinenet import RefineNet
from medseg.networks.resenc import ResEncUNet
from medseg.networks.segformer import SEGFORMERS
from medseg.networks.segmenter import SEGMENTERS
from medseg.networks.segnet import SegNet, SegNetBasic
from medseg.networks.segnext import SegNeXt
from medseg.networks.semantic_fpn import SemanticFPN
from medseg.networks.setr import SETRS
from medseg.networks.slicewise import SliceWise
from medseg.networks.smp import SMP
from medseg.networks.transunet import TransUNet
from medseg.networks.tv import TV
from medseg.networks.unet import UNet
from medseg.networks.unet_2015 import UNet2015
from medseg.networks.unetpp import UNetPlusPlus
from medseg.networks.upernet import UPerNet
from medseg.networks.vnet import VNet
from medseg.networks.wnet import WNet
from medseg.networks.wraps import MONAI
from medseg.networks.ynet import YNet
from medseg.registry import lookup

__all__ = ["NETWORKS", "WRAPPED", "Prediction", "SliceWise", "build_network"]

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    **SEGFORMERS,
    **SEGMENTERS,
    **SETRS,
    "apcnet": APCNet,
    "attention_unet": AttentionUNet,
    "bisenet": BiSeNet,
    "bisenetv2": BiSeNetV2,
    "deconvnet": DeconvNet,
    "deeplabv1": DeepLabV1,
    "deeplabv2": DeepLabV2,
    "deeplabv3": DeepLabV3,
    "deeplabv3plus": DeepLabV3Plus,
    "dfanet": DFANet,
    "dmnet": DMNet,
    "duc": DUC,
    "encnet": EncNet,
    "encoder_unet": EncoderUNet,
    "enet": ENet,
    "fastfcn": fastfcn,
    "fc_densenet103": fc_densenet103,
    "fc_densenet56": fc_densenet56,
    "fc_densenet67": fc_densenet67,
    "fcn": FCN,
    "fcn16s": FCN16s,
    "fcn32s": FCN32s,
    "fcn8s": FCN8s,
    "gated_scnn": GatedSCNN,
    "gcn": GCN,
    "gruunet": GRUUNet,
    "knet": KNet,
    "linknet": LinkNet,
    "maskformer": MaskFormer,
    "mnet": MNet,
    "ocrnet": OCRNet,
    "pointrend": PointRend,
    "psanet": PSANet,
    "pspnet": PSPNet,
    "refinenet": RefineNet,
    "resenc_unet": ResEncUNet,
    "segnet": SegNet,
    "segnet_basic": SegNetBasic,
    "segnext": SegNeXt,
    "semantic_fpn": SemanticFPN,
    "transunet": TransUNet,
    "unet": UNet,
    "unet_2015": UNet2015,
    "unetpp": UNetPlusPlus,
    "upernet": UPerNet,
    "vnet": VNet,
    "wnet": WNet,
    "ynet": YNet,
}
WRAPPED: Mapping[str, Callable[..., nn.Module]] = {**MONAI, **HF, **SMP, **TV}
"""Networks of other libraries, which are imported when one is built."""


def build_network(spec: NetworkSpec, slice_axis: int | None = None) -> nn.Module:
    """Build the network that ``spec`` describes.

    Parameters
    ----------
    spec : NetworkSpec
        Name (of `NETWORKS` or `WRAPPED`) and keyword arguments. For all
        networks, ``checkpointing: true`` trades time for memory in training; see
        `medseg.networks.checkpointing`.
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
        If it is a network of a library that is not installed.
    """
    build = lookup({**NETWORKS, **WRAPPED}, spec.name, "network")
    arguments = dict(spec.arguments)
    checkpointing = arguments.pop("checkpointing", False)
    try:
        network = build(**arguments)
    except TypeError as error:
        raise ConfigError(f"network.arguments of '{spec.name}': {error}") from error
    if checkpointing and not checkpoint_stages(network):
        raise ConfigError(
            f"network.arguments.checkpointing: '{spec.name}' has no stages that could be computed "
            "twice; leave it out"
        )
    return network if slice_axis is None else SliceWise(network, slice_axis)
