"""Time what brings one case from its file to the store: read, crop, normalise, resample, write.

    OMP_NUM_THREADS=1 python benchmarks/preprocessing.py [--case NAME ...] [--peer NAME ...]

Real cases of $MEDSEG_TEST_DATA, each first written as one NIfTI image and one 0/1 label, which all
peers read. Peers: nnU-Net's own preprocessor (where ``nnunetv2`` can be imported), scipy's zoom,
and MONAI's Spacing (mode 3); scipy and MONAI write with our store. All run in this process and one
thread, after one warm-up on a small case. Median of five runs; slow peers run once. Images are
compared with scipy's on the same grid, voxel by voxel, and with nnU-Net's beyond 16 voxels from
the border (there it repeats the outermost voxel, and we mirror), after ours is clipped to the range
of its source as skimage's resize does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from medseg.artefacts import ChannelNormalization
from medseg.case import Case, ImageFile, LabelPart
from medseg.geometry.crop import content_box, crop
from medseg.geometry.resample import resample_image, resample_label, resampled_grid
from medseg.geometry.volume import Volume
from medseg.io.load import load_image, load_label
from medseg.io.store import open_array, write_array
from medseg.io.volumes import read_volume, write_nifti
from medseg.labels import Label, LabelScheme
from medseg.preprocessing import Recipe, normalize

SCHEME = LabelScheme(labels=(Label(value=1, name="organ"),))
CT = ChannelNormalization(scheme="ct", clip=(-160.0, 240.0), mean=60.0, std=90.0)
BORDER = 16
REPEATS, SLOW = 5, 3.0
WARM_UP = "hippocampus_001"


@dataclass(frozen=True)
class Input:
    """One case: the prepared files, and what is to become of them."""

    image: Path
    label: Path
    recipe: Recipe


Steps = dict[str, float]


@contextmanager
def timed(steps: Steps, name: str) -> Iterator[None]:
    """Add the CPU seconds of a step."""
    start = time.process_time()
    yield
    steps[name] += time.process_time() - start


def prepare(name: str, data: Path, folder: Path) -> Input:
    """Write a case as NIfTI."""
    if name == "ts_ct":
        image = read_volume(data / "ct_abdomen/images/ts_ct.nii.gz")
        label = read_volume(data / "ct_abdomen/labels_fast/ts_ct.nii.gz").data == 5
        recipe = Recipe(spacing=(1.5, 1.5, 1.5), normalization=(CT,))
    elif name == "ircad17":
        image = read_volume(data / "ct_abdomen/images/ircad17")
        label = read_volume(liver_of(data)).data > 0
        recipe = Recipe(spacing=(1.5, 1.5, 1.5), normalization=(CT,))
    else:
        image = read_volume(data / f"hippocampus/imagesTr/{name}.nii.gz")
        label = read_volume(data / f"hippocampus/labelsTr/{name}.nii.gz").data > 0
        zscore = ChannelNormalization(scheme="zscore")
        recipe = Recipe(spacing=(1.0, 1.0, 1.0), normalization=(zscore,))
    mask = Volume(data=label.astype(np.uint8), affine=image.affine)
    return Input(
        write_nifti(folder / f"{name}.nii.gz", image),
        write_nifti(folder / f"{name}_label.nii.gz", mask),
        recipe,
    )


def liver_of(data: Path) -> Path:
    """Return the folder of the liver's mask series."""
    folders = (data / "ct_abdomen/labels/ircad17").rglob("liver")
    return next(path for path in folders if path.is_dir())


def medseg(case: Input, out: Path) -> tuple[Steps, np.ndarray]:
    """Do what `medseg.stages.resample.resample_case` does, step by step."""
    steps: Steps = defaultdict(float)
    row = Case(id="case", image=(ImageFile(path=case.image),), label=(LabelPart(path=case.label),))
    with timed(steps, "read, canonical"):
        loaded = load_image(row)
        label = load_label(row, SCHEME, loaded)
    with timed(steps, "crop"):
        start, stop = content_box(loaded.volume.data)
        part = crop(loaded.volume, start, stop)
        inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    with timed(steps, "normalise"):
        image = normalize(part.data, case.recipe.normalization)
    grid = resampled_grid(part.grid, case.recipe.spacing)
    with timed(steps, "resample image"):
        image = resample_image(image, grid.shape, order=case.recipe.order)
    with timed(steps, "resample label"):
        label = resample_label(label[inside], grid.shape)
    with timed(steps, "write"):
        write_array(out / "label.b2nd", label)
        write_array(out / "image.b2nd", image)
    return steps, image[0]


def scipy(case: Input, out: Path) -> tuple[Steps, np.ndarray]:
    """Read with nibabel, resample with scipy on the same grid, write with our store."""
    steps: Steps = defaultdict(float)
    with timed(steps, "read, canonical"):
        image, label = (nib.as_closest_canonical(nib.load(p)) for p in (case.image, case.label))
        voxels = image.get_fdata(dtype=np.float32)
        mask = np.asarray(label.dataobj)
    with timed(steps, "crop"):
        box = ndimage.find_objects((voxels != 0).astype(np.uint8))[0]
        voxels, mask = voxels[box], mask[box]
    with timed(steps, "normalise"):
        voxels = normalize(voxels[None], case.recipe.normalization)[0]
    old, spacing = np.array(voxels.shape), np.array(image.header.get_zooms()[:3], np.float64)
    new = np.maximum(1, np.round(old * spacing / case.recipe.spacing)).astype(int)
    zoom: dict[str, Any] = {"mode": "reflect", "grid_mode": True}
    with timed(steps, "resample image"):
        voxels = ndimage.zoom(voxels, new / old, order=3, **zoom)
    with timed(steps, "resample label"):
        scores = [ndimage.zoom((mask == c).astype(np.float32), new / old, order=1, **zoom)
                  for c in range(2)]  # fmt: skip
        mask = np.argmax(scores, axis=0).astype(np.int16)
    with timed(steps, "write"):
        write_array(out / "label.b2nd", mask)
        write_array(out / "image.b2nd", voxels[None])
    return steps, voxels


def monai(case: Input, out: Path) -> tuple[Steps, np.ndarray]:
    """MONAI's dictionary transforms; its grid keeps corner voxels, so it is not ours."""
    from monai import transforms as mt

    both = ["image", "label"]
    (how,) = case.recipe.normalization
    scale: Any = mt.NormalizeIntensityd("image")
    if how.clip:
        low, high = how.clip
        ends = ((low - how.mean) / how.std, (high - how.mean) / how.std)
        scale = mt.ScaleIntensityRanged("image", low, high, *ends, clip=True)
    spacing = mt.Spacingd(
        both, case.recipe.spacing, mode=(3, 0), padding_mode=("reflect", "nearest")
    )
    rows = {
        "read, canonical": mt.Compose([
            mt.LoadImaged(both, ensure_channel_first=True),
            mt.Orientationd(both, "RAS", labels=None),
        ]),
        "crop": mt.CropForegroundd(both, "image", select_fn=lambda x: x != 0, allow_smaller=True),
        "normalise": scale,
        "resample image": spacing,
    }  # fmt: skip
    steps: Steps = defaultdict(float)
    item: Any = {"image": case.image, "label": case.label}
    for name, transform in rows.items():
        with timed(steps, name):
            item = transform(item)
    with timed(steps, "write"):
        write_array(out / "label.b2nd", item["label"][0].numpy().astype(np.int16))
        write_array(out / "image.b2nd", np.ascontiguousarray(item["image"].numpy()))
    return steps, item["image"][0].numpy()


def nnunet_settings(recipe: Recipe, steps: Steps) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Return nnU-Net's plans and configuration for our recipe; resampling adds to ``steps``."""
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
    from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes
    from nnunetv2.preprocessing.resampling.default_resampling import (
        resample_data_or_seg_to_shape as resample,
    )

    (how,) = recipe.normalization
    low, high = how.clip or (0.0, 0.0)
    numbers = {"mean": how.mean, "std": how.std, "percentile_00_5": low, "percentile_99_5": high}
    name = "CTNormalization" if how.clip else "ZScoreNormalization"

    def data(*args: Any) -> np.ndarray:
        with timed(steps, "resample image"):
            return resample(*args, is_seg=False, order=3, order_z=0, force_separate_z=None)

    def seg(*args: Any) -> np.ndarray:
        with timed(steps, "resample label"):
            return resample(*args, is_seg=True, order=1, order_z=0, force_separate_z=None)

    configuration = SimpleNamespace(
        spacing=list(reversed(recipe.spacing)),
        normalization_schemes=[name],
        use_mask_for_norm=[False],
        resampling_fn_data=data,
        resampling_fn_seg=seg,
        patch_size=(96, 96, 96),
    )
    labels = SimpleNamespace(
        has_regions=False, has_ignore_label=False, foreground_labels=[1], all_labels=[0, 1]
    )
    plans = SimpleNamespace(
        transpose_forward=[0, 1, 2],
        image_reader_writer_class=NibabelIOWithReorient,
        foreground_intensity_properties_per_channel={"0": numbers},
        get_label_manager=lambda _: labels,
    )
    assert hasattr(schemes, name)
    return plans, configuration


def nnunet(case: Input, out: Path) -> tuple[Steps, np.ndarray]:
    """nnU-Net's reader, preprocessor and store."""
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.training.dataloading.nnunet_dataset import (
        comp_blosc2_params,
        nnUNetDatasetBlosc2,
    )

    for path in out.glob("nnunet*"):  # it does not replace files
        path.unlink()
    steps: Steps = defaultdict(float)
    plans, configuration = nnunet_settings(case.recipe, steps)
    worker = DefaultPreprocessor(verbose=False)
    worker._sample_foreground_locations = lambda *_, **__: {}  # patches are another stage of ours
    with timed(steps, "rest (crop, normalise)"):
        with timed(steps, "read, canonical"):
            reader = NibabelIOWithReorient()
            image, properties = reader.read_images([str(case.image)])
            label, _ = reader.read_seg(str(case.label))
        image, label, properties = worker.run_case_npy(
            image, label, properties, plans, configuration, {}
        )
    inner = ("read, canonical", "resample image", "resample label")
    steps["rest (crop, normalise)"] -= sum(steps[key] for key in inner)
    with timed(steps, "write"):
        label = label.astype(np.int16, copy=False)
        blocks, chunks = comp_blosc2_params(image.shape, (96, 96, 96), image.itemsize)
        seg_blocks, seg_chunks = comp_blosc2_params(label.shape, (96, 96, 96), label.itemsize)
        nnUNetDatasetBlosc2.save_case(
            image, label, properties, str(out / "nnunet"),
            chunks=chunks, blocks=blocks, chunks_seg=seg_chunks, blocks_seg=seg_blocks,
        )  # fmt: skip
    return steps, image[0].transpose(2, 1, 0)  # (z, y, x) to (x, y, z)


PEERS: dict[str, Callable[[Input, Path], tuple[Steps, np.ndarray]]] = {
    "nnunet": nnunet,
    "scipy": scipy,
    "monai": monai,
}


def run(
    function: Callable[[Input, Path], tuple[Steps, np.ndarray]], case: Input, out: Path
) -> tuple[float, float, Steps, np.ndarray]:
    """Return wall seconds, CPU seconds, steps and the image."""
    wall, cpu = time.perf_counter(), time.process_time()
    steps, image = function(case, out)
    return time.perf_counter() - wall, time.process_time() - cpu, steps, image


def median(
    function: Callable[[Input, Path], tuple[Steps, np.ndarray]], case: Input, out: Path
) -> tuple[float, float, Steps, np.ndarray]:
    """Return the run of median CPU time; slow ones run once."""
    rows = [run(function, case, out)]
    while rows[0][1] < SLOW and len(rows) < REPEATS:
        rows.append(run(function, case, out))
    return sorted(rows, key=lambda row: row[1])[len(rows) // 2]


def difference(ours: np.ndarray, theirs: np.ndarray, border: int) -> str:
    """Say by how much two images differ at most."""
    if ours.shape != theirs.shape:
        return f"other grid {theirs.shape}"
    inner = tuple(slice(border, -border or None) for _ in ours.shape)
    gap = np.abs(ours - theirs)
    inside = f", {gap[inner].max():.1e} beyond {border} voxels from the border" if border else ""
    return f"largest difference {gap.max():.1e}{inside}"


def show(name: str, wall: float, cpu: float, steps: Steps) -> None:
    """Print one row."""
    parts = ", ".join(f"{key} {1000 * value:.0f}" for key, value in steps.items())
    print(f"  {name}: {wall:.2f} s wall, {cpu:.2f} s CPU; CPU ms: {parts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs="*", default=["hippocampus_001", "ts_ct", "ircad17"])
    parser.add_argument("--peer", nargs="*", default=list(PEERS))
    options = parser.parse_args()
    data = Path(os.environ["MEDSEG_TEST_DATA"])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        peers = [name for name in options.peer if warm_up(name, prepare(WARM_UP, data, out), out)]
        for name in options.case:
            case = prepare(name, data, out)
            medseg(case, out)
            wall, cpu, steps, ours = median(medseg, case, out)
            stored = open_array(out / "image.b2nd").read_all()[0]
            print(f"{name}: {ours.shape}, stored within {np.abs(stored - ours).max():.1e}")
            show("medseg", wall, cpu, steps)
            for peer in peers:
                their_wall, their_cpu, steps, image = median(PEERS[peer], case, out)
                show(peer, their_wall, their_cpu, steps)
                ratio = f"{their_wall / wall:.1f} times wall, {their_cpu / cpu:.1f} times CPU"
                border = BORDER if peer == "nnunet" else 0
                same = np.clip(ours, image.min(), image.max()) if border else ours
                print(f"    {ratio}; {difference(same, image, border)}", flush=True)


def warm_up(peer: str, case: Input, out: Path) -> bool:
    """Import what a peer needs; tell whether it is there."""
    try:
        PEERS[peer](case, out)
    except ModuleNotFoundError as error:
        print(f"{peer}: not installed ({error})")
        return False
    return True


if __name__ == "__main__":
    main()
