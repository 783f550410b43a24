"""Tiny Decathlon tasks on disk."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from medseg.artefacts import ChannelIntensity, DataInfo, Dataset, Fingerprint
from medseg.labels import Label, LabelScheme
from medseg.manifest import Manifest, Splits

LABELS = (Label(value=1, name="organ"), Label(value=5, name="tumour"))
SCHEME = LabelScheme(labels=LABELS)
SHAPE = (10, 12, 8)


def make_case(seed: int, shape: tuple[int, ...] = SHAPE) -> tuple[NDArray, NDArray]:
    """Return an image of noise and a label with an organ of 4^3 and a tumour of 2^3 voxels."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 20, size=shape).astype(np.float32)
    label = np.zeros(shape, dtype=np.uint8)
    label[2:6, 3:7, 2:6] = 1
    label[3:5, 4:6, 3:5] = 5
    image[label > 0] += 50
    return image, label


def write(path: Path, array: NDArray, spacing: tuple[float, ...] = (1.0, 1.0, 2.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing, 1.0])), path)


def write_task(root: Path, count: int) -> None:
    """Write ``count`` cases c00, c01, ..."""
    for i in range(count):
        image, label = make_case(i)
        write(root / "imagesTr" / f"c{i:02d}.nii.gz", image)
        write(root / "labelsTr" / f"c{i:02d}.nii.gz", label)


def manifest(root: Path, **fields) -> Manifest:
    values = {"splits": Splits(test=0.2, folds=2), "labels": LABELS, "modality": "MR"} | fields
    return Manifest(name="tiny", reader="decathlon", root=root, **values)


def dataset(
    spacings=((1.0, 1.0, 1.0),) * 10,
    shapes=((36, 50, 35),) * 10,
    *,
    scheme: LabelScheme = SCHEME,
    modality: str = "MR",
    crop_ratio: float = 1.0,
    channels: tuple[str, ...] = ("image",),
    **fields,
) -> Dataset:
    """Return a Dataset artefact with nothing but a fingerprint."""
    seen = ChannelIntensity(
        mean=100.0,
        std=20.0,
        min=-5.0,
        median=99.0,
        max=300.0,
        percentile_00_5=10.0,
        percentile_99_5=200.0,
    )
    return Dataset(
        info=DataInfo(
            name="tiny",
            title="Tiny",
            modality=modality,
            channels=channels,
            origin=fields.pop("origin", "real"),
            licence="",
            citation="",
            digest="d",
        ),
        scheme=scheme,
        cases=(),
        fingerprint=Fingerprint(
            spacings=tuple(spacings),
            shapes=tuple(shapes),
            crop_ratio=crop_ratio,
            intensities=(seen,) * len(channels),
        ),
        **fields,
    )
