"""What one stage hands to the next. JSON-able, small; voxels and weights are named by path.

Every class here is written to ``artefact.json`` by the runner and read back by the annotation of
the consumer's parameter, so fields are plain: str, numbers, bool, None, Path, tuples, mappings and
other dataclasses of this kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medseg.case import Case, Split
from medseg.expected import Clues
from medseg.geometry.resize import Resize
from medseg.geometry.volume import Grid
from medseg.labels import LabelScheme


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """Where the data comes from: what reports, the model folder and MLflow say of it."""

    name: str
    """Manifest name."""
    title: str
    modality: str
    channels: tuple[str, ...]
    origin: Literal["real", "SYNTHETIC", "unknown"]
    licence: str
    citation: str
    digest: str
    """Hash over the digests of all usable cases."""


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """A case that could not be used, and what to do about it."""

    case: str
    stage: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """What one stage took when it ran."""

    stage: str
    seconds: float
    device: str
    peak_memory_mb: float | None
    """Largest memory of the main process up to its end; None where not known."""


@dataclass(frozen=True, kw_only=True)
class IngestedCase:
    """A case that was read and found sound."""

    case: Case
    split: Split
    fold: int | None
    """Fold (0-based) in which a training case is used for validation; None outside training."""
    grid: Grid
    """Canonical grid: axes turned to the closest RAS+; what `medseg.io.load_image` returns."""
    orientation: str
    """Axis codes of the stored image, such as ``LPS``; empty for photographs."""
    content_start: tuple[int, ...]
    content_stop: tuple[int, ...]
    """Bounding box of (any channel != 0) on the canonical grid (planning.md F1)."""
    label_voxels: Mapping[str, int]
    """Voxels per label name; empty without annotation."""
    digest: str
    """Hash of the voxels, the affine and the annotation."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChannelIntensity:
    """Pooled foreground intensities of one channel over the training cases (planning.md F2)."""

    mean: float
    std: float
    min: float
    median: float
    max: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What the planner knows of a data set; one entry per training case, in case order."""

    spacings: tuple[tuple[float, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    """Shapes after the crop to content."""
    crop_ratio: float
    """Median of size after crop over size before."""
    intensities: tuple[ChannelIntensity, ...]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """All usable cases with their splits; written by *ingest*."""

    info: DataInfo
    scheme: LabelScheme
    cases: tuple[IngestedCase, ...]
    fingerprint: Fingerprint
    mirror_axes: tuple[int, ...] | None = None
    """Axes that may be mirrored, where the manifest says it."""
    normalization: tuple[str, ...] = ()
    """What the manifest asks of each channel; ``()`` is ``auto`` for all."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One ``auto`` value: what it became, by which rule, from which data."""

    key: str
    value: Any
    rule: str
    data: str


@dataclass(frozen=True, kw_only=True)
class ChannelNormalization:
    """How one channel becomes network input: clip, then ``(x - mean) / std``."""

    scheme: Literal["ct", "zscore", "none"]
    """``ct``: fixed numbers from the data set; ``zscore``: mean and std of each case."""
    clip: tuple[float, float] | None = None
    mean: float = 0.0
    std: float = 1.0
    mask_nonzero: bool = False
    """For ``zscore``: statistics over non-zero voxels only, zero outside them."""


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """All that builds a network: ``NETWORKS[name](**arguments)``."""

    name: str
    arguments: Mapping[str, Any]
    """Keyword arguments, ``ndim``, ``in_channels`` and ``num_classes`` included."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every value that shapes the network and its input; written by *plan*.

    A slice-wise 2-D network on volumes keeps three axes here: ``patch_size`` is 1 along
    ``slice_axis`` and the network is wrapped in `medseg.networks.slicewise.SliceWise`.
    """

    spacing: tuple[float, ...]
    """Target spacing in mm, canonical axis order."""
    normalization: tuple[ChannelNormalization, ...]
    coarse_axis: int | None
    """Axis resampled apart (nearest along it) because it is much coarser than the others."""
    order: int = 3
    """Spline order for images."""
    crop: bool = True
    """Crop to the bounding box of non-zero voxels first."""
    resize: Resize | None = None
    """Size that each photograph is brought to; ``spacing`` is then that of the median one."""
    patch_size: tuple[int, ...]
    batch_size: int
    slice_axis: int | None
    mirror_axes: tuple[int, ...]
    """Spatial axes flipped in augmentation, and at inference where mirroring is on."""
    batch_dice: bool = False
    """Whether the default loss takes one Dice over the batch instead of one per patch."""
    previous_classes: int = 0
    """Channels behind the image's: the labels that an earlier run predicted (cascade)."""
    network: NetworkSpec
    budget: str
    """Training budget such as ``10min`` or ``50000it``: the config's, or what ``auto`` became."""
    scheme: LabelScheme
    info: DataInfo
    decisions: tuple[Decision, ...]

    @property
    def in_channels(self) -> int:
        """Channels of what the network sees."""
        return len(self.normalization) + self.previous_classes


@dataclass(frozen=True, kw_only=True)
class ResampledCase:
    """Network input of one case: normalised image and class indices, in a chunked store."""

    id: str
    split: Split
    fold: int | None
    image: Path
    """``.b2nd`` of shape (C, *spatial), float32."""
    label: Path | None
    """``.b2nd`` of shape (*spatial), int16 class indices."""
    grid: Grid
    """Grid of the store."""
    crop_start: tuple[int, ...]
    crop_stop: tuple[int, ...]
    """The box of the canonical grid that was kept; the store covers exactly its field of view."""
    source: Grid
    """Canonical grid, to which predictions return."""
    annotated: tuple[int, ...]
    """Class indices the annotation covers."""


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """All cases at the planned spacing; written by *resample*."""

    cases: tuple[ResampledCase, ...]


@dataclass(frozen=True, kw_only=True)
class CaseLocations:
    """Where a case's foreground is, for forced foreground sampling."""

    id: str
    voxels: Mapping[int, int]
    """Class index to its number of voxels on the resampled grid."""
    file: Path
    """``.npz``: sampled voxel coordinates, one (n, ndim) int32 array per class (``c<index>``)."""


@dataclass(frozen=True, kw_only=True)
class PatchIndex:
    """Which patches training sees; written by *patch_sample*.

    Patch ``i`` is a pure function of ``(seed, i)`` and of what is listed here
    (`medseg.sampling.sampler.PatchSampler`), so an index of any length is reproducible; the first
    ones are stored in ``table`` to be looked at.
    """

    seed: int
    foreground_share: float
    locations: tuple[CaseLocations, ...]
    table: Path
    """CSV: patch, case, class, start per axis."""
    balance: Literal["case", "dataset"] = "case"
    """Whether a foreground patch's class is drawn within the drawn case, or over all cases."""
    cat_max_ratio: float = 1.0
    """Share of its annotated voxels that one class of a patch may have; see
    `medseg.sampling.redraw`."""


@dataclass(frozen=True, kw_only=True)
class PredictedCase:
    """One raw prediction on the case's canonical grid."""

    id: str
    split: Split
    fold: int | None
    pred: Path
    """``.b2nd`` of shape (*spatial), int16 class indices."""
    seconds: float
    clues: Clues = field(default_factory=dict)
    """What the prediction itself tells of its quality (`medseg.inference.clues`)."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of validation, test and unlabelled cases; written by *infer*."""

    cases: tuple[PredictedCase, ...]
