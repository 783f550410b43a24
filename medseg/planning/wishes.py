"""What a config says of the values that can be planned."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from medseg.errors import ConfigError
from medseg.geometry.resize import Resize
from medseg.settings import NetworkSettings

SET = "set in the config"
"""The rule of a decision that was none."""
Auto = Literal["auto"]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """A value that is not ``auto`` stands as it is."""

    spacing: tuple[float, ...] | Auto = "auto"
    resolution: Literal["full", "low"] = "full"
    previous: str | None = None
    order: int = 3
    crop: bool = True
    resize: Resize | None = None
    patch_size: tuple[int, ...] | Auto = "auto"
    batch_size: int | Auto = "auto"
    memory: str = "auto"
    budget: str = "auto"
    network: NetworkSettings = field(default_factory=NetworkSettings)

    @property
    def gigabytes(self) -> float | None:
        """GB to plan for; None where ``memory`` is ``auto``."""
        return None if self.memory == "auto" else parse_memory(self.memory)


def parse_memory(text: str, key: str = "train.memory") -> float:
    """Read ``8GB`` or ``900MB`` as GB (10^9 bytes).

    Raises
    ------
    ConfigError
        For anything else.

    Examples
    --------
    >>> parse_memory("24GB"), parse_memory("1500 MB")
    (24.0, 1.5)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(GB|MB)\s*", str(text), re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"{key} is '{text}'; write a size such as 8GB or 900MB, or auto")
    return float(match[1]) / (1 if match[2].upper() == "GB" else 1000)
