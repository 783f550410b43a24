"""How much memory a stage takes: the ``system/`` metrics."""

from __future__ import annotations

import sys

import psutil

GB = 1e9


def memory_gb() -> dict[str, float]:
    """Return memory in GB (10^9 bytes).

    Returns
    -------
    dict
        ``memory_gb``: what this process holds now. ``gpu_memory_gb``: the most that torch has held
        on the current CUDA device so far; missing where no CUDA device is in use.
    """
    found = {"memory_gb": psutil.Process().memory_info().rss / GB}
    torch = sys.modules.get("torch")  # a stage that did not load it used no GPU
    if torch is not None and torch.cuda.is_initialized():
        found["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / GB
    return found
