"""Ready a model folder for predicting, whatever it holds: weights, ONNX or torch.export graphs."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from medseg.artefacts import Plan
from medseg.errors import ConfigError, MissingExtraError
from medseg.export.document import GraphKind, read_export_document
from medseg.inference.device import choose_device
from medseg.inference.predictor import Predictor
from medseg.inference.weights import window_settings
from medseg.inference.window import WindowSettings
from medseg.model_document import DOCUMENT
from medseg.model_folder import EXPORT, ModelFolder


def load_predictor(
    folder: ModelFolder, device: str = "auto", memory: int | None = None
) -> Predictor:
    """Load a model or exported folder with the settings its post-processing was judged with.

    Parameters
    ----------
    folder : ModelFolder
        What `medseg.model_folder.read_model_folder` returned.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    memory : int, optional
        Bytes that the process may have in use on the device.

    Raises
    ------
    ConfigError
        If a file is missing or damaged, or the graphs cannot run on the device.
    MissingExtraError
        If the folder holds ONNX graphs and onnxruntime is not installed.
    """
    if not folder.is_export:
        from medseg.inference.weights import load_predictor as load_weights

        return load_weights(folder, device, memory)
    document = read_export_document(folder.folder)
    folds = [member.fold for member in folder.document.members]
    if not set(folds) <= set(document.graphs):
        raise ConfigError(
            f"{folder.folder}: {DOCUMENT} has folds {folds}, {EXPORT} has graphs of "
            f"{sorted(document.graphs)}; copy both files of one export"
        )
    paths = [folder.folder / document.graphs[fold] for fold in folds]
    settings = window_settings(folder, memory)
    return load_graphs(paths, document.kind, folder.plan, settings, device)


def load_graphs(
    paths: Sequence[Path],
    kind: GraphKind,
    plan: Plan,
    settings: WindowSettings,
    device: str = "auto",
) -> Predictor:
    """Load the graphs of a model's members; see `load_predictor`."""
    if kind == "torch-export":
        where = choose_device(device)
        return Predictor([ProgramNetwork(path, where) for path in paths], plan, settings, where)
    # Tiles come and go as host arrays; onnxruntime moves them where its provider is.
    return Predictor([OnnxNetwork(path, device) for path in paths], plan, settings, "cpu")


class GraphNetwork(nn.Module):
    """A graph that is called like the network it was made from."""

    fixed_size = True
    """It takes tiles of its own size alone (`medseg.inference.memory` asks)."""


class ProgramNetwork(GraphNetwork):
    """A torch.export graph, which computes in the precision that surrounds it, as the network does.

    Parameters
    ----------
    path : Path
        ``.pt2`` file. PyTorch's format may hold pickled objects: open only those you trust.
    device : str

    Raises
    ------
    ConfigError
        If the file is no torch.export graph.
    """

    def __init__(self, path: Path, device: str) -> None:
        super().__init__()
        try:
            program = torch.export.load(path)
        except (OSError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"{path}: not readable as a torch.export graph ({error}); export the model again "
                f"with torch {torch.__version__}, or use the version named in export.json"
            ) from error
        if device != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        self._call = program.module().forward  # the module itself refuses eval()

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *patch) to logits (B, num_classes, *patch)."""
        logits: Tensor = self._call(image)
        return logits


class OnnxNetwork(GraphNetwork):
    """An ONNX graph, run by onnxruntime in float32 throughout.

    Parameters
    ----------
    path : Path
        ``.onnx`` file.
    device : str
        ``auto`` takes CUDA where onnxruntime has it; ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    ConfigError
        If the file is damaged, or onnxruntime cannot use the device.
    MissingExtraError
        If onnxruntime is not installed.
    """

    def __init__(self, path: Path, device: str) -> None:
        super().__init__()
        try:
            import onnxruntime as ort
            from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"{path}: an ONNX model needs onnxruntime, which is not installed; "
                "pip install 'medseg[export]'"
            ) from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; the rest is about graph optimisation
        try:
            self.session = ort.InferenceSession(
                path, options, providers=_providers(device, ort.get_available_providers())
            )
        except (ort_errors.Fail, ort_errors.InvalidGraph, ort_errors.InvalidProtobuf) as error:
            raise ConfigError(
                f"{path}: onnxruntime cannot read it ({error}); export the model again"
            ) from error
        (self.input,) = (value.name for value in self.session.get_inputs())
        self._failure = ort_errors.RuntimeException

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *patch) to logits (B, num_classes, *patch)."""
        array = image.detach().to("cpu", torch.float32).contiguous().numpy()
        try:
            (logits,) = self.session.run(None, {self.input: array})
        except self._failure as error:
            if "allocat" in str(error).lower():  # smaller batches are tried then
                raise MemoryError(str(error)) from error
            raise
        return torch.from_numpy(logits).to(image.device)


def _providers(device: str, there: list[str]) -> list[str | tuple[str, dict[str, str]]]:
    """Choose onnxruntime's execution providers for a device."""
    if device == "cpu" or (device == "auto" and "CUDAExecutionProvider" not in there):
        return ["CPUExecutionProvider"]
    kind, _, number = device.partition(":")
    if device != "auto" and (kind != "cuda" or not (number or "0").isdigit()):
        raise ConfigError(f"device '{device}': it must be auto, cpu, cuda or cuda:N")
    if "CUDAExecutionProvider" not in there:
        raise ConfigError(
            f"device '{device}': this onnxruntime has no CUDA; pip install onnxruntime-gpu, or use "
            "--device cpu"
        )
    return [("CUDAExecutionProvider", {"device_id": number or "0"}), "CPUExecutionProvider"]
