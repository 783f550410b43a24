"""Train on MSD Task04 (hippocampus) for a while and score the test cases: network and recipe only.

    python benchmarks/hippocampus_net.py DATA_ROOT WORK_FOLDER [--budget 10min] [key=value ...]

``key=value`` sets a field of `medseg.stages.train.Train`, or with ``network.`` an argument of the
network; values are YAML. Preparation is kept in WORK_FOLDER/prepared and done once.
"""

from __future__ import annotations

import argparse
import logging
import pickle
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from medseg.artefacts import PatchIndex, Plan, Resampled
from medseg.inference.predictor import decoder
from medseg.inference.sliding import sliding_window
from medseg.inference.weights import load_network
from medseg.io.store import open_array
from medseg.manifest_file import load_manifest
from medseg.stages.ingest import Ingest
from medseg.stages.patch_sample import PatchSample
from medseg.stages.plan import Planning
from medseg.stages.resample import Resample
from medseg.stages.train import Train
from tests.fakes import LocalContext


def prepare(data_root: Path, folder: Path) -> tuple[Plan, Resampled, PatchIndex]:
    kept = folder / "artefacts.pickle"
    if not kept.is_file():
        manifest = load_manifest(
            "msd_task04_hippocampus", data_root=data_root, scratch=folder / "scratch"
        )
        context = LocalContext(folder)
        dataset = Ingest(manifest=manifest).run(context)
        plan = Planning().run(dataset, context)
        resampled = Resample().run(dataset, plan, context)
        patches = PatchSample().run(resampled, plan, context)
        kept.write_bytes(pickle.dumps((plan, resampled, patches)))
    loaded: tuple[Plan, Resampled, PatchIndex] = pickle.loads(kept.read_bytes())
    return loaded


def score(network: torch.nn.Module, plan: Plan, resampled: Resampled, mirror: bool) -> list[float]:
    scheme, rows = plan.scheme, []
    for case in resampled.cases:
        if case.split != "test" or case.label is None:
            continue
        logits = sliding_window(
            network,
            torch.from_numpy(open_array(case.image).read_all()),
            patch_size=plan.patch_size,
            mirror_axes=plan.mirror_axes if mirror else (),
            precision="auto",
        )
        pred, label = decoder(scheme)(logits).numpy(), open_array(case.label).read_all()
        rows.append(
            [
                2 * ((pred == c) & (label == c)).sum() / ((pred == c).sum() + (label == c).sum())
                for c in range(1, scheme.num_classes)
            ]
        )
    return [float(value) for value in np.mean(rows, axis=0)]


class Printing(LocalContext):
    """Prints the validations."""

    def log_metrics(self, metrics: Any, step: int) -> None:
        """Print Dice and speed."""
        shown = {k: round(v, 4) for k, v in metrics.items() if "dice" in k or k.startswith("sys")}
        print(step, shown, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_root", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", default="10min")
    parser.add_argument("settings", nargs="*")
    options = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO)
    plan, resampled, patches = prepare(options.data_root, options.folder / "prepared")
    pairs = dict(item.split("=", 1) for item in options.settings)
    values = {key: yaml.safe_load(value) for key, value in pairs.items()}
    network = {k.removeprefix("network."): v for k, v in values.items() if k.startswith("network.")}
    fields = {k: v for k, v in values.items() if not k.startswith("network.")}
    spec = replace(plan.network, arguments={**plan.network.arguments, **network})
    plan = replace(plan, network=spec)
    print(plan.patch_size, plan.batch_size, plan.mirror_axes, dict(spec.arguments))
    shutil.rmtree(options.folder / "trial", ignore_errors=True)
    started = time.monotonic()
    context = Printing(options.folder / "trial")
    model = Train(budget=options.budget, **fields).run(resampled, patches, plan, context)
    (fold,) = model.folds
    trained = load_network(model.network, fold.weights, plan.slice_axis)
    dice = score(trained, plan, resampled, mirror=False)
    print(f"{fold.steps} steps, {time.monotonic() - started:.0f} s, best at {fold.best_step}")
    print(f"validation {dict(fold.validation_dice)}")
    print(f"test {dice}, mean {np.mean(dice):.4f}")


if __name__ == "__main__":
    main()
