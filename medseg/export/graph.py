"""Trace a network into a graph that needs none of its code: torch.export, and ONNX from it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from medseg.errors import ConfigError, MissingExtraError
from medseg.export.document import GraphKind

INPUT, OUTPUT = "image", "logits"
MAX_BATCH, MAX_STEPS = 1024, 4096
"""Bounds that the tracer asks for: tiles per batch, and multiples of the divisor per axis."""
PROTOBUF_BYTES = 1_800_000_000
"""Weights above this stand in a file of their own: a protobuf message ends at 2 GiB."""

SUFFIX: dict[GraphKind, str] = {"onnx": ".onnx", "torch-export": ".pt2"}


def need_onnx() -> None:
    """Raise MissingExtraError unless ONNX graphs can be written and checked."""
    for module in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(
                f"--format onnx needs {module}, which is not installed; "
                "pip install 'medseg[export]'"
            )


def trace(
    network: nn.Module, in_channels: int, patch_size: Sequence[int], *, any_size: bool
) -> ExportedProgram:
    """Trace a network for any batch of tiles.

    Parameters
    ----------
    network : nn.Module
        In eval mode, on the CPU; maps (B, in_channels, *patch) to logits.
    in_channels : int
    patch_size : sequence of int
        The tile.
    any_size : bool
        Take any multiple of the network's divisor along each axis, not the patch size alone; an
        axis of one voxel (the slices of a 2-D network) stays as it is.

    Returns
    -------
    ExportedProgram
        One input, (batch, in_channels, *spatial), one output, (batch, num_classes, *spatial).

    Raises
    ------
    ConfigError
        If the network cannot be traced, with the tracer's own reason.
    """
    sizes = list(patch_size)
    axes: dict[int, Dim] = {0: Dim("batch", min=1, max=MAX_BATCH)}
    if any_size:
        for axis, step in free_axes(network, patch_size).items():
            axes[2 + axis] = step * Dim(f"steps{axis}", min=2, max=MAX_STEPS)
            sizes[axis] = step * max(2, sizes[axis] // step)
    example = torch.zeros((2, in_channels, *sizes))  # a batch of one would be taken for fixed
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(network, (example,), dynamic_shapes=(axes,), strict=False)
    except (torch._dynamo.exc.UserError, RuntimeError, ValueError) as error:
        cure = "leave out --any-size" if any_size else "keep the plain model folder"
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{type(network).__name__} cannot be traced for tiles of {tuple(sizes)}: {reason}; "
            f"{cure}"
        ) from error
    program.example_inputs = None  # two tiles of zeros would be stored with the graph
    return program


def free_axes(network: nn.Module, patch_size: Sequence[int]) -> dict[int, int]:
    """Map each spatial axis whose size may vary to the step in which it does."""
    divisor = getattr(network, "divisor", (1,) * len(patch_size))
    return {axis: step for axis, step in enumerate(divisor) if patch_size[axis] > 1}


def write_graph(program: ExportedProgram, folder: Path, name: str, kind: GraphKind) -> Path:
    """Write a graph; return its file. Large ONNX weights stand beside it as ``<file>.data``.

    Raises
    ------
    ConfigError
        If an operation of the network has no form in ONNX.
    """
    path = folder / f"{name}{SUFFIX[kind]}"
    if kind == "torch-export":
        torch.export.save(program, path)
        return path
    size = sum(v.numel() * v.element_size() for v in program.state_dict.values())
    try:
        with _quiet():
            torch.onnx.export(
                program,
                f=path,
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                external_data=size > PROTOBUF_BYTES,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"the network has no form in ONNX: {reason}; use --format torch-export"
        ) from error
    return path


def versions(kind: GraphKind) -> dict[str, str]:
    """Return the versions of the libraries that made the graphs."""
    names = ("torch", "onnx", "onnxscript", "onnxruntime") if kind == "onnx" else ("torch",)
    return {name: importlib.metadata.version(name) for name in names}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporters say to their own developers."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        log.setLevel(level)
