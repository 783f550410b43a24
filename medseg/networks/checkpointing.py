"""Activation checkpointing: compute a part once more in the backward pass, and keep less of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

CONTAINERS = (
    "stages",
    "stage",
    "layers",
    "blocks",
    "encoder",
    "decoder",
    "units",
    "updates",
    "passes",
)
"""Names, but for a number at their end, of the lists and sequences of a network's stages."""


def checkpoint_stages(network: nn.Module) -> tuple[str, ...]:
    """Let every stage of a network forget its activations until the backward pass [1]_.

    One mechanism for all networks: the members of each list or sequence named in `CONTAINERS`, of
    which none lies within another, are run by `torch.utils.checkpoint`. Parameters, their names
    and the numbers stay; a step takes longer and less memory. Evaluation runs as before. The second
    run of a stage leaves the running statistics of batch normalisation alone.

    Parameters
    ----------
    network : nn.Module
        Changed in place.

    Returns
    -------
    tuple of str
        Names of the stages; empty where the network has none, and nothing has changed.

    References
    ----------
    .. [1] Chen et al., Training deep nets with sublinear memory cost, arXiv 1604.06174.
    """
    found: list[str] = []
    for name, module in list(network.named_modules()):
        inside = any(name == one or name.startswith(f"{one}.") for one in found)
        if inside or name.rpartition(".")[2].rstrip("0123456789") not in CONTAINERS:
            continue
        if isinstance(module, nn.ModuleList | nn.Sequential):
            found += _wrap_members(name, module)
    return tuple(found)


def _wrap_members(name: str, container: nn.Module) -> list[str]:
    """Wrap what a container holds, and what the lists in it hold; return the names."""
    found = []
    for key, stage in container.named_children():
        if isinstance(stage, nn.ModuleList):
            found += _wrap_members(f"{name}.{key}", stage)
        else:
            kind = type(stage)
            # a class of its own, not a changed method: a copy of the network stays a copy
            stage.__class__ = type(kind.__name__, (_Forgetful, kind), {})
            found.append(f"{name}.{key}")
    return found


class _Forgetful(nn.Module):
    """Goes before a module's own class, and runs it under a checkpoint while it trains."""

    def forward(self, *args: Any) -> Any:
        """Do what the module does."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*args)
        return checkpoint(
            super().forward,
            *args,
            use_reentrant=False,
            context_fn=self._contexts,
        )

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Return what is around the first run and around the second."""
        return nullcontext(), _statistics_kept(self)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch normalisation alone while this lasts."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # what is saved for the gradient is the same, unlike without tracking
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
