"""Time the Euclidean distance transform against scipy's and the edt library's, and compare values.

Run as ``OMP_NUM_THREADS=1 python benchmarks/distance_transform.py``. Median CPU seconds of the
repeats, which take turns; smooth random shapes. The largest difference is to scipy in float64, in
mm. (A file named edt.py here would hide the library of that name from every benchmark.)
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import edt
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry.edt import edt_squared, opposite_squared

CASES = {
    "96 x 96 x 96": ((96, 96, 96), (1.0, 1.0, 1.0)),
    "96 x 96 x 96, 2.5 x 0.8 x 0.8 mm": ((96, 96, 96), (2.5, 0.8, 0.8)),
    "69 x 126 x 266, 2.5 x 0.8 x 0.8 mm": ((69, 126, 266), (2.5, 0.8, 0.8)),
    "512 x 512": ((512, 512), (1.0, 1.0)),
}

Field = NDArray[np.floating]


def shapes(size: tuple[int, ...], seed: int = 0) -> NDArray[np.bool_]:
    """Return smooth blobs on about a sixth of the voxels."""
    noise = np.random.default_rng(seed).standard_normal(size)
    smooth = ndimage.gaussian_filter(noise, [n / 12 for n in size])
    return smooth > smooth.std()


def take_turns(
    functions: Mapping[str, Callable[[], Field]], repeats: int
) -> tuple[dict[str, float], dict[str, Field]]:
    """Return the median CPU seconds of each, and its result."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    results = {}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            results[name] = function()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}, results


def report(title: str, functions: Mapping[str, Callable[[], Field]], repeats: int) -> None:
    """Print a row for each function; the first is scipy, which the others are compared with."""
    seconds, results = take_turns(functions, repeats)
    print(title)
    scipy_seconds, exact = seconds.pop("scipy"), results["scipy"]
    print(f"  {'scipy':22}{scipy_seconds * 1e3:8.2f} ms")
    for name, taken in seconds.items():
        apart = np.abs(results[name] - exact).max()
        print(
            f"  {name:22}{taken * 1e3:8.2f} ms, {scipy_seconds / taken:5.1f} times as fast as "
            f"scipy, largest difference {apart:.1e} mm"
        )


def compare(title: str, mask: NDArray[np.bool_], spacing: tuple[float, ...], repeats: int) -> None:
    tensor, measure = torch.from_numpy(mask), ndimage.distance_transform_edt
    report(
        f"{title}: one side",
        {
            "scipy": lambda: measure(mask, sampling=spacing),
            "edt": lambda: np.sqrt(edt.edtsq(mask.view(np.uint8), anisotropy=spacing, parallel=1)),
            "medseg": lambda: edt_squared(tensor, spacing).sqrt().numpy(),
            "medseg, torch, float64": lambda: (
                edt_squared(tensor, spacing, dtype=torch.float64).sqrt().numpy()
            ),
        },
        repeats,
    )
    report(
        f"{title}: both sides",
        {
            "scipy": lambda: measure(mask, sampling=spacing) + measure(~mask, sampling=spacing),
            "edt, of two labels": lambda: np.sqrt(
                edt.edtsq(mask.view(np.uint8) + np.uint8(1), anisotropy=spacing, parallel=1)
            ),
            "medseg": lambda: opposite_squared(tensor, spacing).sqrt().numpy(),
            "medseg, torch, float64": lambda: (
                opposite_squared(tensor, spacing, dtype=torch.float64).sqrt().numpy()
            ),
        },
        repeats,
    )


def agreement(count: int) -> None:
    """Print the largest difference to scipy on random masks, relative to the distance."""
    rng = np.random.default_rng(0)
    worst = {torch.float32: 0.0, torch.float64: 0.0}
    for index in range(count):
        ndim = 1 + index % 3
        mask = rng.random(rng.integers(2, 14, ndim)) < rng.uniform(0.02, 0.98)
        if mask.all():
            mask.flat[0] = False  # scipy has no answer
        spacing = tuple(rng.uniform(0.4, 4.0, ndim).tolist())
        exact = ndimage.distance_transform_edt(mask, sampling=spacing)
        for dtype in worst:
            ours = edt_squared(torch.from_numpy(mask), spacing, dtype=dtype).sqrt().numpy()
            relative = np.abs(ours - exact) / np.maximum(exact, min(spacing))
            worst[dtype] = max(worst[dtype], float(relative.max()))
    print(f"{count} random anisotropic masks in 1-D, 2-D and 3-D, largest relative difference:")
    for dtype, value in worst.items():
        print(f"  {str(dtype).removeprefix('torch.')}: {value:.1e}")
    for mask in (torch.ones(4, 5, dtype=torch.bool), torch.zeros(4, 5, dtype=torch.bool)):
        for dtype in worst:
            if opposite_squared(mask, (1.0, 1.0), dtype=dtype).any():
                raise SystemExit("an empty or full mask must have the field 0")
    print("  empty and full masks: 0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    agreement(600)
    for title, (size, spacing) in CASES.items():
        compare(title, shapes(size), spacing, repeats)


if __name__ == "__main__":
    main()
