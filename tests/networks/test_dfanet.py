from __future__ import annotations

import pytest
import torch

from medseg.networks.dfanet import DFANet

TINY = {"in_channels": 1, "num_classes": 3, "blocks": (1, 2, 1), "dense_width": 8, "width": 0.25}


def test_parameter_count_of_backbones_a_and_b():
    with torch.device("meta"):
        a = DFANet(ndim=2, in_channels=3, num_classes=19)
        b = DFANet(ndim=2, in_channels=3, num_classes=19, widths=(32, 64, 128))
    counts = [sum(p.numel() for p in network.parameters()) / 1e6 for network in (a, b)]
    assert [round(count, 2) for count in counts] == [1.84, 1.11]


@pytest.mark.parametrize("ndim", [2, 3])
def test_each_pass_begins_one_step_further_and_reads_the_stages_before(ndim):
    encoder = DFANet(ndim=ndim, **TINY).encoder.eval()
    maps = encoder(torch.randn(1, 1, *(64,) * ndim))
    assert [x.shape[-1] for x in maps] == [16, 4, 8, 2, 4, 1]
    assert [s[0] for s in encoder.strides] == [4, 16, 8, 32, 16, 64]
    read = [[stage[0].body[0][0][0].in_channels for stage in stages] for stages in encoder.passes]
    assert read == [[2, 12, 24], [48 + 12, 12 + 24, 24 + 48], [48 + 12, 12 + 24, 24 + 48]]


def test_attention_is_the_channels_times_what_their_means_say():
    torch.manual_seed(0)
    attend = DFANet(ndim=2, **TINY).encoder.attend[0]
    x = torch.rand(2, 48, 3, 3)
    dense, (conv, affine, _) = attend.dense, attend.back
    gate = dense(x.mean((2, 3))) @ conv.weight.flatten(1).T * affine.weight[:, 0, 0]
    gate = (gate + affine.bias[:, 0, 0]).relu()
    torch.testing.assert_close(attend(x), x * gate[..., None, None])


def test_the_decoder_adds_fused_low_maps_to_high_ones():
    torch.manual_seed(0)
    network = DFANet(ndim=2, **TINY).eval()
    maps = [torch.rand(1, c, 8, 8) for c in network.encoder.channels]
    head = network.head
    seen = [reduce(x) for reduce, x in zip(head.reduce, maps, strict=True)]
    fused = head.fuse(seen[0] + seen[2] + seen[4]) + seen[1] + seen[3] + seen[5]
    torch.testing.assert_close(head(maps), head.classify(fused))
