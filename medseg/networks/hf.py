"""SegFormer, Mask2Former and UPerNet of Hugging Face's transformers, from local files alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from medseg.errors import ConfigError
from medseg.networks.hf_folder import folder_of, read_config
from medseg.networks.hf_wraps import HfMask2Former, HfSegformer, HfUperNet
from medseg.networks.layers import scaled
from medseg.networks.wrapped import (
    LinspaceOnCpu,
    Wrapped,
    import_extra,
    need_2d,
    part_of,
    weightless,
)


@dataclass(frozen=True, kw_only=True)
class HfForm:
    """How a model of transformers is brought under the contract."""

    paper: str
    model: str
    """Its class in transformers."""
    config: str
    """The class of its configuration."""
    wrap: Callable[..., Wrapped]
    widths: Mapping[str, Any]
    """Channels in the configuration that ``width`` multiplies, with their defaults."""
    backbone: Mapping[str, Any] = field(default_factory=dict)
    """Its encoder's configuration by default."""


FORMS: Mapping[str, HfForm] = {
    "segformer": HfForm(
        paper="Xie et al., SegFormer, NeurIPS 2021",
        model="SegformerForSemanticSegmentation",
        config="SegformerConfig",
        wrap=HfSegformer,
        widths={"hidden_sizes": (32, 64, 160, 256), "decoder_hidden_size": 256},
    ),
    "mask2former": HfForm(
        paper="Cheng et al., Mask2Former, CVPR 2022",
        model="Mask2FormerForUniversalSegmentation",
        config="Mask2FormerConfig",
        wrap=HfMask2Former,
        widths={"encoder_feedforward_dim": 1024, "dim_feedforward": 2048, "embed_dim": 96},
        backbone={"model_type": "swin", "depths": [2, 2, 6, 2], "drop_path_rate": 0.3},
    ),
    "upernet": HfForm(
        paper="Xiao et al., UPerNet, ECCV 2018",
        model="UperNetForSemanticSegmentation",
        config="UperNetConfig",
        wrap=HfUperNet,
        widths={
            "hidden_size": 512,
            "auxiliary_channels": 256,
            "embedding_size": 64,
            "hidden_sizes": (256, 512, 1024, 2048),
        },
        backbone={"model_type": "resnet"},
    ),
}
OF_BACKBONE = ("embed_dim", "embedding_size", "hidden_sizes")
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def hf_network(
    name: str,
    *,
    ndim: int,
    in_channels: int,
    num_classes: int,
    width: float = 1.0,
    matching: bool = False,
    config: str | Path | Mapping[str, Any] | None = None,
    checkpoint: str | Path | None = None,
    **arguments: Any,
) -> nn.Module:
    """Build a model of transformers; nothing is ever downloaded.

    Parameters
    ----------
    name : str
        A key of `FORMS`.
    ndim, in_channels, num_classes : int
        2; channels of the image; classes of the logits.
    width : float
        Multiplies the channels.
    matching : bool
        Mask2Former alone: match queries to the segments of the truth and train their own classes
        and masks (`medseg.losses.matching`); the loss of the recipe is then told and not trained.
    config : path or mapping, optional
        A folder with a ``config.json`` in place of the library's defaults, or its content.
    checkpoint : path, optional
        Folder with ``config.json`` and weights, as ``save_pretrained`` writes it. Tensors whose
        shape is another (the head of other classes) start untrained.
    **arguments
        More of the configuration, in the library's words.

    Raises
    ------
    MissingExtraError
        If transformers is not installed.
    ConfigError
        If it is to be 3-D, a folder is not there, transformers refuses an argument, or a network
        without queries is to match them.
    """
    need_2d(f"hf:{name}", ndim)
    form, key = FORMS[name], f"network.arguments of 'hf:{name}'"
    if matching and form.wrap is not HfMask2Former:
        raise ConfigError(f"{key}: matching is for 'hf:mask2former', which has queries")
    library = import_extra("transformers", f"hf:{name}", "hf")
    hub = import_extra("huggingface_hub.errors", f"hf:{name}", "hf")
    source = config if config is not None else checkpoint
    given = dict(read_config(source, name) if source is not None else _defaults(form))
    for word, value in _scaled_widths(form, width).items() if source is None else ():
        (given["backbone_config"] if word in OF_BACKBONE and form.backbone else given)[word] = value
    if source is not None and width != 1.0:
        raise ConfigError(f"{key}: width is for a model without 'config' and 'checkpoint'")
    given |= arguments
    if given.get("backbone"):
        raise ConfigError(f"{key}: describe the encoder by 'backbone_config', not by a hub's name")
    given = {word: value for word, value in given.items() if word not in _CLASSES}
    configure = part_of(library, form.config, f"hf:{name}", "hf")
    build = part_of(library, form.model, f"hf:{name}", "hf")
    try:
        settings = configure(**given, num_labels=num_classes)
        encoder = settings.backbone_config if form.backbone else settings
        encoder.num_channels = in_channels
        with LinspaceOnCpu():
            model = _build(build, settings, checkpoint)
    except (ValueError, TypeError, AttributeError, hub.StrictDataclassError) as error:
        raise ConfigError(f"{key}: {' '.join(str(error).split())}") from error
    return form.wrap(model, (32, 32), **({"matching": True} if matching else {}))


_CLASSES = ("id2label", "label2id", "num_labels", "architectures", "transformers_version")


def _build(build: Any, settings: Any, checkpoint: str | Path | None) -> nn.Module:
    """Return the model with random weights, or with those of a folder."""
    if checkpoint is None or weightless():
        model: nn.Module = build(settings)
        return model
    model = build.from_pretrained(
        str(folder_of(checkpoint)),
        config=settings,
        local_files_only=True,
        ignore_mismatched_sizes=True,
    )
    return model.train()


def _defaults(form: HfForm) -> dict[str, Any]:
    """Return the configuration a form starts from."""
    if not form.backbone:
        return {}
    return {"backbone_config": {**form.backbone, "out_features": STAGES}}


def _scaled_widths(form: HfForm, width: float) -> dict[str, Any]:
    """Return the channels of a form times ``width``."""
    return {
        word: [scaled(n, width) for n in value]
        if isinstance(value, tuple)
        else scaled(value, width)
        for word, value in form.widths.items()
    }


def settled(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Put the content of a configuration in place of its folder, so that a plan stands alone.

    Parameters
    ----------
    name : str
        ``network.name``; arguments of other networks come back as they are.
    arguments : mapping
        Of the network.
    """
    kind = name.removeprefix("hf:")
    source = arguments.get("config", arguments.get("checkpoint"))
    if name not in HF or source is None:
        return dict(arguments)
    return {**arguments, "config": dict(read_config(source, kind))}


HF: Mapping[str, Callable[..., nn.Module]] = {
    f"hf:{name}": partial(hf_network, name) for name in FORMS
}
"""Further values of ``network.name``."""
