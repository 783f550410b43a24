"""Config sections that belong to no single stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medseg.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Which network; ``medseg list networks`` prints the names."""

    name: str = "unet"
    ndim: Literal["auto", 2, 3] = "auto"
    """2 runs slice by slice on volumes; auto is the dimension of the data."""
    preset: Literal["auto", "default", "M", "L", "XL"] = "auto"
    """nnU-Net's preset that patch and batch are planned by: ``M``, ``L`` or ``XL`` (8, 24, 40 GB)
    for ``resenc_unet``, ``default`` (8 GB) for any other. auto: ``M`` or ``default`` on a GPU, a
    network for a few cores on a CPU."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the network; what is not given is planned."""
    weights: str | None = None
    """File of weights that training begins from, as far as their places are known: torchvision's,
    timm's, Hugging Face's or medseg's own, as ``.safetensors`` or of ``torch.save``. See
    ``docs/networks.md``."""
    inflate: bool = False
    """Spread 2-D kernels of that file evenly over the third axis of a 3-D network."""

    def __post_init__(self) -> None:
        file = self.weights_file
        if file is not None and not file.is_file():
            raise ConfigError(
                f"network.weights: {self.weights} is no file (looked for {file}); give the path of "
                "the weights, or leave it out to train from the start"
            )
        if self.inflate and file is None:
            raise ConfigError("network.inflate is for network.weights, which is not set")

    @property
    def weights_file(self) -> Path | None:
        """Where the weights are; a relative path counts from where the command is given."""
        return None if self.weights is None else Path(self.weights).expanduser().resolve()


@dataclass(frozen=True, kw_only=True)
class CRF:
    """Weights and scales of both kernels of the dense CRF [1]_; the image has standard deviation 1.

    References
    ----------
    .. [1] Kraehenbuehl and Koltun, Efficient inference in fully connected CRFs with Gaussian edge
       potentials, NeurIPS 2011, equations 2 and 3, algorithm 1.
    .. [2] Teichmann and Cipolla, Convolutional CRFs for semantic segmentation, BMVC 2019.
    """

    iterations: int = 5
    """Of the mean field."""
    appearance_weight: float = 4.0
    """Of the kernel that wants voxels near and alike to be of one class."""
    appearance_scale: float = 3.0
    """Its reach in mm (px of photographs): ``theta_alpha``."""
    intensity_scale: float = 0.5
    """How much its intensities may differ, in the normalised image's unit: ``theta_beta``."""
    smoothness_weight: float = 1.0
    """Of the kernel that asks for nearness alone."""
    smoothness_scale: float = 1.0
    """Its reach in mm: ``theta_gamma``."""
    radius: int = 3
    """Voxels along each axis within which pairs count. [1]_ counts all pairs by a permutohedral
    lattice; here the kernels are exact within this window and nothing beyond it [2]_, so that a
    window as large as the image gives the exact dense CRF."""

    def __post_init__(self) -> None:
        above_0 = ("appearance_scale", "intensity_scale", "smoothness_scale")
        from_0, from_1 = ("appearance_weight", "smoothness_weight"), ("iterations", "radius")
        for name in (*above_0, *from_0, *from_1):
            value = getattr(self, name)
            least = 1 if name in from_1 else 0
            if not (value > 0 if name in above_0 else value >= least):
                wanted = "above 0" if name in above_0 else f"from {least} on"
                raise ConfigError(f"infer.crf.{name} is {value}; give a number {wanted}")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where per-case work and training run; never part of a result's key."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    workers: int | Literal["auto"] = "auto"
    """Processes for per-case work; auto: as many as cores and free memory allow."""
    scheduler: str | None = None
    """Address of a dask scheduler, such as ``tcp://host:8786``; None runs here."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """MLflow; ``tracking: off`` in a config sets ``enabled`` to False."""

    enabled: bool = True
    uri: str | None = None
    """Tracking server; None: ``$MLFLOW_TRACKING_URI``, else SQLite beside the runs."""
