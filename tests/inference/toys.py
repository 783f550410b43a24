"""A network whose answer is known, and the plan and model folder around it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import medseg.networks
from medseg.artefacts import ChannelNormalization, DataInfo, NetworkSpec, Plan
from medseg.labels import Label, LabelScheme
from medseg.model_folder import write_model_folder
from medseg.settings import Inference
from medseg.trained import TrainedFold, TrainedModel

SCHEME = LabelScheme(labels=(Label(value=5, name="bright"),))
WINDOW = Inference(overlap=0.5, mirror=False, precision="32-true")


class Threshold(nn.Module):
    """Marks what is brighter than one half; ``Threshold`` has one parameter, the threshold."""

    def __init__(self, *, ndim: int, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.5))

    def forward(self, image):
        excess = image.mean(dim=1, keepdim=True) - self.threshold
        return torch.cat([-excess, excess], dim=1)


def install(monkeypatch) -> None:
    """Make ``threshold`` a known network for one test."""
    table = {**medseg.networks.NETWORKS, "threshold": Threshold}
    monkeypatch.setattr(medseg.networks, "NETWORKS", table)


def make_plan(*, spacing, patch_size, channels=("image",), scheme=SCHEME, **changes) -> Plan:
    ndim = len(patch_size)
    spec = NetworkSpec(
        name="threshold",
        arguments={
            "ndim": ndim,
            "in_channels": len(channels),
            "num_classes": scheme.num_classes,
        },
    )
    settings = {
        "spacing": spacing,
        "normalization": (ChannelNormalization(scheme="none"),) * len(channels),
        "coarse_axis": None,
        "patch_size": patch_size,
        "batch_size": 2,
        "slice_axis": None,
        "mirror_axes": tuple(range(ndim)),
        "network": spec,
        "budget": "1it",
        "scheme": scheme,
        "info": DataInfo(
            name="toy",
            title="Toy",
            modality="CT",
            channels=tuple(channels),
            origin="SYNTHETIC",
            licence="none",
            citation="",
            digest="0",
        ),
        "decisions": (),
    }
    return Plan(**{**settings, **changes})


def make_model(folder: Path, plan: Plan, threshold=0.5, *more: float) -> TrainedModel:
    """One fold per threshold."""
    folder.mkdir(parents=True, exist_ok=True)
    folds = []
    for fold, value in enumerate((threshold, *more)):
        weights = folder / ("weights.safetensors" if fold == 0 else f"weights-{fold}.safetensors")
        save_file({"threshold": torch.tensor(value)}, weights)
        folds.append(
            TrainedFold(
                fold=fold,
                weights=weights,
                cases=(),
                steps=1,
                best_step=1,
                validation_dice={"bright": float("nan")},
                history=folder / "history.csv",
                seconds=1.0,
            )
        )
    return TrainedModel(network=plan.network, folds=tuple(folds))


def make_model_folder(folder: Path, plan: Plan, rules=(), thresholds=(0.5,)) -> Path:
    model = make_model(folder / "trained", plan, *thresholds)
    return write_model_folder(
        folder / "model", plan=plan, model=model, rules=rules, inference=WINDOW
    )
