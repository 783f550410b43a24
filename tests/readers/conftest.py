"""Small files of every kind, made on the spot."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.geometry.volume import Volume
from medseg.labels import Label
from medseg.manifest import Channel, Manifest
from medseg.phantom.dicom_files import write_dicom_series


class Files:
    """Writes small volumes and pictures below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = np.random.default_rng(0)

    def place(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def image(self, *names: str, low: int = 0) -> None:
        for name in names:
            data = self.rng.integers(low, 900, (5, 6, 4)).astype(np.int16)
            data[0, 0, 0] = low
            nib.save(nib.Nifti1Image(data, np.eye(4)), self.place(name))

    def label(self, *names: str, values: tuple[int, ...] = (0, 1)) -> None:
        for name in names:
            data = np.resize(np.array(values, dtype=np.uint8), (5, 6, 4))
            nib.save(nib.Nifti1Image(data, np.eye(4)), self.place(name))

    def photo(self, *names: str) -> None:
        for name in names:
            data = self.rng.integers(0, 256, (6, 7, 3)).astype(np.uint8)
            Image.fromarray(data).save(self.place(name))

    def mask(self, *names: str, values: tuple[int, ...] = (0, 255)) -> None:
        for name in names:
            data = np.resize(np.array(values, dtype=np.uint8), (6, 7))
            Image.fromarray(data).save(self.place(name))

    def series(self, *names: str, patient: str | None = None, mask: bool = False) -> None:
        for name in names:
            low, high = (0, 2) if mask else (-1000, 500)
            data = self.rng.integers(low, high, (1, 5, 6, 4)).astype(np.int16)
            if not mask:
                data[..., 0] = -1000
            volume = Volume(data=data, affine=np.diag([-1.0, -1, 2, 1]))
            folder = self.place(name)
            write_dicom_series(folder, volume, patient=patient or name, description="CT ABD")

    def text(self, name: str, text: str) -> Path:
        path = self.place(name)
        path.write_text(text, encoding="utf-8")
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def manifest(tmp_path: Path):
    """Make a manifest of ``tmp_path``; the reader and all else by keyword."""

    def make(reader: str, **changes) -> Manifest:
        labels = changes.pop("labels", {"liver": 1, "tumour": 2})
        channels = changes.pop("channels", ("CT",))
        return Manifest(
            name="test",
            reader=reader,
            root=changes.pop("root", tmp_path),
            labels=tuple(Label(name=name, value=value) for name, value in labels.items()),
            channels=tuple(Channel(name=name) for name in channels),
            source=tmp_path / "test.yaml",
            **changes,
        )

    return make
