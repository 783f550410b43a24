"""Which name of a published checkpoint is which of ours; `rename` explains the marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from medseg.networks.encoders.mobilenet import LARGE, SMALL
from medseg.networks.pretrained_layouts import Rules, mobilenet_rules, vgg_rules, xception_rules


def _less_one(template: str) -> Callable[[re.Match[str]], str]:
    """Return a replacement whose first group counts from 0, and in the file from 1."""
    return lambda match: template.format(int(match[1]) - 1, *match.groups()[1:])


def _one_more(template: str) -> Callable[[re.Match[str]], str]:
    """Return a replacement that counts stages from 0 and their blocks from 1: 1 and 0 there."""
    return lambda match: template.format(int(match[1]) - 1, int(match[2]) + 1)


RESNET: Rules = (
    (r"^conv1\.", "stem.0.0."),
    (r"^bn1\.", "stem.0.1."),
    (r"^layer(\d)\.(\d+)\.", _less_one("stages.{}.{}.")),
    (r"\.conv(\d)\.", _less_one(".layers.{}.0.")),
    (r"\.bn(\d)\.", _less_one(".layers.{}.1.")),
    (r"\.downsample\.", ".shortcut."),
)
_DILATED: Rules = (
    (r"^backbone\.", ""),
    *RESNET,
    (r"^(stem|stages)\.", r"encoder.\1."),
    (r"^aux_classifier\.([01])\.", r"aux.0.convs.0.\1."),
    (r"^aux_classifier\.4\.", "aux.0.classify.1."),
)
TORCHVISION_FCN: Rules = (
    *_DILATED,
    (r"^classifier\.([01])\.", r"head.convs.0.\1."),
    (r"^classifier\.4\.", "head.classify.1."),
)
# its five branches; they are fused there by a 1x1 and a 3x3 convolution, here by one of 3x3
TORCHVISION_DEEPLABV3: Rules = (
    *_DILATED,
    (r"^classifier\.0\.convs\.([0-3])\.", r"head.context.branches.\1."),
    (r"^classifier\.0\.convs\.4\.1\.", "head.context.pooled.1."),
)
DENSENET: Rules = (
    (r"^features\.conv0\.", "stem.0."),
    (r"^features\.norm0\.", "stem.1."),
    (r"^features\.norm5\.", "norms.3.0."),
    (r"^features\.transition(\d)\.norm\.", _less_one("norms.{}.0.")),
    (r"^features\.transition(\d)\.conv\.", _less_one("transitions.{}.0.")),
    (r"^features\.denseblock(\d)\.", _less_one("blocks.{}.")),
    (r"\.denselayer(\d+)\.", _less_one(".{}.")),
    (r"\.norm\.?1\.", ".0."),  # older files write norm.1
    (r"\.conv\.?1\.", ".2."),
    (r"\.norm\.?2\.", ".3."),
    (r"\.conv\.?2\.", ".5."),
)
SEGFORMER: Rules = (
    (r"^segformer\.(encoder\.)?", ""),
    (r"^patch_embeddings\.(\d)\.", r"stages.\1.patch_embeddings."),
    (r"^block\.(\d)\.", r"stages.\1.blocks."),
    (r"^layer_norm\.(\d)\.", r"stages.\1.last."),
    (r"^stages\.(\d)\.layer_norm\.", r"stages.\1.last."),
    (r"^stages\.(\d)\.patch_embeddings\.proj\.", r"encoder.stages.\1.0.project."),
    (r"^stages\.(\d)\.patch_embeddings\.layer_norm\.", r"encoder.stages.\1.0.norm."),
    (r"^stages\.(\d)\.blocks\.(\d+)\.", lambda m: f"encoder.stages.{m[1]}.{1 + int(m[2])}."),
    (r"^stages\.", "encoder.stages."),
    (
        r"\.(attention\.self\.sr|attention\.sequence_reduction\.sequence_reduction)\.",
        ".attention.reduce.",
    ),
    (r"\.attention\.(self|sequence_reduction)\.layer_norm\.", ".attention.norm."),
    (r"\.attention\.(self\.query|q_proj)\.", ".attention.query."),
    (r"\.attention\.(self\.key|k_proj)\.(.*)", r".attention.key_value.\2+0"),
    (r"\.attention\.(self\.value|v_proj)\.(.*)", r".attention.key_value.\2+1"),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attention.project."),
    (r"\.(layer_norm_1|layernorm_before)\.", ".norm1."),
    (r"\.(layer_norm_2|layernorm_after)\.", ".norm2."),
    (r"\.mlp\.(dense1|fc1)\.", ".ffn.expand."),
    (r"\.mlp\.dwconv\.dwconv\.", ".ffn.mix."),
    (r"\.mlp\.(dense2|fc2)\.", ".ffn.project."),
    (r"^decode_head\.(?:linear_c|linear_projections)\.(\d)\.proj\.", r"project.\1."),
    (r"^decode_head\.linear_fuse\.", "fuse.0."),
    (r"^decode_head\.batch_norm\.", "fuse.1."),
    (r"^decode_head\.classifier\.", "head."),
)
# of the authors of SegFormer, with or without its head
MIT: Rules = (
    (r"^backbone\.", ""),
    (r"^patch_embed(\d)\.proj\.", _less_one("encoder.stages.{}.0.project.")),
    (r"^patch_embed(\d)\.norm\.", _less_one("encoder.stages.{}.0.norm.")),
    (r"^block(\d)\.(\d+)\.", _one_more("encoder.stages.{}.{}.")),
    (r"^norm(\d)\.", _less_one("encoder.stages.{}.last.")),
    (r"\.attn\.q\.", ".attention.query."),
    (r"\.attn\.kv\.", ".attention.key_value."),
    (r"\.attn\.proj\.", ".attention.project."),
    (r"\.attn\.sr\.", ".attention.reduce."),
    (r"\.attn\.norm\.", ".attention.norm."),
    (r"\.mlp\.fc1\.", ".ffn.expand."),
    (r"\.mlp\.dwconv\.dwconv\.", ".ffn.mix."),
    (r"\.mlp\.fc2\.", ".ffn.project."),
    (r"^decode_head\.linear_c(\d)\.proj\.", _less_one("project.{}.")),
    (r"^decode_head\.linear_fuse\.conv\.", "fuse.0."),
    (r"^decode_head\.linear_fuse\.bn\.", "fuse.1."),
    (r"^decode_head\.linear_pred\.", "head."),
)
# of the authors of SegNeXt; a bias before a norm is the same as a smaller mean
MSCAN: Rules = (
    (r"^backbone\.", ""),
    (r"^patch_embed1\.proj\.0\.bias$", "stem.0.1.running_mean-"),
    (r"^patch_embed1\.proj\.3\.bias$", "stages.0.0.1.running_mean-"),
    (r"^patch_embed(\d)\.proj\.bias$", _less_one("stages.{}.0.1.running_mean-")),
    (r"^patch_embed1\.proj\.([01])\.", r"stem.0.\1."),
    (r"^patch_embed1\.proj\.3\.", "stages.0.0.0."),
    (r"^patch_embed1\.proj\.4\.", "stages.0.0.1."),
    (r"^patch_embed(\d)\.proj\.", _less_one("stages.{}.0.0.")),
    (r"^patch_embed(\d)\.norm\.", _less_one("stages.{}.0.1.")),
    (r"^block(\d)\.(\d+)\.", _one_more("stages.{}.{}.")),
    (r"^norm(\d)\.", _less_one("norms.{}.")),
    (r"\.norm1\.", ".attend.0."),
    (r"\.attn\.proj_1\.", ".attend.1.expand."),
    (r"\.attn\.proj_2\.", ".attend.1.project."),
    (r"\.attn\.spatial_gating_unit\.conv0\.", ".attend.1.local."),
    (r"\.attn\.spatial_gating_unit\.conv3\.", ".attend.1.mix."),
    (
        r"\.attn\.spatial_gating_unit\.conv(\d)_(\d)\.",
        lambda m: f".attend.1.strips.{m[1]}.{int(m[2]) - 1}.",
    ),
    (r"\.norm2\.", ".feed.0."),
    (r"\.mlp\.fc1\.", ".feed.1."),
    (r"\.mlp\.dwconv\.dwconv\.", ".feed.2."),
    (r"\.mlp\.fc2\.", ".feed.4."),
    (r"\.layer_scale_(\d)$", r".scale\1"),
)
_IN_ONE = r"\1.attention.query.\2&\1.attention.key_value.\2+0&\1.attention.key_value.\2+1"
VIT_TIMM: Rules = (
    (r"^cls_token$", "token"),
    (r"^pos_embed$", "positions.tokens"),
    (r"^patch_embed\.proj\.", "embed."),
    (r"^blocks\.", "layers."),
    (r"^(layers\.\d+)\.attn\.qkv\.(\w+)$", _IN_ONE),
    (r"\.attn\.proj\.", ".attention.project."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
)
VIT_TORCHVISION: Rules = (
    (r"^class_token$", "token"),
    (r"^conv_proj\.", "embed."),
    (r"^encoder\.pos_embedding$", "positions.tokens"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_", "layers."),
    (r"^(layers\.\d+)\.self_attention\.in_proj_(\w+)$", _IN_ONE),
    (r"\.self_attention\.out_proj\.", ".attention.project."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.mlp\.linear_1\.", ".mlp.0."),  # as the files have it
    (r"\.mlp\.(linear_2|3)\.", ".mlp.2."),
)
VIT_HF: Rules = (
    (r"^(vit|deit)\.", ""),
    (r"^embeddings\.cls_token$", "token"),
    (r"^embeddings\.position_embeddings$", "positions.tokens"),
    (r"^embeddings\.patch_embeddings\.projection\.", "embed."),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.", "layers."),
    (r"\.attention\.(attention\.query|q_proj)\.", ".attention.query."),
    (r"\.attention\.(?:attention\.key|k_proj)\.(.*)", r".attention.key_value.\1+0"),
    (r"\.attention\.(?:attention\.value|v_proj)\.(.*)", r".attention.key_value.\1+1"),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attention.project."),
    (r"\.(intermediate\.dense|mlp\.fc1)\.", ".mlp.0."),
    (r"\.(output\.dense|mlp\.fc2)\.", ".mlp.2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
)
# a timm model that returns its features has its first two levels of names in one
TIMM_FEATURES: Rules = ((r"^(features|stem|stages|layers|blocks)\.(\w+)\.", r"\1_\2."),)


RULES: Mapping[str, Rules] = {
    "resnet": RESNET,
    "fcn (torchvision)": TORCHVISION_FCN,
    "deeplabv3 (torchvision)": TORCHVISION_DEEPLABV3,
    "densenet": DENSENET,
    "vgg16": vgg_rules(norm=False),
    "vgg16_bn": vgg_rules(norm=True),
    "segformer": SEGFORMER,
    "mit": MIT,
    "segformer, its encoder": (*SEGFORMER, (r"^encoder\.", "mit.")),
    "mit, the encoder": (*MIT, (r"^encoder\.", "mit.")),
    "mscan": MSCAN,
    "vit (timm)": VIT_TIMM,
    "vit (torchvision)": VIT_TORCHVISION,
    "vit (transformers)": VIT_HF,
    "mobilenet_v3_large (torchvision)": mobilenet_rules(LARGE, timm=False),
    "mobilenet_v3_small (torchvision)": mobilenet_rules(SMALL, timm=False),
    "mobilenet_v3_large (timm)": mobilenet_rules(LARGE, timm=True),
    "mobilenet_v3_small (timm)": mobilenet_rules(SMALL, timm=True),
    "xception41": xception_rules(8),
    "xception65": xception_rules(16),
    "features (timm)": TIMM_FEATURES,
}
EPSILON: Mapping[str, float] = {
    "mobilenet_v3_large (torchvision)": 1e-3,
    "mobilenet_v3_small (torchvision)": 1e-3,
    "xception41": 1e-3,
    "xception65": 1e-3,
}
"""What batch norm adds to the variance there, where it is not the 1e-5 of ours."""
