"""How each class of MONAI is brought under the contract of this package; MONAI is not imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Arguments = Mapping[str, Any]
Steps = Sequence[int | Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a class of MONAI is brought under the contract."""

    paper: str
    """As it stands in ``medseg list networks``."""
    steps: Steps | Callable[[Arguments], Steps]
    """Strides on the way down, or how they follow from the arguments; images are padded to them."""
    needed: Arguments | Callable[[Arguments], Arguments] = field(default_factory=dict)
    """Arguments the class asks for and the user need not give."""
    extra: str | None = None
    """Module besides MONAI that it imports on its way."""
    widths: Arguments = field(default_factory=dict)
    """Arguments that count channels, with their defaults: what a CPU narrows."""
    last: bool = False
    fixed: bool = False


def _strides(given: Arguments) -> Steps:
    """Return the strides of all levels."""
    steps: Steps = given["strides"]
    return steps


def _down(given: Arguments) -> Steps:
    """Halve after each entry of ``blocks_down``, of which there are four by default."""
    return (2,) * len(given.get("blocks_down", range(4)))


def _unet(given: Arguments) -> Arguments:
    """Residual U-Net of five levels."""
    channels = given.get("channels", (32, 64, 128, 256, 512))
    return {"channels": channels, "strides": (2,) * (len(channels) - 1), "num_res_units": 2}


def _attention_unet(given: Arguments) -> Arguments:
    """Five levels, from 16 channels to 256."""
    channels = given.get("channels", (16, 32, 64, 128, 256))
    return {"channels": channels, "strides": (2,) * (len(channels) - 1)}


def _dynunet(given: Arguments) -> Arguments:
    """Five levels that halve each axis; the transposed convolutions match the strides."""
    strides = given.get("strides", (1, 2, 2, 2, 2))
    kernel = (3,) * len(strides)
    return {"strides": strides, "kernel_size": kernel, "upsample_kernel_size": strides[1:]}


def _mednext(size: str) -> Form:
    """Return the form of one of the sizes of MedNeXt."""
    return Form(
        paper=f"Roy et al., MedNeXt{size}, MICCAI 2023", steps=_down, widths={"init_filters": 32}
    )


FORMS: Mapping[str, Form] = {
    "AttentionUnet": Form(
        paper="Oktay et al., Attention U-Net, MIDL 2018",
        steps=_strides,
        needed=_attention_unet,
        widths={"channels": (16, 32, 64, 128, 256)},
    ),
    "BasicUNet": Form(
        paper="Falk et al., U-Net, Nature Methods 16, 2019",
        steps=(2,) * 4,
        widths={"features": (32, 32, 64, 128, 256, 32)},
    ),
    "BasicUNetPlusPlus": Form(
        paper="Zhou et al., UNet++, DLMIA 2018",
        steps=(2,) * 4,
        last=True,
        widths={"features": (32, 32, 64, 128, 256, 32)},
    ),
    "DynUNet": Form(
        paper="Isensee et al., nnU-Net, Nature Methods 18, 2021",
        steps=_strides,
        needed=_dynunet,
        widths={"filters": (32, 64, 128, 256, 320, 320)},
    ),
    "FlexibleUNet": Form(
        paper="U-Net on an EfficientNet: Tan and Le, EfficientNet, ICML 2019",
        steps=(2,) * 5,
        needed={"backbone": "efficientnet-b0"},
        widths={"decoder_channels": (256, 128, 64, 32, 16)},
    ),
    "HighResNet": Form(paper="Li et al., On the compactness of 3D networks, IPMI 2017", steps=(1,)),
    "MedNeXt": _mednext(""),
    "MedNeXtS": _mednext("-S"),
    "MedNeXtM": _mednext("-M"),
    "MedNeXtB": _mednext("-B"),
    "MedNeXtL": _mednext("-L"),
    "SegResNet": Form(
        paper="Myronenko, 3D MRI brain tumor segmentation, BrainLes 2018",
        steps=lambda given: _down(given)[1:],
        widths={"init_filters": 8},
    ),
    "SegResNetDS": Form(
        paper="Myronenko, 3D MRI brain tumor segmentation, BrainLes 2018; deep supervision",
        steps=lambda given: _down(given)[1:],
        widths={"init_filters": 32},
    ),
    "SwinUNETR": Form(
        paper="Hatamizadeh et al., Swin UNETR, BrainLes 2021",
        steps=lambda given: (given.get("patch_size", 2),) * 5,
        widths={"feature_size": 24},
        extra="einops",
    ),
    "UNet": Form(
        paper="Kerfoot et al., Left-ventricle quantification using residual U-Net, STACOM 2018",
        steps=_strides,
        needed=_unet,
        widths={"channels": (32, 64, 128, 256, 512)},
    ),
    "UNETR": Form(
        paper="Hatamizadeh et al., UNETR, WACV 2022",
        steps=lambda given: (given["img_size"],),
        needed={"img_size": 96},
        widths={"feature_size": 16, "hidden_size": 768, "mlp_dim": 3072},
        extra="einops",
        fixed=True,
    ),
    "VNet": Form(paper="Milletari et al., V-Net, 3DV 2016", steps=(2,) * 4),
}
