"""Networks of other libraries under the contract of this package; imported when one is built."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import ConfigError, MissingExtraError
from medseg.networks.arguments import divisor_of, per_axis
from medseg.networks.blocks import crop_to, pad_to_divisor
from medseg.networks.monai_forms import FORMS
from medseg.networks.output import Prediction
from medseg.networks.wrapped import LinspaceOnCpu, OwnsNetwork


class MonaiNetwork(OwnsNetwork):
    """A network of MONAI that takes any input size and keeps its further outputs for training.

    Parameters
    ----------
    network : nn.Module
        Maps an image whose size is a multiple of ``divisor`` to logits, or to several of them: a
        list, a tuple, or a tensor with one axis more (DynUNet).
    divisor : tuple of int
        Any input is padded at the end of each axis to a multiple of it, and cropped back.
    last : bool
        The full logits are the last of several outputs, not the first (UNet++).
    fixed : bool
        The network takes images of exactly ``divisor`` (UNETR, whose positions are learnt): a
        larger one is cut into tiles of that size.
    """

    def __init__(
        self,
        network: nn.Module,
        divisor: tuple[int, ...],
        *,
        last: bool = False,
        fixed: bool = False,
    ) -> None:
        super().__init__(network)
        self.divisor, self.last, self.fixed = divisor, last, fixed

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        if self.fixed:
            return crop_to(self._tile_by_tile(image), image.shape[2:])
        padded = pad_to_divisor(image, self.divisor)
        out = self.network(padded)
        if isinstance(out, Tensor):
            several = out.ndim > image.ndim
            out = out.unbind(1) if several else (out,)
        logits, *aux = out[::-1] if self.last else out
        logits = crop_to(logits, image.shape[2:])
        if not self.training or not aux:
            return logits
        return Prediction(
            logits,
            tuple(
                crop_to(x, image.shape[2:]) if x.shape[2:] == padded.shape[2:] else x for x in aux
            ),
        )

    def _tile_by_tile(self, image: Tensor) -> Tensor:
        """Fold the tiles of an image into the batch and the logits back."""
        missing = [-n % d for n, d in zip(image.shape[2:], self.divisor, strict=True)]
        pairs = [p for m in reversed(missing) for p in (0, m)]
        padded = functional.pad(image, pairs, mode="replicate")
        batch, ndim = len(image), len(self.divisor)
        counts = [n // d for n, d in zip(padded.shape[2:], self.divisor, strict=True)]
        cut = [n for pair in zip(counts, self.divisor, strict=True) for n in pair]
        # (B, C, tiles, side, tiles, side, ...) -> (B, *tiles, C, *sides)
        tiles, sides = range(2, 2 + 2 * ndim, 2), range(3, 3 + 2 * ndim, 2)
        x = padded.reshape(batch, -1, *cut).permute(0, *tiles, 1, *sides)
        y: Tensor = self.network(x.reshape(-1, image.shape[1], *self.divisor))
        y = y.reshape(batch, *counts, -1, *self.divisor)
        back = [axis for i in range(ndim) for axis in (1 + i, 2 + ndim + i)]
        return y.permute(0, 1 + ndim, *back).reshape(batch, -1, *padded.shape[2:])


def monai_network(
    name: str, *, ndim: int, in_channels: int, num_classes: int, **arguments: Any
) -> nn.Module:
    """Build a network of MONAI.

    Parameters
    ----------
    name : str
        Name of the class, a key of `medseg.networks.monai_forms.FORMS`.
    ndim, in_channels, num_classes : int
        Become ``spatial_dims``, ``in_channels`` and ``out_channels``.
    **arguments
        Further arguments of the class, in MONAI's own words; what it requires has a default.

    Raises
    ------
    MissingExtraError
        If MONAI is not installed.
    ConfigError
        If MONAI refuses an argument.
    """
    form = FORMS[name]
    build = _class_of(name, form.extra)
    needed = form.needed(arguments) if callable(form.needed) else form.needed
    given = {**needed, **arguments}
    try:
        with LinspaceOnCpu():
            network = build(
                spatial_dims=ndim, in_channels=in_channels, out_channels=num_classes, **given
            )
    except (ValueError, AssertionError) as error:
        raise ConfigError(f"network.arguments of 'monai:{name}': {error}") from error
    steps = form.steps(given) if callable(form.steps) else form.steps
    divisor = divisor_of([per_axis(step, ndim, "network.arguments.strides") for step in steps])
    return MonaiNetwork(network, divisor, last=form.last, fixed=form.fixed)


def _class_of(name: str, extra: str | None) -> Callable[..., nn.Module]:
    """Import MONAI, which takes seconds, and return the class."""
    try:
        from monai.networks import nets
    except ModuleNotFoundError as error:
        raise _missing(name, error.name or "monai") from error
    if extra is not None and importlib.util.find_spec(extra) is None:
        raise _missing(name, extra)
    found: Callable[..., nn.Module] = getattr(nets, name)
    return found


def _missing(name: str, module: str) -> MissingExtraError:
    """Say in one line what to install."""
    return MissingExtraError(
        f"network.name: 'monai:{name}' needs {module}, which is not installed; "
        "pip install 'medseg[zoo]'"
    )


MONAI: Mapping[str, Callable[..., nn.Module]] = {
    f"monai:{name}": partial(monai_network, name) for name in FORMS
}
"""What ``network.name`` may be besides the keys of `medseg.networks.NETWORKS`."""
