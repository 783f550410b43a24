"""The methods that ``sliding_window.py`` compares, each measured in a process of its own."""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sliding_window_network import SCHEME, find_case, folder, load_image, load_network, make_plan


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


def peak_mb() -> float:
    """Return this process's largest resident memory in MB (rusage would count its parent's)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


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
