"""Training batches: batch ``i`` is a pure function of the seed and ``i``."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medseg.sampling.patches import Patch
from medseg.team import current

GPU_WORKERS = 8
"""Loading processes per GPU at most; on the CPU the training process loads by itself, since the
cores are busy anyway."""


class Batch(NamedTuple):
    """What a training step sees.

    Attributes
    ----------
    image : float32 Tensor of shape (B, C, *patch)
    label : int16 Tensor of shape (B, *patch)
    annotated : bool Tensor of shape (B, K + 1), optional
        Whether the annotation of a patch's case covers a class index. None: all of them.
    """

    image: Tensor
    label: Tensor
    annotated: Tensor | None

    def to(self, device: torch.device) -> Batch:
        """Move to a device; from pinned memory this does not wait."""
        annotated = self.annotated
        return Batch(
            self.image.to(device, non_blocking=True),
            self.label.to(device, non_blocking=True),
            None if annotated is None else annotated.to(device, non_blocking=True),
        )


class EndlessBatches(Sampler[list[int]]):
    """The patch numbers of one process's batches, from batch ``first`` on.

    All processes together see patches ``i * world * batch_size`` and following in batch ``i``.
    """

    def __init__(self, batch_size: int, *, first: int = 0, rank: int = 0, world: int = 1) -> None:
        self.batch_size, self.first, self.rank, self.world = batch_size, first, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        for i in itertools.count(self.first):
            start = (i * self.world + self.rank) * self.batch_size
            yield list(range(start, start + self.batch_size))


def load_batches(
    dataset: Dataset[Patch],
    batch_size: int,
    device: torch.device,
    *,
    first: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Yield batches ``first``, ``first + 1``, ... without end.

    Parameters
    ----------
    dataset : Dataset
        Item ``i`` is patch ``i``; see `medseg.sampling.patches.PatchDataset`.
    batch_size : int
        Patches per process.
    device : torch.device
        Where the batches will be used: a GPU is fed by several processes.
    first, rank, world : int
        First batch; number of this process and of all processes.
    """
    cuda = device.type == "cuda"
    team = current()
    beside = world if team is None else team.place.local_world  # processes on this machine
    workers = min(GPU_WORKERS, max(1, (os.cpu_count() or 2) // beside - 1)) if cuda else 0
    loader = DataLoader(
        dataset,
        batch_sampler=EndlessBatches(batch_size, first=first, rank=rank, world=world),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=cuda,
        generator=torch.Generator(),  # else the loader would draw from torch's global one
        prefetch_factor=4 if workers else None,
        worker_init_fn=_ignore_signals,
    )
    batches: Iterator[Batch] = iter(loader)
    return batches


def _ignore_signals(worker: int) -> None:
    """Leave Ctrl-C to the training process, which ends its loading processes itself."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def collate(items: Sequence[Patch]) -> Batch:
    """Stack the patches of a batch."""
    return Batch(
        torch.stack([item["image"] for item in items]),
        torch.stack([item["label"] for item in items]),
        torch.stack([item["annotated"] for item in items]),
    )
