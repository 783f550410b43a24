"""Losses of the probabilities of each channel: which channels count, and their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypedDict, Unpack

import torch
from torch import Tensor

from medseg.errors import ConfigError
from medseg.losses.base import Activation, Loss
from medseg.losses.overlap import Absent


class Shared(TypedDict, total=False):
    """Settings of every `RegionLoss`; what they mean stands there."""

    batch: bool
    include_background: bool
    absent: Absent
    class_weights: Sequence[float] | None


class RegionLoss(Loss):
    """A loss of the probabilities of each channel; a subclass says which, in `measure`.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    batch : bool
        One value over the whole batch instead of one per image.
    include_background : bool
        Count channel 0 of a softmax; there is no background among regions, nor in one channel.
    absent : {"keep", "skip", "zero"}
        What to do with a class that the truth has not; see
        `medseg.losses.overlap.class_mean`.
    class_weights : sequence of float, optional
        One per channel of the network, background included; weights of the mean over channels.
    """

    term: ClassVar[str]
    """The name its value is logged by."""

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        batch: bool = False,
        include_background: bool = False,
        absent: Absent = "keep",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(activation, regions)
        self.batch = batch
        self.first = 0 if include_background or activation == "sigmoid" else 1
        self.absent: Absent = absent
        weights = None if class_weights is None else torch.tensor(class_weights).float()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", weights, persistent=False)

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the one value under the name of the loss."""
        with torch.autocast(logits.device.type, enabled=False):
            scores, truth, valid, known = self.prepare(logits, label, annotated)
            kept = self.kept(scores.shape[1])
            valid = valid[:, kept] if valid.shape[1] > 1 else valid
            value = self.measure(scores, kept, truth[:, kept], valid, known[:, kept])
            return {self.term: value}

    def kept(self, channels: int) -> slice:
        """Return the channels that count, of so many; and check the weights against them."""
        if self.class_weights is not None and len(self.class_weights) != channels:
            raise ConfigError(
                f"loss '{self.term}': {len(self.class_weights)} class_weights for a network of "
                f"{channels} channels; give one for each, background included"
            )
        return slice(self.first if channels > 1 else 0, None)

    def weights_of(self, kept: slice) -> Tensor | None:
        """Return the class weights of the channels that count."""
        return None if self.class_weights is None else self.class_weights[kept]

    def probs(self, scores: Tensor, kept: slice) -> Tensor:
        """Return the probabilities of the channels that count."""
        probs = scores.softmax(1) if self.activation == "softmax" else scores.sigmoid()
        return probs[:, kept]

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        scores : float32 Tensor of shape (B, channels, *spatial)
            The logits of all channels.
        kept : slice
            The C channels that count; the other arguments hold only these.
        truth : bool Tensor of shape (B, C, *spatial)
        valid : bool Tensor of shape (B, 1 or C, *spatial)
        known : bool Tensor of shape (B, C)
        """
        raise NotImplementedError


class FunctionLoss(RegionLoss):
    """A region loss that is one function of the probabilities and its own settings.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    own : mapping
        Keyword arguments of `function` beside those of `RegionLoss`.
    **shared
        See `RegionLoss`.
    """

    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        own: Mapping[str, Any],
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(activation, regions, **shared)
        self.own = dict(own)

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return `function` of the channels that count."""
        return type(self).function(
            self.probs(scores, kept),
            truth,
            valid,
            known,
            batch=self.batch,
            absent=self.absent,
            class_weights=self.weights_of(kept),
            **self.own,
        )


class SmoothLoss(FunctionLoss):
    """A region loss whose only own setting keeps its quotient from 0 / 0.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    smooth : float
        See `function`.
    **shared
        ``batch``, ``include_background``, ``absent``, ``class_weights``; see `RegionLoss`.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        smooth: float = 1e-5,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(activation, regions, own={"smooth": smooth}, **shared)
