"""Predict a whole case: tiles, then class indices on the grid the case came with."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.artefacts import ChannelNormalization, Plan
from medseg.errors import CaseError
from medseg.geometry.volume import Grid
from medseg.inference.blend import Slab
from medseg.inference.decode import decoder
from medseg.inference.ensemble import as_network
from medseg.inference.forward import is_out_of_memory
from medseg.inference.maps import Disagreement, MapName, channels_of
from medseg.inference.memory import (
    Frugality,
    Need,
    activation_bytes,
    allowance,
    logits_bytes,
)
from medseg.inference.multiscale import multiscale_logits
from medseg.inference.precision import Precision
from medseg.inference.sliding import pad_to_patch, sliding_window
from medseg.inference.sweep import Background, Tally, sweep
from medseg.inference.target import Target
from medseg.inference.tiles import Layout
from medseg.inference.times import StepTimes

logger = logging.getLogger(__name__)

CPU_BATCH_VOXELS, GPU_BATCH_VOXELS = 2**19, 2**23
"""Voxels per forward pass that ``batch_size: auto`` aims at (two tiles of 64^3; four of 128^3)."""

AIR_HU = -950.0
"""Up to here a CT voxel is air; lung tissue lies above."""

AIR_MARGIN = 0.05
"""Added to air's normalised value: the ripples that splines leave beside an edge."""


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """How tiles cover an image; see `medseg.inference.sweep.sweep`."""

    overlap: float = 0.5
    mirror: bool = False
    """Average over flips of the plan's mirror axes; costs 2^axes the time."""
    batch_size: int | Literal["auto"] = "auto"
    """Tiles per forward pass; auto suits the device."""
    precision: Precision = "auto"
    skip_empty: bool = True
    """Do not run tiles of a CT that hold nothing but air (or what the plan clips to the same
    value); they become background. Risk: a structure that a network sees in pure air, such as one
    guessed from the position in the tile alone."""
    adaptive: bool = False
    """See each voxel once, then run the overlapping tiles only where foreground is or nearly is.
    Risk: a small structure that only an overlapping tile, which has it in its middle, would have
    shown."""
    half_sums: bool = False
    """Sum logits in float16, which halves their memory; they change by up to 2**-11 of their size
    per overlapping tile. Done by itself where the memory would not do otherwise."""
    scales: tuple[float, ...] = (1.0,)
    """Average over the image at these sizes (`medseg.inference.multiscale`); all logits of a case
    are then in memory at once."""
    memory: int | None = None
    """Bytes that the process may have in use on the device; None: a share of what is free."""


@dataclass(frozen=True, kw_only=True)
class CasePrediction:
    """What a network says of a case, on the canonical grid."""

    indices: NDArray[np.int16]
    """Class indices, shape (*spatial,)."""
    maps: Mapping[MapName, NDArray[np.uint8]]
    """Maps asked for, each (channels, *spatial); 255 is 1. See `medseg.inference.maps`."""
    tally: Tally
    """What became of the tiles."""
    times: StepTimes
    """Seconds of the steps ``network`` and ``decode``, added to those handed in."""


class Predictor:
    """Networks with all that turns a normalised image into class indices.

    Parameters
    ----------
    networks : nn.Module or sequence of nn.Module
        One trained network, or the folds of one: several are predicted in one pass over the tiles
        and the mean of their logits is decoded (`medseg.inference.ensemble.Ensemble`). They are
        moved to ``device`` and stay there.
    plan : Plan
        Gives patch size, mirror axes, coarse axis, normalisation and label scheme.
    settings : WindowSettings, optional
    device : device
    previous : Predictor, optional
        Of a cascade: whose prediction is part of the input; see `medseg.inference.cascade`.
    """

    def __init__(
        self,
        networks: nn.Module | Sequence[nn.Module],
        plan: Plan,
        settings: WindowSettings | None = None,
        device: torch.device | str = "cpu",
        previous: Predictor | None = None,
    ) -> None:
        self.previous = previous
        self.settings = settings or WindowSettings()
        self.device = torch.device(device)
        self.network = as_network(networks).to(self.device).eval()
        self.patch_size, self.coarse_axis = plan.patch_size, plan.coarse_axis
        self.mirror_axes = plan.mirror_axes if self.settings.mirror else ()
        self.overlap, self.precision = self.settings.overlap, self.settings.precision
        self.batch_size = tiles_per_batch(self.settings.batch_size, plan.patch_size, self.device)
        self.scheme, self.channels = plan.scheme, plan.in_channels
        self.decode = decoder(plan.scheme)
        self.air = air_values(plan.normalization) if self.settings.skip_empty else None
        if self.air is not None:  # a tile in which an earlier model saw something is not empty
            self.air += (0.5,) * plan.previous_classes

    def logits(
        self, image: NDArray[np.float32], advance: Callable[[float], None] | None = None
    ) -> Tensor:
        """Predict a normalised image, with all tiles and all logits in memory.

        Parameters
        ----------
        image : float32 ndarray of shape (C, *spatial)
            Normalised, at the planned spacing.
        advance : callable, optional
            Called with the share of the tiles done since its last call.

        Returns
        -------
        float32 Tensor of shape (num_classes, *spatial)
        """
        return sliding_window(
            self.network,
            torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)),
            patch_size=self.patch_size,
            overlap=self.overlap,
            batch_size=self.batch_size,
            mirror_axes=self.mirror_axes,
            device=self.device,
            precision=self.precision,
            advance=advance,
        )

    def indices(
        self,
        image: NDArray[np.float32],
        *,
        case: str,
        crop_start: tuple[int, ...],
        crop_stop: tuple[int, ...],
        source: Grid,
        advance: Callable[[float], None] | None = None,
    ) -> NDArray[np.int16]:
        """Predict class indices on the canonical grid of a case; see `predict`.

        Returns
        -------
        int16 ndarray of shape source.shape
        """
        return self.predict(
            image,
            case=case,
            crop_start=crop_start,
            crop_stop=crop_stop,
            source=source,
            advance=advance,
        ).indices

    def predict(
        self,
        image: NDArray[np.float32],
        *,
        case: str,
        crop_start: tuple[int, ...],
        crop_stop: tuple[int, ...],
        source: Grid,
        maps: Sequence[MapName] = (),
        times: StepTimes | None = None,
        advance: Callable[[float], None] | None = None,
    ) -> CasePrediction:
        """Predict class indices, and maps where asked for, on the canonical grid of a case.

        Logits are interpolated linearly to the voxels of the crop and decoded as soon as a plane
        is finished, so that ``num_classes`` volumes exist neither at the planned spacing nor at
        full resolution. Outside the crop lies background.

        Parameters
        ----------
        image : float32 ndarray of shape (C, *spatial)
            Normalised, at the planned spacing; it covers the field of view of the crop exactly.
        case : str
            Id, for messages.
        crop_start, crop_stop : tuple of int
            Box of the source grid that the image covers.
        source : Grid
            Canonical grid.
        maps : sequence of str
            See `medseg.inference.maps.MapName`; ``disagreement`` runs all tiles.
        times : StepTimes, optional
            Where the steps' seconds are added.
        advance : callable, optional
            Called with the share of the tiles done since its last call.

        Returns
        -------
        CasePrediction

        Raises
        ------
        CaseError
            If the network's output is not finite, or there is too little memory.
        """
        times, tally = times or StepTimes(), Tally()
        if self.settings.scales != (1.0,) and "disagreement" in maps:
            raise CaseError(
                case,
                "disagreement is not known of several scales",
                "set infer.scales to [1.0], or ask for entropy",
            )
        pred = np.zeros(source.shape, dtype=np.int16)
        volumes = {
            name: np.zeros((channels_of(name, self.scheme), *source.shape), dtype=np.uint8)
            for name in maps
        }
        if "classes" in volumes and self.scheme.activation == "softmax":
            volumes["classes"][0] = 255  # outside the crop lies background, for certain
        box = tuple(slice(a, b) for a, b in zip(crop_start, crop_stop, strict=True))
        pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
        padded, inner = pad_to_patch(pixels, self.patch_size)
        results = pred.nbytes + sum(volume.nbytes for volume in volumes.values())
        try:
            cropped = {name: volume[:, *box] for name, volume in volumes.items()}
            if self.settings.scales == (1.0,):
                how, layout = self._frugality(case, padded, padded is not pixels, maps, results)
                axis = layout.axis
                slabs = self._sweep(padded, layout, how, maps, tally, advance)
            else:
                axis, inner = 0, tuple(slice(0, n) for n in pixels.shape[1:])
                slabs = self._scaled(pixels, advance)
            target = Target(case, self.scheme, inner, axis, pred[box], cropped, self.coarse_axis)
            for slab in _timed(slabs, times, "network"):
                with times("decode"):
                    target.push(slab)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise CaseError(
                case,
                f"too little memory to predict an image of shape {image.shape} on {self.device}",
                "set infer.batch_size=1, or predict on the CPU with --device cpu",
            ) from error
        logger.debug("case %s: %s, %s", case, tally, times)
        return CasePrediction(indices=pred, maps=volumes, tally=tally, times=times)

    def _scaled(self, image: Tensor, advance: Callable[[float], None] | None) -> Iterator[Slab]:
        """Run the network over the image at several sizes; one slab holds all."""

        def whole(resized: Tensor) -> Tensor:
            return self.logits(resized.numpy())

        regions = self.scheme.activation == "sigmoid"
        scales = self.settings.scales
        yield Slab(0, multiscale_logits(image, scales, whole, regions=regions, advance=advance))

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
        layout = self._layout(size, how)
        extra = 1 if "disagreement" in maps else 0
        channels = self.scheme.num_classes + extra
        logits = 4 * channels * math.prod(self.patch_size)
        flips = 2 if self.mirror_axes else 0
        members = 2 * 2 ** len(self.mirror_axes) * len(getattr(self.network, "members", "1"))
        return Need(
            logits=logits_bytes(layout, channels, torch.float16 if how.half else torch.float32),
            tile=self._tile_bytes + logits * (members if extra else flips),
            batch_size=how.batch_size,
            padded=4 * self.channels * math.prod(size) if padded else 0,
            results=results,
            logits_on_host=how.on_host,
        )

    @cached_property
    def _tile_bytes(self) -> int:
        """Bytes of one tile in the network; measured once."""
        return activation_bytes(
            self.network, self.channels, self.patch_size, self.device, self.precision
        )

    def _layout(self, size: Sequence[int], how: Frugality) -> Layout:
        """Place the tiles."""
        return Layout.of(
            size, self.patch_size, self.overlap, batch_size=how.batch_size, adaptive=how.adaptive
        )

    def _frugality(
        self,
        case: str,
        image: Tensor,
        padded: bool,
        maps: Sequence[MapName],
        results: int,
    ) -> tuple[Frugality, Layout]:
        """Choose the least thrifty way that keeps under the limit."""
        size = tuple(image.shape[1:])
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
            said = f"predicting {size} takes {need.on(self.device) / 1e9:.2f} GB ({need})"
            if self.settings.memory is not None:
                raise CaseError(
                    case,
                    f"{said}, {allowed / 1e9:.2f} GB are left of infer.memory",
                    "raise infer.memory, or crop the image",
                )
            logger.warning("case %s: %s, %.2f GB are free; trying", case, said, allowed / 1e9)
        if how != wanted:
            logger.info("case %s: to keep under the memory limit: %s", case, how)
        return how, self._layout(size, how)

    def _sweep(
        self,
        image: Tensor,
        layout: Layout,
        how: Frugality,
        maps: Sequence[MapName],
        tally: Tally,
        advance: Callable[[float], None] | None,
    ) -> Iterator[Slab]:
        """Run the network over the image."""
        network, mirror_axes = self.network, self.mirror_axes
        background = Background.of(self.scheme, self.air)
        if "disagreement" in maps:
            regions = self.scheme.activation == "sigmoid"
            network, mirror_axes = Disagreement(network, mirror_axes, regions=regions), ()
            background = replace(background, logits=(*background.logits, 0.0))
        return sweep(
            network,
            image,
            layout,
            batch_size=how.batch_size,
            mirror_axes=mirror_axes,
            device=self.device,
            precision=self.precision,
            accumulate_on="cpu" if how.on_host else self.device,
            accumulate_in=torch.float16 if how.half else torch.float32,
            background=background,
            advance=advance,
            tally=tally,
        )


def air_values(normalization: Sequence[ChannelNormalization]) -> tuple[float, ...] | None:
    """Return per channel the normalised value up to which a voxel is air; None where unknown.

    Known for CT in Hounsfield units, where each channel is normalised by fixed numbers: the value
    of `AIR_HU`, or of what the plan clips to where that is higher, plus `AIR_MARGIN`. Stored values
    that are not Hounsfield units, all above 0 say, are never taken for air.
    """
    values = []
    for channel in normalization:
        if channel.scheme != "ct":
            return None
        floor = AIR_HU if channel.clip is None else max(AIR_HU, channel.clip[0])
        values.append((floor - channel.mean) / max(channel.std, 1e-8) + AIR_MARGIN)
    return tuple(values)


def tiles_per_batch(
    wanted: int | Literal["auto"], patch_size: tuple[int, ...], device: torch.device
) -> int:
    """Resolve ``batch_size: auto``: as many tiles as fill a device's voxels per pass, 1 to 32."""
    if wanted != "auto":
        return wanted
    voxels = CPU_BATCH_VOXELS if device.type == "cpu" else GPU_BATCH_VOXELS
    return min(32, max(1, voxels // math.prod(patch_size)))


def _timed(slabs: Iterator[Slab], times: StepTimes, step: str) -> Iterator[Slab]:
    """Time what an iterator does between its items."""
    while True:
        started = time.perf_counter()
        item = next(slabs, None)
        times.add(step, time.perf_counter() - started)
        if item is None:
            return
        yield item
