"""Time one training step of our U-Net and MONAI's DynUNet of the same topology, and their memory.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py [--steps N] [--shape 2d|3d ...] [--state FILE]

Widths 16, 32, 64, 128; kernels of 3; strides of 2; two convolutions per level; instance norm with
scale and shift; leaky ReLU; transposed convolutions. With deep supervision both have a head on
full and on half resolution, and DynUNet interpolates its lower one to full size: that is its form.
A step is forward, mean of squares, backward, AdamW. The two are stepped in turn in one process, and
the medians compared; peak memory is taken in a process for each. CPU seconds, which other work on
the machine disturbs less. With --state, rows that are done are not measured again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from monai.networks.nets import DynUNet

from medseg.networks.unet import UNet

Row = dict[str, float]
WHICH = ("medseg", "monai")
SHAPES = {"3d": (2, 1, 48, 48, 48), "2d": (8, 1, 192, 192)}
WIDTHS = (16, 32, 64, 128)
CLASSES = 3
TITLES = (
    "shape",
    "precision",
    "channels",
    "supervised",
    "medseg s",
    "DynUNet s",
    "ratio",
    "medseg MiB",
    "DynUNet MiB",
)


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    shape: str
    precision: str
    layout: str
    supervised: bool


def build(which: str, ndim: int, supervised: bool) -> torch.nn.Module:
    """Return one of the two networks."""
    if which == "medseg":
        return UNet(
            ndim=ndim,
            in_channels=1,
            num_classes=CLASSES,
            widths=WIDTHS,
            deep_supervision=supervised,
        )
    levels = len(WIDTHS)
    return DynUNet(
        spatial_dims=ndim,
        in_channels=1,
        out_channels=CLASSES,
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
        return [out] if out.shape[1] == CLASSES else list(out.unbind(1))  # DynUNet stacks its two
    return [out.logits, *out.aux]


class Stepper:
    """One network with what a training step needs."""

    def __init__(self, which: str, setting: Setting) -> None:
        size = SHAPES[setting.shape]
        torch.manual_seed(0)
        self.net = build(which, len(size) - 2, setting.supervised).train()
        self.image = torch.randn(size)
        if setting.layout == "last":
            form = torch.channels_last_3d if len(size) == 5 else torch.channels_last
            self.net = self.net.to(memory_format=form)
            self.image = self.image.contiguous(memory_format=form)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-4)
        self.low = setting.precision == "bf16"

    def step(self) -> float:
        """Take a step and return its CPU seconds."""
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16) if self.low else nullcontext():
            out = self.net(self.image)
        loss = torch.stack([part.float().square().mean() for part in outputs(out)]).sum()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.process_time() - start


def times(setting: Setting, steps: int) -> Row:
    """Return the median CPU seconds of both, stepped in turn: A B, B A, A B, ..."""
    steppers = {which: Stepper(which, setting) for which in WHICH}
    taken: dict[str, list[float]] = {which: [] for which in WHICH}
    for turn in range(steps + 1):  # the first step allocates
        for which in WHICH if turn % 2 else reversed(WHICH):
            taken[which].append(steppers[which].step())
    row: Row = {which: median(found[1:]) for which, found in taken.items()}
    ratios = [a / b for a, b in zip(taken["medseg"][1:], taken["monai"][1:], strict=True)]
    row |= {"low": min(ratios), "high": max(ratios)}
    for which, stepper in steppers.items():
        row[f"{which} parameters"] = sum(p.numel() for p in stepper.net.parameters())
    return row


def memory(which: str, setting: Setting) -> Row:
    """Return the largest resident memory of two steps, above what it was before, in MiB."""
    stepper = Stepper(which, setting)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        stepper.step()
    return {f"{which} MiB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def in_process(function: Callable[..., Row], *arguments: Any) -> Row:
    """Call a function in a process of its own, where nothing has been computed before."""
    with multiprocessing.get_context("fork").Pool(1) as pool:  # a fork: torch is loaded once
        return pool.apply(function, arguments)


def said(setting: Setting, row: Row) -> str:
    """Return a line of the table."""
    return (
        f"| {setting.shape} | {setting.precision} | {setting.layout} "
        f"| {'yes' if setting.supervised else 'no'} | {row['medseg']:.3f} | {row['monai']:.3f} "
        f"| {row['medseg'] / row['monai']:.2f} ({row['low']:.2f} to {row['high']:.2f}) "
        f"| {row['medseg MiB']:.0f} | {row['monai MiB']:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", nargs="*", default=list(SHAPES))
    parser.add_argument("--precision", nargs="*", default=["fp32", "bf16"])
    parser.add_argument("--layout", nargs="*", default=["first", "last"])
    parser.add_argument("--supervised", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--state", type=Path, help="JSON of rows that are done; it grows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    known = options.state is not None and options.state.is_file()
    done: dict[str, Row] = json.loads(options.state.read_text()) if known else {}
    print(f"| {' | '.join(TITLES)} |", "|---" * len(TITLES) + "|", sep="\n")
    choices = product(options.shape, options.precision, options.layout, options.supervised)
    for setting in (Setting(*one[:3], bool(one[3])) for one in choices):
        key = json.dumps(asdict(setting))
        if key not in done:
            done[key] = in_process(times, setting, options.steps)
            for which in WHICH:
                done[key] |= in_process(memory, which, setting)
        if options.state is not None:
            options.state.write_text(json.dumps(done, indent=1))
        print(said(setting, done[key]), flush=True)


if __name__ == "__main__":
    main()
