"""Augmentation of a training batch on its own device: draw everything, then apply it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from medseg.transforms import intensity
from medseg.transforms.bias_field import multiply_bias_field
from medseg.transforms.colour import LUMA, jitter_colour
from medseg.transforms.draw import Drawn, draw_uniform
from medseg.transforms.draw_transforms import NEUTRAL, draw_transform
from medseg.transforms.erase import erase_box
from medseg.transforms.margin import choose_margin
from medseg.transforms.movement import Patch, move, plan_movement
from medseg.transforms.previous import PREVIOUS, draw_previous, spoil
from medseg.transforms.settings import load_preset, resolve_labels, resolve_settings
from medseg.transforms.spatial import turning_axes

PORTION = 2**18
"""Voxels that are changed at a time on the CPU, so that they stay in its cache."""
REHEARSAL = 256
"""Images drawn to learn how far turned patches reach."""

SEEDED: Mapping[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "noise": intensity.add_noise,
    "bias_field": multiply_bias_field,
}
WHOLE = ("bias_field", "colour", "erase")
"""Transforms that see all channels of an image; the others change each by itself."""


class Augmenter:
    """Change a batch at random; the same generator state gives the same change.

    Parameters
    ----------
    overrides : mapping
        See `medseg.transforms.settings.resolve_settings`.
    patch_size : sequence of int
        Shape of what is returned; what is given may be larger, by a margin on both sides.
    spacing : sequence of float
        mm per voxel of each axis; rotations are rotations in space, not of voxel indices.
    mirror_axes : sequence of int
        Spatial axes that may be mirrored.
    previous : int
        Of a cascade: how many of the last channels hold an earlier prediction, a class each. They
        move with the image and are spoilt in their own way; no intensity transform sees them.

    Examples
    --------
    >>> augment = Augmenter({"enabled": False}, patch_size=(4, 4), spacing=(1.0, 1.0))
    >>> image, label = torch.rand(1, 1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int16)
    >>> augment(image, label, torch.Generator())[0] is image
    True
    """

    def __init__(
        self,
        overrides: Mapping[str, Any],
        *,
        patch_size: Sequence[int],
        spacing: Sequence[float],
        mirror_axes: Sequence[int] = (),
        previous: int = 0,
    ) -> None:
        self.previous = previous
        self.settings = resolve_settings(overrides)
        self.labels = resolve_labels(overrides)
        self.patch_size = tuple(patch_size)
        self.mirror_axes = tuple(mirror_axes)
        cell = self.settings.get("elastic", load_preset()["elastic"])["cell"]
        self.patch = Patch(self.patch_size, tuple(spacing), cell)
        self._changes: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
            "blur": intensity.blur,
            "brightness": intensity.scale_brightness,
            "contrast": intensity.scale_contrast,
            "low_resolution": partial(
                intensity.lower_resolution, axes=turning_axes(self.patch_size)
            ),
            "gamma_inverted": intensity.change_gamma_inverted,
            "gamma": intensity.change_gamma,
            "colour": jitter_colour,
            "erase": erase_box,
        }

    def __call__(
        self, image: Tensor, label: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return changed copies of a batch; see `apply`."""
        channels = image.shape[1] - self.previous
        return self.apply(image, label, self.draw(image.shape[0], channels, generator))

    def margin(self, shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Return how many voxels to read on both sides of a patch, along each axis.

        Parameters
        ----------
        shapes : sequence of shapes
            Of the cases that patches are cut from; see `medseg.transforms.margin.choose_margin`.
        """
        drawn = self.draw(REHEARSAL, len(LUMA), torch.Generator().manual_seed(0))
        reaches = plan_movement(drawn, REHEARSAL, self.patch).reaches(self.patch)
        return choose_margin(reaches, self.patch_size, shapes)

    def draw(self, batch: int, channels: int, generator: torch.Generator) -> dict[str, Drawn]:
        """Draw the parameters for a batch; the generator lives on the CPU.

        ``channels`` are those of the image, without an earlier prediction's.

        Raises
        ------
        ConfigError
            If colours are to be changed and there are not three channels.
        """
        drawn = {}
        for name, setting in self.settings.items():
            if name == "mirror":
                for axis in self.mirror_axes:
                    drawn[f"mirror{axis}"] = draw_uniform(batch, 0, setting["p"], 0, 0, generator)
            elif name in PREVIOUS:
                if self.previous:
                    drawn[name] = draw_previous(name, setting, batch, self.previous, generator)
            else:
                drawn[name] = draw_transform(
                    name, setting, batch, channels, self.patch_size, generator
                )
        return drawn

    def apply(
        self, image: Tensor, label: Tensor, drawn: Mapping[str, Drawn]
    ) -> tuple[Tensor, Tensor]:
        """Apply what was drawn; the inputs stay as they are.

        Parameters
        ----------
        image : float32 Tensor of shape (B, C, *patch), or larger by a margin on both sides
        label : integer Tensor of shape (B, *patch), or larger alike
            What turns in from outside becomes `medseg.labels.IGNORE_INDEX`.
        drawn : mapping
            From `draw`.

        Returns
        -------
        image : float32 Tensor of shape (B, C, *patch)
        label : integer Tensor of shape (B, *patch)
        """
        movement = plan_movement(drawn, len(image), self.patch)
        flips: list[list[int]] = [[] for _ in image]
        for axis in self.mirror_axes:
            if f"mirror{axis}" in drawn:
                for row in drawn[f"mirror{axis}"].chosen.tolist():
                    flips[row].append(axis)
        moved, label = move(image, label, movement, flips, self.patch, self.labels)
        if self.previous:
            scan = moved[:, : -self.previous]
            masks = spoil(moved[:, -self.previous :], drawn, self.patch.spacing, self.settings)
            return torch.cat([self._intensities(scan, scan, drawn), masks], dim=1), label
        return self._intensities(moved, image, drawn), label

    def _intensities(self, moved: Tensor, image: Tensor, drawn: Mapping[str, Drawn]) -> Tensor:
        """Apply the intensity transforms, to a copy where that is still the image itself."""
        for name, values in drawn.items():
            if len(values.chosen) and (name in self._changes or name in SEEDED):
                if moved is image:
                    moved = image.clone(memory_format=torch.contiguous_format)
                self._change(moved, name, values)
        return moved

    def _change(self, image: Tensor, name: str, drawn: Drawn) -> None:
        """Apply an intensity transform to the chosen images, in place."""
        if name in WHOLE:
            parts, chosen, values = image, drawn.chosen, drawn.values
        else:  # channel by channel, those left alone left out
            channels = image.shape[1]
            parts = image.view(-1, 1, *image.shape[2:])
            chosen = (drawn.chosen.unsqueeze(1) * channels + torch.arange(channels)).flatten()
            values = drawn.values.reshape(-1, 1)
            if name in NEUTRAL:
                changed = values[:, 0] != NEUTRAL[name]
                chosen, values = chosen[changed], values[changed]
        count = len(chosen)
        if image.device.type == "cpu":
            count = max(1, PORTION // prod(parts.shape[1:]))
        for start in range(0, len(chosen), max(count, 1)):
            rows, some = chosen[start : start + count], values[start : start + count]
            index = (
                slice(int(rows[0]), int(rows[0]) + 1) if len(rows) == 1 else rows.to(image.device)
            )
            if name in SEEDED:
                parts[index] = SEEDED[name](parts[index], some, drawn.seed + start)
            else:
                parts[index] = self._changes[name](parts[index], some)
