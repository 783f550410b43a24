"""Train every network a little, by ``network.name=`` and the shipped configs, and tell how it went.

    OMP_NUM_THREADS=1 python benchmarks/networks.py DATA_ROOT WORK [--steps N | --seconds N]
        [--sets camvid hippocampus] [--only NAME ...] [--wrapped] [--again] [--limit MIN]
        [--device cpu|cuda] [--markdown FILE]

CamVid is 2-D: every 6th training and every 16th validation image, at a third of its size (120 x
160) in crops of 96 x 128, 4 at a time. Hippocampus is 3-D: every 4th scan at 1 mm, patches of
40 x 56 x 40, 2 at a time. What the plan decides for the device stays: on a CPU wide networks are
narrowed. Each network runs in a process of its own through ingest, plan, resample, patch_sample and
train; the score is that of validation at the end: mIoU over the pixels of all images (without
void), or the mean Dice over structures. It tells that a network learns, not how good it can be.

Parameters are those trained, auxiliary heads included; GMAC are of one crop's forward pass in
training (a multiplication and an addition count once; convolutions and matrix products alone);
memory is the process's peak above what it took before the first stage. Seconds per step are the
median between two steps of the optimiser, CPU and wall. WORK/results.jsonl keeps each row; what it
holds is not run again. A network that fails is a row with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Iterable
from datetime import date
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BATCH = {"camvid": 4, "hippocampus": 2}
SETS: dict[str, tuple[str, ...]] = {
    "camvid": ("camvid_cpu", "resample.spacing=[3,3]", "patch_sample.patch_size=[96,128]"),
    "hippocampus": ("hippocampus", "patch_sample.patch_size=[40,56,40]"),
}
WRAPPED = (
    "hf:segformer", "hf:mask2former", "hf:upernet", "monai:AttentionUnet", "monai:BasicUNet",
    "monai:BasicUNetPlusPlus", "monai:DynUNet", "monai:FlexibleUNet", "monai:HighResNet",
    "monai:MedNeXt", "monai:SegResNet", "monai:SegResNetDS", "monai:SwinUNETR", "monai:UNet",
    "monai:UNETR", "monai:VNet",
)  # fmt: skip


def cut_down(data_root: Path, work: Path) -> Path:
    """Lay out links to a part of both data sets below ``work``; return that data root."""
    root = work / "data"
    camvid = root / "camvid"
    if not camvid.exists():
        camvid.mkdir(parents=True)
        for part, every in (("train", 6), ("val", 16)):
            lines = (data_root / "camvid" / f"{part}.txt").read_text().splitlines()
            (camvid / f"{part}.txt").write_text("\n".join(lines[::every]) + "\n")
            for folder in (part, f"{part}annot"):
                (camvid / folder).symlink_to((data_root / "camvid" / folder).resolve())
    hippocampus = root / "hippocampus"
    if not hippocampus.exists():
        source = data_root / "hippocampus"
        names = sorted(p.name for p in (source / "labelsTr").glob("[!.]*.nii.gz"))[::4]
        for folder in ("imagesTr", "labelsTr"):
            (hippocampus / folder).mkdir(parents=True)
            for name in names:
                (hippocampus / folder / name).symlink_to((source / folder / name).resolve())
    return root


def run_one(data: str, name: str, work: Path, budget: str, device: str) -> dict[str, Any]:
    """Train one network in this process; return its row."""
    import torch

    from medseg.pipelines.cli import main

    marks = mark_steps()
    config, *overrides = SETS[data]
    before = peak()
    code = main([
        "run", str(ROOT / "configs" / f"{config}.yaml"), f"network.name={name}",
        f"train.budget={budget}", "train.validations=2", f"train.batch_size={BATCH[data]}",
        "tracking=off", "compute.workers=1", f"experiment={data}", *overrides,
        "--until", "train", "--force", "train", "--data-root", str(work / "data"),
        "--runs-dir", str(work / "runs"), "--device", device, "--quiet",
    ])  # fmt: skip
    if code not in (0, 3):
        raise SystemExit(code)
    memory = peak() - before
    if device.startswith("cuda"):
        memory = torch.cuda.max_memory_allocated()
    trained = what_was_trained(work / "runs" / data / "stages")
    if trained.pop("name") != name:
        raise SystemExit(f"the newest plan below {work} is not that of {name}")
    return {**trained, "mib": memory / 2**20, **time_per_step(marks)}


def import_first() -> None:
    """Import what every network needs once, so that no forked process has to."""
    import medseg.pipelines.build
    import medseg.pipelines.runner
    import medseg.stages.ingest
    import medseg.stages.patch_sample
    import medseg.stages.plan
    import medseg.stages.resample
    import medseg.stages.train
    import medseg.training.loop  # noqa: F401


Marks = dict[Any, list[tuple[float, float]]]


def mark_steps() -> Marks:
    """Note CPU and wall time after every step, by optimiser: the plan's trials step one too."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    marks: Marks = {}

    def note(optimizer: Any, *_: Any) -> None:
        marks.setdefault(optimizer, []).append((time.process_time(), time.perf_counter()))

    register_optimizer_step_post_hook(note)
    return marks


def time_per_step(marks: Marks) -> dict[str, float]:
    """Return the median CPU and wall seconds between two steps of the optimiser of the training.

    Parts of one optimiser (Muon beside AdamW) step as often as the whole.
    """
    pairs = list(pairwise(max(marks.values(), key=len)))
    return {
        "cpu": statistics.median(b[0] - a[0] for a, b in pairs),
        "wall": statistics.median(b[1] - a[1] for a, b in pairs),
    }


def peak() -> int:
    """Return the largest memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def newest(files: Iterable[Path]) -> Path:
    """Return the file that was written last."""
    return max(files, key=lambda path: path.stat().st_mtime)


def what_was_trained(stages: Path) -> dict[str, Any]:
    """Read the newest training of a run folder: network, work, score."""
    import csv

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from medseg.artefacts import NetworkSpec
    from medseg.networks import build_network

    history = newest(stages.glob("train/**/history.csv"))
    plan = json.loads(newest(stages.glob("plan/*/artefact.json")).read_text())
    rows = list(csv.DictReader(history.open()))
    spec = NetworkSpec(**{key: plan["network"][key] for key in ("name", "arguments")})
    network = build_network(spec).train()
    image = torch.zeros(2, spec.arguments["in_channels"], *plan["patch_size"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    last = rows[-1]
    return {
        "name": spec.name,
        "score": float(last.get("val/miou", last["val/dice/mean"])),
        "losses": [float(row["train/loss"]) for row in rows],
        "steps": int(last["step"]),
        "batch": plan["batch_size"],
        "parameters": sum(p.numel() for p in network.parameters()),
        "gmac": counter.get_total_flops() / 2 / 2 / 1e9,  # of two crops, and two operations each
        "arguments": {
            key: value
            for key, value in spec.arguments.items()
            if key not in ("ndim", "in_channels", "num_classes")
        },
    }


def run_apart(data: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train one network in a process of its own; a failure is a row too."""
    started = time.monotonic()
    out, said = options.work / "row.json", options.work / "said.txt"
    out.unlink(missing_ok=True)
    row: dict[str, Any] = {"set": data, "network": name, "budget": options.budget}
    child = get_context("fork").Process(target=_write_row, args=(data, name, options, out, said))
    child.start()
    child.join(options.limit * 60)
    if child.is_alive():
        child.kill()
        child.join()
        return {**row, "failed": f"not done after {options.limit:g} min"}
    if child.exitcode == 0 and out.exists():
        row |= json.loads(out.read_text())
    else:
        lines = [text for text in said.read_text().splitlines() if text.strip()]
        row["failed"] = lines[-1][:300] if lines else f"exit code {child.exitcode}"
    return {**row, "seconds": time.monotonic() - started}


def _write_row(data: str, name: str, options: argparse.Namespace, out: Path, said: Path) -> None:
    """Train one network with what it says on the error stream in a file."""
    with said.open("w") as stream:
        os.dup2(stream.fileno(), sys.stderr.fileno())
        out.write_text(
            json.dumps(run_one(data, name, options.work, options.budget, options.device))
        )


def names_of(options: argparse.Namespace) -> list[str]:
    """Return the networks that are asked for."""
    if options.only:
        return list(options.only)
    from medseg.networks import NETWORKS

    return [*sorted(NETWORKS), *(WRAPPED if options.wrapped else ())]


def table(rows: list[dict[str, Any]], data: str) -> str:
    """Return one data set's rows in Markdown."""
    score = "mIoU" if data == "camvid" else "Dice"
    lines = [
        f"| network | {score} | loss, first and second half | steps | parameters (M) | GMAC | "
        "CPU s per step | wall s per step | memory (MiB) | planned |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted((r for r in rows if r["set"] == data), key=lambda r: r["network"]):
        if "failed" in row:
            lines.append(f"| {row['network']} | failed: {row['failed']} |" + " |" * 8)
            continue
        loss = " to ".join(f"{value:.3f}" for value in row["losses"])
        widths = ", ".join(f"{k} {v}" for k, v in row["arguments"].items() if k not in LONG)
        lines.append(
            f"| {row['network']} | {row['score']:.3f} | {loss} | {row['steps']} | "
            f"{row['parameters'] / 1e6:.2f} | {row['gmac']:.2f} | {row['cpu']:.2f} | "
            f"{row['wall']:.2f} | {row['mib']:.0f} | {widths} |"
        )
    return "\n".join(lines)


LONG = ("strides", "kernel_sizes", "deep_supervision", "norm", "residual", "convs", "config")
"""Arguments that the table leaves out."""


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Return the whole page."""
    import torch

    done = sum("failed" not in row for row in rows)
    parts = [
        f"# Every network, trained a little, {date.today()}",
        f"`python benchmarks/networks.py DATA_ROOT WORK` with {options.budget} each on "
        f"{options.device}; {torch.get_num_threads()} thread(s) of {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f} at the end, torch {torch.__version__}, Python "
        f"{platform.python_version()}. {done} of {len(rows)} rows trained.",
        str(__doc__).split("\n\n", 2)[2].strip(),
    ]
    parts += [f"## {name}\n\n{table(rows, name)}" for name in options.sets]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_root", type=Path)
    parser.add_argument("work", type=Path, help="a scratch folder outside the repository")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--steps", type=int, help="instead of seconds")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--wrapped", action="store_true", help="other libraries' networks too")
    parser.add_argument("--again", action="store_true", help="run what failed before once more")
    parser.add_argument("--limit", type=float, default=10, help="minutes for one network, all told")
    parser.add_argument("--total", type=float, help="minutes after which nothing new begins")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.budget = f"{options.steps}it" if options.steps else f"{options.seconds:g}s"
    cut_down(options.data_root, options.work)
    import_first()
    file = options.work / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    latest = {(row["set"], row["network"]): row for row in rows if row["budget"] == options.budget}
    started = time.monotonic()
    for name in names_of(options):
        for data in options.sets:
            if data == "hippocampus" and name.startswith("hf:"):
                continue  # 2-D alone
            known = latest.get((data, name))
            if known is not None and not (options.again and "failed" in known):
                continue
            if options.total and time.monotonic() - started > options.total * 60:
                continue
            row = run_apart(data, name, options)
            latest[data, name] = row
            with file.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            print(
                data,
                name,
                row.get("failed") or f"{row['score']:.3f} {row['cpu']:.2f} s",
                flush=True,
            )
    page = report(list(latest.values()), options)
    print(page)
    if options.markdown:
        options.markdown.write_text(page)


if __name__ == "__main__":
    main()
