"""Weights from elsewhere: a local file's tensors under our names, in 2-D or inflated to 3-D."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError

logger = logging.getLogger(__name__)

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]


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
    untouched: tuple[str, ...]
    unused: tuple[str, ...]
    mismatched: tuple[str, ...]

    def __str__(self) -> str:
        """Count each kind, and name what is not loaded."""
        lines = [
            f"{len(self.loaded)} tensors loaded ({len(self.inflated)} inflated to 3-D, "
            f"{len(self.averaged)} brought to other channels)"
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
        fit the most tensors (torchvision's ResNet, VGG16 and DenseNet, timm's ResNet, Hugging
        Face's SegFormer), or the names as they are.
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
    given = read_tensors(path)
    known = set(network.state_dict())
    candidates = [
        {f"{prefix}{name}": value for name, value in rename(given, one).items()}
        for one in ([rules] if rules is not None else [(), *RULES.values()])
        for prefix in ("", "encoder.")
    ]
    best = max(candidates, key=lambda renamed: len(known.intersection(renamed)))
    if not known.intersection(best):
        raise ConfigError(
            f"{path}: none of its {len(given)} tensors (such as '{next(iter(given), '')}') has a "
            "place in the network; take weights of the same architecture"
        )
    report = _place(network, best, path, inflate=inflate)
    logger.info("%s: %s", path.name, report)
    return report


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
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: holds a {type(content).__name__}, not tensors by name")
    return {str(k): v for k, v in content.items() if isinstance(v, Tensor)}


def rename(tensors: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Give tensors the names that the rules make of theirs.

    What ends with ``+0`` and ``+1`` is put one after the other; ``stages.0.last.`` is the member
    after those of ``stages.0`` that have a number.
    """
    made: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    for old, value in tensors.items():
        name = old
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        joined = re.fullmatch(r"(.*)\+(\d)", name)
        if joined:
            parts.setdefault(joined[1], {})[int(joined[2])] = value
        else:
            made[name] = value
    for name, pieces in parts.items():
        made[name] = torch.cat([pieces[i] for i in sorted(pieces)])
    return {re.sub(r"^(.*)\.last\.", partial(_numbered, made), k): v for k, v in made.items()}


def _numbered(names: Iterable[str], match: re.Match[str]) -> str:
    """Return the name of the member after all others."""
    found = (re.match(rf"{re.escape(match[1])}\.(\d+)\.", name) for name in names)
    return f"{match[1]}.{1 + max((int(m[1]) for m in found if m), default=0)}."


def _place(root: nn.Module, given: Mapping[str, Tensor], path: Path, *, inflate: bool) -> Report:
    """Load what fits, fitted."""
    known = root.state_dict()
    loaded: dict[str, Tensor] = {}
    inflated, averaged, mismatched = [], [], []
    for name, value in given.items():
        if name not in known:
            continue
        target, fitted = known[name], value
        if fitted.ndim == 4 and target.ndim == 5:
            if not inflate:
                raise ConfigError(
                    f"{path}: '{name}' is a 2-D kernel and the network is 3-D; ask for inflation"
                )
            depth = target.shape[2]
            fitted = (fitted[:, :, None] / depth).expand(-1, -1, depth, -1, -1)
            inflated.append(name)
        if fitted.ndim == 2 and target.ndim > 2:
            fitted = fitted.view(*fitted.shape, *(1,) * (target.ndim - 2))
        if _other_channels(fitted, target):
            fitted = to_channels(fitted, target.shape[1])
            averaged.append(name)
        if fitted.shape == target.shape:
            loaded[name] = fitted
        else:
            mismatched.append(name)
    root.load_state_dict({**known, **loaded})
    counters = {n for n in known if n.endswith("num_batches_tracked")}
    return Report(
        loaded=tuple(loaded),
        inflated=tuple(n for n in inflated if n in loaded),
        averaged=tuple(n for n in averaged if n in loaded),
        untouched=tuple(n for n in known if n not in {*loaded, *mismatched, *counters}),
        unused=tuple(n for n in given if n not in known),
        mismatched=tuple(mismatched),
    )


def _other_channels(value: Tensor, target: Tensor) -> bool:
    """Tell whether only the channels of an image (3, or 1) keep a kernel from fitting."""
    return (
        value.ndim == target.ndim
        and value.ndim > 3
        and value.shape[1] in (1, 3)
        and value.shape[1] != target.shape[1]
        and value.shape[:1] + value.shape[2:] == target.shape[:1] + target.shape[2:]
    )


def to_channels(kernel: Tensor, channels: int) -> Tensor:
    """Bring a first kernel (out, given, ...) to another number of channels of the image.

    Each new channel has the mean over those given, scaled so that an image that is the same in all
    channels gives what it gave.
    """
    mean = kernel.mean(1, keepdim=True) * (kernel.shape[1] / channels)
    return mean.expand(-1, channels, *kernel.shape[2:])


def _less_one(template: str) -> Callable[[re.Match[str]], str]:
    """Return a replacement whose first group counts from 0, and in the file from 1."""
    return lambda match: template.format(int(match[1]) - 1, *match.groups()[1:])


RESNET: Rules = (
    (r"^conv1\.", "stem.0.0."),
    (r"^bn1\.", "stem.0.1."),
    (r"^layer(\d)\.(\d+)\.", _less_one("stages.{}.{}.")),
    (r"\.conv(\d)\.", _less_one(".layers.{}.0.")),
    (r"\.bn(\d)\.", _less_one(".layers.{}.1.")),
    (r"\.downsample\.", ".shortcut."),
)
DENSENET: Rules = (
    (r"^features\.conv0\.", "stem.0."),
    (r"^features\.norm0\.", "stem.1."),
    (r"^features\.norm5\.", "norms.3.0."),
    (r"^features\.transition(\d)\.norm\.", _less_one("norms.{}.0.")),
    (r"^features\.transition(\d)\.conv\.", _less_one("transitions.{}.0.")),
    (r"^features\.denseblock(\d)\.", _less_one("blocks.{}.")),
    (r"\.denselayer(\d+)\.", _less_one(".{}.")),
    (r"\.norm\.?1\.", ".0."),  # older files write norm.1
    (r"\.conv\.?1\.", ".2."),
    (r"\.norm\.?2\.", ".3."),
    (r"\.conv\.?2\.", ".5."),
)
SEGFORMER: Rules = (
    (r"^segformer\.(encoder\.)?", ""),
    (r"^patch_embeddings\.(\d)\.", r"stages.\1.patch_embeddings."),
    (r"^block\.(\d)\.", r"stages.\1.blocks."),
    (r"^layer_norm\.(\d)\.", r"stages.\1.last."),
    (r"^stages\.(\d)\.layer_norm\.", r"stages.\1.last."),
    (r"^stages\.(\d)\.patch_embeddings\.proj\.", r"encoder.stages.\1.0.project."),
    (r"^stages\.(\d)\.patch_embeddings\.layer_norm\.", r"encoder.stages.\1.0.norm."),
    (r"^stages\.(\d)\.blocks\.(\d+)\.", lambda m: f"encoder.stages.{m[1]}.{1 + int(m[2])}."),
    (r"^stages\.", "encoder.stages."),
    (
        r"\.(attention\.self\.sr|attention\.sequence_reduction\.sequence_reduction)\.",
        ".attention.reduce.",
    ),
    (r"\.attention\.(self|sequence_reduction)\.layer_norm\.", ".attention.norm."),
    (r"\.attention\.(self\.query|q_proj)\.", ".attention.query."),
    (r"\.attention\.(self\.key|k_proj)\.(.*)", r".attention.key_value.\2+0"),
    (r"\.attention\.(self\.value|v_proj)\.(.*)", r".attention.key_value.\2+1"),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attention.project."),
    (r"\.(layer_norm_1|layernorm_before)\.", ".norm1."),
    (r"\.(layer_norm_2|layernorm_after)\.", ".norm2."),
    (r"\.mlp\.(dense1|fc1)\.", ".ffn.expand."),
    (r"\.mlp\.dwconv\.dwconv\.", ".ffn.mix."),
    (r"\.mlp\.(dense2|fc2)\.", ".ffn.project."),
    (r"^decode_head\.(?:linear_c|linear_projections)\.(\d)\.proj\.", r"project.\1."),
    (r"^decode_head\.linear_fuse\.", "fuse.0."),
    (r"^decode_head\.batch_norm\.", "fuse.1."),
    (r"^decode_head\.classifier\.", "head."),
)


def vgg_rules(*, norm: bool) -> Rules:
    """Return the names of torchvision's VGG16, whose layers are counted through."""
    rules: list[tuple[str, str]] = []
    index = 0
    for stage, count in enumerate((2, 2, 3, 3, 3)):
        for unit in range(count):
            rules.append((rf"^features\.{index}\.", f"stages.{stage}.{unit}.0."))
            if norm:
                rules.append((rf"^features\.{index + 1}\.", f"stages.{stage}.{unit}.1."))
            index += 3 if norm else 2
        index += 1  # the pooling
    return tuple(rules)


RULES: Mapping[str, Rules] = {
    "resnet": RESNET,
    "densenet": DENSENET,
    "vgg16": vgg_rules(norm=False),
    "vgg16_bn": vgg_rules(norm=True),
    "segformer": SEGFORMER,
}
