"""Which arithmetic a device runs a network in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]

_DTYPES: Mapping[str, torch.dtype | None] = {
    "32-true": None,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
}


def computes_bf16(device: torch.device) -> bool:
    """Tell whether a device has bfloat16 in hardware; emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def lower_precision(device: torch.device, precision: Precision) -> torch.dtype | None:
    """Return the type that convolutions are computed in; None is float32 (see `autocast`)."""
    if precision == "auto":
        fallback = torch.float16 if device.type == "cuda" else None
        return torch.bfloat16 if computes_bf16(device) else fallback
    return _DTYPES[precision]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Open the autocast region that a precision asks for.

    Parameters
    ----------
    device : torch.device
        Where the network runs.
    precision : str
        ``auto``: bf16 where the device computes it natively, fp16 on other CUDA devices, float32
        elsewhere. The rest are Lightning Fabric's names.
    """
    dtype = lower_precision(device, precision)
    if dtype is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
