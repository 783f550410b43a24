"""Time the separable cubic B-spline against scipy's, in one process and one thread.

Run as ``OMP_NUM_THREADS=1 python benchmarks/resample.py``. CPU seconds, best of the repeats; the
input is white noise of unit variance, the hardest case for agreement.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry.logits import logits_to_indices
from medseg.geometry.resample import resample_image, resample_label

CASES = {
    "CT, 2.5 x 0.8 x 0.8 mm to 1 mm": ((120, 256, 256), (300, 205, 205)),
    "CT, finer to 1 mm": ((200, 256, 256), (160, 176, 176)),
    "photograph": ((1024, 1024), (700, 1500)),
}


def best(function: Callable[[], NDArray[np.generic]], repeats: int) -> tuple[float, np.ndarray]:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


def compare(old: tuple[int, ...], new: tuple[int, ...], repeats: int) -> None:
    image = np.random.default_rng(0).standard_normal((1, *old), dtype=np.float32)
    factors = [m / n for m, n in zip(new, old, strict=True)]
    for order in (3, 1):
        zoom = partial(ndimage.zoom, order=order, mode="reflect", grid_mode=True)
        ours, a = best(partial(resample_image, image, new, order=order), repeats)
        theirs, b = best(partial(zoom, image[0], factors), 1)
        print(
            f"  order {order}: medseg {ours:.3f} s, scipy {theirs:.3f} s, ratio "
            f"{theirs / ours:.1f}, largest difference {np.abs(a[0] - b).max():.1e}"
        )
    label = (ndimage.gaussian_filter(image[0], 6) * 60).clip(0, 3).astype(np.int16)
    seconds, _ = best(partial(resample_label, label, new), repeats)
    print(f"  label of {label.max() + 1} classes: {seconds:.3f} s")
    logits = torch.from_numpy(np.repeat(image, 3, axis=0))
    seconds, _ = best(partial(logits_to_indices, logits, new, strongest), repeats)
    print(f"  logits of 3 classes: {seconds:.3f} s")


def strongest(logits: torch.Tensor) -> torch.Tensor:
    return logits.max(dim=0).indices.to(torch.int16)  # argmax(dim=0) takes 6 times as long


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    for name, (old, new) in CASES.items():
        print(f"{name}: {old} to {new}")
        compare(old, new, repeats)


if __name__ == "__main__":
    main()
