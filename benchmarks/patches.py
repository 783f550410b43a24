"""Patches per second from the store, beside the same boxes from a memory-mapped ``.npy`` file."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medseg.io.store import open_array, write_array

SECONDS = 3.0


def rate(read: Callable[[tuple[int, ...]], object], starts: list[tuple[int, ...]]) -> float:
    """Return reads per second over at least `SECONDS`."""
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        read(starts[done % len(starts)])
        done += 1
    return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 256, 160))
    parser.add_argument("--patch", type=int, nargs=3, default=(96, 96, 96))
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (1, *args.shape)).astype(np.float32)
    patch = tuple(args.patch)
    room = [n - p + 1 for n, p in zip(args.shape, patch, strict=True)]
    starts = [tuple(int(v) for v in rng.integers(0, room)) for _ in range(500)]
    with tempfile.TemporaryDirectory() as folder:
        store = open_array(write_array(Path(folder) / "image.b2nd", image))
        np.save(Path(folder) / "image.npy", image)
        memory = np.load(Path(folder) / "image.npy", mmap_mode="r")

        def from_store(start: tuple[int, ...]) -> object:
            stop = tuple(s + p for s, p in zip(start, patch, strict=True))
            return store.read((0, *start), (1, *stop))

        def from_npy(start: tuple[int, ...]) -> object:
            box = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
            return np.ascontiguousarray(memory[(slice(None), *box)])

        stored, plain = rate(from_store, starts), rate(from_npy, starts)
        size = sum(f.stat().st_size for f in Path(folder).rglob("*.b2nd")) / image.nbytes
    print(f"image {args.shape}, patch {patch}, page cache warm")
    print(
        f"store (.b2nd)  {stored:8.0f} patches/s  {stored / plain:5.2f} x npy  size {size:4.2f} x"
    )
    print(f"npy memmap     {plain:8.0f} patches/s")


if __name__ == "__main__":
    main()
