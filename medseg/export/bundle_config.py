"""``configs/inference.json`` of a MONAI bundle: from file to mask in MONAI's words.

What MONAI has no words for is left out and named (`not_in_bundle`): a much coarser axis
interpolated apart, and post-processing by volume or of overlapping regions. Resampling is MONAI's
own cubic spline on the same field of view, so masks agree closely, not bit by bit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from medseg.artefacts import ChannelNormalization, Plan
from medseg.finished import ALL_FOREGROUND, PostprocessRule
from medseg.model_document import ModelDocument

Config = dict[str, Any]

TILES_PER_BATCH = 4


def inference_config(document: ModelDocument, plan: Plan, models: Sequence[str]) -> Config:
    """Write the config that ``monai.bundle run`` executes.

    Parameters
    ----------
    document : ModelDocument
    plan : Plan
        Of the same model.
    models : sequence of str
        File names in ``models/``, one per member; their logits are averaged.

    Returns
    -------
    dict
        With the ids that MONAI's tools look for: ``device``, ``network_def``, ``inferer``,
        ``preprocessing``, ``postprocessing``, ``dataset``, ``dataloader``, ``evaluator``, ``run``.
    """
    ndim = len(plan.patch_size)
    pattern = "/*.nii.gz" if ndim == 3 else "/*.png"
    return {
        "imports": [
            "$import functools",
            "$import glob",
            "$import numpy",
            "$import torch",
            "$from torch.export.passes import move_to_device_pass",
        ],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/eval'",
        "data_list": f"$[{{'image': f}} for f in sorted(glob.glob(@dataset_dir + '{pattern}'))]",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "programs": [f"$torch.export.load(@bundle_root + '/models/{name}')" for name in models],
        # A graph computes where it was traced; the module around it refuses eval(), its forward
        # is the whole network.
        "members": ("$[move_to_device_pass(p, str(@device)).module().forward for p in @programs]"),
        "network_def": "$lambda image: sum(f(image) for f in @members) / len(@members)",
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing(plan)},
        "dataset": {
            "_target_": "Dataset",
            "data": "@data_list",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(plan.patch_size),
            "sw_batch_size": TILES_PER_BATCH,
            "overlap": document.inference.overlap,
            "mode": "gaussian",
            "sigma_scale": 0.125,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [*_back(), *_decoding(plan), *_rules(document, plan), *_writing(plan)],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network_def",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": False,
        },
        "run": ["$@evaluator.run()"],
    }


def preprocessing(plan: Plan) -> list[Config]:
    """List the transforms from a file to network input, in the order of `medseg.preprocessing`."""
    steps: list[Config] = [
        {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
    ]
    if len(plan.patch_size) == 3:
        steps.append(
            {
                "_target_": "Orientationd",
                "keys": "image",
                "axcodes": "RAS",
                "labels": [["L", "R"], ["P", "A"], ["I", "S"]],
            }
        )
    else:  # MONAI reads (columns, rows)
        steps.append({"_target_": "Transposed", "keys": "image", "indices": [0, 2, 1]})
    if plan.crop:
        steps.append(
            {
                "_target_": "CropForegroundd",
                "keys": "image",
                "source_key": "image",
                "select_fn": "$lambda x: x != 0",
                "allow_smaller": True,
            }
        )
    steps.append(
        {"_target_": "Lambdad", "keys": "image", "func": _normalization(plan.normalization)}
    )
    if len(plan.patch_size) == 3 or set(plan.spacing) != {1.0}:
        steps.append(
            {
                "_target_": "Spacingd",
                "keys": "image",
                "pixdim": list(plan.spacing),
                "mode": 3 if plan.order == 3 else "bilinear",
                "padding_mode": "reflect" if plan.order == 3 else "border",
                "align_corners": True,  # what scale_extent asks for
                "scale_extent": True,
            }
        )
    return steps


def not_in_bundle(document: ModelDocument, plan: Plan) -> list[str]:
    """Say in words what of the model the bundle does not do."""
    lost = [
        f"post-processing of {rule.structure}: {what}"
        for rule in document.postprocessing
        for what in _lost(rule, regions=bool(plan.scheme.regions))
    ]
    if plan.coarse_axis is not None:
        lost.append(
            f"nearest-voxel resampling along axis {plan.coarse_axis}: the spline is used there too"
        )
    if document.inference.mirror:
        lost.append("averaging over mirrored tiles")
    if document.inference.shifts != 1:
        lost.append("averaging over shifted tiles")
    if document.inference.scales != (1.0,):
        lost.append("averaging over several sizes of the image")
    if document.inference.crf is not None:
        lost.append("refining probabilities by the dense CRF")
    if document.preprocessing.resize is not None:
        lost.append("bringing each photograph to one size (the bundle takes the median's scale)")
    return lost


def _normalization(channels: Sequence[ChannelNormalization]) -> str:
    """Write `medseg.preprocessing.normalize` as one expression per channel."""
    masked = "(x != 0).any(0, keepdim=True)"
    parts = []
    for c, how in enumerate(channels):
        value = f"x[{c}:{c + 1}].float()"
        if how.clip is not None:
            value = f"{value}.clamp({how.clip[0]!r}, {how.clip[1]!r})"
        if how.scheme == "ct":
            value = f"({value} - {how.mean!r}) / {max(how.std, 1e-8)!r}"
        elif how.scheme == "zscore":
            of = f"v[{masked}]" if how.mask_nonzero else "v"
            scaled = f"(v - {of}.mean()) / {of}.std(unbiased=False).clamp(min=1e-8)"
            value = f"(lambda v: {scaled})({value})"
        if how.mask_nonzero and how.scheme != "none":
            value = f"torch.where({masked}, {value}, 0.0)"
        parts.append(value)
    return f"$lambda x: torch.cat([{', '.join(parts)}])"


def _back() -> list[Config]:
    """Bring the logits back to the grid of the file, where they are decoded."""
    return [
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
        }
    ]


def _decoding(plan: Plan) -> list[Config]:
    """Turn logits into class indices; outside the crop they are 0, which is background."""
    if not plan.scheme.regions and plan.scheme.has_background:
        return [{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}]
    if not plan.scheme.regions:  # output 0 is never right
        func = "$lambda x: 1 + torch.argmax(x[1:], dim=0, keepdim=True)"
        return [{"_target_": "Lambdad", "keys": "pred", "func": func}]
    order = [list(pair) for pair in plan.scheme.paint_order()]  # widest region first
    paint = "lambda p, c: torch.where(x[c[0]:c[0] + 1] > 0, float(c[1]), p)"
    func = f"$lambda x: functools.reduce({paint}, {json.dumps(order)}, torch.zeros_like(x[:1]))"
    return [{"_target_": "Lambdad", "keys": "pred", "func": func}]


def _rules(document: ModelDocument, plan: Plan) -> list[Config]:
    """Keep largest components and fill holes; the rest of the rules stands in `not_in_bundle`."""
    if plan.scheme.regions:
        return []
    everything = list(range(1, len(plan.scheme.labels) + 1))
    steps: list[Config] = []
    rules = {rule.structure: rule for rule in document.postprocessing}
    for name in (ALL_FOREGROUND, *(label.name for label in plan.scheme.labels)):
        rule = rules.get(name, PostprocessRule(structure=name))
        labels = everything if name == ALL_FOREGROUND else [plan.scheme.index_of(name)]
        if rule.keep_largest:
            steps.append(
                {
                    "_target_": "KeepLargestConnectedComponentd",
                    "keys": "pred",
                    "applied_labels": labels,
                    "is_onehot": False,
                    "independent": len(labels) == 1,
                }
            )
        if rule.fill_holes and name != ALL_FOREGROUND:
            steps.append({"_target_": "FillHolesd", "keys": "pred", "applied_labels": labels})
    return steps


def _lost(rule: PostprocessRule, *, regions: bool) -> list[str]:
    """Name the parts of a rule that `_rules` does not write."""
    lost = []
    if rule.keep_largest and regions:
        lost.append("largest component only")
    if rule.min_volume_ml > 0:
        lost.append(f"nothing smaller than {rule.min_volume_ml:g} mL")
    if rule.fill_holes and (regions or rule.structure == ALL_FOREGROUND):
        lost.append("holes filled")
    return lost


def _writing(plan: Plan) -> list[Config]:
    """Turn class indices into the label table's values and write the file."""
    values = [0, *(label.value for label in plan.scheme.labels)]
    steps: list[Config] = []
    if values != list(range(len(values))):
        func = f"$lambda x: torch.tensor({values}, device=x.device)[x.long()]"
        steps.append({"_target_": "Lambdad", "keys": "pred", "func": func})
    steps.append(
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "",
            "output_ext": ".nii.gz" if len(plan.patch_size) == 3 else ".png",
            "output_dtype": "$numpy.uint8" if max(values) < 256 else "$numpy.int16",
            "separate_folder": False,
            "print_log": False,
        }
    )
    return steps
