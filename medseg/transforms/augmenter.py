"""Augmentation of a training batch on its own device: draw everything, then apply it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medseg.errors import ConfigError
from medseg.registry import nearest
from medseg.transforms import intensity, spatial
from medseg.transforms.draw import Drawn, draw_channels, draw_log_uniform, draw_uniform

Settings = Mapping[str, Mapping[str, Any]]

AUGMENTATIONS: Settings = {
    "rotate": {"p": 0.2, "degrees": 30.0},
    "scale": {"p": 0.2, "range": (0.7, 1.4)},
    "noise": {"p": 0.1, "range": (0.0, 0.1)},
    "blur": {"p": 0.2, "range": (0.5, 1.0), "channel_p": 0.5},
    "brightness": {"p": 0.15, "range": (0.75, 1.25)},
    "contrast": {"p": 0.15, "range": (0.75, 1.25)},
    "low_resolution": {"p": 0.25, "range": (0.5, 1.0), "channel_p": 0.5},
    "gamma_inverted": {"p": 0.1, "range": (0.7, 1.5)},
    "gamma": {"p": 0.3, "range": (0.7, 1.5)},
    "mirror": {"p": 0.5},
}
"""nnU-Net's transforms, in its order and with its probabilities and ranges, per image. ``noise`` is
a variance, ``blur`` a sigma in voxels. Rotation in a plane (2-D images, thin patches) keeps the 30
degrees where nnU-Net turns by up to 180: patients lie alike, and a short training has no time for
views that never come."""

INTENSITY: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "blur": intensity.blur,
    "brightness": intensity.scale_brightness,
    "contrast": intensity.scale_contrast,
    "low_resolution": intensity.lower_resolution,
    "gamma_inverted": intensity.change_gamma_inverted,
    "gamma": intensity.change_gamma,
}
NEUTRAL = {"blur": 0.0, "low_resolution": 1.0}


def resolve_settings(overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Merge overrides into `AUGMENTATIONS`.

    Parameters
    ----------
    overrides : mapping
        By transform name: a mapping of its settings, or False to leave it out. ``enabled: false``
        leaves all out.

    Raises
    ------
    ConfigError
        For an unknown transform or setting; the message gives the nearest name.
    """
    unknown = [name for name in overrides if name not in AUGMENTATIONS and name != "enabled"]
    if unknown:
        hint = nearest(unknown[0], [*AUGMENTATIONS, "enabled"])
        raise ConfigError(f"train.augment: no transform is named '{unknown[0]}'; {hint}")
    if overrides.get("enabled", True) is False:
        return {}
    settings = {}
    for name, defaults in AUGMENTATIONS.items():
        override = overrides.get(name, {})
        if override is False:
            continue
        if not isinstance(override, Mapping):
            raise ConfigError(
                f"train.augment.{name} is {override!r}; give its settings "
                f"({', '.join(defaults)}), or false to leave it out"
            )
        wrong = [key for key in override if key not in defaults]
        if wrong:
            hint = nearest(wrong[0], defaults)
            raise ConfigError(f"train.augment.{name} has no setting '{wrong[0]}'; {hint}")
        settings[name] = {**defaults, **override}
        _check(name, settings[name])
    return settings


class Augmenter:
    """Change a batch at random; the same generator state gives the same change.

    Parameters
    ----------
    overrides : mapping
        See `resolve_settings`.
    patch_size : sequence of int
    spacing : sequence of float
        mm per voxel of each axis; rotations are rotations in space, not of voxel indices.
    mirror_axes : sequence of int
        Spatial axes that may be mirrored.

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
    ) -> None:
        self.settings = resolve_settings(overrides)
        self.patch_size = tuple(patch_size)
        self.spacing = tuple(spacing)
        self.mirror_axes = tuple(mirror_axes)

    def __call__(
        self, image: Tensor, label: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return changed copies of a batch; see `apply`."""
        return self.apply(image, label, self.draw(image.shape[0], image.shape[1], generator))

    def draw(self, batch: int, channels: int, generator: torch.Generator) -> dict[str, Drawn]:
        """Draw the parameters for a batch; the generator lives on the CPU."""
        drawn = {}
        for name, setting in self.settings.items():
            p = setting["p"]
            low, high = setting.get("range", (0.0, 0.0))
            if name == "rotate":
                limit = math.radians(setting["degrees"])
                planes = len(spatial.rotation_planes(self.patch_size))
                drawn[name] = draw_uniform(batch, planes, p, -limit, limit, generator)
            elif name == "scale":
                drawn[name] = draw_log_uniform(batch, 1, p, low, high, generator)
            elif name == "mirror":
                for axis in self.mirror_axes:
                    drawn[f"mirror{axis}"] = draw_uniform(batch, 0, p, low, high, generator)
            else:
                drawn[name] = draw_uniform(batch, channels, p, low, high, generator)
                if "channel_p" in setting:
                    share, neutral = setting["channel_p"], NEUTRAL[name]
                    drawn[name] = draw_channels(drawn[name], share, neutral, generator, batch)
        return drawn

    def apply(
        self, image: Tensor, label: Tensor, drawn: Mapping[str, Drawn]
    ) -> tuple[Tensor, Tensor]:
        """Apply what was drawn; the inputs stay as they are.

        Parameters
        ----------
        image : float32 Tensor of shape (B, C, *patch)
        label : integer Tensor of shape (B, *patch)
            What turns in from outside becomes `medseg.labels.IGNORE_INDEX`.
        drawn : mapping
            From `draw`.
        """
        image, label = self._turn(image, label, drawn)
        for name, values in drawn.items():
            if not len(values.chosen) or name in ("rotate", "scale"):
                continue
            rows = values.chosen.to(image.device)
            if name.startswith("mirror"):
                axis = int(name.removeprefix("mirror"))
                part, mask = spatial.flip(image[rows], label[rows], axis)
                label = label.index_copy(0, rows, mask)
            elif name == "noise":
                part = intensity.add_noise(image[rows], values.values, values.seed)
            else:
                part = INTENSITY[name](image[rows], values.values.to(image.device))
            image = image.index_copy(0, rows, part)
        return image, label

    def _turn(
        self, image: Tensor, label: Tensor, drawn: Mapping[str, Drawn]
    ) -> tuple[Tensor, Tensor]:
        """Rotate and scale in one resampling."""
        batch = len(image)
        angles = torch.zeros(batch, len(spatial.rotation_planes(self.patch_size)))
        scale = torch.ones(batch)
        touched = torch.zeros(batch, dtype=torch.bool)
        if "rotate" in drawn:
            angles[drawn["rotate"].chosen] = drawn["rotate"].values
            touched[drawn["rotate"].chosen] = True
        if "scale" in drawn:
            scale[drawn["scale"].chosen] = drawn["scale"].values[:, 0]
            touched[drawn["scale"].chosen] = True
        chosen = touched.nonzero().flatten()
        if not len(chosen):
            return image, label
        matrices = spatial.affine_matrices(angles[chosen], scale[chosen], self.patch_size)
        rows = chosen.to(image.device)
        part, mask = spatial.apply_affine(image[rows], label[rows], matrices, self.spacing)
        return image.index_copy(0, rows, part), label.index_copy(0, rows, mask)


def _check(name: str, setting: Mapping[str, Any]) -> None:
    """Refuse probabilities outside [0, 1] and ranges that are none."""
    for key in ("p", "channel_p"):
        if key in setting and not 0 <= setting[key] <= 1:
            raise ConfigError(f"train.augment.{name}.{key} is {setting[key]}; it is a probability")
    if "range" in setting:
        ends = tuple(setting["range"])
        positive = name in ("scale", "gamma", "gamma_inverted", "low_resolution")
        if len(ends) != 2 or ends[0] > ends[1] or (positive and ends[0] <= 0):
            kind = "positive numbers" if positive else "numbers"
            raise ConfigError(f"train.augment.{name}.range is {ends}; give two {kind}, low first")
