"""The network and the images that ``sliding_window.py`` measures with, made once and kept."""

from __future__ import annotations

import argparse
import sys
import time
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


def folder(args: argparse.Namespace) -> Path:
    """Return where the network, its images and what was measured with it are kept."""
    name = f"sliding_window_{args.spacing:g}mm_{args.patch}_{args.train_seconds:g}s"
    path: Path = args.cache / name
    path.mkdir(parents=True, exist_ok=True)
    return path


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
