"""How a predictor keeps under its memory limit: what a case takes, and what is given up for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn

from medseg.artefacts import Plan
from medseg.errors import CaseError
from medseg.inference.maps import MapName
from medseg.inference.memory import (
    Frugality,
    Need,
    activation_bytes,
    allowance,
    logits_bytes,
)
from medseg.inference.tiles import Layout
from medseg.inference.window import WindowSettings, tiles_per_batch

logger = logging.getLogger(__name__)


class Thrift:
    """Predicts a case's memory and steps down where it is too much.

    Parameters
    ----------
    network : nn.Module
        On ``device``.
    plan : Plan
        Gives patch size, channels, classes and mirror axes.
    settings : WindowSettings
    device : device
    """

    def __init__(
        self, network: nn.Module, plan: Plan, settings: WindowSettings, device: torch.device
    ) -> None:
        self.network, self.settings, self.device = network, settings, device
        self.patch_size, self.channels = plan.patch_size, plan.in_channels
        self.num_classes = plan.scheme.num_classes
        self.flips = 2 ** len(plan.mirror_axes) if settings.mirror else 1
        self.batch_size = tiles_per_batch(settings.batch_size, plan.patch_size, device)

    @cached_property
    def tile_bytes(self) -> int:
        """Bytes of one tile in the network; measured once."""
        precision = self.settings.precision
        return activation_bytes(
            self.network, self.channels, self.patch_size, self.device, precision
        )

    def layout(self, size: Sequence[int], how: Frugality) -> Layout:
        """Place the tiles on an image of at least one tile."""
        return Layout.of(
            size,
            self.patch_size,
            self.settings.overlap,
            batch_size=how.batch_size,
            adaptive=how.adaptive,
            places=self.settings.places,
        )

    def need(
        self,
        size: Sequence[int],
        how: Frugality,
        *,
        padded: bool = False,
        results: int = 0,
        maps: Sequence[MapName] = (),
    ) -> Need:
        """Predict the memory that an image of a size takes; see `medseg.inference.memory`."""
        extra = 1 if "disagreement" in maps else 0
        channels = self.num_classes + extra
        logits = 4 * channels * math.prod(self.patch_size)
        flips = 2 if self.flips > 1 else 0
        members = 2 * self.flips * len(getattr(self.network, "members", "1"))
        dtype = torch.float16 if how.half else torch.float32
        return Need(
            logits=logits_bytes(self.layout(size, how), channels, dtype),
            tile=self.tile_bytes + logits * (members if extra else flips),
            batch_size=how.batch_size,
            padded=4 * self.channels * math.prod(size) if padded else 0,
            results=results,
            logits_on_host=how.on_host,
        )

    def choose(
        self,
        case: str,
        size: Sequence[int],
        *,
        padded: bool = False,
        results: int = 0,
        maps: Sequence[MapName] = (),
    ) -> tuple[Frugality, Layout]:
        """Choose the least thrifty way that keeps under the limit.

        Parameters
        ----------
        case : str
            Id, for messages.
        size : sequence of int
            Voxels of the image, padded to at least one tile.
        padded : bool
            The padding made a copy of the image.
        results : int
            Bytes of what is predicted.
        maps : sequence of str
            Those asked for.

        Raises
        ------
        CaseError
            If ``settings.memory`` is set and nothing keeps under it.
        """
        allowed = allowance(self.settings.memory, self.device)
        wanted = Frugality(
            batch_size=self.batch_size,
            adaptive=self.settings.adaptive and "disagreement" not in maps,
            half=self.settings.half_sums,
        )
        for how in wanted.thriftier(self.device.type == "cuda"):
            need = self.need(size, how, padded=padded, results=results, maps=maps)
            if need.on(self.device) <= allowed:
                break
        else:
            taken = need.on(self.device) / 1e9
            said = f"predicting {tuple(size)} takes {taken:.2f} GB ({need})"
            if self.settings.memory is not None:
                held = self.settings.memory - allowed
                raise CaseError(
                    case,
                    f"{said} beside the {held / 1e9:.2f} GB that this process holds already; "
                    "infer.memory (--memory of predict) allows "
                    f"{self.settings.memory / 1e9:.2f} GB in all",
                    f"raise infer.memory to {held / 1e9 + taken + 0.05:.1f}GB or more, or crop the "
                    "image",
                )
            logger.warning("case %s: %s, %.2f GB are free; trying", case, said, allowed / 1e9)
        if how != wanted:
            logger.info("case %s: to keep under the memory limit: %s", case, how)
        return how, self.layout(size, how)
