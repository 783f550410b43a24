"""Sliding-window inference against MONAI's in the same run: same network, tiles and weights.

    python benchmarks/sliding_window.py [--size 96 96 96] [--patch 48] [--volume scan.nii.gz]

Both compute a tile in the same network, so the ratio shows what stands around it: placing tiles,
blending, mirroring; and what bf16 and channels_last_3d bring on this machine. CPU seconds are those
of all threads; on a shared machine trust them more than wall seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from medseg.artefacts import NetworkSpec
from medseg.inference.precision import autocast
from medseg.inference.predictor import tiles_per_batch
from medseg.inference.sliding import sliding_window
from medseg.networks import build_network


class Cheap(nn.Module):
    """Almost nothing per tile: what remains is the cost of the window itself."""

    def forward(self, image: Tensor) -> Tensor:
        """Repeat the image as three outputs; a copy, since MONAI writes into it."""
        return image.repeat(1, 3, 1, 1, 1)


def main() -> None:
    args = arguments()
    device, patch = torch.device(args.device), (args.patch,) * 3
    image = load(args.volume) if args.volume else torch.randn(1, *args.size)
    image = image.to(device)
    torch.manual_seed(0)
    spec = NetworkSpec(
        name="unet",
        arguments={
            "ndim": 3, "in_channels": 1, "num_classes": 3, "widths": tuple(args.widths),
        },
    )  # fmt: skip
    unet = build_network(spec).eval().to(device)
    batch = tiles_per_batch("auto", patch, device)
    print(f"image {tuple(image.shape)}, tiles {patch}, batch {batch}, {device}, "
          f"{torch.get_num_threads()} threads, U-Net widths {args.widths}\n")  # fmt: skip
    print(f"{'network':8} {'':34} {'wall s':>8} {'CPU s':>8} {'Mvoxel/s':>9} {'x MONAI':>8}")
    for name, network in {"cheap": Cheap().to(device), "U-Net": unet}.items():
        rows(name, network, image, patch, batch, device, args.repeat)


def rows(
    name: str,
    network: nn.Module,
    image: Tensor,
    patch: tuple[int, ...],
    batch: int,
    device: torch.device,
    repeat: int,
) -> None:
    """Print the table's rows of one network; ratios are to MONAI in the same precision."""

    def monai(precision: str) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with torch.no_grad(), autocast(device, precision):
                return sliding_window_inference(
                    image[None], patch, batch, network, overlap=0.5, mode="gaussian"
                )[0]

        return call

    def ours(precision: str) -> Callable[[], Tensor]:
        def call() -> Tensor:
            return sliding_window(
                network, image, patch_size=patch, overlap=0.5, batch_size=batch,
                device=device, precision=precision,
            )  # fmt: skip

        return call

    for precision in ("32-true", "bf16-mixed") if name != "cheap" else ("32-true",):
        reference = measure(monai(precision), device, repeat)
        line(name, f"MONAI {precision}", reference, reference, image)
        line(
            name, f"medseg {precision}", measure(ours(precision), device, repeat), reference, image
        )
        if name != "cheap":
            network.to(memory_format=torch.channels_last_3d)
            taken = measure(ours(precision), device, repeat)
            line(name, f"medseg {precision} channels_last_3d", taken, reference, image)
            network.to(memory_format=torch.contiguous_format)


def measure(call: Callable[[], Tensor], device: torch.device, repeat: int) -> tuple[float, float]:
    """Return the least wall and CPU seconds of some calls, after one to warm up."""
    call()
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def line(
    name: str,
    how: str,
    taken: tuple[float, float],
    reference: tuple[float, float],
    image: Tensor,
) -> None:
    """Print one row; the ratio is of CPU seconds on a CPU, of wall seconds elsewhere."""
    clock = 1 if image.device.type == "cpu" else 0
    speed = image[0].numel() / taken[0] / 1e6
    ratio = taken[clock] / reference[clock]
    print(f"{name:8} {how:34} {taken[0]:8.3f} {taken[1]:8.3f} {speed:9.2f} {ratio:8.2f}")


def load(path: Path) -> Tensor:
    """Read a volume's first channel, brought to mean 0 and standard deviation 1."""
    from medseg.io.volumes import read_volume

    data = read_volume(path).data[:1].astype(np.float32)
    return torch.from_numpy((data - data.mean()) / max(float(data.std()), 1e-6))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sliding-window inference against MONAI's.")
    parser.add_argument("--size", type=int, nargs=3, default=(80, 72, 64))
    parser.add_argument("--patch", type=int, default=40)
    parser.add_argument("--widths", type=int, nargs="+", default=(12, 24, 48))
    parser.add_argument("--volume", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
