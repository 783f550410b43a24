"""The first weights of a training: those of a file, as far as they fit."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import nn

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError
from medseg.networks import build_network
from medseg.networks.pretrained import Report, load_pretrained, match_pretrained
from medseg.networks.slicewise import SliceWise
from medseg.training.task import Start

TABLE = "pretrained.csv"
"""Beside ``history.csv``: what became of each tensor of the file and of the network."""


def check_start(spec: NetworkSpec, start: Start) -> Report:
    """Find out, without building the network's weights, what of a file would be loaded.

    Raises
    ------
    ConfigError
        If it is nothing, or the file cannot be read.
    """
    with torch.device("meta"):
        network = build_network(spec)
    _, report = match_pretrained(network, start.file, inflate=start.inflate)
    _refuse_nothing(report, start)
    return report


def load_start(module: nn.Module, start: Start) -> Report:
    """Bring the weights of a file into a network; of a slice-wise one, into what sees the slices.

    Raises
    ------
    ConfigError
        If nothing of the file fits, or it cannot be read.
    """
    inner = module.network if isinstance(module, SliceWise) else module
    report = load_pretrained(inner, start.file, inflate=start.inflate)
    _refuse_nothing(report, start)
    return report


def write_table(folder: Path, report: Report) -> Path:
    """Write `TABLE`: one row per tensor."""
    path = folder / TABLE
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("tensor", "fate"))
        writer.writerows(report.rows())
    return path


def _refuse_nothing(report: Report, start: Start) -> None:
    """Raise where not one tensor was loaded."""
    if not report.loaded:
        raise ConfigError(
            f"network.weights: nothing of {start.file} fits this network: {report}; take weights "
            "of the same architecture and width, or leave them out"
        )
