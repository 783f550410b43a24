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
class Inference:
    """What decides a prediction besides network and image; ``model.json`` repeats it.

    Where and how fast it is computed is no part of it; see `medseg.stages.infer.Infer`.
    """

    overlap: float = 0.5
    """Share of a tile that the next one covers again."""
    mirror: bool = False
    """Average over flips of the planned axes; costs 2^axes the time."""
    shifts: int = 1
    """Average over this many shifts of each tile by 0, 1, -1, 2, ... voxels: a network that strides
    answers a little differently at each. 4 is enough, at 4 times the time. Along an axis on which
    the tile is no longer than the largest shift (such as across slices) nothing is shifted."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    skip_empty: bool = True
    """Leave out tiles of a CT that hold nothing but air; they become background. Risk: a structure
    that a network sees in pure air, such as one guessed from the position in the tile alone."""
    adaptive: bool = False
    """See each voxel once, then run overlapping tiles only around foreground: faster, at the risk
    of a small structure that only an overlapping tile, which has it in its middle, would have
    shown."""
    scales: tuple[float, ...] = (1.0,)
    """Average over the image at these sizes, such as [0.75, 1.0, 1.25]; each costs a pass, and all
    logits of a case are then in memory at once."""
    crf: CRF | None = None
    """Refine the probabilities so that they follow the image, by a dense CRF; ``{}`` takes its
    defaults. For photographs and small volumes: a case that is too large for it is set aside."""

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ConfigError(
                f"infer.scales is {list(self.scales)}; give factors above 0, such as [0.75, 1.0]"
            )
        if self.shifts < 1:
            raise ConfigError(f"infer.shifts is {self.shifts}; it must be 1 or more, such as 4")
        if not 0 <= self.overlap < 1:
            raise ConfigError(
                f"infer.overlap is {self.overlap}; it must be at least 0 and below 1, such as 0.5"
            )


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where per-case work and training run; never part of a result's key."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    workers: int | Literal["auto"] = "auto"
    """Processes for per-case work; auto: as many as cores and free memory allow."""
    scheduler: str | None = None
    """Address of a dask scheduler, such as ``tcp://host:8786``; None runs here."""

    def __post_init__(self) -> None:
        if self.workers != "auto" and self.workers < 1:
            raise ConfigError(f"compute.workers is {self.workers}; it must be 1 or more, or auto")


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """MLflow; ``tracking: off`` in a config sets ``enabled`` to False."""

    enabled: bool = True
    uri: str | None = None
    """Tracking server; None: ``$MLFLOW_TRACKING_URI``, else SQLite beside the runs."""
