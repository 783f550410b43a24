"""Networks without a planning rule on a CPU: their own form, narrowed to what a step may cost."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError

logger = logging.getLogger(__name__)

WIDTH_ARGUMENTS = (
    "widths",
    "width",
    "channels",
    "dense_width",
    "growth",
    "first",
    "decoder_channels",
    "pyramid_channels",
    "low_channels",
)
"""Constructor arguments that count channels, or scale them."""
BESIDE_WIDTH: Mapping[str, tuple[str, ...]] = {
    "dfanet": ("dense_width",),
    "maskformer": ("channels",),
}
"""Those that a network's ``width`` does not multiply already; it does all others."""
CPU_STEP_FLOPS = 150e9
"""Floating-point operations of one forward pass over a batch: what the planned U-Net takes."""
LEAST_SCALE = 1 / 16
MULTIPLE = 4
"""Channels stay multiples of it: grouped norms and attention heads divide them."""


def narrowed_arguments(
    spec: NetworkSpec, patch_size: Sequence[int], batch_size: int, limit: float = CPU_STEP_FLOPS
) -> tuple[dict[str, Any], float]:
    """Return the width arguments with which one step stays within a limit.

    The scale is the largest power of 1/2 that fits, or the smallest that can be built; the work is
    counted without computing anything, so it depends on no clock.

    Parameters
    ----------
    spec : NetworkSpec
        Of `medseg.networks.NETWORKS`, with ``ndim``, ``in_channels`` and ``num_classes``.
    patch_size : sequence of int
        What the network sees, 2 or 3 axes.
    batch_size : int
        Patches of one step.
    limit : float
        Floating-point operations of the forward pass.

    Returns
    -------
    (dict, float)
        The arguments that differ from the network's own defaults, and their scale; ``({}, 1.0)``
        where the defaults fit, nothing can be narrowed or the work cannot be counted.
    """
    widths = width_defaults(spec)
    best: tuple[dict[str, Any], float] = ({}, 1.0)
    if not widths:
        return best
    work, scale, most = forward_flops(spec, patch_size, batch_size), 1.0, 4
    while work is not None and work > limit and scale > LEAST_SCALE:
        # the work falls at most with the square
        halvings = min(max(1, int(log2(work / limit) / 2)), most)
        smaller = max(scale / 2**halvings, LEAST_SCALE)
        narrow = {key: _scaled(value, smaller) for key, value in widths.items()}
        tried = NetworkSpec(name=spec.name, arguments={**spec.arguments, **narrow})
        try:
            work = forward_flops(tried, patch_size, batch_size)
        except ConfigError:  # channels that heads or groups do not divide
            if halvings == 1:
                break
            most = 1
        else:
            best, scale = (narrow, smaller), smaller
    return best


def affordable_batch(
    spec: NetworkSpec, patch_size: Sequence[int], batch_size: int, limit: float = CPU_STEP_FLOPS
) -> int:
    """Return as many patches as one step may have, at least 2, at most ``batch_size``.

    For networks that nothing, or not enough, can be narrowed of; parameters as for
    `narrowed_arguments`.
    """
    work = forward_flops(spec, patch_size, batch_size)
    if work is None or work <= limit:
        return batch_size
    return min(batch_size, max(2, int(batch_size * limit / work)))


def width_defaults(spec: NetworkSpec) -> dict[str, Any]:
    """Return the width arguments of a network that have a default and are not given.

    Each channel is scaled once: where ``width`` multiplies a head's channels with the encoder's,
    the argument that counts them is left out, also if ``width`` itself is given.
    """
    from medseg.networks import NETWORKS

    build = NETWORKS.get(spec.name)
    if build is None:
        found = _widths_elsewhere(spec)
        return {key: value for key, value in found.items() if key not in spec.arguments}
    known: dict[str, inspect.Parameter] = {}
    for one in build.__mro__ if isinstance(build, type) else (build,):
        own = inspect.signature(one).parameters
        known = {**own, **known}
        if not any(p.kind is p.VAR_KEYWORD for p in own.values()):
            break  # what it does not name is not handed on to its base
    counted: Sequence[str] = WIDTH_ARGUMENTS
    if "width" in known:
        counted = ("width", *BESIDE_WIDTH.get(spec.name, ()))
    return {
        key: known[key].default
        for key in counted
        if key in known and key not in spec.arguments and _is_width(known[key].default)
    }


def _widths_elsewhere(spec: NetworkSpec) -> Mapping[str, Any]:
    """Return the width arguments of a network of another library."""
    from medseg.networks.hf import HF
    from medseg.networks.monai_forms import FORMS

    if spec.name in HF and not {"config", "checkpoint"} & set(spec.arguments):
        return {"width": 1.0}
    form = FORMS.get(spec.name.removeprefix("monai:"))
    return {} if form is None else form.widths


def forward_flops(spec: NetworkSpec, patch_size: Sequence[int], batch_size: int) -> float | None:
    """Count the multiplications and additions of one forward pass in training mode.

    Convolutions and matrix products are counted, on tensors without values, with two patches: a
    network that pools to one value has no batch statistics of a single patch. None where a network
    cannot run without values.

    Raises
    ------
    ConfigError
        If there is no such network, or it does not take its arguments.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from medseg.networks import build_network

    with torch.device("meta"):
        network = build_network(spec).train()
        image = torch.zeros(2, spec.arguments["in_channels"], *patch_size)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image)
    except (RuntimeError, NotImplementedError) as error:
        logger.info("%s: its operations cannot be counted (%s)", spec.name, error)
        return None
    return float(counter.get_total_flops()) / 2 * batch_size


def _is_width(value: Any) -> bool:
    """Tell whether a default is a number of channels, several of them, or a factor."""
    values = value if isinstance(value, tuple) else (value,)
    return all(isinstance(n, int | float) and not isinstance(n, bool) for n in values)


def _scaled(value: Any, scale: float) -> Any:
    """Scale channels to a multiple of `MULTIPLE`, or a factor as it is."""
    if isinstance(value, tuple):
        return tuple(_scaled(n, scale) for n in value)
    if isinstance(value, float):
        return value * scale
    return max(MULTIPLE, round(value * scale / MULTIPLE) * MULTIPLE)


def scale_words(scale: float, settings: Mapping[str, Any]) -> str:
    """Say which settings a scale stands for, such as ``widths x 1/4``."""
    return f"{', '.join(settings)} x 1/{round(1 / scale)}"
