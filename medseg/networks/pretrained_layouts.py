"""Names of published networks whose modules are counted through: VGG16, MobileNet v3, Xception."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from medseg.networks.encoders.mobilenet import Row

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
"""Pattern and replacement, in the order of `re.sub`."""


def _table(places: Mapping[str, str]) -> Rules:
    """Return the rule that renames modules one by one."""
    return ((r"^(.+)\.(\w+)$", lambda match: f"{places.get(match[1], match[1])}.{match[2]}"),)


def vgg_rules(*, norm: bool) -> Rules:
    """Return the names of torchvision's and timm's VGG16, whose layers are counted through.

    A bias before a norm, of which ours has none, is the same as a smaller mean.
    """
    rules: list[tuple[str, str]] = []
    index = 0
    for stage, count in enumerate((2, 2, 3, 3, 3)):
        for unit in range(count):
            place = f"stages.{stage}.{unit}"
            if norm:
                rules.append((rf"^features\.{index}\.bias$", f"{place}.1.running_mean-"))
                rules.append((rf"^features\.{index + 1}\.", f"{place}.1."))
            rules.append((rf"^features\.{index}\.", f"{place}.0."))
            index += 3 if norm else 2
        index += 1  # the pooling
    return tuple(rules)


def mobilenet_rules(rows: Sequence[Row], *, timm: bool) -> Rules:
    """Return the names of torchvision's or timm's MobileNet v3."""
    stem = ("conv_stem", "bn1") if timm else ("features.0.0", "features.0.1")
    places = dict(zip(stem, ("stages.0.0", "stages.0.1"), strict=True))
    stage, index, given = 0, 3, 16  # the stem is three modules
    group, member = -1, 0  # timm's, each of one number of channels
    for i, row in enumerate(rows):
        if row.stride > 1:
            stage, index = stage + 1, 0
        group, member = (group, member + 1) if i and row.out == given else (group + 1, 0)
        of_block = _timm_block(row, given) if timm else _torchvision_block(row, given)
        there = f"blocks.{group}.{member}" if timm else f"features.{i + 1}.block"
        for theirs, ours in of_block.items():
            places[f"{there}.{theirs}"] = f"stages.{stage}.{index}.body.{ours}"
        index, given = index + 1, row.out
    last = f"blocks.{group + 1}.0" if timm else f"features.{len(rows) + 1}"
    for theirs, j in zip(("conv", "bn1") if timm else ("0", "1"), (index, index + 1), strict=True):
        places[f"{last}.{theirs}"] = f"stages.{stage}.{j}"
    return _table(places)


def _body(row: Row, given: int) -> tuple[int, int]:
    """Return the places of the depthwise convolution and of the last one in our block."""
    depthwise = 3 if row.inner != given else 0
    return depthwise, depthwise + (4 if row.gate else 3)


def _torchvision_block(row: Row, given: int) -> dict[str, str]:
    """Return torchvision's names in one block of MobileNet v3, and ours."""
    depthwise, last = _body(row, given)
    first = [0] if depthwise else []
    gate: list[str | int] = ["gate"] if row.gate else []
    places: dict[str, str] = {}
    for k, ours in enumerate([*first, depthwise, *gate, last]):
        if isinstance(ours, int):
            places |= {f"{k}.0": f"{ours}", f"{k}.1": f"{ours + 1}"}
        else:
            places |= {f"{k}.fc1": f"{last - 1}.body.1", f"{k}.fc2": f"{last - 1}.body.3"}
    return places


def _timm_block(row: Row, given: int) -> dict[str, str]:
    """Return timm's names in one block of MobileNet v3, and ours."""
    depthwise, last = _body(row, given)
    names = ["conv_pw", "conv_dw", "conv_pwl"] if depthwise else ["conv_dw", "conv_pw"]
    kept = [0, depthwise, last] if depthwise else [depthwise, last]
    places: dict[str, str] = {}
    for k, (theirs, ours) in enumerate(zip(names, kept, strict=True), start=1):
        places |= {theirs: f"{ours}", f"bn{k}": f"{ours + 1}"}
    if row.gate:
        places |= {"se.conv_reduce": f"{last - 1}.body.1", "se.conv_expand": f"{last - 1}.body.3"}
    return places


def xception_rules(middle: int) -> Rules:
    """Return the names of timm's aligned Xception with that many middle blocks."""
    blocks = ["first", "second", "third", *(f"middle.{i}" for i in range(middle)), "exit"]
    places = {"stem.0.conv": "stem.0.0", "stem.0.bn": "stem.0.1"}
    places |= {"stem.1.conv": "stem.1.0", "stem.1.bn": "stem.1.1"}
    separable = {"conv_dw": "0.0", "bn_dw": "0.1", "conv_pw": "1.0", "bn_pw": "1.1"}
    for i, block in enumerate(blocks):
        places |= {f"blocks.{i}.shortcut.conv": f"{block}.shortcut.0"}
        places |= {f"blocks.{i}.shortcut.bn": f"{block}.shortcut.1"}
        for conv, place in zip((1, 2, 3), ("inner.0.1", "inner.1.1", "strided.1"), strict=True):
            for theirs, ours in separable.items():
                places[f"blocks.{i}.stack.conv{conv}.{theirs}"] = f"{block}.{place}.{ours}"
    for conv in (1, 2, 3):
        for theirs, ours in separable.items():
            there = f"blocks.{len(blocks)}.stack.conv{conv}.{theirs}"
            places[there] = f"last.{conv - 1}.{ours}"
    return _table(places)
