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
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.artefacts import ChannelNormalization, DataInfo, NetworkSpec, Plan
from medseg.labels import Label, LabelScheme

CT = ChannelNormalization(scheme="ct", clip=(-200.0, 300.0), mean=20.0, std=100.0)
SCHEME = LabelScheme(labels=(Label(value=1, name="liver"),))
SPEC = NetworkSpec(
    name="unet",
    arguments={
        "ndim": 3, "in_channels": 1, "num_classes": 2, "widths": (16, 32, 64, 128, 256),
        "deep_supervision": False,
    },
)  # fmt: skip
METHODS = (
    "MONAI", "MONAI bf16", "MONAI, nnU-Net's places", "nnU-Net", "medseg float32", "medseg",
    "medseg, nnU-Net's places", "medseg adaptive", "medseg end to end",
)  # fmt: skip


def make_plan(args: argparse.Namespace) -> Plan:
    """Describe the model."""
    info = DataInfo(
        name="", title="", modality="CT", channels=("CT",), origin="real", licence="",
        citation="", digest="",
    )  # fmt: skip
    return Plan(
        spacing=(args.spacing,) * 3, normalization=(CT,), coarse_axis=None,
        patch_size=(args.patch,) * 3, batch_size=2, slice_axis=None, mirror_axes=(), network=SPEC,
        budget="", scheme=SCHEME, decisions=(), info=info,
    )  # fmt: skip


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


def folder(args: argparse.Namespace) -> Path:
    """Return where the network, its images and what was measured with it are kept."""
    name = f"sliding_window_{args.spacing:g}mm_{args.patch}_{args.train_seconds:g}s"
    path: Path = args.cache / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def name_of(method: str) -> str:
    """Turn a method into a part of a file name."""
    return method.replace(" ", "_").replace(",", "").replace("'", "")


def measured(
    args: argparse.Namespace, predict: Callable[[], tuple[np.ndarray, str]]
) -> dict[str, Any]:
    """Time a prediction and store its mask."""
    before = peak_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    mask, note = predict()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    path = folder(args) / f"{args.cases[0]}_{name_of(args.method)}.npz"
    result = {
        "wall": wall, "cpu": cpu, "peak": peak_mb(), "before": before, "note": note,
        "load": os.getloadavg()[0], "at": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
    }  # fmt: skip
    np.savez_compressed(path, mask=mask.astype(np.uint8))
    return {**result, "mask": str(path)}


def with_monai(args: argparse.Namespace, precision: str, *, evenly: bool = False) -> dict[str, Any]:
    """Predict with MONAI's sliding window; ``evenly`` puts its tiles where nnU-Net has them.

    MONAI moves by half a tile and shifts the last one back; nnU-Net spreads as many evenly. The row
    tells how far two published ways differ that both are right.
    """
    from monai.inferers import sliding_window_inference, utils

    from medseg.inference.precision import autocast
    from medseg.inference.tiles import tile_starts

    if evenly:
        utils.dense_patch_slices = lambda size, patch, *_, **__: [
            tuple(slice(s, s + p) for s, p in zip(at, patch, strict=True))
            for at in itertools.product(
                *(tile_starts(n, p, 0.5) for n, p in zip(size, patch, strict=True))
            )
        ]
    network, image = load_network(args), torch.from_numpy(load_image(args, args.cases[0]))

    def predict() -> tuple[np.ndarray, str]:
        with torch.no_grad(), autocast(torch.device("cpu"), precision):
            logits = sliding_window_inference(
                image[None], (args.patch,) * 3, 1, network, overlap=0.5, mode="gaussian"
            )
        return logits[0].argmax(0).numpy(), ""

    return measured(args, predict)


def with_nnunet(args: argparse.Namespace) -> dict[str, Any]:
    """Predict with nnU-Net's predictor, where it is installed."""
    try:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    except ImportError:
        return {"skipped": "nnunetv2 is not installed"}
    from types import SimpleNamespace

    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=False,
        perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False,
    )  # fmt: skip
    predictor.network = load_network(args)
    predictor.configuration_manager = SimpleNamespace(patch_size=(args.patch,) * 3)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=2)
    predictor.allowed_mirroring_axes = ()
    image = torch.from_numpy(load_image(args, args.cases[0]))

    def predict() -> tuple[np.ndarray, str]:
        logits = predictor.predict_sliding_window_return_logits(image)
        return logits.argmax(0).numpy(), ""

    return measured(args, predict)


def with_medseg(args: argparse.Namespace, **settings: Any) -> dict[str, Any]:
    """Predict with ours, on the grid of the image at 1.5 mm."""
    from medseg.geometry.volume import Grid
    from medseg.inference.predictor import Predictor
    from medseg.inference.window import WindowSettings

    predictor = Predictor(load_network(args), make_plan(args), WindowSettings(**settings))
    image = load_image(args, args.cases[0])
    size = image.shape[1:]

    def predict() -> tuple[np.ndarray, str]:
        done = predictor.predict(
            image, case=args.cases[0], crop_start=(0, 0, 0), crop_stop=size,
            source=Grid.of(size, np.eye(4)),
        )  # fmt: skip
        tally = done.tally
        tiles = f"{tally.run} tiles run, {tally.empty} empty, {tally.unneeded} not needed"
        return done.indices, f"{tiles}; {done.times}"

    return measured(args, predict)


def end_to_end(args: argparse.Namespace) -> dict[str, Any]:
    """From the file to the mask on its grid, step by step; the mask is then brought to the plan."""
    from medseg.geometry.resample import resample_label
    from medseg.inference.predictor import Predictor
    from medseg.inference.times import StepTimes
    from medseg.io.load import load_image as read
    from medseg.postprocess.export import write_prediction
    from medseg.preprocessing import Recipe, preprocess

    predictor, times = Predictor(load_network(args), make_plan(args)), StepTimes()
    case, shape = find_case(args, args.cases[0]), load_image(args, args.cases[0]).shape[1:]
    out = folder(args) / f"{args.cases[0]}.nii.gz"

    def predict() -> tuple[np.ndarray, str]:
        with times("read"):
            image = read(case)
        with times("preprocess"):
            ready = preprocess(image.volume, Recipe.of(make_plan(args)))
        done = predictor.predict(
            ready.image, case=case.id, crop_start=ready.crop_start, crop_stop=ready.crop_stop,
            source=image.volume.grid, times=times,
        )  # fmt: skip
        with times("write"):
            write_prediction(out, done.indices, image.volume.grid, image.stored, SCHEME)
        box = tuple(slice(a, b) for a, b in zip(ready.crop_start, ready.crop_stop, strict=True))
        total = sum(times.seconds.values())
        shares = ", ".join(
            f"{step} {seconds:.1f} s ({100 * seconds / total:.0f} %)"
            for step, seconds in times.seconds.items()
        )
        own = 100 * (total - times.seconds["network"]) / total
        note = f"{shares}; all but the network {own:.0f} %"
        return resample_label(done.indices[box], shape), note

    return measured(args, predict)


METHOD_OF: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "MONAI": lambda args: with_monai(args, "32-true"),
    "MONAI bf16": lambda args: with_monai(args, "bf16-mixed"),
    "MONAI, nnU-Net's places": lambda args: with_monai(args, "32-true", evenly=True),
    "nnU-Net": with_nnunet,
    "medseg float32": lambda args: with_medseg(args, precision="32-true", skip_empty=False),
    "medseg": with_medseg,
    "medseg, nnU-Net's places": lambda args: with_medseg(args, places="even"),
    "medseg adaptive": lambda args: with_medseg(args, adaptive=True),
    "medseg end to end": end_to_end,
}


def load_network(args: argparse.Namespace) -> torch.nn.Module:
    """Build the network with the weights that were trained."""
    from medseg.inference.weights import load_network as load

    return load(SPEC, folder(args) / "network.safetensors")


def load_image(args: argparse.Namespace, case: str) -> np.ndarray:
    """Return the normalised image at 1.5 mm."""
    image: np.ndarray = np.load(folder(args) / f"{case}.npy")
    return image


def find_case(args: argparse.Namespace, name: str) -> Any:
    """Return a case of the five CTs."""
    from medseg.manifest_file import load_manifest
    from medseg.readers import read_cases

    manifest = load_manifest("ct_abdomen", data_root=args.data_root, scratch=args.cache)
    return next(case for case in read_cases(manifest) if case.id == name)


def prepare_once(args: argparse.Namespace, case: str) -> None:
    """Normalise and resample a case, in a process's memory of its own."""
    from medseg.io.load import load_image as read
    from medseg.preprocessing import Recipe, preprocess

    path = folder(args) / f"{case}.npy"
    if not path.is_file():
        volume = read(find_case(args, case)).volume
        np.save(path, preprocess(volume, Recipe.of(make_plan(args))).image)


def train_once(args: argparse.Namespace) -> None:
    """Train the network on ts_ct's liver, where that has not been done.

    Crops have half a tile's side, and a whole one's in the last half of the time: what instance
    normalisation sees must be what it will see.
    """
    path = folder(args) / "network.safetensors"
    if path.is_file():
        return
    from safetensors.torch import save_file

    from medseg.geometry.resample import resample_label
    from medseg.inference.precision import autocast
    from medseg.io.load import load_image as read
    from medseg.io.load import load_label
    from medseg.networks import build_network

    prepare_once(args, "ts_ct")
    case = find_case(args, "ts_ct")
    whole = load_image(args, "ts_ct")
    label = resample_label(load_label(case, SCHEME, read(case)), whole.shape[1:])
    inside = np.argwhere(label == 1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = build_network(SPEC)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    stop = time.process_time() + args.train_seconds
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda _: max(0.02, (stop - time.process_time()) / args.train_seconds)
    )
    steps = 0
    while (left := stop - time.process_time()) > 0:
        side = max(32, args.patch // 2) if left > 0.5 * args.train_seconds else args.patch
        limit = np.array(label.shape) - side
        centre = (
            inside[rng.integers(len(inside))] if rng.random() < 0.5 else rng.integers(label.shape)
        )
        start = np.clip(centre - rng.integers(side, size=3), 0, limit)
        box = tuple(slice(a, a + side) for a in start)
        image = torch.from_numpy(whole[:, *box])[None] + 0.3 * float(rng.standard_normal())
        truth = torch.from_numpy(label[box].astype(np.int64))[None]
        with autocast(torch.device("cpu"), "auto"):
            logits = network(image)
        loss = torch.nn.functional.cross_entropy(logits.float(), truth)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        if torch.isfinite(norm):  # a crop of clipped air alone has no variance to normalise by
            optimizer.step()
        rate.step()
        steps += 1
    print(f"trained: {steps} steps, last loss {loss.item():.3f}", file=sys.stderr, flush=True)
    if not torch.isfinite(loss):
        raise RuntimeError("the network's loss is not finite; train it with other settings")
    save_file(network.state_dict(), path)


def peak_mb() -> float:
    """Return this process's largest resident memory in MB (rusage would count its parent's)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


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
