"""Self-correction: a running average of networks, whose answers correct the labels."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medseg.inference.decode import decoder
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.losses.target import merge_unannotated, one_hot, region_target
from medseg.sampling.patches import PatchDataset

if TYPE_CHECKING:
    from medseg.training.session import Session

logger = logging.getLogger(__name__)

STATISTICS_PATCHES = 64
"""Patches over which batch norm's statistics of the mean network are taken anew, as in [1]_."""


class Running:
    """The mean of the networks at the end of each phase [1]_.

    Parameters
    ----------
    network : nn.Module
        It is copied; the copy holds the mean once there is one.

    Attributes
    ----------
    count : int
        Networks in the mean; with 0 there is none yet.

    References
    ----------
    .. [1] Li et al., Self-correction for human parsing, TPAMI 44(6), 2020, equations 5 and 6.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.count = 0

    @torch.no_grad()
    def take_in(self, network: nn.Module) -> None:
        """Add a network to the mean: one part of it beside ``count`` parts of those before."""
        new = network.state_dict()
        for name, mean in self.network.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(new[name], 1 / (self.count + 1))
            else:
                mean.copy_(new[name])
        self.count += 1

    @torch.no_grad()
    def take_statistics(self, dataset: PatchDataset, batch_size: int, autocast: Any) -> None:
        """Take batch norm's running statistics anew, over the first patches as they are.

        Parameters
        ----------
        dataset : PatchDataset
            Patches without augmentation; the same ones each time, in every process.
        batch_size : int
        autocast : context manager
            The precision of the training.
        """
        norms = [one for one in self.network.modules() if isinstance(one, _BatchNorm)]
        norms = [one for one in norms if one.track_running_stats]
        if not norms:
            return
        momenta = [one.momentum for one in norms]
        for one in norms:
            one.reset_running_stats()
            one.momentum = None  # the plain mean over batches
            one.train()
        device = next(self.network.parameters()).device
        with autocast:
            for batch in _batches(dataset, batch_size):
                self.network(batch.to(device))
        for one, momentum in zip(norms, momenta, strict=True):
            one.momentum = momentum
            one.eval()

    @torch.no_grad()
    def correct(
        self, image: Tensor, label: Tensor, annotated: Tensor | None, scheme: LabelScheme
    ) -> Tensor:
        """Return the labels that the given ones and the mean network's answer make together.

        Both are averaged as the networks were: one part of the labels beside ``count`` parts of
        the answer. The likeliest class of that mixture is the new label. So with one network a
        label always stands, and with more it falls where the mean prefers another class by more
        than ``1 / count``. Ignored voxels stay so; what a case's annotation does not cover is
        background, as in the loss.

        Parameters
        ----------
        image : float Tensor of shape (B, C, *spatial)
            As the network being trained sees it.
        label : integer Tensor of shape (B, *spatial)
        annotated : bool Tensor of shape (B, K + 1), optional
        scheme : LabelScheme

        Returns
        -------
        integer Tensor of shape (B, *spatial)
        """
        if self.count < 2:
            return label
        logits = self.network(image).float()
        share = 1 / (self.count + 1)
        ignored = label == IGNORE_INDEX
        if scheme.activation == "softmax":
            probs = merge_unannotated(logits, annotated).softmax(1)
            given = one_hot(label.long().masked_fill(ignored, 0), logits.shape[1])
            mixture = share * given + (1 - share) * probs
        else:  # regions: above one half; of a channel that is not annotated, nothing is known
            given, known = region_target(label, [s.indices for s in scheme.structures], annotated)
            mixture = share * given + (1 - share) * logits.sigmoid() - 0.5
            ignored = ignored | ~known.all(1)
        decode = decoder(scheme)
        corrected = torch.stack([decode(one) for one in mixture]).to(label.dtype)
        return torch.where(ignored, label, corrected)

    def to_dict(self) -> dict[str, Any]:
        """Return tensors and numbers, for a checkpoint."""
        return {"count": self.count, "network": self.network.state_dict()}

    def load(self, content: dict[str, Any]) -> None:
        """Take on what `to_dict` returned."""
        self.count = content["count"]
        self.network.load_state_dict(content["network"])


def end_phase(run: Session, running: Running) -> None:
    """Take the network as it is now into the mean, which labels and validations then follow.

    Raises
    ------
    NotFiniteError
        If its weights are not finite.
    """
    run.check()
    running.take_in(run.learner.module)
    size = run.task.recipe.batch_size
    running.take_statistics(run.dataset, size, run.fabric.autocast())
    logger.info("step %d: networks in the running mean: %d", run.state.step, running.count)


def _batches(dataset: PatchDataset, batch_size: int) -> Iterator[Tensor]:
    """Yield the images of the first patches, without the margin that augmentation needs."""
    size = dataset.sampler.patch_size
    inner = tuple(slice(m, m + n) for m, n in zip(dataset.margin, size, strict=True))
    for first in range(0, STATISTICS_PATCHES, batch_size):
        images = [dataset[number]["image"] for number in range(first, first + batch_size)]
        yield torch.stack([image[:, *inner] for image in images])
