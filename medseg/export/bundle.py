"""Write a model as a MONAI bundle that runs without medseg.

References
----------
.. [1] MONAI Bundle specification, https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import medseg
from medseg.artefacts import DataInfo, Plan
from medseg.export.bundle_config import inference_config, not_in_bundle
from medseg.export.check import CheckImage
from medseg.export.document import Check
from medseg.export.graph import free_axes, trace, write_graph
from medseg.export.write import appearing, check_graphs, describe_graphs, members
from medseg.model_document import ModelDocument
from medseg.model_folder import ModelFolder

logger = logging.getLogger(__name__)

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
TESTED_WITH = {"monai": "1.6.1", "pytorch-ignite": "0.4.11"}
"""The bundle needs MONAI and ignite to run, not to be written."""

INTENDED_USE = (
    "Research only. Not a medical device: predictions must not be used for diagnosis or treatment "
    "without independent validation."
)


def export_bundle(folder: ModelFolder, out: Path, *, image: CheckImage | None = None) -> Check:
    """Write ``configs/``, ``models/`` (torch.export graphs, checked), ``docs/`` and ``LICENSE``.

    ``models/`` is an exported folder as well, which ``medseg predict`` runs.

    Parameters
    ----------
    folder : ModelFolder
        With weights.
    out : Path
        New folder; it appears whole or not at all.
    image : CheckImage, optional
        See `medseg.export.write.export_graphs`.

    Returns
    -------
    Check
        Of the graphs; they passed.

    Raises
    ------
    ConfigError
        If ``out`` is there already, or the network cannot be traced.
    ExportError
        If the graphs do not answer as the network does.
    """
    plan, document = folder.plan, folder.document
    lost = not_in_bundle(document, plan)
    for what in lost:
        logger.warning("not in the bundle: %s", what)
    with appearing(out) as aside:
        configs, models, docs = (aside / name for name in ("configs", "models", "docs"))
        for part in (configs, models, docs):
            part.mkdir()
        networks = members(folder)
        graphs = []
        for member, network in zip(document.members, networks, strict=True):
            program = trace(network, len(plan.normalization), plan.patch_size, any_size=False)
            name = "model" if len(networks) == 1 else f"model-{member.fold}"
            graphs.append(write_graph(program, models, name, "torch-export"))
        check = check_graphs(networks, graphs, "torch-export", plan, image)
        free = free_axes(networks[0], plan.patch_size)
        describe_graphs(models, folder, graphs, "torch-export", check, free)
        config = inference_config(document, plan, [path.name for path in graphs])
        _write_json(configs / "inference.json", config)
        _write_json(configs / "metadata.json", bundle_metadata(document, plan, check, lost))
        (docs / "README.md").write_text(readme(document, lost), encoding="utf-8")
        (aside / "LICENSE").write_text(_licence(document), encoding="utf-8")
    return check


def bundle_metadata(
    document: ModelDocument, plan: Plan, check: Check, lost: list[str]
) -> dict[str, Any]:
    """Write ``configs/metadata.json``: what goes in and comes out, for what, from which data."""
    data = document.data
    names = plan.scheme.output_names
    mark = "SYNTHETIC: " if data.origin == "SYNTHETIC" else ""
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"written by medseg {medseg.__version__}"},
        "monai_version": TESTED_WITH["monai"],
        "pytorch_version": importlib.metadata.version("torch").partition("+")[0],
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {
            "nibabel": importlib.metadata.version("nibabel"),
            "pillow": importlib.metadata.version("pillow"),
            "pytorch-ignite": TESTED_WITH["pytorch-ignite"],
            "scipy": importlib.metadata.version("scipy"),
        },
        "name": f"{mark}{data.title}",
        "task": f"{mark}segmentation of {', '.join(s.name for s in plan.scheme.structures)}",
        "description": _description(document),
        "authors": "trained with medseg",
        "copyright": f"licence of the training data: {data.licence or 'not stated'}",
        "licence": data.licence,
        "data_source": data.title,
        "data_type": "nibabel" if len(plan.patch_size) == 3 else "png",
        "data_origin": data.origin,
        "image_classes": f"{data.modality}, channels {', '.join(data.channels)}",
        "label_classes": {str(label.value): label.name for label in plan.scheme.labels},
        "intended_use": INTENDED_USE,
        "references": [data.citation] if data.citation else [],
        "not_in_bundle": lost,
        "graph_check": {
            "on": check.on,
            "max_logit_difference": check.max_logit_difference,
            "mask_agreement": check.mask_agreement,
        },
        "network_data_format": _data_format(data, list(plan.patch_size), names),
    }


def _data_format(data: DataInfo, shape: list[int], names: Sequence[str]) -> dict[str, Any]:
    """Return what the network takes and gives, in MONAI's words."""
    common = {"spatial_shape": shape, "dtype": "float32", "value_range": [], "is_patch_data": True}
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": data.modality,
        "num_channels": len(data.channels),
        **common,
        "channel_def": {str(i): name for i, name in enumerate(data.channels)},
    }
    pred = {
        "type": "image",
        "format": "segmentation",
        "num_channels": len(names),
        **common,
        "channel_def": {str(i): name for i, name in enumerate(names)},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": pred}}


def readme(document: ModelDocument, lost: list[str]) -> str:
    """Write ``docs/README.md``: what it is, how to run it, what differs from medseg."""
    kind = "*.nii.gz" if len(document.tiles.patch_size) == 3 else "*.png"
    differs = [
        "Resampling is MONAI's cubic spline on the same field of view: masks agree closely with "
        "medseg's, not voxel by voxel.",
        "Of 4-D files and files per channel, see MONAI's LoadImage; DICOM folders are medseg's.",
        *(f"Left out: {what}." for what in lost),
    ]
    lines = [
        f"# {document.data.title}",
        "",
        _description(document),
        "",
        INTENDED_USE,
        "",
        f"Put {kind} into `input/` and run, in this folder:",
        "",
        "    pip install monai==1.6.1 pytorch-ignite==0.4.11 nibabel scipy pillow fire",
        "    python -m monai.bundle run --config_file configs/inference.json",
        "",
        "Masks appear in `eval/`; `--dataset_dir` and `--output_dir` name other folders. The "
        "models are torch.export graphs, so no network code is needed; `torch.load`'s rule holds "
        "for them as for `model.pt`: open those you trust.",
        "",
        "What differs from `medseg predict`:",
        "",
        *(f"- {line}" for line in differs),
        "",
        "Where medseg is installed, `medseg predict THIS_FOLDER INPUT -o OUT` runs the same graphs "
        "with medseg's own preprocessing and post-processing (`models/model.json`): nothing is "
        "left out then.",
        "",
    ]
    return "\n".join(lines)


def _description(document: ModelDocument) -> str:
    """Say in a sentence or two what the model is and where its data came from."""
    data = document.data
    origin = {
        "SYNTHETIC": "SYNTHETIC: trained on generated images, not for real patients. ",
        "real": "",
        "unknown": "It is not recorded whether the training data were real. ",
    }[data.origin]
    count = len(document.members)
    several = f", mean of {count} folds" if count > 1 else ""
    return (
        f"{origin}{data.title} ({data.modality}): {document.network.name}{several}, "
        f"spacing {document.preprocessing.spacing}."
    )


def _licence(document: ModelDocument) -> str:
    """Name the licence of the data, under which the weights stand until their author says more."""
    data = document.data
    citation = f"\nPlease cite: {data.citation}\n" if data.citation else ""
    return (
        f"Training data: {data.title}\nLicence of the training data: "
        f"{data.licence or 'not stated'}\n{citation}"
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
