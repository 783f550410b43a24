"""Weights from elsewhere: a local file's tensors under our names, in 2-D or inflated to 3-D."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.layers import resize
from medseg.networks.pretrained_layouts import Rules
from medseg.networks.pretrained_names import rename
from medseg.networks.pretrained_rules import EPSILON, RULES

logger = logging.getLogger(__name__)

PREFIXES = (
    "",
    "encoder.",
    "encoder.inner.",
    "network.",
    "encoder.network.",
    "network.encoder.",
    "network.backbone.",
    "network.model.",
    "encoder.network.model.",
)
"""Of names in a network: its encoder (within joint pyramid upsampling: ``inner``), a network of
another library or the encoder of that, an encoder of timm."""
EPS = 1e-5
"""What our batch norm adds to the variance."""
HOLDERS = ("state_dict", "model", "network")
"""Keys under which a checkpoint keeps its weights: Lightning's and timm's, torchvision's, ours."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What of a file is now in a network.

    Attributes
    ----------
    loaded : tuple of str
        Names in the network, as they were in the file but for their order of axes.
    inflated, averaged : tuple of str
        Of those: 2-D kernels spread over a third axis, and first kernels brought to another number
        of channels.
    resized : tuple of str
        Of those: positions of a vision transformer, brought to another grid.
    untouched : tuple of str
        Names in the network that the file had nothing for: they start untrained.
    unused : tuple of str
        Names in the file that the network has no place for.
    mismatched : tuple of str
        Names in the network whose shape is not the file's: left untrained too.
    """

    loaded: tuple[str, ...]
    inflated: tuple[str, ...]
    averaged: tuple[str, ...]
    resized: tuple[str, ...]
    untouched: tuple[str, ...]
    unused: tuple[str, ...]
    mismatched: tuple[str, ...]

    def rows(self) -> list[tuple[str, str]]:
        """Return each name, of the network first, with what became of it."""
        fates = dict.fromkeys(self.loaded, "loaded")
        fates |= dict.fromkeys(self.inflated, "inflated to 3-D")
        for name in self.averaged:
            both = name in self.inflated
            fates[name] = "inflated to 3-D, other channels" if both else "other channels"
        fates |= dict.fromkeys(self.resized, "brought to another grid")
        rows = list(fates.items())
        rows += [(name, "untrained: the file has another shape") for name in self.mismatched]
        rows += [(name, "untrained: not in the file") for name in self.untouched]
        return rows + [(name, "not used: no place in the network") for name in self.unused]

    def __str__(self) -> str:
        """Count each kind, and name what is not loaded."""
        lines = [
            f"{len(self.loaded)} tensors loaded ({len(self.inflated)} inflated to 3-D, "
            f"{len(self.averaged)} brought to other channels, {len(self.resized)} to another grid)"
        ]
        for what in ("mismatched", "untouched", "unused"):
            names = getattr(self, what)
            if names:
                more = f" and {len(names) - 6} more" if len(names) > 6 else ""
                lines.append(f"{len(names)} {what}: {', '.join(names[:6])}{more}")
        return "; ".join(lines)


def load_pretrained(
    network: nn.Module, path: Path, *, rules: Rules | None = None, inflate: bool = False
) -> Report:
    """Bring the weights of a local file into a network, as far as their places are known.

    Parameters
    ----------
    network : nn.Module
        An encoder, or a network whose ``encoder`` is one: changed in place.
    path : Path
        ``.safetensors``, or what `torch.save` wrote of tensors alone (``.pt``, ``.pth``, ``.bin``).
    rules : sequence of (pattern, replacement), optional
        How names of the file become ours, in the order of `re.sub`. Default: those of `RULES` that
        fit the most tensors, or the names as they are.
    inflate : bool
        Spread 2-D kernels evenly over a third axis (I3D [1]_): an image that is the same along that
        axis then gives what it gave in 2-D.

    Returns
    -------
    Report
        Also logged.

    Raises
    ------
    ConfigError
        If the file cannot be read, if nothing in it has a place, or a 2-D kernel meets a 3-D
        network without ``inflate``.

    References
    ----------
    .. [1] Carreira and Zisserman, Quo vadis, action recognition?, CVPR 2017, section 2.4.
    """
    tensors, report = match_pretrained(network, path, rules=rules, inflate=inflate)
    network.load_state_dict({**network.state_dict(), **tensors})
    logger.info("%s: %s", path.name, report)
    return report


def match_pretrained(
    network: nn.Module, path: Path, *, rules: Rules | None = None, inflate: bool = False
) -> tuple[dict[str, Tensor], Report]:
    """Find what `load_pretrained` would load, and change nothing; see there.

    Parameters
    ----------
    network : nn.Module
        It may be on torch's ``meta`` device: its names and shapes alone are looked at.
    path, rules, inflate
        As there.

    Returns
    -------
    dict of str to Tensor, Report
        Tensors that fit, by the network's names.
    """
    given = read_tensors(path)
    known = network.state_dict()
    tried: Mapping[str, Rules] = {"": rules} if rules is not None else {"": (), **RULES}
    made = {source: rename(given, one) for source, one in tried.items()}
    source, prefix = max(
        ((source, prefix) for source in made for prefix in PREFIXES),
        key=lambda pair: sum(f"{pair[1]}{name}" in known for name in made[pair[0]]),
    )
    best = {f"{prefix}{name}": value for name, value in made[source].items()}
    more = EPSILON.get(source, EPS) - EPS
    best = {k: v + more if k.endswith(".running_var") else v for k, v in best.items()}
    if not known.keys() & best:
        raise ConfigError(
            f"{path}: none of its {len(given)} tensors (such as '{next(iter(given), '')}') has a "
            "place in the network; take weights of the same architecture"
        )
    tensors, report = _fit(known, best, path, inflate=inflate)
    return tensors, replace(report, unused=tuple(n.removeprefix(prefix) for n in report.unused))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a file; no other object in it is ever built.

    Raises
    ------
    ConfigError
        If it cannot be read, or holds anything but tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    content: Any
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, UnpicklingError) as error:
        raise ConfigError(
            f"{path}: these weights cannot be read ({error}); give a .safetensors file, or one of "
            "torch.save with tensors alone"
        ) from error
    for key in HOLDERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: holds a {type(content).__name__}, not tensors by name")
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def _fit(
    known: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path, *, inflate: bool
) -> tuple[dict[str, Tensor], Report]:
    """Bring each tensor to the shape of its place, where that is possible."""
    loaded: dict[str, Tensor] = {}
    inflated, averaged, resized, mismatched = [], [], [], []
    for name, value in given.items():
        if name not in known:
            continue
        target, fitted = known[name], value
        if _are_positions(name, value, target):
            fitted = to_grid(value, target.shape[2:])
            if fitted is not value:
                resized.append(name)
        elif fitted.ndim == 4 and target.ndim == 5:
            if not inflate:
                raise ConfigError(
                    f"{path}: '{name}' is a 2-D kernel and the network is 3-D; ask for inflation "
                    "(network.inflate: true)"
                )
            depth = target.shape[2]
            fitted = (fitted[:, :, None] / depth).expand(-1, -1, depth, -1, -1)
            inflated.append(name)
        if fitted.ndim in (1, 2) and fitted.ndim < target.ndim:  # per channel, or a 1x1 kernel
            fitted = fitted.view(*fitted.shape, *(1,) * (target.ndim - fitted.ndim))
        if _other_channels(fitted, target):
            fitted = to_channels(fitted, target.shape[1])
            averaged.append(name)
        if fitted.shape == target.shape:
            loaded[name] = fitted
        else:
            mismatched.append(name)
    counters = {n for n in known if n.endswith("num_batches_tracked")}
    report = Report(
        loaded=tuple(loaded),
        inflated=tuple(n for n in inflated if n in loaded),
        averaged=tuple(n for n in averaged if n in loaded),
        resized=tuple(resized),
        untouched=tuple(n for n in known if n not in {*loaded, *mismatched, *counters}),
        unused=tuple(n for n in given if n not in known),
        mismatched=tuple(mismatched),
    )
    return loaded, report


def _other_channels(value: Tensor, target: Tensor) -> bool:
    """Tell whether only the channels of an image (3, or 1) keep a kernel from fitting."""
    return (
        value.ndim == target.ndim
        and value.ndim > 3
        and value.shape[1] in (1, 3)
        and value.shape[1] != target.shape[1]
        and value.shape[:1] + value.shape[2:] == target.shape[:1] + target.shape[2:]
    )


def _are_positions(name: str, value: Tensor, target: Tensor) -> bool:
    """Tell whether these are positions (1, C, rows, columns) of another vision transformer."""
    return (
        name.rpartition("positions.")[2] == "weight"
        and value.ndim == 4
        and target.ndim in (4, 5)
        and value.shape[:2] == target.shape[:2]
    )


def to_grid(positions: Tensor, sizes: Sequence[int]) -> Tensor:
    """Bring positions (1, C, rows, columns) to another grid; along a third axis they are alike."""
    flat = resize(positions, sizes[-2:])
    if len(sizes) == 2:
        return flat
    return flat[:, :, None].expand(-1, -1, sizes[0], -1, -1)


def to_channels(kernel: Tensor, channels: int) -> Tensor:
    """Bring a first kernel (out, given, ...) to another number of channels of the image.

    Each new channel has the mean over those given, scaled so that an image that is the same in all
    channels gives what it gave.
    """
    mean = kernel.mean(1, keepdim=True) * (kernel.shape[1] / channels)
    return mean.expand(-1, channels, *kernel.shape[2:])
