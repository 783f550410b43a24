"""Networks of segmentation_models.pytorch under the contract of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.wrapped import LinspaceOnCpu, Wrapped, import_extra, need_2d

PAPERS: Mapping[str, str] = {
    "unet": "Ronneberger et al., U-Net, MICCAI 2015",
    "unetplusplus": "Zhou et al., UNet++, DLMIA 2018",
    "manet": "Fan et al., MA-Net, IEEE Access 8, 2020",
    "linknet": "Chaurasia and Culurciello, LinkNet, VCIP 2017",
    "fpn": "Kirillov et al., Panoptic feature pyramid networks, CVPR 2019",
    "pspnet": "Zhao et al., PSPNet, CVPR 2017",
    "deeplabv3": "Chen et al., DeepLab v3, arXiv 1706.05587",
    "deeplabv3plus": "Chen et al., DeepLab v3+, ECCV 2018",
    "pan": "Li et al., Pyramid attention network, BMVC 2018",
    "upernet": "Xiao et al., UPerNet, ECCV 2018",
    "segformer": "Xie et al., SegFormer, NeurIPS 2021",
    "dpt": "Ranftl et al., Vision transformers for dense prediction, ICCV 2021",
}
"""By the name that ``smp.create_model`` takes as ``arch``."""


LEAST: Mapping[str, int] = {"pan": 8}
"""Voxels of the coarsest map that a decoder needs: PAN's halves it three times."""
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "dpt": {"encoder_name": "tu-vit_base_patch16_224.augreg_in21k", "dynamic_img_size": True}
}
"""Arguments that an architecture needs, or needs to take any size, if they are not given."""


FACTOR: Mapping[str, int] = {"dpt": 2}
"""By how much more than its encoder's stride an architecture makes maps smaller."""


class SmpNetwork(Wrapped):
    """A network of smp; it returns logits, and a label of the whole image where asked to."""

    pairs: ClassVar[bool] = True

    def outputs(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits."""
        return (self.network(image),)


def smp_network(
    arch: str,
    *,
    ndim: int,
    in_channels: int,
    num_classes: int,
    encoder_weights: None = None,
    **arguments: Any,
) -> nn.Module:
    """Build a network of segmentation_models.pytorch; nothing is ever downloaded.

    Parameters
    ----------
    arch : str
        A key of `PAPERS`.
    ndim, in_channels, num_classes : int
        2; channels of the image; ``classes`` of the library.
    encoder_weights : None
        The library would download any other; load a local file instead
        (`medseg.networks.pretrained`).
    **arguments
        More of the library: ``encoder_name`` (its default is ``resnet34``, for ``dpt`` a vision
        transformer), ``encoder_depth``, ...

    Raises
    ------
    MissingExtraError
        If it is not installed, or does not import.
    ConfigError
        If it is to be 3-D, or the library refuses an argument.
    """
    name = f"smp:{arch}"
    key = f"network.arguments of '{name}'"
    need_2d(name, ndim)
    if encoder_weights is not None:
        raise ConfigError(
            f"{key}: encoder_weights '{encoder_weights}' would be downloaded; leave it out and "
            "load a local file of weights"
        )
    taken = {"activation", "aux_params"} & set(arguments)
    if taken:
        raise ConfigError(f"{key}: {', '.join(sorted(taken))}: networks return logits alone here")
    library = import_extra("segmentation_models_pytorch", name, "smp")
    try:
        with LinspaceOnCpu():
            network = library.create_model(
                arch=arch,
                encoder_weights=None,
                in_channels=in_channels,
                classes=num_classes,
                **{**DEFAULTS.get(arch, {}), **arguments},
            )
    except (ValueError, KeyError, AssertionError) as error:
        raise ConfigError(f"{key}: {error}") from error
    stride = int(getattr(network.encoder, "output_stride", 32)) * FACTOR.get(arch, 1)
    return SmpNetwork(network, (stride, stride), least=LEAST.get(arch, 1))


SMP: Mapping[str, Callable[..., nn.Module]] = {
    f"smp:{arch}": partial(smp_network, arch) for arch in PAPERS
}
"""Further values of ``network.name``."""
