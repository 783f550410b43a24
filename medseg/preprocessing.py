"""From a canonical volume to network input; the one road that training and prediction share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.artefacts import ChannelNormalization, Plan
from medseg.geometry.crop import content_box, crop
from medseg.geometry.resize import Resize
from medseg.geometry.volume import Grid, Volume

Box = tuple[tuple[int, ...], tuple[int, ...]]
"""Start and stop of a half-open box of voxels."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides how a volume becomes network input."""

    spacing: tuple[float, ...]
    """Target spacing in mm, canonical axis order."""
    normalization: tuple[ChannelNormalization, ...]
    coarse_axis: int | None = None
    order: Literal[1, 3] = 3
    crop: bool = True
    resize: Resize | None = None
    """Takes the place of ``spacing``: the size that each image is brought to."""
    previous: Recipe | None = None
    """Of the model whose prediction becomes further channels; see `medseg.previous`."""

    @classmethod
    def of(cls, plan: Plan) -> Recipe:
        """Take the recipe out of a plan."""
        return cls(
            spacing=plan.spacing,
            normalization=plan.normalization,
            coarse_axis=plan.coarse_axis,
            order=1 if plan.order == 1 else 3,
            crop=plan.crop,
            resize=plan.resize,
        )

    def spacing_for(self, grid: Grid) -> tuple[float, ...]:
        """Return the spacing that an image on a grid is brought to."""
        return self.resize.spacing(grid.shape, grid.spacing) if self.resize else self.spacing


@dataclass(frozen=True, kw_only=True)
class Preprocessed:
    """Network input, and how it lies in the volume it was made from."""

    image: NDArray[np.float32]
    """Shape (C, *spatial)."""
    grid: Grid
    crop_start: tuple[int, ...]
    crop_stop: tuple[int, ...]
    """Box of the canonical volume whose field of view the image covers exactly."""
    earlier: Preprocessed | None = None
    """The same volume by ``Recipe.previous``, where there is one."""


def preprocess(volume: Volume, recipe: Recipe, box: Box | None = None) -> Preprocessed:
    """Crop to content, normalise, and resample to the planned spacing, in this order.

    Normalising first keeps the overshoot of the splines out of the statistics (planning.md).

    Parameters
    ----------
    volume : Volume
        Canonical axes, (C, *spatial), finite values.
    recipe : Recipe
        See `Recipe.of`.
    box : pair of tuples of int, optional
        Content box where it is known already; None looks for it. Unused without ``recipe.crop``.

    Returns
    -------
    Preprocessed
    """
    from medseg.geometry.resample import resample_image, resampled_grid  # scipy can wait

    start, stop = crop_box(volume, recipe, box)
    part = crop(volume, start, stop)
    grid = resampled_grid(part.grid, recipe.spacing_for(part.grid))
    image = resample_image(
        normalize(part.data, recipe.normalization),
        grid.shape,
        order=recipe.order,
        coarse_axis=recipe.coarse_axis,
    )
    earlier = None if recipe.previous is None else preprocess(volume, recipe.previous, box)
    return Preprocessed(image=image, grid=grid, crop_start=start, crop_stop=stop, earlier=earlier)


def crop_box(volume: Volume, recipe: Recipe, box: Box | None = None) -> Box:
    """Return the box of voxels that is kept: all, the given one, or the content's."""
    if not recipe.crop:
        return (0,) * len(volume.data.shape[1:]), volume.data.shape[1:]
    return content_box(volume.data) if box is None else box


def normalize(
    data: NDArray[Any], normalization: tuple[ChannelNormalization, ...]
) -> NDArray[np.float32]:
    """Bring each channel to network range: clip, then ``(x - mean) / std``.

    Parameters
    ----------
    data : ndarray of shape (C, *spatial)
        Cropped to content: the statistics of ``zscore`` are taken over all of it, or with
        ``mask_nonzero`` over the voxels where any channel is not zero.
    normalization : tuple of ChannelNormalization
        One per channel.

    Returns
    -------
    float32 ndarray of shape (C, *spatial)
        A channel with one value everywhere becomes 0.

    Raises
    ------
    ValueError
        If the number of channels differs.
    """
    out = np.empty(data.shape, dtype=np.float32)
    content = (data != 0).any(axis=0) if any(n.mask_nonzero for n in normalization) else None
    for target, channel, how in zip(out, data, normalization, strict=True):
        target[...] = channel
        if how.clip is not None:
            np.clip(target, *how.clip, out=target)
        if how.scheme == "none":
            continue
        mean, std = how.mean, how.std
        if how.scheme == "zscore":
            masked = how.mask_nonzero and content is not None
            mean, std = _moments(target[content] if masked else target)
        target -= mean
        target /= max(std, 1e-8)
        if how.mask_nonzero and content is not None:
            target[~content] = 0.0
    return out


def _moments(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return mean and standard deviation, summed in double precision; 0 and 1 of nothing."""
    if not values.size:
        return 0.0, 1.0
    mean = float(values.mean(dtype=np.float64))
    return mean, float(np.sqrt(np.square(values - mean).mean(dtype=np.float64)))
