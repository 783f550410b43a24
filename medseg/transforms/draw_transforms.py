"""What each transform draws for a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from medseg.errors import ConfigError
from medseg.transforms.draw import (
    Drawn,
    draw_around_one,
    draw_channels,
    draw_log_uniform,
    draw_uniform,
)
from medseg.transforms.settings import BY_SHAPE
from medseg.transforms.spatial import rotation_limit, rotation_planes

FACTORS = ("brightness", "contrast", "gamma", "gamma_inverted")
NEUTRAL = {"blur": 0.0, "low_resolution": 1.0}
"""The value that leaves a channel alone."""


def draw_transform(
    name: str,
    setting: Mapping[str, Any],
    batch: int,
    channels: int,
    patch_size: Sequence[int],
    generator: torch.Generator,
) -> Drawn:
    """Draw one transform of `medseg.transforms.settings.load_preset`, mirroring excepted.

    Parameters
    ----------
    name : str
    setting : mapping
        Its settings; with ``p`` 0 nothing is drawn.
    batch, channels : int
    patch_size : sequence of int
    generator : torch.Generator
        On the CPU.

    Raises
    ------
    ConfigError
        If colours are to be changed and there are not three channels.
    """
    p, ndim = setting["p"], len(patch_size)
    low, high = setting.get("range", (0.0, 0.0))
    if p == 0:
        return Drawn(torch.zeros(0, dtype=torch.int64), torch.zeros(0, channels))
    if name == "rotate":
        degrees = setting["degrees"]
        limit = math.radians(rotation_limit(patch_size) if degrees == BY_SHAPE else degrees)
        planes = len(rotation_planes(patch_size))
        return draw_uniform(batch, planes, p, -limit, limit, generator)
    if name == "scale":
        return draw_log_uniform(batch, 1, p, low, high, generator)
    if name == "translate":
        return draw_uniform(batch, ndim, p, -setting["share"], setting["share"], generator)
    if name in ("elastic", "bias_field"):
        return draw_uniform(batch, 1, p, low, high, generator)
    if name == "colour":
        return _draw_colour(setting, batch, channels, generator)
    if name == "erase":
        drawn = draw_uniform(batch, 2 * ndim, p, 0.0, 1.0, generator)
        drawn.values[:, :ndim] = low + (high - low) * drawn.values[:, :ndim]
        return drawn
    draw = draw_around_one if name in FACTORS else draw_uniform
    drawn = draw(batch, channels, p, low, high, generator)
    if "channel_p" not in setting:
        return drawn
    return draw_channels(drawn, setting["channel_p"], NEUTRAL[name], generator, batch)


def _draw_colour(
    setting: Mapping[str, Any], batch: int, channels: int, generator: torch.Generator
) -> Drawn:
    """Draw a shift, two factors and an angle."""
    if channels != 3:
        raise ConfigError(
            f"train.augment.colour.p is {setting['p']}, but the images have {channels} channel(s), "
            "not red, green and blue; set it to 0"
        )
    drawn = draw_uniform(batch, 4, setting["p"], -1.0, 1.0, generator)
    keys = ("brightness", "contrast", "saturation", "hue")
    drawn.values.mul_(torch.tensor([float(setting[key]) for key in keys]))
    drawn.values[:, 1:3] += 1
    return drawn
