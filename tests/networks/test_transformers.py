"""ViT, SETR, Segmenter, TransUNet, MaskFormer: what each adds to the contract."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks import NETWORKS
from medseg.networks.encoders.vit import ViT
from medseg.networks.maskformer import MaskFormer
from medseg.networks.query_decoder import sine_positions
from medseg.networks.segmenter import Segmenter
from medseg.networks.setr import SETR
from medseg.networks.standard_blocks import standardised
from medseg.networks.transformer import Attention, DropPath, Positions
from medseg.networks.transunet import TransUNet
from tests.networks.test_contract import make

TINY = {"embed_dim": 8, "depth": 4, "heads": 2, "patch": 2, "grid": 3}


def millions(name, num_classes, **arguments):
    with torch.device("meta"):
        network = NETWORKS[name](ndim=2, in_channels=3, num_classes=num_classes, **arguments)
    total = sum(p.numel() for p in network.parameters())
    return (total - sum(p.numel() for p in getattr(network, "aux", nn.Module()).parameters())) / 1e6


def test_parameters_of_the_reference_forms():
    assert round(millions("segmenter", 150, grid=32), 1) == 26.0
    assert round(millions("segmenter", 150, grid=32, embed_dim=768, heads=12), 1) == 102.5
    assert round(millions("transunet", 9), 1) == 105.3
    for decoder in ("naive", "pup", "mla"):  # known as 304 to 310 alone
        assert 304 < millions(f"setr_{decoder}", 19, grid=48) < 311
    assert 41 < millions("maskformer", 19) < 42


def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    ours = Attention(8, 2)
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat((ours.query.weight, ours.key_value.weight)))
        theirs.in_proj_bias.copy_(torch.cat((ours.query.bias, ours.key_value.bias)))
        theirs.out_proj.load_state_dict(ours.project.state_dict())
    x, context, places = torch.randn(2, 5, 8), torch.randn(2, 7, 8), torch.randn(1, 7, 8)
    expected = theirs(x, context + places, context)[0]
    torch.testing.assert_close(ours(x, context, places), expected, atol=1e-6, rtol=1e-4)
    with pytest.raises(ConfigError, match="3 heads do not divide the 8 channels"):
        Attention(8, 3)


def test_a_dropped_branch_is_left_out_for_whole_images():
    torch.manual_seed(0)
    drop, x = DropPath(0.75).train(), torch.ones(200, 2, 3)
    out = drop(x)
    assert set(out.unique().tolist()) == {0.0, 4.0}
    assert torch.equal(out, out[:, :1, :1].expand_as(out))
    assert torch.equal(drop.eval()(x), x)


@pytest.mark.parametrize("ndim", [2, 3])
def test_positions_are_interpolated_and_exact_on_their_own_grid(ndim):
    positions = Positions(2, (4,) * ndim)
    assert torch.equal(positions((4,) * ndim), positions.weight)
    ramp = torch.arange(4.0).view(4, *(1,) * (ndim - 1)).expand(4, *(4,) * (ndim - 1))
    positions.weight.data[:] = ramp
    fine = positions((8,) * ndim)[(0, 0, slice(None), *(0,) * (ndim - 1))]
    torch.testing.assert_close(fine, (torch.arange(8) / 2 - 0.25).clamp(0, 3))


def test_a_vision_transformer_gives_the_layers_asked_for():
    torch.manual_seed(0)
    vit = ViT(ndim=2, in_channels=1, take=(1, 3), **TINY).eval()
    image = torch.randn(1, 1, 6, 8)
    maps = vit(image)
    assert [x.shape for x in maps] == [(1, 8, 3, 4)] * 2
    shorter = ViT(ndim=2, in_channels=1, **{**TINY, "depth": 2}).eval()
    shorter.load_state_dict(
        {k: v for k, v in vit.state_dict().items() if not k.startswith(("layers.2", "layers.3"))}
    )
    torch.testing.assert_close(shorter(image)[-1], maps[0])
    with pytest.raises(ConfigError, match=r"network\.arguments\.take is \(1, 2\)"):
        ViT(ndim=2, in_channels=1, take=(1, 2), **TINY)


@pytest.mark.parametrize(("decoder", "aux"), [("naive", 3), ("pup", 3), ("mla", 4)])
def test_setr_supervises_the_layers_in_between(decoder, aux):
    network = SETR(
        ndim=2, in_channels=1, num_classes=3, decoder=decoder, width=0.0625, **{**TINY, "depth": 12}
    ).train()
    assert network.encoder.take == ((2, 5, 8, 11) if decoder == "mla" else (4, 7, 9, 11))
    out = network(torch.randn(2, 1, 8, 8))
    assert len(out.aux) == aux
    assert set(out.aux_weights) == {0.4}
    with torch.device("meta"):
        large = SETR(ndim=2, in_channels=1, num_classes=3, decoder=decoder)
    assert large.encoder.take == ((5, 11, 17, 23) if decoder == "mla" else (9, 14, 19, 23))


def test_segmenter_scores_are_cosines_normalised_over_the_classes():
    network = make("segmenter", 2).eval()
    seen = []
    network.head.scale.register_forward_hook(lambda m, given, out: seen.append((given[0], out)))
    network(torch.randn(1, 2, 8, 8))
    cosines, scores = seen[0]
    assert cosines.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(scores.mean(-1), torch.zeros(1, 16), atol=1e-5, rtol=0)
    with pytest.raises(ConfigError, match="no 'masc'; did you mean 'mask'"):
        Segmenter(ndim=2, in_channels=1, num_classes=2, decoder="masc", **TINY)


@pytest.mark.parametrize("ndim", [2, 3])
def test_segmenter_tells_one_class_from_none(ndim):
    torch.manual_seed(0)
    network = Segmenter(ndim=ndim, in_channels=1, num_classes=1, **TINY).eval()
    assert network(torch.randn(1, 1, *(8,) * ndim)).std() > 0


def test_transunet_weights_have_mean_0_and_variance_1():
    weight = standardised(torch.randn(3, 2, 5, 5) * 7 + 2).flatten(1)
    torch.testing.assert_close(weight.mean(1), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(weight.var(1, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    with pytest.raises(ConfigError, match=r"decoder_channels has 2 entries for 4 strides"):
        TransUNet(ndim=2, in_channels=1, num_classes=2, decoder_channels=(8, 8))


def test_maskformer_logits_are_the_log_of_summed_masks():
    network = make("maskformer", 2).eval()
    x, pixels = torch.randn(1, 16, 32), torch.randn(1, 32, 2, 3)
    head = network.head
    answers, shapes = head.classify(x), head.embed(x) @ pixels.flatten(2)
    logits = head._segment(answers, shapes, (2, 3))
    classes, masks = answers[0].softmax(-1), shapes[0].sigmoid()
    wanted = sum(classes[q, 1] * masks[q, 4] for q in range(16)).log()  # class 1, voxel (1, 1)
    torch.testing.assert_close(logits[0, 1, 1, 1], wanted)
    out = network.train()(torch.randn(2, 2, 16, 16))
    assert len(out.aux) == 1
    assert out.aux_weights == (MaskFormer.aux_weight,)


def test_sine_positions_differ_from_place_to_place():
    waves = sine_positions(8, (3, 4), torch.device("cpu"))
    assert waves.shape == (1, 8, 3, 4)
    assert waves[0, 0, 1, 2].item() == pytest.approx(math.sin(1.5 * 2 * math.pi / 3), abs=1e-6)
    assert len({tuple(v) for v in waves[0].flatten(1).T.tolist()}) == 12
