"""Names of weights: from those of other libraries to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
"""Pattern and replacement, in the order of `re.sub`."""


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
