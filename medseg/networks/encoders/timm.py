"""Encoders of timm: ``timm:`` and the name of a model that can return its features."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.encoders.base import Encoder
from medseg.networks.layers import ConvNormAct
from medseg.networks.wrapped import LinspaceOnCpu, import_extra

PREFIX = "timm:"


class TimmEncoder(Encoder):
    """The features of a model of timm, fine to coarse.

    Our decoders expect a first map at half the resolution, which many transformers and ConvNeXt do
    not make: such a model gets one convolution of stride 2 beside it. A map at full resolution
    (VGG) is left out. Transformers are asked to take images of any size, which not all can.

    Parameters
    ----------
    name : str
        Of a model of timm, without ``timm:``.
    ndim : int
        2: timm has no other.
    in_channels : int
        Channels of the image.
    width : float
        1: timm's models come in sizes of their own.
    output_stride : int, optional
        8, 16 or 32, for the models that know it.
    norm : {"batch"}
        A model keeps its own normalisation; ``batch`` is what the networks here ask for.
    **arguments
        More of ``timm.create_model``: ``img_size``, ``drop_path_rate``, ...

    Raises
    ------
    MissingExtraError
        If timm is not installed, or does not import.
    ConfigError
        If it is to be 3-D or narrower, or timm refuses the name or an argument; and when it sees
        an image of a size that it does not take.
    """

    def __init__(
        self,
        name: str,
        *,
        ndim: int,
        in_channels: int,
        width: float = 1.0,
        output_stride: int | None = None,
        norm: str = "batch",
        **arguments: Any,
    ) -> None:
        super().__init__()
        whole = PREFIX + name
        if ndim != 2:
            raise ConfigError(
                f"network.arguments.encoder: '{whole}' exists in 2-D alone; set network.ndim: 2, "
                "or take one of our encoders"
            )
        if width != 1.0 or norm != "batch":
            raise ConfigError(
                f"network.arguments: width and norm are not for '{whole}', whose channels and "
                "normalisation are its own; take a smaller model of timm, or one of our encoders"
            )
        if arguments.get("pretrained"):
            raise ConfigError(
                f"network.arguments: '{whole}' would download its weights; leave 'pretrained' out "
                "and load a local file of weights"
            )
        library = import_extra("timm", f"network.arguments.encoder: {whole}", "timm")
        own = {} if output_stride is None else {"output_stride": output_stride}
        try:
            with LinspaceOnCpu():
                self.network = _features(library, name, in_chans=in_channels, **own, **arguments)
        except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
            raise ConfigError(f"network.arguments.encoder: '{whole}': {error}") from error
        info: Any = self.network.feature_info
        channels, strides = tuple(info.channels()), tuple(info.reduction())
        # windowed transformers hand out their features with the channels last
        self.last = str(getattr(self.network, "output_fmt", "NCHW")).endswith("NHWC")
        self.whole = whole
        self.first = 1 if strides[0] == 1 else 0
        channels, strides = channels[self.first :], strides[self.first :]
        self.stem: nn.Module | None = None
        if strides[0] > 2:
            first = max(8, channels[0] // 2)
            self.stem = ConvNormAct(2, in_channels, first, kernel=(3, 3), norm="batch", stride=2)
            channels, strides = (first, *channels), (2, *strides)
        self.channels = channels
        self.strides = tuple((s, s) for s in strides)
        self.kernel = (3, 3)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, rows, cols) to maps (B, channels[i], rows / s, cols / s)."""
        try:
            made = self.network(image)[self.first :]
        except AssertionError as error:  # of its patches or windows
            raise ConfigError(
                f"network.arguments.encoder: '{self.whole}' does not take an image of "
                f"{image.shape[2]} x {image.shape[3]} ({error}); set patch_sample.patch_size and "
                "network.arguments.img_size to what it takes, or take a convolutional model"
            ) from error
        maps = [x.permute(0, 3, 1, 2) if self.last else x for x in made]
        return maps if self.stem is None else [self.stem(image), *maps]


def _features(library: ModuleType, name: str, **arguments: Any) -> nn.Module:
    """Build a model that returns its features, and takes any size if it can."""
    build = partial(library.create_model, name, pretrained=False, features_only=True)
    for any_size in ({"dynamic_img_size": True}, {"strict_img_size": False}):
        try:
            made: nn.Module = build(**{**any_size, **arguments})
        except TypeError:  # it has no such argument, or not that of the user: see below
            continue
        break
    else:
        made = build(**arguments)
    return made


def timm_encoder(name: str, **arguments: Any) -> Encoder:
    """Build the encoder that ``timm:NAME`` asks for; see `TimmEncoder`."""
    return TimmEncoder(name.removeprefix(PREFIX), **arguments)
