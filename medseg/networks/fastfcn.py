"""FastFCN in 2-D and 3-D: any head behind joint pyramid upsampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medseg.networks.apcnet import APCNet
from medseg.networks.base import EncoderNetwork
from medseg.networks.deeplabv3 import DeepLabV3
from medseg.networks.dmnet import DMNet
from medseg.networks.encnet import EncNet
from medseg.networks.fcn import FCN
from medseg.networks.ocrnet import OCRNet
from medseg.networks.psanet import PSANet
from medseg.networks.pspnet import PSPNet
from medseg.registry import lookup

HEADS: Mapping[str, Callable[..., EncoderNetwork]] = {
    "apcnet": APCNet,
    "deeplabv3": DeepLabV3,
    "dmnet": DMNet,
    "encnet": EncNet,
    "fcn": FCN,
    "ocrnet": OCRNet,
    "psanet": PSANet,
    "pspnet": PSPNet,
}


def fastfcn(
    *,
    head: str = "pspnet",
    encoder: str = "resnet50_v1c",
    width: float = 1.0,
    **arguments: Any,
) -> EncoderNetwork:
    """Build a network whose encoder is not dilated but ends in joint pyramid upsampling [1]_.

    66.35 M parameters with 19 classes in 2-D with the head of PSPNet, without the auxiliary head.

    Parameters
    ----------
    head : str
        Network of which all but the encoder is taken: a key of `HEADS`.
    encoder : str
        An encoder of which there is one with ``_jpu`` at its end.
    width : float
        Multiplies the channels of encoder and heads; 0.5 is a fair start in 3-D.
    **arguments
        Of the network.

    Returns
    -------
    EncoderNetwork

    References
    ----------
    .. [1] Wu et al., FastFCN: rethinking dilated convolution in the backbone for semantic
       segmentation, arXiv 1903.11816, 2019.
    """
    return lookup(HEADS, head, "head")(encoder=f"{encoder}_jpu", width=width, **arguments)
