from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.mit import Attention, Block, MiT
from medseg.networks.segformer import SEGFORMERS, SegFormer


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def reference(name: str, **arguments) -> nn.Module:
    with torch.device("meta"):
        return SEGFORMERS[name](ndim=2, in_channels=3, num_classes=150, **arguments)


@pytest.mark.parametrize(
    ("name", "encoder", "whole"),
    [
        ("segformer_b0", 3.4, 3.8),
        ("segformer_b1", 13.1, 13.7),
        ("segformer_b2", 24.2, 27.5),
        ("segformer_b3", 44.0, 47.3),
        ("segformer_b4", 60.8, 64.1),
        ("segformer_b5", 81.4, 84.7),
    ],
)
def test_parameters_are_those_of_the_papers_table(name, encoder, whole):
    network = reference(name)
    assert millions(network.encoder) == pytest.approx(encoder, abs=0.1)  # printed to one decimal
    assert millions(network) == pytest.approx(whole, abs=0.051)


def test_parameters_of_the_reference_form_with_150_classes():
    assert sum(p.numel() for p in reference("segformer_b0").parameters()) == 3_752_694
    assert round(millions(reference("segformer_b0")), 2) == 3.75
    assert round(millions(reference("segformer_b5", decoder_channels=256)), 1) == 82.0


def test_patches_overlap_and_keys_shrink_as_published():
    network = reference("segformer_b0")
    patches = [stage[0].project for stage in network.encoder.stages]
    assert [(p.kernel_size[0], p.stride[0], p.padding[0]) for p in patches] == [
        (7, 4, 3),
        *[(3, 2, 1)] * 3,
    ]
    reductions = [stage[1].attention.reduce for stage in network.encoder.stages]
    assert [r.stride[0] if r is not None else 1 for r in reductions] == [8, 4, 2, 1]
    mix = network.encoder.stages[1][1].ffn.mix
    assert (mix.groups, mix.kernel_size, mix.in_channels) == (256, (3, 3), 4 * 64)
    assert network.divisor == (32, 32)


@pytest.mark.parametrize("ndim", [2, 3])
def test_attention_equals_the_formula_voxel_by_voxel(ndim):
    torch.manual_seed(0)
    layer = Attention(ndim, width=6, heads=2, reduction=(2,) * ndim)
    x = torch.randn(1, *(4,) * ndim, 6)
    small = layer.norm(layer.reduce(x.movedim(-1, 1)).flatten(2).transpose(1, 2))[0]
    q = layer.query(x.reshape(-1, 6))
    k, v = layer.key_value(small)[:, :6], layer.key_value(small)[:, 6:]
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        weights = (q[:, part] @ k[:, part].T / math.sqrt(3)).softmax(1)
        assert weights.shape == (4**ndim, 2**ndim)
        heads.append(weights @ v[:, part])
    expected = layer.project(torch.cat(heads, 1)).reshape(x.shape)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


def test_no_position_is_learnt_and_any_size_fits():
    network = SegFormer(ndim=2, in_channels=1, num_classes=2).eval()
    assert not [n for n, _ in network.named_parameters() if "pos" in n]
    for size in ((32, 32), (64, 96)):
        sizes = [tuple(x.shape[1:]) for x in network.encoder(torch.zeros(1, 1, *size))]
        assert sizes == [
            (width, *(n // step for n in size))
            for width, step in zip((32, 64, 160, 256), (4, 8, 16, 32), strict=True)
        ]


def test_a_thin_axis_keeps_its_size():
    encoder = MiT(
        ndim=3,
        in_channels=1,
        widths=(4, 8),
        depths=(1, 1),
        heads=(1, 2),
        strides=((1, 4, 4), (1, 2, 2)),
        reductions=((1, 2, 2), 1),
    )
    assert encoder.divisor == (1, 8, 8)
    assert encoder.stages[0][0].project.kernel_size == (1, 7, 7)
    sizes = [tuple(x.shape[2:]) for x in encoder(torch.zeros(1, 1, 3, 16, 8))]
    assert sizes == [(3, 4, 2), (3, 2, 1)]


def test_a_dropped_branch_is_left_out_for_the_whole_image_and_scaled_elsewhere():
    torch.manual_seed(0)
    block = Block(2, width=4, heads=1, reduction=(1, 1), expansion=2, drop_path=0.75)
    nn.init.zeros_(block.attention.project.weight)  # only the Mix-FFN adds something
    nn.init.zeros_(block.attention.project.bias)
    x = torch.randn(1, 3, 3, 4).repeat(40, 1, 1, 1)
    branch = block.eval()(x) - x
    added = block.train()(x) - x
    kept = added.flatten(1).abs().sum(1) > 0
    assert 0 < kept.sum() < 20
    torch.testing.assert_close(added[kept], 4 * branch[kept])
    assert torch.equal(added[~kept], torch.zeros_like(added[~kept]))


def test_drop_rates_grow_to_the_one_given():
    encoder = MiT(ndim=2, in_channels=1, drop_path=0.7)
    rates = [layer.drop_path for stage in encoder.stages for layer in stage[1:-1]]
    assert rates == pytest.approx([i / 10 for i in range(8)])


def test_arguments_that_do_not_fit_are_explained():
    with pytest.raises(ConfigError, match="5 heads do not divide the 64 channels"):
        SegFormer(ndim=2, in_channels=1, num_classes=2, heads=(1, 5, 5, 8))
    with pytest.raises(ConfigError, match=r"arguments\.strides has 2 entries for 4 levels"):
        SegFormer(ndim=2, in_channels=1, num_classes=2, strides=(4, 2))
    with pytest.raises(ConfigError, match="one per level"):
        SegFormer(ndim=2, in_channels=1, num_classes=2, depths=(1, 2))


HF_NAMES = {
    r"segformer\.stages\.(\d)\.patch_embeddings\.proj\.": r"encoder.stages.\1.0.project.",
    r"segformer\.stages\.(\d)\.patch_embeddings\.layer_norm\.": r"encoder.stages.\1.0.norm.",
    r"attention\.sequence_reduction\.sequence_reduction\.": "attention.reduce.",
    r"attention\.sequence_reduction\.layer_norm\.": "attention.norm.",
    r"attention\.q_proj\.": "attention.query.",
    r"attention\.o_proj\.": "attention.project.",
    r"layernorm_before\.": "norm1.",
    r"layernorm_after\.": "norm2.",
    r"mlp\.fc1\.": "ffn.expand.",
    r"mlp\.dwconv\.dwconv\.": "ffn.mix.",
    r"mlp\.fc2\.": "ffn.project.",
    r"decode_head\.linear_projections\.(\d)\.proj\.": r"project.\1.",
    r"decode_head\.linear_fuse\.": "fuse.0.",
    r"decode_head\.batch_norm\.": "fuse.1.",
    r"decode_head\.classifier\.": "head.",
}


def from_hf(state: dict[str, torch.Tensor], depth: int) -> dict[str, torch.Tensor]:
    """Give the weights of Hugging Face's SegFormer our names and shapes."""
    ours = {}
    for old, value in state.items():
        name = old
        for pattern, new in HF_NAMES.items():
            name = re.sub(pattern, new, name)
        block = re.fullmatch(r"segformer\.stages\.(\d)\.blocks\.(\d+)\.(.*)", name)
        if block:
            name = f"encoder.stages.{block[1]}.{1 + int(block[2])}.{block[3]}"
        name = re.sub(
            r"segformer\.stages\.(\d)\.layer_norm\.", rf"encoder.stages.\1.{depth + 1}.", name
        )
        if "v_proj" in name:
            continue
        if "k_proj" in name:
            name = name.replace("k_proj", "key_value")
            value = torch.cat((value, state[old.replace("k_proj", "v_proj")]))
        if re.fullmatch(r"project\.\d\.weight", name):
            value = value[..., None, None]
        ours[name] = value
    return ours


def test_logits_equal_those_of_hugging_face():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_labels=5, depths=[2, 2, 2, 2], hidden_sizes=[8, 16, 20, 32], decoder_hidden_size=24
    )
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    for name, value in theirs.state_dict().items():
        if value.dtype.is_floating_point:
            value.uniform_(0.5, 1.5) if "norm" in name else value.normal_(0, 0.2)
    ours = SegFormer(
        ndim=2, in_channels=3, num_classes=5, widths=(8, 16, 20, 32), decoder_channels=24
    ).eval()
    ours.load_state_dict(from_hf(theirs.state_dict(), depth=2))
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = nn.functional.interpolate(theirs(image).logits, (64, 96), mode="bilinear")
        assert expected.std() > 0.1
        torch.testing.assert_close(ours(image), expected, atol=1e-4, rtol=1e-4)
