"""Random generators that depend on nothing but the run's seed and the place where they are used."""

from __future__ import annotations

import hashlib

import torch


def generator_at(seed: int, *place: int) -> torch.Generator:
    """Return a CPU generator for one place of a run, such as (step, rank)."""
    text = "/".join(str(n) for n in (seed, *place))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) & (2**63 - 1))


def rng_state() -> dict[str, torch.Tensor]:
    """Return the states of torch's global generators, for a checkpoint."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_rng(states: dict[str, torch.Tensor]) -> None:
    """Set torch's global generators to the states of a checkpoint."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
