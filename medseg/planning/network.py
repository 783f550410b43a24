"""Arguments of each network, from the topology of its patch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from medseg.errors import ConfigError
from medseg.planning.capacity import Capacity, CpuCapacity
from medseg.planning.topology import Topology, plan_topology, strided_topology

Arguments = dict[str, Any]

FEW_CASES = 8
"""Below it running statistics of batch normalisation suit the few scanners that were seen alone."""


def topology_rule(
    spacing: Sequence[float], given: Mapping[str, Any], capacity: Capacity, *, exact: bool
) -> Callable[[Sequence[int]], Topology]:
    """Return the function that gives a patch its topology, as far as the config leaves it open.

    Parameters
    ----------
    spacing : sequence of float
        Spacing in mm of the axes the network sees.
    given : mapping
        ``network.arguments`` of the config: ``strides`` fixes the topology, ``widths`` the number
        of levels.
    capacity : Capacity
        Limits the number of levels otherwise.
    exact : bool
        The patch size is fixed, so it is never padded.
    """
    if given.get("strides") is not None:
        strides = [_axes(stride, len(spacing)) for stride in given["strides"]]
        return partial(strided_topology, strides=strides)
    widths = given.get("widths")
    return partial(
        plan_topology,
        spacing=spacing,
        max_levels=capacity.max_levels if widths is None else len(widths),
        min_levels=1 if widths is None else len(widths),
        exact=exact,
    )


def network_arguments(
    name: str,
    topology: Topology,
    *,
    in_channels: int,
    num_classes: int,
    capacity: Capacity,
    cases: int,
) -> Arguments:
    """Return all arguments of a network that follow from the data and the device.

    A network without a rule here gets ``ndim``, ``in_channels`` and ``num_classes`` alone; its
    own defaults decide the rest. With fewer than `FEW_CASES` cases to train and validate on,
    instance normalisation takes the place of batch normalisation.
    """
    base: Arguments = {
        "ndim": len(topology.patch_size),
        "in_channels": in_channels,
        "num_classes": num_classes,
    }
    rule = RULES.get(name)
    if rule is None:
        return base
    planned = base | rule(topology, capacity)
    if planned.get("norm") == "batch" and cases < FEW_CASES:
        planned["norm"] = "instance"
    return planned


def settled(name: str, arguments: Mapping[str, Any]) -> Arguments:
    """Return the arguments with what they point at in files, which prediction may not have."""
    if not name.startswith("hf:"):
        return dict(arguments)
    from medseg.networks.hf import settled as without_folders

    return without_folders(name, arguments)


def _unet(topology: Topology, capacity: Capacity) -> Arguments:
    """Plain blocks and instance norm on a GPU; on a CPU residual blocks below a thin level 0."""
    levels = len(topology.strides)
    arguments: Arguments = {
        "widths": capacity.widths(levels, len(topology.patch_size)),
        "strides": topology.strides,
        "kernel_sizes": topology.kernels,
        "deep_supervision": True,
    }
    cpu = isinstance(capacity, CpuCapacity)
    return arguments | {"norm": "batch" if cpu else "instance", "residual": cpu, "thin": cpu}


def _levels(topology: Topology, capacity: Capacity) -> Arguments:
    """Levels, strides and kernels of the topology; a quarter as wide on a CPU."""
    levels, ndim = len(topology.strides), len(topology.patch_size)
    cpu = isinstance(capacity, CpuCapacity)
    return {
        "widths": tuple(8 * 2**i for i in range(levels)) if cpu else capacity.widths(levels, ndim),
        "strides": topology.strides,
        "kernel_sizes": topology.kernels,
    }


def _vnet(topology: Topology, capacity: Capacity) -> Arguments:
    """The paper's widths and 5^3 kernels on a GPU; on a CPU half as wide, with 3^3 kernels."""
    levels = len(topology.strides)
    cpu = isinstance(capacity, CpuCapacity)
    first, kernel = (8, 3) if cpu else (16, 5)
    convs = (1, 2, *(3,) * levels)[:levels]
    return {
        "widths": tuple(min(first * 2**i, 256) for i in range(levels)),
        "strides": topology.strides,
        "kernel_sizes": tuple(
            tuple(kernel if side > 1 else 1 for side in sides) for sides in topology.kernels
        ),
        "convs": convs,
        "decoder_convs": convs[:-1],
        "norm": "batch",
    }


def _unetr(topology: Topology, _: Capacity) -> Arguments:
    """UNETR learns the positions of its 16-voxel patches: images are as large as the patch."""
    return {"img_size": tuple(max(32, -(-n // 16) * 16) for n in topology.patch_size)}


RULES: Mapping[str, Callable[[Topology, Capacity], Arguments]] = {
    "unet": _unet,
    "vnet": _vnet,
    "unetpp": _levels,
    "attention_unet": _levels,
    "resenc_unet": _levels,
    "monai:UNETR": _unetr,
}


def _axes(value: Any, ndim: int) -> tuple[int, ...]:
    """Bring one stride of the config to one integer per axis."""
    axes = (value,) * ndim if isinstance(value, int) else tuple(value)
    if len(axes) != ndim or not all(isinstance(n, int) and n >= 1 for n in axes):
        raise ConfigError(
            f"network.arguments.strides: {value!r} must be a positive integer, or {ndim} of them"
        )
    return axes
