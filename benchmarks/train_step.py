"""Time one training step of our U-Net and MONAI's DynUNet of the same topology, and their memory.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py [--threads N] [--steps N] [--shape 2d|3d ...]

Widths 16, 32, 64, 128; kernels of 3; strides of 2; two convolutions per level; instance norm with
scale and shift; leaky ReLU; transposed convolutions. With deep supervision both have a head on
full and on half resolution, and DynUNet interpolates its lower one to full size: that is its form.
A step is forward, mean of squares, backward, AdamW. Each row is a process of its own (peak memory);
within a pair the two take turns. CPU seconds, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Any

import torch

SHAPES = {"3d": (2, 1, 64, 64, 64), "2d": (8, 1, 256, 256)}
WIDTHS = (16, 32, 64, 128)


def build(which: str, ndim: int, supervised: bool) -> torch.nn.Module:
    """Return one of the two networks."""
    if which == "medseg":
        from medseg.networks.unet import UNet

        return UNet(
            ndim=ndim, in_channels=1, num_classes=3, widths=WIDTHS, deep_supervision=supervised
        )
    from monai.networks.nets import DynUNet

    levels = len(WIDTHS)
    return DynUNet(
        spatial_dims=ndim,
        in_channels=1,
        out_channels=3,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=WIDTHS,
        norm_name=("INSTANCE", {"affine": True}),
        deep_supervision=supervised,
        deep_supr_num=1,
    )


def outputs(out: Any) -> list[torch.Tensor]:
    """Return all logits of a training step."""
    if isinstance(out, torch.Tensor):
        stacked = out.ndim in (4, 5) or None
        return [out] if stacked and out.shape[1] == 3 else list(out.unbind(1))
    return [out.logits, *out.aux]


def measure(
    which: str, shape: str, precision: str, layout: str, supervised: bool, steps: int
) -> dict:
    """Run in a process of its own: seconds per step, and peak memory above the start."""
    size = SHAPES[shape]
    torch.manual_seed(0)
    net = build(which, len(size) - 2, supervised).train()
    image = torch.randn(size)
    if layout == "last":
        form = torch.channels_last_3d if len(size) == 5 else torch.channels_last
        net, image = net.to(memory_format=form), image.contiguous(memory_format=form)
    parameters = sum(p.numel() for p in net.parameters())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    low = precision == "bf16"
    context = torch.autocast("cpu", torch.bfloat16) if low else nullcontext()
    cpu, wall = [], []
    for _ in range(steps + 1):
        marks = time.process_time(), time.perf_counter()
        with context:
            out = net(image)
        loss = torch.stack([part.float().square().mean() for part in outputs(out)]).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        cpu.append(time.process_time() - marks[0])
        wall.append(time.perf_counter() - marks[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "parameters": parameters,
        "cpu": min(cpu[1:]),
        "wall": min(wall[1:]),
        "mib": peak / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", nargs="*", default=list(SHAPES))
    parser.add_argument("--precision", nargs="*", default=["fp32", "bf16"])
    parser.add_argument("--layout", nargs="*", default=["first", "last"])
    parser.add_argument("--supervised", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--only", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only:
        which, shape, precision, layout, supervised = options.only
        row = measure(which, shape, precision, layout, bool(int(supervised)), options.steps)
        print(json.dumps(row))
        return
    own = [sys.executable, __file__, "--threads", str(options.threads)]
    for shape in options.shape:
        for precision in options.precision:
            for layout in options.layout:
                for supervised in options.supervised:
                    rows = {}
                    for which in ("medseg", "monai"):
                        only = ["--only", which, shape, precision, layout, str(supervised)]
                        done = subprocess.run(
                            [*own, "--steps", str(options.steps), *only],
                            capture_output=True,
                            text=True,
                            check=True,
                        )
                        rows[which] = json.loads(done.stdout.strip().splitlines()[-1])
                    ours, theirs = rows["medseg"], rows["monai"]
                    print(
                        f"{shape} {precision} channels {layout}, supervised {supervised}: "
                        f"CPU s {ours['cpu']:.3f} / {theirs['cpu']:.3f} "
                        f"= {ours['cpu'] / theirs['cpu']:.2f}; wall s {ours['wall']:.3f} / "
                        f"{theirs['wall']:.3f}; MiB {ours['mib']:.0f} / {theirs['mib']:.0f}; "
                        f"parameters {ours['parameters']} / {theirs['parameters']}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
