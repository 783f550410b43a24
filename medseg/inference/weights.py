"""Build a trained network from its description and its safetensors file, alone or ready to use."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError
from medseg.inference.device import choose_device
from medseg.inference.predictor import Predictor
from medseg.inference.window import WindowSettings
from medseg.model_folder import ModelFolder
from medseg.networks import build_network


def load_network(spec: NetworkSpec, weights: Path, slice_axis: int | None = None) -> nn.Module:
    """Build a network and load its weights, on the CPU and in eval mode.

    Parameters
    ----------
    spec : NetworkSpec
    weights : Path
        safetensors file with the state of ``build_network(spec, slice_axis)``.
    slice_axis : int, optional
        See `medseg.networks.build_network`.

    Raises
    ------
    ConfigError
        If the file is missing, damaged, or holds the weights of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    # the weights follow: none are read from the checkpoint that training began with
    arguments = {key: value for key, value in spec.arguments.items() if key != "checkpoint"}
    network = build_network(NetworkSpec(name=spec.name, arguments=arguments), slice_axis)
    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"{weights}: the weights cannot be read ({error}); copy the model folder again, or "
            "train once more"
        ) from error
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(
            f"{weights}: these are not the weights of network '{spec.name}' as described beside "
            f"them ({error}); keep the weights and model.json of one model together"
        ) from error
    return network.eval()


def load_predictor(
    folder: ModelFolder, device: str = "auto", memory: int | None = None
) -> Predictor:
    """Load a model folder onto a device, with the settings its post-processing was judged with.

    All members predict together, in one pass over the image.

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
        If the weights do not fit the description, or the device is not there.
    """
    plan = folder.plan
    networks = [load_network(plan.network, file, plan.slice_axis) for file in folder.weights]
    settings = window_settings(folder, memory)
    earlier = folder.previous
    previous = None if earlier is None else load_predictor(earlier, device, memory)
    return Predictor(networks, plan, settings, choose_device(device), previous)


def window_settings(folder: ModelFolder, memory: int | None = None) -> WindowSettings:
    """Return the settings under which a model's post-processing was judged, and the limit here."""
    # every field of the document's is one of theirs
    return WindowSettings(**vars(folder.document.inference), memory=memory)
