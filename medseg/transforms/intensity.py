"""Intensity transforms of image batches (n, C, *spatial); one value per image and channel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BLUR_RADIUS = 3
"""Voxels on each side that the blur looks at: three standard deviations at sigma 1."""


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
    return image + noise * _spread(variance.sqrt(), image)


def blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Convolve with a Gaussian along each axis; the border is repeated outwards.

    Parameters
    ----------
    image : float Tensor of shape (n, C, *spatial)
    sigma : float Tensor of shape (n, C)
        Standard deviation in voxels; 0 leaves a channel as it is. An axis of one voxel is not
        blurred.
    """
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=image.device)
    weights = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3).unsqueeze(-1)) ** 2)
    weights = weights / weights.sum(-1, keepdim=True)  # (n, C, 2 * radius + 1)
    for axis in range(2, image.ndim):
        size = image.shape[axis]
        if size == 1:
            continue
        index = torch.arange(size, device=image.device)
        total = torch.zeros_like(image)
        for k, offset in enumerate(range(-BLUR_RADIUS, BLUR_RADIUS + 1)):
            moved = image.index_select(axis, (index + offset).clamp(0, size - 1))
            total.addcmul_(moved, _spread(weights[..., k], image))
        image = total
    return image


def scale_brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply by ``factor`` (n, C)."""
    return image * _spread(factor, image)


def scale_contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Stretch around the mean by ``factor`` (n, C); the range of values is kept."""
    mean, low, high = _moment(image, "mean"), _moment(image, "min"), _moment(image, "max")
    return ((image - mean) * _spread(factor, image) + mean).clamp(low, high)


def lower_resolution(image: Tensor, zoom: Tensor) -> Tensor:
    """Sample fewer voxels (nearest) and interpolate back (linear).

    Parameters
    ----------
    image : float Tensor of shape (n, C, *spatial)
    zoom : float Tensor of shape (n, C)
        Share of the voxels kept along each axis, in (0, 1]; 1 leaves a channel as it is.
    """
    out = image.clone()
    size = image.shape[2:]
    mode = {2: "bilinear", 3: "trilinear"}[len(size)]
    for i, row in enumerate(zoom.tolist()):
        for c, share in enumerate(row):
            small = [max(1, round(n * share)) for n in size]
            if small == list(size):
                continue
            coarse = functional.interpolate(image[i, c][None, None], small, mode="nearest-exact")
            out[i, c] = functional.interpolate(coarse, size, mode=mode, align_corners=False)[0, 0]
    return out


def change_gamma(image: Tensor, gamma: Tensor) -> Tensor:
    """Raise the values, scaled to [0, 1], to the power ``gamma`` (n, C); mean and sd are kept."""
    low, high = _moment(image, "min"), _moment(image, "max")
    mean, std = _moment(image, "mean"), _moment(image, "std")
    unit = (image - low) / (high - low).clamp(min=1e-7)
    curved = unit.clamp(0, 1) ** _spread(gamma, image)
    spread = _moment(curved, "std").clamp(min=1e-7)
    return (curved - _moment(curved, "mean")) / spread * std + mean


def change_gamma_inverted(image: Tensor, gamma: Tensor) -> Tensor:
    """Apply `change_gamma` to the negative image."""
    return -change_gamma(-image, gamma)


def _spread(per_channel: Tensor, like: Tensor) -> Tensor:
    """Give a (n, C) tensor the spatial axes of ``like``, each of size 1."""
    return per_channel.to(like).reshape(*per_channel.shape, *(1,) * (like.ndim - 2))


def _moment(image: Tensor, kind: str) -> Tensor:
    """Return a statistic per image and channel, of shape (n, C, 1, ...)."""
    flat = image.flatten(2)
    value = {
        "mean": lambda: flat.mean(2),
        "std": lambda: flat.std(2, correction=0),
        "min": lambda: flat.amin(2),
        "max": lambda: flat.amax(2),
    }[kind]()
    return _spread(value, image)
