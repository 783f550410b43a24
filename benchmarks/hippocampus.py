"""Hippocampus (MSD Task04): medseg's own command against MONAI's plain recipe, on one split.

    python benchmarks/hippocampus.py DATA_ROOT WORK [--budgets 3min 10min] [--monai 10min]
                                     [--seeds 0 1 2] [--markdown FILE]

medseg runs as a user would run it (``configs/hippocampus.yaml`` with the budget and the seed); its
test Dice is read from the report. MONAI sees the same training cases for its own budget of wall
time: UNet of 1.19 M parameters (residual units, batch norm), Dice + cross entropy, Adam 1e-3,
positive/negative crops of 40x56x40, batch 8, flips and affine, float32; it is scored on the same
test cases with a sliding window, overlap 0.5, Gaussian. Both keep both cores busy, one after the
other. Results stand in WORK/results.jsonl; what stands there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

PATCH = (40, 56, 40)
ROOT = Path(__file__).parents[1]
LABELS = ("Anterior", "Posterior")


def run_medseg(data_root: Path, work: Path, budget: str, seed: int) -> dict[str, Any]:
    """Run the command; return what its report says."""
    name = f"hippocampus_{budget}_{seed}"
    started = time.monotonic()
    subprocess.run(
        [
            sys.executable, "-m", "medseg.pipelines.run", str(ROOT / "configs/hippocampus.yaml"),
            f"train.budget={budget}", f"seed={seed}", f"experiment={name}", "tracking=off",
            "--data-root", str(data_root), "--runs-dir", str(work / "runs"), "--quiet",
        ],
        check=True,
    )  # fmt: skip
    seconds = time.monotonic() - started
    rows = read_metrics(work / "runs" / name / "report" / "metrics.csv", "test")
    dice = {label: float(np.mean([v for _, k, v in rows if k == label])) for label in LABELS}
    return {"dice": dice, "cases": len({case for case, _, _ in rows}), "seconds": seconds}


def read_metrics(path: Path, split: str) -> list[tuple[str, str, float]]:
    """Return (case, label, Dice) of a split."""
    import pandas as pd

    table = pd.read_csv(path)
    table = table[table.split == split]
    return list(zip(table.case, table.label, table.dice, strict=True))


def split_of(work: Path, data_root: Path) -> tuple[list[str], list[str]]:
    """Return the ids that medseg trains on (fold 0 validates) and tests on."""
    from medseg.manifest_file import load_manifest
    from medseg.stages.ingest import Ingest
    from tests.fakes import LocalContext

    manifest = load_manifest("msd_task04_hippocampus", data_root=data_root, scratch=work)
    dataset = Ingest(manifest=manifest).run(LocalContext(work / "ingest"))
    train = [c.case.id for c in dataset.cases if c.split == "train" and c.fold != 0]
    return train, [c.case.id for c in dataset.cases if c.split == "test"]


def run_monai(data_root: Path, work: Path, budget: float, seed: int) -> dict[str, Any]:
    """Train MONAI's recipe for ``budget`` seconds; return the test Dice."""
    import torch
    from monai.data import DataLoader, Dataset, list_data_collate
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet
    from monai.utils import set_determinism

    set_determinism(seed)
    train, test = split_of(work, data_root)
    folder = data_root / "hippocampus"
    prepare, augment = monai_transforms()
    loader = DataLoader(
        Dataset([prepare(_files(folder, case)) for case in train], augment),
        batch_size=8, shuffle=True, drop_last=True, collate_fn=list_data_collate,
    )  # fmt: skip
    network = UNet(3, 1, 3, (16, 32, 64, 128), (2, 2, 2), num_res_units=2, norm="batch")
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True)
    started, steps = time.monotonic(), 0
    for batch in _forever(loader):
        loss = loss_of(network(batch["image"]), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if time.monotonic() - started >= budget:
            break
    seconds = time.monotonic() - started
    dice = score_monai(network, [prepare(_files(folder, case)) for case in test])
    return {"dice": dice, "cases": len(test), "seconds": seconds, "steps": steps,
            "parameters": sum(p.numel() for p in network.parameters())}  # fmt: skip


def monai_transforms() -> tuple[Any, Any]:
    """Return what is done once per case, and at each draw."""
    from monai import transforms as t

    keys = ["image", "label"]
    prepare = t.Compose([
        t.LoadImaged(keys), t.EnsureChannelFirstd(keys), t.Orientationd(keys, "RAS"),
        t.NormalizeIntensityd(["image"]), t.EnsureTyped(keys),
    ])  # fmt: skip
    augment = t.Compose([
        t.SpatialPadd(keys, PATCH),
        t.RandCropByPosNegLabeld(keys, "label", PATCH, pos=1, neg=1, num_samples=1),
        *(t.RandFlipd(keys, 0.5, axis) for axis in range(3)),
        t.RandAffined(
            keys, prob=0.5, rotate_range=(0.26,) * 3, scale_range=(0.1,) * 3,
            mode=("bilinear", "nearest"), padding_mode="border",
        ),
    ])  # fmt: skip
    return prepare, augment


def score_monai(network: Any, cases: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean Dice of each label over cases."""
    import torch
    from monai.inferers import sliding_window_inference

    network.eval()
    rows = []
    with torch.no_grad():
        for case in cases:
            logits = sliding_window_inference(
                case["image"][None], PATCH, 4, network, overlap=0.5, mode="gaussian"
            )
            pred, label = logits.argmax(1)[0].numpy(), case["label"][0].numpy()
            rows.append([
                2 * ((pred == k) & (label == k)).sum() / ((pred == k).sum() + (label == k).sum())
                for k in (1, 2)
            ])  # fmt: skip
    return dict(zip(LABELS, np.mean(rows, axis=0).tolist(), strict=True))


def _files(folder: Path, case: str) -> dict[str, str]:
    return {"image": str(folder / "imagesTr" / f"{case}.nii.gz"),
            "label": str(folder / "labelsTr" / f"{case}.nii.gz")}  # fmt: skip


def _forever(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def seconds_of(budget: str) -> float:
    """Read ``10min`` or ``90s``."""
    return float(budget[:-3]) * 60 if budget.endswith("min") else float(budget.rstrip("s"))


def table(results: list[dict[str, Any]]) -> str:
    """Return a Markdown table: mean of both labels, over seeds, and the gain over MONAI."""

    def mean(row: dict[str, Any]) -> float:
        return float(np.mean(list(row["dice"].values())))

    monai = [mean(r) for r in results if r["recipe"] == "monai"]
    base = float(np.mean(monai)) if monai else float("nan")
    lines = ["| recipe | budget | seed | Anterior | Posterior | mean | against MONAI's mean |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in results:
        lines.append(
            f"| {row['recipe']} | {row['budget']} | {row['seed']} | {row['dice']['Anterior']:.4f} "
            f"| {row['dice']['Posterior']:.4f} | {mean(row):.4f} | {mean(row) - base:+.4f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_root", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--budgets", nargs="*", default=["3min", "10min", "30min"])
    parser.add_argument("--monai", default="10min")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    file = options.work / "results.jsonl"
    results = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {(r["recipe"], r["budget"], r["seed"]) for r in results}
    for seed in options.seeds:
        wanted = [("monai", options.monai), *(("medseg", budget) for budget in options.budgets)]
        for recipe, budget in wanted:
            if (recipe, budget, seed) in known:
                continue
            if recipe == "monai":
                row = run_monai(options.data_root, options.work, seconds_of(budget), seed)
            else:
                row = run_medseg(options.data_root, options.work, budget, seed)
            results.append({"recipe": recipe, "budget": budget, "seed": seed, **row})
            with file.open("a") as out:
                out.write(json.dumps(results[-1]) + "\n")
            print(results[-1], flush=True)
    shown = table(results)
    print(shown)
    if options.markdown:
        setting = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        options.markdown.write_text(f"# Hippocampus, {date.today()}\n\n{setting}\n\n{shown}\n")


if __name__ == "__main__":
    main()
