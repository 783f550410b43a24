"""Intensity transforms of image batches (n, C, *spatial); one value per image and channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.transforms.sampling import interpolate

BLUR_RADIUS = 3
"""Voxels on each side that the blur looks at: three standard deviations at sigma 1."""
TINY = 1e-14
"""Variance below which a channel counts as constant."""


def add_noise(image: Tensor, variance: Tensor, seed: int) -> Tensor:
    """Add Gaussian noise.

    Parameters
    ----------
    image : float Tensor of shape (n, C, *spatial)
    variance : float Tensor of shape (n, C)
    seed : int
        Of the noise; equal seeds on one device give equal noise.
    """
    generator = torch.Generator(image.device).manual_seed(seed)
    noise = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    return noise.mul_(_spread(variance.sqrt(), image)).add_(image)


def blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Convolve with a Gaussian along each axis; the border is repeated outwards.

    Parameters
    ----------
    image : float Tensor of shape (n, C, *spatial)
    sigma : float Tensor of shape (n, C)
        Standard deviation in voxels; 0 leaves a channel as it is. An axis of one voxel is not
        blurred.
    """
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=sigma.device)
    weights = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3).unsqueeze(-1)) ** 2)
    weights = (weights / weights.sum(-1, keepdim=True)).to(image)  # (n, C, 2 * radius + 1)
    for axis in range(2, image.ndim):
        size = image.shape[axis]
        if size == 1:
            continue
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, size - 1, 1)
        padded = torch.cat([*[first] * BLUR_RADIUS, image, *[last] * BLUR_RADIUS], axis)
        image = padded.narrow(axis, 0, size) * _spread(weights[..., 0], image)
        for k in range(1, 2 * BLUR_RADIUS + 1):
            image.addcmul_(padded.narrow(axis, k, size), _spread(weights[..., k], image))
    return image


def scale_brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply by ``factor`` (n, C)."""
    return image * _spread(factor, image)


def scale_contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Stretch around the mean by ``factor`` (n, C); the range of values is kept."""
    (low, high), mean = _range(image), _spread(image.flatten(2).mean(2), image)
    stretch = _spread(factor, image)
    stretched = torch.addcmul(mean * (1 - stretch), image, stretch)
    return torch.minimum(torch.maximum(stretched, low, out=stretched), high, out=stretched)


def lower_resolution(image: Tensor, zoom: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Sample fewer voxels (nearest) and interpolate back (linear).

    Parameters
    ----------
    image : float Tensor of shape (n, C, *spatial)
    zoom : float Tensor of shape (n, C)
        Share of the voxels kept along each axis, in (0, 1]; 1 leaves a channel as it is.
    axes : sequence of int, optional
        Spatial axes that lose voxels; all by default.
    """
    out = torch.empty_like(image)
    axes = range(image.ndim - 2) if axes is None else axes
    for i, row in enumerate(zoom.tolist()):
        for c, share in enumerate(row):
            plane, sizes = image[i, c], image.shape[2:]
            for axis in axes:  # nearest and linear both work axis by axis
                plane = _drop_voxels(plane, axis, max(1, round(sizes[axis] * share)))
            for axis in axes:
                coarse, size = plane.shape[axis], sizes[axis]
                if coarse < size:
                    place = (2 * torch.arange(size) + 1) * coarse / (2 * size) - 0.5
                    plane = interpolate(plane, axis, place)
            out[i, c] = plane
    return out


def _drop_voxels(plane: Tensor, axis: int, coarse: int) -> Tensor:
    """Keep ``coarse`` voxels along an axis: those nearest to the centres of as many equal parts."""
    size = plane.shape[axis]
    if coarse >= size:
        return plane
    kept = (2 * torch.arange(coarse) + 1) * size // (2 * coarse)
    return plane.index_select(axis, kept.to(plane.device))


def change_gamma(image: Tensor, gamma: Tensor) -> Tensor:
    """Raise the values, scaled to [0, 1], to the power ``gamma`` (n, C); mean and sd are kept."""
    low, high = _range(image)
    unit = (image - low).mul_(1 / (high - low).clamp(min=1e-7))
    powers = unit.log2_().mul_(_spread(gamma, image)).exp2_()  # quicker than pow_ on the CPU
    return restore_moments(powers, image)


def change_gamma_inverted(image: Tensor, gamma: Tensor) -> Tensor:
    """Apply `change_gamma` to the negative image."""
    return -change_gamma(-image, gamma)


def _spread(per_channel: Tensor, like: Tensor) -> Tensor:
    """Give a (n, C) tensor the spatial axes of ``like``, each of size 1."""
    return per_channel.to(like).reshape(*per_channel.shape, *(1,) * (like.ndim - 2))


def restore_moments(changed: Tensor, image: Tensor) -> Tensor:
    """Return ``changed`` with the mean and spread of ``image``, per image and channel."""
    flat = image.flatten(2)
    mean = flat.mean(2, keepdim=True)
    spread = torch.linalg.vector_norm(flat - mean, dim=2) / flat.shape[2] ** 0.5  # std is slow
    channels = mean.numel()
    restored = torch.group_norm(
        changed.reshape(1, channels, -1), channels, spread.flatten(), mean.flatten(), TINY
    )
    return restored.view(changed.shape)


def _range(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest value per image and channel, of shape (n, C, 1, ...)."""
    flat = image.flatten(2)
    return _spread(flat.amin(2), image), _spread(flat.amax(2), image)
