"""Segmentation networks: images to logits. Modules own no activation; losses and inference do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError
from medseg.networks.output import Prediction
from medseg.networks.slicewise import SliceWise
from medseg.networks.unet import UNet
from medseg.networks.vnet import VNet
from medseg.registry import lookup

__all__ = ["NETWORKS", "Prediction", "SliceWise", "build_network"]

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {"unet": UNet, "vnet": VNet}


def build_network(spec: NetworkSpec, slice_axis: int | None = None) -> nn.Module:
    """Build the network that ``spec`` describes.

    Parameters
    ----------
    spec : NetworkSpec
        Name and keyword arguments.
    slice_axis : int, optional
        Axis of a 3-D image along which a 2-D network sees one slice at a time.

    Returns
    -------
    nn.Module
        Maps (B, in_channels, *spatial) to logits (B, num_classes, *spatial); in training it may
        return a `Prediction`. ``divisor`` says to which multiples it pads.

    Raises
    ------
    ConfigError
        If there is no such network, or it has no such argument.
    """
    build = lookup(NETWORKS, spec.name, "network")
    try:
        network = build(**spec.arguments)
    except TypeError as error:
        raise ConfigError(f"network.arguments of '{spec.name}': {error}") from error
    return network if slice_axis is None else SliceWise(network, slice_axis)
