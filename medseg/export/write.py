"""Write a model in another form, and show that it still gives the same answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import nn

import medseg
from medseg.artefacts import Plan
from medseg.errors import ConfigError, ExportError
from medseg.export.check import CheckImage, compare, noise
from medseg.export.document import (
    FORMAT_VERSION,
    Check,
    ExportDocument,
    GraphKind,
    digests,
    write_export_document,
)
from medseg.export.graph import INPUT, OUTPUT, free_axes, need_onnx, trace, versions, write_graph
from medseg.export.load import load_graphs
from medseg.inference.predictor import Predictor
from medseg.inference.weights import load_network
from medseg.inference.window import WindowSettings
from medseg.model_document import write_document
from medseg.model_folder import ModelFolder


def export_folder(folder: ModelFolder, out: Path) -> Path:
    """Copy a model folder as it is: safetensors and JSON, no pickle.

    Raises
    ------
    ConfigError
        If ``out`` is there already.
    """
    with appearing(out) as aside:
        shutil.copytree(folder.folder, aside, dirs_exist_ok=True)
    return out


def export_graphs(
    folder: ModelFolder,
    out: Path,
    kind: GraphKind,
    *,
    image: CheckImage | None = None,
    any_size: bool = False,
) -> Check:
    """Write a model's networks as graphs, in float32, and check them as they stand on disk.

    ``out`` appears whole, with ``model.json`` and ``export.json``, or not at all.

    Parameters
    ----------
    folder : ModelFolder
        With weights; of a model of several folds each network becomes a graph.
    out : Path
        New folder.
    kind : {"onnx", "torch-export"}
    image : CheckImage, optional
        What both forms are compared on; seeded noise where there is none.
    any_size : bool
        See `medseg.export.graph.trace`.

    Returns
    -------
    Check
        It passed.

    Raises
    ------
    ConfigError
        If ``out`` is there already, or the network cannot be traced.
    MissingExtraError
        If ``kind`` needs the extra ``export``.
    ExportError
        If the graphs do not answer as the network does.
    """
    if kind == "onnx":
        need_onnx()
    plan = folder.plan
    with appearing(out) as aside:
        networks = members(folder)
        graphs = []
        for member, network in zip(folder.document.members, networks, strict=True):
            program = trace(network, len(plan.normalization), plan.patch_size, any_size=any_size)
            name = "network" if len(networks) == 1 else f"network-{member.fold}"
            graphs.append(write_graph(program, aside, name, kind))
        check = check_graphs(networks, graphs, kind, plan, image)
        free = free_axes(networks[0], plan.patch_size)
        describe_graphs(aside, folder, graphs, kind, check, free, any_size=any_size)
    return check


def describe_graphs(
    out: Path,
    folder: ModelFolder,
    graphs: Sequence[Path],
    kind: GraphKind,
    check: Check,
    free: Mapping[int, int],
    *,
    any_size: bool = False,
) -> None:
    """Write ``model.json`` and ``export.json`` beside graphs: ``medseg predict`` then runs them.

    Parameters
    ----------
    out : Path
        Folder that holds the graphs and nothing else.
    folder : ModelFolder
        Of which they were made.
    graphs : sequence of Path
        One per member.
    kind : {"onnx", "torch-export"}
    check : Check
    free : mapping of int to int
        What `medseg.export.graph.free_axes` returned.
    any_size : bool
    """
    patch_size = folder.plan.patch_size
    axes = range(len(patch_size))
    document = ExportDocument(
        format=FORMAT_VERSION,
        kind=kind,
        medseg=medseg.__version__,
        made_with=versions(kind),
        graphs={
            member.fold: path.name
            for member, path in zip(folder.document.members, graphs, strict=True)
        },
        input=INPUT,
        output=OUTPUT,
        tile=tuple(None if any_size and a in free else patch_size[a] for a in axes),
        multiple_of=tuple(free.get(a, 1) for a in axes),
        files=digests(out.iterdir()),
        check=check,
    )
    write_document(out, folder.document)
    write_export_document(out, document)


def members(folder: ModelFolder) -> list[nn.Module]:
    """Load the networks of a model folder, one per fold, on the CPU and in eval mode.

    Raises
    ------
    ConfigError
        If the folder is an export itself.
    """
    if folder.is_export:
        raise ConfigError(
            f"{folder.folder}: is an export already and holds no weights; give the run or model "
            "folder that it was made from"
        )
    plan = folder.plan
    return [load_network(plan.network, file, plan.slice_axis) for file in folder.weights]


def check_graphs(
    networks: Sequence[nn.Module],
    graphs: Sequence[Path],
    kind: GraphKind,
    plan: Plan,
    image: CheckImage | None,
) -> Check:
    """Compare graphs, read back from disk, with their networks, all members together.

    Raises
    ------
    ExportError
        If they differ by more than the tolerance.
    """
    settings = WindowSettings(precision="32-true")
    check = compare(
        Predictor(networks, plan, settings, "cpu"),
        load_graphs(graphs, kind, plan, settings, "cpu"),
        image or noise(len(plan.normalization), plan.patch_size),
    )
    if not check.passed:
        raise ExportError(
            f"export check on {check.on}: the {kind} graph differs from the network by "
            f"{check.max_logit_difference:.3g} in a logit (largest {check.largest_logit:.3g}) and "
            f"agrees in {check.mask_agreement:.4%} of the voxels; nothing was written. Use another "
            "--format, and report the network's name and arguments"
        )
    return check


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """Make a new folder that appears whole, when the context ends well, or not at all.

    Raises
    ------
    ConfigError
        If it is there already and not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: is there already; choose another folder with -o, or remove it")
    aside = out.with_name(f".{out.name}.new")
    shutil.rmtree(aside, ignore_errors=True)  # of an export that was killed
    aside.mkdir(parents=True)
    try:
        yield aside
        if out.exists():
            out.rmdir()
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
