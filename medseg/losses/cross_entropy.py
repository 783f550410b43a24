"""Cross entropy over classes, and binary cross entropy over regions, with weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.labels import IGNORE_INDEX
from medseg.losses.base import Activation, Loss
from medseg.losses.target import merge_unannotated, region_target

Norm = Literal["weight", "count"]
Reduction = Literal["mean", "none"]


def cross_entropy(
    logits: Tensor,
    label: Tensor,
    *,
    class_weights: Tensor | None = None,
    norm: Norm = "weight",
    label_smoothing: float = 0.0,
    known: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of -w log p(true class) over the voxels that count.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    label : integer Tensor of shape (B, *spatial)
        Class indices, or `IGNORE_INDEX`. Without any voxel that counts the loss is 0.
    class_weights : float Tensor of shape (C,), optional
        w of each true class. None: 1. If all that count weigh 0, the loss is 0.
    norm : {"weight", "count"}
        Divide the sum of w l by the sum of w, as torch does, or by the number of voxels that
        count, as papers do.
    label_smoothing : float
        e in [0, 1): the target is 1 - e + e / C for the true class and e / C for the others.
    known : bool Tensor of shape (B, C), optional
        Classes that take part in the smoothing, and are counted by its C. None: all.
    reduction : {"mean", "none"}
        ``none``: (B, *spatial) of w l, 0 where a voxel does not count.

    Examples
    --------
    >>> cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, -1]])).item()
    0.6931471824645996
    """
    index = label.long()
    log_probs = logits.log_softmax(1)
    each = functional.nll_loss(
        log_probs, index, weight=class_weights, ignore_index=IGNORE_INDEX, reduction="none"
    )
    valid = label != IGNORE_INDEX
    if label_smoothing:
        others = _mean_over_classes(-log_probs, class_weights, known) * valid
        each = (1 - label_smoothing) * each + label_smoothing * others
    if reduction == "none":
        return each
    if class_weights is None or norm == "count":
        return ratio(each.sum(), valid.sum())
    return ratio(each.sum(), (class_weights[index * valid] * valid).sum())


def _mean_over_classes(costs: Tensor, weights: Tensor | None, known: Tensor | None) -> Tensor:
    """Return the mean of w times ``costs`` (B, C, *spatial) over the known classes."""
    share = costs.new_ones(costs.shape[:2]) if known is None else known.to(costs.dtype)
    share = share / share.sum(1, keepdim=True)
    if weights is not None:
        share = share * weights
    return (costs * share.reshape(*share.shape, *(1,) * (costs.ndim - 2))).sum(1)


def binary_cross_entropy(
    logits: Tensor,
    truth: Tensor,
    valid: Tensor,
    *,
    class_weights: Tensor | None = None,
    pos_weight: Tensor | None = None,
    norm: Norm = "weight",
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of -w (β y log p + (1 - y) log(1 - p)) over what counts.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    truth, valid : bool Tensor of shape (B, C, *spatial)
        The target, and where it counts; the channel axis of ``valid`` may be 1. Where nothing
        counts the loss is 0.
    class_weights : float Tensor of shape (C,), optional
        w of each channel. None: 1.
    pos_weight : float Tensor of shape (C,) or (), optional
        β, the weight of a positive voxel; it does not enter the norm. None: 1.
    norm : {"weight", "count"}
        Divide by the sum of w, or by the number of voxels and channels that count.
    label_smoothing : float
        e in [0, 1): y becomes y (1 - e) + e / 2.
    reduction : {"mean", "none"}
        ``none``: (B, C, *spatial), 0 where a voxel does not count.
    """
    target = truth.to(logits.dtype)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / 2
    each = functional.binary_cross_entropy_with_logits(
        logits,
        target,
        pos_weight=None if pos_weight is None else _channelwise(pos_weight, logits),
        reduction="none",
    )
    counts = valid.expand_as(each)
    if class_weights is None:
        weights = counts.to(each.dtype)
    else:
        weights = _channelwise(class_weights, logits) * counts
    each = each * weights
    if reduction == "none":
        return each
    by_count = class_weights is None or norm == "count"
    return ratio(each.sum(), counts.sum() if by_count else weights.sum())


def ratio(total: Tensor, count: Tensor) -> Tensor:
    """Divide; by 1 where the count is 0, so that nothing over nothing is 0."""
    return total / torch.where(count > 0, count, torch.ones_like(count))


def _channelwise(values: Tensor, logits: Tensor) -> Tensor:
    """Give values of shape (C,) or () the axes (C, 1, ...) that follow the batch axis."""
    return values.reshape(-1, *(1,) * (logits.ndim - 2))


def class_tensor(values: Sequence[float] | float | None, name: str) -> Tensor | None:
    """Return the setting ``name`` as a float32 Tensor; None stays None.

    Raises
    ------
    ConfigError
        If a value is negative.
    """
    if values is None:
        return None
    tensor = torch.tensor(values, dtype=torch.float32)
    if not bool((tensor >= 0).all()):
        raise ConfigError(f"'{name}' is {values}; a weight is 0 or more")
    return tensor


def fitted(values: Tensor | None, logits: Tensor, name: str) -> Tensor | None:
    """Return the values of `class_tensor` with the dtype and the device of the logits.

    Raises
    ------
    ConfigError
        If there is neither one value nor one per channel.
    """
    if values is None:
        return None
    if values.ndim and len(values) != logits.shape[1]:
        raise ConfigError(
            f"'{name}' has {len(values)} values, and the network {logits.shape[1]} channels; "
            "give one per channel, background included"
        )
    return values.to(logits)


def known_classes(annotated: Tensor | None) -> Tensor | None:
    """Return ``annotated`` (B, C) with channel 0, the background, always known."""
    if annotated is None:
        return None
    return torch.cat((torch.ones_like(annotated[:, :1]), annotated[:, 1:]), dim=1)


def full_precision(logits: Tensor) -> Tensor:
    """Return the logits as float32; float64 stays so."""
    return logits if logits.dtype == torch.float64 else logits.float()


class CrossEntropyLoss(Loss):
    """Cross entropy of the classes; where regions overlap, the binary one of each region.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    class_weights : sequence of float, optional
        Weight of each class (background first), or of each region.
    norm : {"weight", "count"}
        What the weighted sum is divided by.
    label_smoothing : float
        In [0, 1).
    pos_weight : float or sequence of float, optional
        For ``sigmoid``: weight of a voxel inside its region, for all regions or for each.
    """

    class_weights: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        class_weights: Sequence[float] | None = None,
        norm: Norm = "weight",
        label_smoothing: float = 0.0,
        pos_weight: Sequence[float] | float | None = None,
    ) -> None:
        super().__init__(activation, regions)
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"'label_smoothing' is {label_smoothing}; it lies in [0, 1)")
        if pos_weight is not None and activation == "softmax":
            raise ConfigError("'pos_weight' is for regions (sigmoid); use 'class_weights'")
        self.norm: Norm = norm
        self.label_smoothing = label_smoothing
        weights = class_tensor(class_weights, "class_weights")
        self.register_buffer("class_weights", weights, persistent=False)
        self.register_buffer("pos_weight", class_tensor(pos_weight, "pos_weight"), persistent=False)

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``{"ce": scalar}``."""
        with torch.autocast(logits.device.type, enabled=False):
            logits = full_precision(logits)
            weights = fitted(self.class_weights, logits, "class_weights")
            if self.activation == "sigmoid":
                value = binary_cross_entropy(
                    logits,
                    *region_target(label, self.regions, annotated),
                    class_weights=weights,
                    pos_weight=fitted(self.pos_weight, logits, "pos_weight"),
                    norm=self.norm,
                    label_smoothing=self.label_smoothing,
                )
                return {"ce": value}
            value = cross_entropy(
                merge_unannotated(logits, annotated),
                label,
                class_weights=weights,
                norm=self.norm,
                label_smoothing=self.label_smoothing,
                known=known_classes(annotated),
            )
            return {"ce": value}
