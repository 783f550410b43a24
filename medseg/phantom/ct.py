"""A CT of the upper abdomen with liver and tumours: same seed and index, same voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry.volume import Volume
from medseg.phantom.anatomy import Patient, draw_patient
from medseg.phantom.paint import paint_patient
from medseg.phantom.shapes import Space, turn_about

LABELS = {"liver": 1, "tumour": 2}
"""Label values of `make_phantom`."""

VERSION = 2
"""Raised whenever the same seed gives other voxels."""

MARGIN_MM = 9.0
"""Air beside the body."""


@dataclass(frozen=True, kw_only=True)
class PhantomSettings:
    """What the scanner does; lengths in mm. The patient comes from the seed alone."""

    in_plane_mm: tuple[float, float] = (3.2, 3.9)
    """Range of the spacing from left to right and front to back."""
    slice_mm: tuple[float, float] = (4.0, 5.0)
    """Range of the distance between slices."""
    height_mm: tuple[float, float] = (200.0, 225.0)
    """Range of the length that is scanned."""
    noise_hu: tuple[float, float] = (12.0, 24.0)
    """Range of the noise's standard deviation."""


def make_phantom(
    seed: int, index: int, settings: PhantomSettings | None = None
) -> tuple[Volume, NDArray[np.int16]]:
    """Make patient ``index`` of the cohort ``seed``.

    Liver, spleen, kidneys, pancreas, muscle and filled gut overlap in Hounsfield units, so that
    shape and place decide, not brightness.

    Parameters
    ----------
    seed, index : int
        0 or more; a patient does not depend on how many others are made.
    settings : PhantomSettings, optional
        Spacing, extent and noise.

    Returns
    -------
    image : Volume
        int16 Hounsfield units of shape (1, I, J, K), axes RAS+.
    label : int16 ndarray of shape (I, J, K)
        0 background, 1 liver (its vessels included), 2 tumour.
    """
    settings = settings or PhantomSettings()
    rng = np.random.default_rng([seed, index])
    patient = draw_patient(rng)
    space = draw_space(rng, patient, settings)
    hounsfield, label = paint_patient(patient, space, rng)
    scan = scanned(hounsfield, space.spacing, float(rng.uniform(*settings.noise_hu)), rng)
    affine = np.diag([*space.spacing, 1.0])
    affine[:3, 3] = space.start
    return Volume(data=scan[None], affine=affine), label


def draw_space(rng: np.random.Generator, patient: Patient, settings: PhantomSettings) -> Space:
    """Draw the grid: spacing, extent about the body, and how the patient lies on the couch."""
    plane = float(rng.uniform(*settings.in_plane_mm))
    spacing = (plane, plane, float(rng.uniform(*settings.slice_mm)))
    extent = (
        2 * (patient.half[0] + MARGIN_MM),
        2 * (patient.half[1] + MARGIN_MM) + 12,  # the couch
        float(rng.uniform(*settings.height_mm)),
    )
    count = [max(1, round(e / s)) for e, s in zip(extent, spacing, strict=True)]
    middle = np.array((0.0, -6.0, 0.0)) + rng.normal(0, 1, 3) * (3, 1.5, 5)
    start = [float(m - (n - 1) * s / 2) for m, n, s in zip(middle, count, spacing, strict=True)]
    pose = turn_about((float(rng.normal(0, 2)), float(rng.normal(0, 2)), float(rng.normal(0, 3))))
    return Space.of((count[0], count[1], count[2]), spacing, (start[0], start[1], start[2]), pose)


def scanned(
    hounsfield: NDArray[np.float32],
    spacing: tuple[float, float, float],
    noise: float,
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    """Blur as a scanner does, add its correlated noise and slow shading, round to int16."""
    blur_mm = (1.4, 1.4, 0.45 * spacing[2])
    image = ndimage.gaussian_filter(
        hounsfield, [b / s for b, s in zip(blur_mm, spacing, strict=True)], mode="nearest"
    )
    grain = ndimage.gaussian_filter(
        rng.standard_normal(image.shape, dtype=np.float32), (0.6, 0.6, 0.3)
    )
    image += grain * np.float32(noise / grain.std())
    ramps = np.meshgrid(
        *(np.linspace(-1, 1, n, dtype=np.float32) for n in image.shape), indexing="ij", sparse=True
    )
    for ramp, tilt in zip(ramps, rng.normal(0, 4, 3), strict=True):
        image += np.float32(tilt) * ramp
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16)
