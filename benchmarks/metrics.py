"""Time HD95, ASSD and NSD of all labels of a case against MONAI's three calls, in one run.

Run as ``OMP_NUM_THREADS=1 python benchmarks/metrics.py --data FOLDER``, where FOLDER holds
``label_shapes``. CPU seconds of one thread, best of the repeats (fewer where one takes long, the
same rule for both). MONAI gets its one-hot masks ready-made; our time starts from the label maps
as they come from the file, Fortran-ordered. ``--cases small`` takes a few rows only (the large
case needs minutes), ``--write`` appends the table to a file.

Predictions: ``sane`` is the label with a smoothly wavering boundary, ``outlier`` the same with a
block of every label in the far corner of the volume, ``shift`` the label moved by 13 mm.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import edt
import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry.volume import Grid
from medseg.metrics.box import content_box
from medseg.metrics.surface import case_surfaces

CASES = {
    "small": "small_case_00061",
    "medium": "medium_case_00137",
    "large": "large_case_00000",
}
LABELS = (1, 2)
TOLERANCE_MM = 2.0
ENOUGH_S = 30.0
Labels = NDArray[np.uint8]
Values = NDArray[np.float64]  # (labels, 3): HD95, ASSD, NSD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MEDSEG_TEST_DATA"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data folder with --data or MEDSEG_TEST_DATA")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=FutureWarning)
    lines = [
        "| case | prediction | MONAI s | medseg s | ratio | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name in options.cases:
        for row in compare(name, options.data / "label_shapes" / f"{CASES[name]}.nii.gz", options):
            lines.append(row)
            print(row, flush=True)
    if options.write:
        text = "\n".join(lines)
        setting = f"{platform.machine()}, numpy {np.__version__}, torch {torch.__version__}"
        with options.write.open("a") as file:
            file.write(f"\n{setting}\n\n{text}\n")


def compare(name: str, path: Path, options: argparse.Namespace) -> Iterator[str]:
    image = nib.load(path)
    label = np.asarray(image.dataobj).astype(np.uint8, order="K")
    grid = Grid.of(label.shape, image.affine)
    for kind, make in (("sane", sane), ("outlier", outlier), ("shift", shifted)):
        pred = make(label, grid.spacing)
        masks = [one_hot(array) for array in (pred, label)]
        theirs_s, theirs = best(lambda m=masks: monai(*m, grid.spacing), options.repeats)
        del masks
        ours_s, ours = best(lambda p=pred: medseg(p, label, grid), options.repeats)
        difference = np.abs(ours - theirs).max()
        yield (
            f"| {name} | {kind} | {theirs_s:.3f} | {ours_s:.4f} | {theirs_s / ours_s:.0f} "
            f"| {difference:.1e} |"
        )


def medseg(pred: Labels, label: Labels, grid: Grid) -> Values:
    surfaces = case_surfaces(pred, label, [(k,) for k in LABELS], grid)
    return np.array([(s.hd_percentile(95), s.assd(), s.nsd(TOLERANCE_MM)) for s in surfaces])


def monai(pred: torch.Tensor, label: torch.Tensor, spacing: tuple[float, ...]) -> Values:
    from monai import metrics

    where = {"include_background": True, "spacing": spacing}
    limits = [TOLERANCE_MM] * len(LABELS)
    values = [
        metrics.compute_hausdorff_distance(pred, label, percentile=95, **where),
        metrics.compute_average_surface_distance(pred, label, symmetric=True, **where),
        metrics.compute_surface_dice(pred, label, class_thresholds=limits, **where),
    ]
    return np.stack([v[0].double().numpy() for v in values], axis=1)


def one_hot(labels: Labels) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.ascontiguousarray(labels == k) for k in LABELS]))[None]


def best(function: Callable[[], Values], repeats: int) -> tuple[float, Values]:
    times: list[float] = []
    while len(times) < repeats and sum(times) < ENOUGH_S:
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


def sane(label: Labels, spacing: tuple[float, ...]) -> Labels:
    """Move the boundaries by smooth noise of 1.5 mm standard deviation and 4 mm width."""
    box = content_box(label)
    grown = tuple(
        slice(max(s.start - 12, 0), s.stop + 12) for s in box
    )  # room for the boundary to move out
    crop = label[grown]
    noise = np.random.default_rng(0).standard_normal(crop.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, [4 / s for s in spacing])
    noise *= 1.5 / noise.std()
    drawn = np.zeros(crop.shape, dtype=np.uint8)
    for k in reversed(LABELS):
        mask = np.ascontiguousarray(crop == k)
        depth = edt.edt(mask, anisotropy=spacing) - edt.edt(~mask, anisotropy=spacing)
        drawn[(drawn == 0) & (depth + noise > 0)] = k
    pred = np.zeros_like(label)
    pred[grown] = drawn
    return pred


def outlier(label: Labels, spacing: tuple[float, ...]) -> Labels:
    """Add a block of 12 mm of the first label near the origin, half of it of the second."""
    pred = sane(label, spacing)
    sides = [max(1, round(12 / s)) for s in spacing]
    pred[tuple(slice(2, 2 + side) for side in sides)] = LABELS[0]
    pred[tuple(slice(2, 2 + max(1, side // 2)) for side in sides)] = LABELS[1]
    return pred


def shifted(label: Labels, spacing: tuple[float, ...]) -> Labels:
    """Move the label by 13 mm along the second axis."""
    moved = np.roll(label, round(13 / spacing[1]), axis=1)
    return np.asfortranarray(moved) if label.flags.f_contiguous else moved


if __name__ == "__main__":
    main()
