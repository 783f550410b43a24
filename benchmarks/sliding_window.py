"""Sliding-window inference on abdominal CTs: medseg, MONAI and nnU-Net with one network.

    python benchmarks/sliding_window.py [--cases ts_ct chaos_ct3 ircad17] [--out FILE.md]

A U-Net (channels 16 to 256, instance norm: nnU-Net's topology for 96^3) is trained on ts_ct's liver
for a few minutes, so that masks are masks (a network that has learnt nothing is undecided
everywhere, and any rounding decides), and kept under ``--cache``. Every method then predicts the
same normalised image at 1.5 mm with tiles of 96^3, overlap 0.5 and Gaussian weights, each in a
process of its own: wall and CPU seconds, peak resident memory, and how many voxels equal MONAI's
mask in float32. `medseg end to end` reads the file, predicts, and writes the mask on the file's own
grid. Masks are compared at 1.5 mm; liver Dice is between the two masks.

Each row is kept under ``--cache`` with the time it was measured at, so a run that was stopped goes
on where it was (``--again`` measures the named methods once more). A quick trial:
``--spacing 3 --patch 48 --cases ts_ct --train-seconds 60``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sliding_window_methods import METHOD_OF, name_of
from sliding_window_network import folder, prepare_once, train_once

METHODS = tuple(METHOD_OF)


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.method:
        print(json.dumps(METHOD_OF[args.method](args)))
        return
    args.cache.mkdir(parents=True, exist_ok=True)
    train_once(args)
    lines = []
    args.methods = [method for method in METHODS if method in args.methods]  # MONAI first
    for case in args.cases:
        lines += [f"\n## {case}\n", *table(args, case)]
    text = "\n".join([header(args), *lines]) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)


def table(args: argparse.Namespace, case: str) -> list[str]:
    """Run all methods on one case."""
    prepare_once(args, case)
    reference: dict[str, Any] | None = None
    lines = [
        "| method | wall s | CPU s | x MONAI | peak MB | of MONAI's | of it before "
        "| equal voxels | liver Dice | load, time | |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method in args.methods:
        row = run(args, case, method)
        if "skipped" in row:
            lines.append(f"| {method} | | | | | | | | | | {row['skipped']} |")
            continue
        reference = reference or row
        mask, truth = (np.load(r["mask"])["mask"] for r in (row, reference))
        both = 2 * np.logical_and(mask, truth).sum() / max(1, mask.sum() + truth.sum())
        lines.append(
            f"| {method} | {row['wall']:.1f} | {row['cpu']:.1f} "
            f"| {reference['wall'] / row['wall']:.2f} (CPU {reference['cpu'] / row['cpu']:.2f}) "
            f"| {row['peak']:.0f} | {row['peak'] / reference['peak']:.2f} | {row['before']:.0f} "
            f"| {100 * (mask == truth).mean():.3f} % | {both:.4f} "
            f"| {row['load']:.1f}, {row['at']} | {row['note']} |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def run(args: argparse.Namespace, case: str, method: str) -> dict[str, Any]:
    """Run one method in a process of its own, or hand on what an earlier run measured."""
    stored = folder(args) / f"{case}_{name_of(method)}_{args.threads}threads.json"
    if stored.is_file() and method not in args.again:
        known: dict[str, Any] = json.loads(stored.read_text())
        return known
    command = [sys.executable, __file__, "--method", method, "--cases", case]
    for name in ("threads", "cache", "data_root", "spacing", "patch", "train_seconds"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{method} on {case} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    stored.write_text(json.dumps(result))
    return result


def header(args: argparse.Namespace) -> str:
    """Say what was measured where."""
    load = os.getloadavg()[0]
    return (
        f"# Sliding window on abdominal CT, {datetime.date.today()}\n\n"
        f"`python benchmarks/sliding_window.py`, {args.threads} threads, torch "
        f"{torch.__version__}, load average {load:.1f} when done ({os.cpu_count()} cores). "
        f"{args.note}\n\n"
        f"One U-Net (16-256 channels) for all, {args.spacing} mm, tiles {args.patch}^3, "
        "overlap 0.5, Gaussian; float32 for MONAI and nnU-Net, bf16 for medseg where nothing "
        "else is said. `before`: resident memory with libraries, network and image loaded."
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sliding-window inference against peers.")
    root = os.environ.get("MEDSEG_TEST_DATA", "data")
    parser.add_argument("--cases", nargs="+", default=["ts_ct", "chaos_ct3", "ircad17"])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--data-root", type=Path, default=Path(root))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/medseg-benchmarks")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--spacing", type=float, default=1.5)
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--train-seconds", type=float, default=300, help="CPU seconds")
    parser.add_argument("--again", nargs="+", default=(), choices=METHODS)
    parser.add_argument("--note", default="", help="said in the header, such as what else ran")
    parser.add_argument("--out", type=Path, help="markdown file for the results")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
