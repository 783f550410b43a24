"""Tiny models on disk: a network that is known (threshold) or drawn (unet), one fold or several."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from safetensors.torch import save_file

from medseg.artefacts import NetworkSpec
from medseg.finished import PostprocessRule
from medseg.model_folder import ModelFolder, read_model_folder, write_model_folder
from medseg.networks import build_network
from medseg.trained import TrainedFold, TrainedModel
from tests.inference.toys import WINDOW, make_plan


def unet(ndim, channels=1, classes=2, **more) -> NetworkSpec:
    arguments = {"ndim": ndim, "in_channels": channels, "num_classes": classes, "widths": (4, 6)}
    return NetworkSpec(name="unet", arguments={**arguments, **more})


def make_folder(folder: Path, *, folds=(0,), rules=(), **plan) -> ModelFolder:
    """Write a run folder's ``model/`` with weights drawn by seed, one set per fold."""
    whole = make_plan(**plan)
    trained = []
    for fold in folds:
        torch.manual_seed(fold)
        network = build_network(whole.network, whole.slice_axis)
        weights = folder / "trained" / f"{fold}.safetensors"
        weights.parent.mkdir(parents=True, exist_ok=True)
        save_file(network.state_dict(), weights)
        trained.append(
            TrainedFold(
                fold=fold,
                weights=weights,
                cases=(),
                steps=1,
                best_step=1,
                validation_dice={},
                history=folder / "history.csv",
                seconds=1.0,
            )
        )
    model = TrainedModel(network=whole.network, folds=tuple(trained))
    path = write_model_folder(
        folder / "model", plan=whole, model=model, rules=rules, inference=WINDOW
    )
    return read_model_folder(path)


def write_image(path: Path, shape=(18, 13, 11), seed=0, affine=None) -> Path:
    """Write a smooth volume stored as LPS, whose bright parts reach values around 1."""
    from scipy.ndimage import gaussian_filter

    data = gaussian_filter(np.random.default_rng(seed).random(shape), 2.0)
    data = (data - data.min()) / (data.max() - data.min())
    place = np.diag([-1.1, -0.9, 2.0, 1.0]) if affine is None else affine
    place[:3, 3] = (40.0, -7.0, 3.0)
    nib.save(nib.Nifti1Image(data.astype(np.float32), place), path)
    return path


LARGEST = (PostprocessRule(structure="bright", keep_largest=True),)
