"""Which device a name means here."""

from __future__ import annotations

from medseg.errors import ConfigError


def choose_device(name: str) -> str:
    """Resolve ``auto`` to the first CUDA device or the CPU, and check that a device exists.

    Returns
    -------
    str
        ``cpu`` or ``cuda:N``.

    Raises
    ------
    ConfigError
        If the name is no device, or the device is not there.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if count else "cpu"
    if name == "cpu":
        return "cpu"
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number.isdigit() or name == "cuda"):
        raise ConfigError(f"device '{name}': it must be auto, cpu, cuda or cuda:N")
    if int(number or 0) >= count:
        raise ConfigError(
            f"device '{name}' is not there ({count} CUDA devices found); use --device cpu"
        )
    return f"cuda:{int(number or 0)}"
