"""Checkpoints: written aside and renamed, so that a kill leaves the old one or the new one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medseg.errors import StageError

LAST = "last.ckpt"


def save_checkpoint(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write ``content`` (tensors, numbers, text, lists, dicts) as the folder's last checkpoint."""
    path, aside = folder / LAST, folder / f".{LAST}.part"
    with aside.open("wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    return path


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the folder's last checkpoint, or None where there is none.

    Raises
    ------
    StageError
        If the file is there and cannot be read.
    """
    path = folder / LAST
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what the zip and pickle readers happen to raise
        raise StageError(
            f"{path}: the checkpoint cannot be read ({error}); delete it to train from the start"
        ) from error
    return content


def save_weights(path: Path, network: nn.Module) -> Path:
    """Write a network's weights as safetensors, aside first."""
    aside = path.with_name(f".{path.name}.part")
    tensors: dict[str, Tensor] = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    save_file(tensors, aside)
    aside.replace(path)
    return path
