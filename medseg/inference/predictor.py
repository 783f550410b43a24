"""Predict a whole case: tiles, then class indices on the grid the case came with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.artefacts import Plan
from medseg.errors import CaseError
from medseg.geometry.volume import Grid
from medseg.inference.air import air_values
from medseg.inference.blend import Slab
from medseg.inference.clues import ClueCounter, HeardFlips
from medseg.inference.crf import check_affordable, refine_logits
from medseg.inference.decode import decoder
from medseg.inference.ensemble import as_network
from medseg.inference.forward import is_out_of_memory
from medseg.inference.maps import Disagreement, MapName, channels_of
from medseg.inference.memory import Frugality, allowance
from medseg.inference.multiscale import multiscale_logits
from medseg.inference.precision import lower_precision
from medseg.inference.prediction import CasePrediction
from medseg.inference.quick import quickened
from medseg.inference.shifts import shift_axes
from medseg.inference.sliding import pad_to_patch, sliding_window
from medseg.inference.sweep import Background, Tally, sweep
from medseg.inference.target import Target
from medseg.inference.thrift import Thrift
from medseg.inference.tiles import Layout
from medseg.inference.times import StepTimes, timed
from medseg.inference.window import WindowSettings

logger = logging.getLogger(__name__)


class Predictor:
    """Networks with all that turns a normalised image into class indices.

    Parameters
    ----------
    networks : nn.Module or sequence of nn.Module
        One trained network, or the folds of one: several are predicted in one pass over the tiles
        and the mean of their logits is decoded (`medseg.inference.ensemble.Ensemble`). They are
        moved to ``device`` and stay there; what predicts is a copy that has less to do
        (`medseg.inference.quick.quickened`), so they are not to be trained any more.
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
        shifts = self.settings.shifts
        network = as_network(networks, shifts, shift_axes(plan, shifts)).to(self.device).eval()
        # In float32 torch's convolutions gain nothing from it, and some of them turn it back.
        lower = lower_precision(self.device, self.settings.precision) is not None
        last = self.device.type == "cpu" and lower
        self.network = quickened(network, channels_last=last)
        self.thrift = Thrift(self.network, plan, self.settings, self.device)
        self.patch_size, self.coarse_axis = plan.patch_size, plan.coarse_axis
        self.mirror_axes = plan.mirror_axes if self.settings.mirror else ()
        self.overlap, self.precision = self.settings.overlap, self.settings.precision
        self.scheme = plan.scheme
        self.spacing, self.own_channels = plan.spacing, len(plan.normalization)
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
            places=self.settings.places,
            batch_size=self.thrift.batch_size,
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
        clues: ClueCounter | None = None,
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
            clues=clues,
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
        clues: ClueCounter | None = None,
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
        clues : ClueCounter, optional
            Counts what the answer tells of its own quality.
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
        if self._at_once and "disagreement" in maps:
            raise CaseError(
                case,
                "disagreement is not known of several scales, nor behind a CRF",
                "set infer.scales to [1.0] and infer.crf to null, or ask for entropy",
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
            if not self._at_once:
                how, layout = self.thrift.choose(
                    case,
                    padded.shape[1:],
                    padded=padded is not pixels,
                    results=results,
                    maps=maps,
                )
                axis = layout.axis
                slabs = self._sweep(padded, layout, how, maps, clues, tally, advance)
            else:
                axis, inner = 0, tuple(slice(0, n) for n in pixels.shape[1:])
                slabs = self._whole(case, pixels, advance)
            target = Target(
                case, self.scheme, inner, axis, pred[box], cropped, self.coarse_axis, clues
            )
            for slab in timed(slabs, times, "network"):
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

    @property
    def _at_once(self) -> bool:
        """Whether all logits of a case are needed together."""
        return self.settings.scales != (1.0,) or self.settings.crf is not None

    def _whole(
        self, case: str, image: Tensor, advance: Callable[[float], None] | None
    ) -> Iterator[Slab]:
        """Run the network over the image at its sizes, then the CRF; one slab holds all."""
        sizes, regions = tuple(image.shape[1:]), self.scheme.activation == "sigmoid"
        scales, crf = self.settings.scales, self.settings.crf
        if crf is not None:
            allowed = allowance(self.settings.memory, self.device)
            classes = self.scheme.num_classes
            check_affordable(case, sizes, classes, self.own_channels, crf, allowed)
        logits = multiscale_logits(
            image, scales, lambda one: self.logits(one.numpy()), regions=regions, advance=advance
        )
        if crf is not None:
            own = image[: self.own_channels]
            logits = refine_logits(logits, own, self.spacing, crf, regions=regions)
        yield Slab(0, logits)

    def _sweep(
        self,
        image: Tensor,
        layout: Layout,
        how: Frugality,
        maps: Sequence[MapName],
        clues: ClueCounter | None,
        tally: Tally,
        advance: Callable[[float], None] | None,
    ) -> Iterator[Slab]:
        """Run the network over the image."""
        network, mirror_axes = self.network, self.mirror_axes
        background = Background.of(self.scheme, self.air)
        if "disagreement" in maps:
            regions = self.scheme.activation == "sigmoid"
            network = Disagreement(network, mirror_axes, regions=regions, clues=clues)
            mirror_axes = ()
            background = replace(background, logits=(*background.logits, 0.0))
        elif clues is not None and mirror_axes:
            network, mirror_axes = HeardFlips(network, mirror_axes, clues), ()
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
