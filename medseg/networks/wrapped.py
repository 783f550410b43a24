"""What the networks of other libraries share under the contract of this package."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from medseg.errors import ConfigError, MissingExtraError
from medseg.networks.blocks import crop_to, pad_to_divisor
from medseg.networks.layers import resize
from medseg.networks.output import Prediction
from medseg.networks.pretrained import to_channels


class OwnsNetwork(nn.Module):
    """A network of another library as ``network``; weights with two names are saved under one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.aliases = _aliases(self)
        self.register_state_dict_post_hook(_leave_aliases_out)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_bring_aliases_back)  # type: ignore[no-untyped-call]


class Wrapped(OwnsNetwork):
    """A 2-D network of another library that takes any input size and any batch size.

    Derived classes say in `outputs` what their library's network returns.

    Parameters
    ----------
    network : nn.Module
    divisor : tuple of int
        Any input is padded at the end of each axis to a multiple of it, and cropped back.
    least : int
        Multiples of ``divisor`` that each side is padded to at least.

    Attributes
    ----------
    aux_weight : float
        Weight of the loss of each auxiliary output.
    pairs : bool
        Its batch norm of pooled values needs two images to train on: a single one is shown twice.
    """

    aux_weight: ClassVar[float] = 0.4
    pairs: ClassVar[bool] = False

    def __init__(self, network: nn.Module, divisor: tuple[int, ...], *, least: int = 1) -> None:
        super().__init__(network)
        self.divisor, self.least = divisor, least

    def outputs(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return logits of a padded image, at any size, and auxiliary ones if it trains."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, rows, cols) to logits (B, num_classes, rows, cols)."""
        sides = zip(image.shape[2:], self.divisor, strict=True)
        padded = pad_to_divisor(
            image, tuple(d * self.least if n < d * self.least else d for n, d in sides)
        )
        if self.training and self.pairs and len(image) == 1:
            padded = padded.repeat(2, 1, 1, 1)
        logits, *aux = (
            crop_to(resize(x[: len(image)], padded.shape[2:]), image.shape[2:])
            for x in self.outputs(padded)
        )
        if not self.training or not aux:
            return logits
        return Prediction(logits, tuple(aux), {}, (self.aux_weight,) * len(aux))


def need_2d(name: str, ndim: int) -> None:
    """Refuse to be built for volumes.

    Raises
    ------
    ConfigError
        Unless ``ndim`` is 2.
    """
    if ndim != 2:
        raise ConfigError(
            f"network.name: '{name}' exists in 2-D alone; set network.ndim: 2 to have it see a "
            "volume slice by slice"
        )


def import_extra(module: str, name: str, extra: str) -> ModuleType:
    """Import a library that only some networks need.

    Parameters
    ----------
    module : str
        Such as ``torchvision``.
    name : str
        What needs it, as it stands in the config.
    extra : str
        Of medseg, that brings it.

    Raises
    ------
    MissingExtraError
        If it, or what it needs itself, is not installed or does not fit the installed torch.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"'{name}' needs {error.name or module}, which is not installed; "
            f"pip install 'medseg[{extra}]'"
        ) from error
    except (ImportError, RuntimeError) as error:  # torchvision made for another torch
        raise _broken(module, name, extra, error) from error


def part_of(module: ModuleType, part: str, name: str, extra: str) -> Any:
    """Return a class of a library that imports its parts when they are asked for.

    Raises
    ------
    MissingExtraError
        If it does not import, or this version does not have it; see `import_extra`.
    """
    try:
        return getattr(module, part)
    except (ImportError, RuntimeError, AttributeError) as error:
        raise _broken(f"{module.__name__}.{part}", name, extra, error) from error


def _broken(module: str, name: str, extra: str, error: Exception) -> MissingExtraError:
    """Say in one line that something is installed that does not fit."""
    first = str(error).partition("\n")[0]
    return MissingExtraError(
        f"'{name}' needs {module}, which does not import ({first}); install builds of torch "
        f"and torchvision that fit each other, then pip install 'medseg[{extra}]'"
    )


def first_conv_to(network: nn.Module, in_channels: int) -> None:
    """Give the first convolution of a network for RGB another number of input channels.

    Each filter gets the mean over its three channels, scaled so that an image that is the same in
    all channels gives what it gave.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != in_channels:
                weight = to_channels(module.weight.detach(), in_channels)
                module.weight = nn.Parameter(weight.clone())
                module.in_channels = in_channels
            return


def _aliases(module: nn.Module) -> dict[str, str]:
    """Return the second names of weights that go by two (DynUNet), each with the first name."""
    first: dict[int, str] = {}
    second: dict[str, str] = {}
    named = (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    )
    for name, value in named:
        if first.setdefault(id(value), name) != name:
            second[name] = first[id(value)]
    return second


def _leave_aliases_out(module: OwnsNetwork, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Keep each weight once: safetensors refuses twins, a running average would count them."""
    for alias in module.aliases:
        state.pop(prefix + alias, None)


def _bring_aliases_back(module: OwnsNetwork, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give a loaded weight its second name again."""
    for alias, name in module.aliases.items():
        if prefix + name in state:
            state[prefix + alias] = state[prefix + name]


def weightless() -> bool:
    """Tell whether networks are being built without values, on the meta device."""
    return torch.get_default_device().type == "meta"


class LinspaceOnCpu(TorchFunctionMode):
    """Lets a constructor read values of ``linspace`` while networks are built on the meta device.

    The transformers take their drop rates from it.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        extra = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**extra, **(kwargs or {})})
