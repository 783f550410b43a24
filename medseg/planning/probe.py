"""A step small enough to be measured on a CPU, where the planned one would take minutes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from medseg.artefacts import Plan
from medseg.planning.narrow import forward_flops
from medseg.planning.wording import drop

CPU_PROBE_FLOPS = 4e11
"""Floating-point operations of a forward pass that is measured as it is: about 10 s a step on two
slow cores."""
LEAST_BATCH, LEAST_SIDE = 2, 16


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What is measured in place of a plan's step."""

    plan: Plan
    factor: float
    """Voxels of the planned step over those of the measured one."""


def probe_of(plan: Plan, device: str) -> Probe:
    """Return the plan itself, or on a CPU one with fewer and smaller patches.

    What convolutions cost is proportional to the voxels. A network that is tied to its image size
    (``img_size`` among its arguments) keeps its patch.
    """
    probe = plan
    while device == "cpu" and _flops(probe) > CPU_PROBE_FLOPS:
        smaller = _halved(probe)
        if smaller == probe:
            break
        probe = smaller
    return Probe(plan=probe, factor=_voxels(plan) / _voxels(probe))


def _halved(plan: Plan) -> Plan:
    """Halve the batch, or once it is small the longest side of the patch."""
    if plan.batch_size > LEAST_BATCH:
        return replace(plan, batch_size=max(LEAST_BATCH, plan.batch_size // 2))
    longest = max(range(len(plan.patch_size)), key=lambda axis: plan.patch_size[axis])
    side = plan.patch_size[longest] // 2
    if side < LEAST_SIDE or "img_size" in plan.network.arguments:
        return plan
    sides = tuple(side if a == longest else n for a, n in enumerate(plan.patch_size))
    return replace(plan, patch_size=sides)


def _flops(plan: Plan) -> float:
    """Count the operations of a forward pass; 0 where they cannot be counted."""
    seen = drop(plan.patch_size, plan.slice_axis)
    return forward_flops(plan.network, seen, plan.batch_size) or 0.0


def _voxels(plan: Plan) -> int:
    """Count the voxels of a batch."""
    return plan.batch_size * prod(plan.patch_size)
