"""Peak memory of predicting very many classes: 105 on a CT of 512 x 512 x 300.

    python benchmarks/inference_memory.py [--memory 7] [--size 340 340 300] [--threads 2]

A U-Net with random weights predicts noise at the planned spacing (1.5 mm: 340 x 340 x 300 voxels of
a CT of 512 x 512 x 300) with tiles of 128^3 and overlap 0.5, and decodes it at full resolution. All
logits in float32 would take 14.6 GB at 1.5 mm and 33 GB at full resolution. With random weights
every block holds borders between classes, so that none is skipped: the worst case for decoding.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from medseg.artefacts import ChannelNormalization, DataInfo, NetworkSpec, Plan
from medseg.geometry.volume import Grid
from medseg.inference.predictor import Predictor
from medseg.inference.window import WindowSettings
from medseg.labels import Label, LabelScheme
from medseg.networks import build_network


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    plan = make_plan(args)
    settings = WindowSettings(
        memory=int(args.memory * 1e9), skip_empty=False, batch_size=1, overlap=args.overlap
    )
    predictor = Predictor(build_network(plan.network).eval(), plan, settings)
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, *args.size), dtype=np.float32)
    before = psutil.Process().memory_info().rss
    wall, cpu = time.perf_counter(), time.process_time()
    done = predictor.predict(
        image,
        case="105 classes",
        crop_start=(0, 0, 0),
        crop_stop=tuple(args.source),
        source=Grid.of(tuple(args.source), np.eye(4)),
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    voxels = args.classes * 4e-9
    print(
        f"{datetime.date.today()}: {args.classes} classes, {tuple(args.size)} -> "
        f"{tuple(args.source)}, tiles {args.patch}^3, overlap {args.overlap}, U-Net {args.widths}, "
        f"{args.threads} threads, load {os.getloadavg()[0]:.1f}\n"
        f"limit {args.memory:.2f} GB, peak resident {peak / 1e9:.2f} GB "
        f"({before / 1e9:.2f} GB before), {wall:.0f} s wall, {cpu:.0f} s CPU; {done.times}\n"
        f"all logits in float32: {voxels * np.prod(args.size):.1f} GB at the planned spacing, "
        f"{voxels * np.prod(args.source):.1f} GB at full resolution\n"
        f"{len(np.unique(done.indices))} classes found"
    )


def make_plan(args: argparse.Namespace) -> Plan:
    """Describe a model of many classes."""
    labels = tuple(Label(value=i, name=f"class {i}") for i in range(1, args.classes))
    arguments = {
        "ndim": 3,
        "in_channels": 1,
        "num_classes": args.classes,
        "widths": tuple(args.widths),
        "deep_supervision": False,
    }
    return Plan(
        spacing=(1.5,) * 3,
        normalization=(ChannelNormalization(scheme="none"),),
        coarse_axis=None,
        patch_size=(args.patch,) * 3,
        batch_size=1,
        slice_axis=None,
        mirror_axes=(),
        network=NetworkSpec(name="unet", arguments=arguments),
        budget="",
        scheme=LabelScheme(labels=labels),
        info=DataInfo(
            name="",
            title="",
            modality="CT",
            channels=("CT",),
            origin="SYNTHETIC",
            licence="",
            citation="",
            digest="",
        ),
        decisions=(),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Peak memory of a prediction with many classes.")
    parser.add_argument("--classes", type=int, default=105)
    parser.add_argument("--size", type=int, nargs=3, default=(340, 340, 300))
    parser.add_argument("--source", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--widths", type=int, nargs="+", default=(16, 32, 64, 128, 256))
    parser.add_argument("--memory", type=float, default=7.0, help="limit in GB")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
