"""What the distance losses share: the field of the target, the means, and the module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, get_args

import torch
from torch import Tensor

from medseg.errors import ConfigError
from medseg.geometry.edt import opposite_squared
from medseg.losses.base import Activation, Loss
from medseg.losses.overlap import Reduction
from medseg.registry import lookup


def axis_sizes(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Return one voxel size per spatial axis: 1 each where ``spacing`` is None.

    Raises
    ------
    ConfigError
        If there is not one per axis; a distance would run across channels or cases.
    """
    sizes = (1.0,) * ndim if spacing is None else tuple(spacing)
    if len(sizes) != ndim:
        raise ConfigError(f"spacing {sizes} for {ndim} spatial axes; give one size in mm per axis")
    return sizes


@torch.no_grad()
def distance_field(
    mask: Tensor, valid: Tensor, *, spacing: Sequence[float] | None = None, power: float = 2.0
) -> Tensor:
    """Return d ** power, d the distance to the nearest voxel of the other value; per image.

    Parameters
    ----------
    mask : bool Tensor of shape (B, C, *spatial)
        One mask per image and channel; a mask of one value only has the field 0.
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Ignored voxels are background when distances are taken, and 0 in the result, so that a
        field brings along what counts.
    spacing : sequence of float, optional
        In mm, array axis order. None: 1 each, distances in voxels.
    power : float
        2 costs no root.

    Returns
    -------
    float32 Tensor of shape (B, C, *spatial)
    """
    field = opposite_squared(mask & valid, axis_sizes(spacing, mask.ndim - 2))
    if power != 2:
        field = field.sqrt_() if power == 1 else field.pow_(power / 2)
    return field.masked_fill_(~valid, 0)


@torch.no_grad()
def signed_field(mask: Tensor, valid: Tensor, *, spacing: Sequence[float] | None = None) -> Tensor:
    """Return the distance to the nearest voxel of the other value, negative inside; per image.

    Parameters
    ----------
    mask, valid, spacing
        See `distance_field`.
    """
    distance = distance_field(mask, valid, spacing=spacing, power=1)
    return torch.where(mask, -distance, distance)


def voxel_mean(value: Tensor, valid: Tensor) -> Tensor:
    """Return the mean (B, C) of ``value`` (B, C, *spatial), 0 where ignored, over what counts."""
    return value.flatten(2).sum(2) / valid.flatten(2).sum(2).clamp(min=1)


def mean_over_known(values: Tensor, known: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Return the mean of (B, C) over the channels that count, then over the images with any.

    With ``reduction="none"``, the values themselves, 0 where they do not count.
    """
    lookup(dict.fromkeys(get_args(Reduction)), reduction, "reduction")
    values = values * known
    if reduction == "none":
        return values
    per_image = values.sum(1) / known.sum(1).clamp(min=1)
    mean: Tensor = per_image.sum() / known.any(1).sum().clamp(min=1)
    return mean


class ForegroundLoss(Loss):
    """A loss of the probabilities of each channel, by default without background.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    include_background : bool
        Count channel 0 of a softmax; there is no background among regions, nor in one channel.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        include_background: bool = False,
    ) -> None:
        super().__init__(activation, regions)
        self.first = 0 if include_background or activation == "sigmoid" else 1

    def compared(
        self, logits: Tensor, label: Tensor, annotated: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return probs, truth, valid and known of the channels that count; see `Loss.prepare`."""
        scores, truth, valid, known = self.prepare(logits, label, annotated)
        probs = scores.softmax(1) if self.activation == "softmax" else scores.sigmoid()
        return self.kept(probs), self.kept(truth), self.kept(valid), self.kept(known)

    def kept(self, value: Tensor) -> Tensor:
        """Return the channels that count of (B, C, ...); of one channel, that one."""
        return value[:, self.first :] if value.shape[1] > 1 else value


class DistanceLoss(ForegroundLoss):
    """A loss with a distance field of the target, which may be made ahead and cached.

    Parameters
    ----------
    activation, regions, include_background
        See `ForegroundLoss`.
    spacing : sequence of float, optional
        Voxel spacing in mm, array axis order. None: 1 each, distances in voxels.
    """

    takes_spacing: ClassVar[bool] = True
    term: ClassVar[str]
    """The name its value is logged by."""

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        spacing: Sequence[float] | None = None,
        include_background: bool = False,
    ) -> None:
        super().__init__(activation, regions, include_background=include_background)
        if spacing is not None and not all(size > 0 for size in spacing):
            raise ConfigError(f"spacing {tuple(spacing)}: give positive sizes in mm, one per axis")
        self.spacing = None if spacing is None else tuple(spacing)

    def forward(
        self,
        logits: Tensor,
        label: Tensor,
        *,
        annotated: Tensor | None = None,
        field: Tensor | None = None,
    ) -> Tensor:
        """Return a scalar.

        Parameters
        ----------
        logits, label, annotated
            See `Loss.forward`.
        field : float Tensor of shape (B, C, *spatial), optional
            `target_field` of the label, made ahead, as by a loader. A crop of the field of a whole
            case serves too (0 where the crop is padded), and knows boundaries beyond the crop.
        """
        return self.sum_terms(self.terms(logits, label, annotated=annotated, field=field))

    def terms(
        self,
        logits: Tensor,
        label: Tensor,
        *,
        annotated: Tensor | None = None,
        field: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the one value under the name of the loss; see `forward`."""
        with torch.autocast(logits.device.type, enabled=False):
            probs, truth, valid, known = self.compared(logits, label, annotated)
            if field is None:
                field = self.field(truth, valid)
            elif field.shape != probs.shape:
                raise ValueError(
                    f"field of shape {tuple(field.shape)} for probabilities of shape "
                    f"{tuple(probs.shape)}; make it with target_field"
                )
            return {self.term: self.measure(probs, truth, valid, known, field)}

    def target_field(
        self, label: Tensor, channels: int, *, annotated: Tensor | None = None
    ) -> Tensor:
        """Return what `forward` takes as ``field``; it depends on the label alone.

        Parameters
        ----------
        label, annotated
            See `Loss.forward`.
        channels : int
            Channels of the logits.

        Returns
        -------
        float32 Tensor of shape (B, C, *spatial)
            Of the C channels that count; 0 where ignored.
        """
        shape = (label.shape[0], channels, *label.shape[1:])
        blank = torch.zeros((), device=label.device).expand(shape)
        _, truth, valid, _ = self.prepare(blank, label, annotated)
        return self.field(self.kept(truth), self.kept(valid))

    def field(self, truth: Tensor, valid: Tensor) -> Tensor:
        """Return the field of the target, 0 where ignored."""
        raise NotImplementedError

    def measure(
        self, probs: Tensor, truth: Tensor, valid: Tensor, known: Tensor, field: Tensor
    ) -> Tensor:
        """Return the loss of the channels that count."""
        raise NotImplementedError
