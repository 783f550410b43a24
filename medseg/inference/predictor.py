"""Predict a whole case: tiles, then class indices on the grid the case came with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.artefacts import Plan
from medseg.errors import CaseError
from medseg.geometry.resample import logits_to_indices
from medseg.geometry.volume import Grid
from medseg.inference.precision import Precision
from medseg.inference.sliding import sliding_window
from medseg.labels import LabelScheme

Decode = Callable[[Tensor], Tensor]

CPU_BATCH_VOXELS, GPU_BATCH_VOXELS = 2**19, 2**23
"""Voxels per forward pass that ``batch_size: auto`` aims at (two tiles of 64^3; four of 128^3)."""


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """How tiles cover an image; see `medseg.inference.sliding.sliding_window`."""

    overlap: float = 0.5
    mirror: bool = False
    """Average over flips of the plan's mirror axes."""
    batch_size: int | Literal["auto"] = "auto"
    """Tiles per forward pass; auto suits the device."""
    precision: Precision = "auto"


class Predictor:
    """A network with all that turns a normalised image into class indices.

    Parameters
    ----------
    network : nn.Module
        Trained network; it is moved to ``device`` and stays there.
    plan : Plan
        Gives patch size, mirror axes, coarse axis and label scheme.
    settings : WindowSettings, optional
    device : device
    """

    def __init__(
        self,
        network: nn.Module,
        plan: Plan,
        settings: WindowSettings | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        settings = settings or WindowSettings()
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.patch_size, self.coarse_axis = plan.patch_size, plan.coarse_axis
        self.mirror_axes = plan.mirror_axes if settings.mirror else ()
        self.overlap, self.precision = settings.overlap, settings.precision
        self.batch_size = tiles_per_batch(settings.batch_size, plan.patch_size, self.device)
        self.decode = decoder(plan.scheme)

    def logits(
        self, image: NDArray[np.float32], advance: Callable[[float], None] | None = None
    ) -> Tensor:
        """Predict a normalised image.

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
        """Predict class indices on the canonical grid of a case.

        Logits are interpolated linearly to the voxels of the crop and decoded slab by slab, so
        that ``num_classes`` volumes at full resolution never exist. Outside the crop lies
        background.

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

        Returns
        -------
        int16 ndarray of shape source.shape

        Raises
        ------
        CaseError
            If the network's output is not finite, or there is too little memory.
        """
        shape = tuple(b - a for a, b in zip(crop_start, crop_stop, strict=True))
        try:
            logits = self.logits(image, advance)
            if not math.isfinite(float(logits.sum(dtype=torch.float64))):
                raise CaseError(
                    case,
                    "the network's output is not finite (NaN or infinite)",
                    "look at the normalised image and the training's loss; with 16-mixed, set "
                    "precision to bf16-mixed or 32-true",
                )
            inside = logits_to_indices(logits, shape, self.decode, coarse_axis=self.coarse_axis)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise CaseError(
                case,
                f"too little memory to predict an image of shape {image.shape} on {self.device}",
                "set infer.batch_size=1, or predict on the CPU with --device cpu",
            ) from error
        pred = np.zeros(source.shape, dtype=np.int16)
        pred[tuple(slice(a, b) for a, b in zip(crop_start, crop_stop, strict=True))] = inside
        return pred


def decoder(scheme: LabelScheme) -> Decode:
    """Return the function that turns logits (C, *s) into int16 class indices (*s).

    Without regions: the class of the largest logit. With regions: those with probability above 0.5
    (logit above 0) paint one class index each, widest region first (`LabelScheme.paint_order`).
    """
    if scheme.activation == "softmax":
        return _largest
    order = scheme.paint_order()

    def paint(logits: Tensor) -> Tensor:
        pred = torch.zeros(logits.shape[1:], dtype=torch.int16, device=logits.device)
        for channel, index in order:
            pred[logits[channel] > 0] = index
        return pred

    return paint


def tiles_per_batch(
    wanted: int | Literal["auto"], patch_size: tuple[int, ...], device: torch.device
) -> int:
    """Resolve ``batch_size: auto``: as many tiles as fill a device's voxels per pass, 1 to 32."""
    if wanted != "auto":
        return wanted
    voxels = CPU_BATCH_VOXELS if device.type == "cpu" else GPU_BATCH_VOXELS
    return min(32, max(1, voxels // math.prod(patch_size)))


def _largest(logits: Tensor) -> Tensor:
    """Return the class of the largest logit."""
    # max is 7 times faster than argmax over the first axis on a CPU, and also takes the first.
    return logits.max(dim=0).indices.to(torch.int16)
