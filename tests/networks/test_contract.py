"""Every network of the table keeps the same promises, in 2-D and 3-D.

Plain ``pytest`` asks one honest setting of each; ``pytest tests/networks -m matrix`` the rest: the
other depths of a family, and in 3-D what does not depend on the dimension.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.nn import functional

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError
from medseg.networks import NETWORKS, Prediction, SliceWise, build_network

TINY_RESNET = {
    "encoder": "resnet18_v1c",
    "width": 0.125,
    "strides": (1, 1, 2, 2, 2),
    "dropout": 0.0,
}
NO_DROPOUT = {key: value for key, value in TINY_RESNET.items() if key != "dropout"}
TINY_VGG = {
    "width": 0.0625,
    "strides": (1, 1, 2, 1, 2),
    "kernel_size": 3,
    "norm": "batch",
    "dropout": 0.0,
}
TINY_VIT = {
    "embed_dim": 16,
    "depth": 3,
    "heads": 2,
    "patch": 2,
    "grid": 4,
    "drop_path": 0.0,
}
SMALL = {
    **dict.fromkeys(("fcn32s", "fcn16s", "fcn8s"), TINY_VGG),
    "fcn": {**TINY_RESNET, "output_stride": 2},
    "pspnet": {**TINY_RESNET, "output_stride": 2},
    "deeplabv3": {**TINY_RESNET, "output_stride": 2, "rates": (1, 2)},
    "deeplabv3plus": {**TINY_RESNET, "output_stride": 4, "rates": (1, 2)},
    **{
        name: {**TINY_RESNET, "output_stride": 2}
        for name in ("apcnet", "dmnet", "encnet", "fastfcn", "ocrnet")
    },
    "psanet": {**TINY_RESNET, "output_stride": 2, "mask": 7},
    "deeplabv1": {
        "width": 0.0625,
        "strides": (1, 1, 2, 1, 2),
        "output_stride": 2,
        "norm": "batch",
        "rate": 2,
        "dropout": 0.0,
    },
    "deeplabv2": {**NO_DROPOUT, "output_stride": 2, "rates": (1, 2)},
    "duc": {**NO_DROPOUT, "output_stride": 2, "hybrid": ((1, 2), (1, 2))},
    "gcn": {**NO_DROPOUT, "large_kernel": 3},
    "refinenet": {**TINY_RESNET, "channels": (128, 64), "pools": 2, "head_norm": "batch"},
    "bisenet": TINY_RESNET,
    "bisenetv2": {"width": 0.125, "strides": (1, 1, 2, 2, 2), "expansion": 2, "dropout": 0.0},
    "dfanet": {
        "width": 0.75,
        "blocks": (1, 1, 1),
        "dense_width": 32,
        "strides": (1, 1, 2, 2, 2, 1),
    },
    "encoder_unet": {**NO_DROPOUT, "decoder_channels": (64, 64, 64, 64, 64)},
    "semantic_fpn": TINY_RESNET,
    "upernet": {**TINY_RESNET, "channels": 128},
    **{
        f"segformer_b{size}": {
            "widths": (8, 16),
            "depths": (1, 1),
            "heads": (1, 2),
            "strides": (2, 2),
            "decoder_channels": 16,
            "drop_path": 0.0,
            "dropout": 0.0,
        }
        for size in range(6)
    },
    "segnext": {
        "width": 0.5,
        "strides": (1, 1, 2, 2, 2),
        "ham_channels": 32,
        "channels": 32,
        "rank": 4,
        "drop_path": 0.0,
        "dropout": 0.0,
    },
    **{
        f"setr_{decoder}": {
            **TINY_VIT,
            "take": (0, 1, 2),
            "width": 0.0625,
        }
        for decoder in ("naive", "pup", "mla")
    },
    "segmenter": {**TINY_VIT, "decoder_depth": 1},
    "segmenter_linear": TINY_VIT,
    "transunet": {
        "first": 4,
        "blocks": (1, 1),
        "embed_dim": 16,
        "depth": 2,
        "heads": 2,
        "grid": 4,
        "decoder_channels": (16, 8, 8),
        "strides": (1, 2, 2),
        "dropout": 0.0,
    },
    "pointrend": {**TINY_RESNET, "points": 16, "inference_points": 4096, "point_channels": 32},
    "knet": {
        **NO_DROPOUT,
        "output_stride": 2,
        "rates": (1, 2),
        "channels": 128,
        "rounds": 2,
        "heads": 2,
    },
    "maskformer": {
        **NO_DROPOUT,
        "encoder": "resnet18",
        "channels": 32,
        "heads": 2,
        "layers": 2,
        "hidden": 32,
        "queries": 16,
    },
    "gated_scnn": {**TINY_RESNET, "output_stride": 2, "rates": (1, 2), "shape_channels": 16},
    "mnet": {"widths": (4, 8, 8)},
    "wnet": {"widths": (4, 8, 8), "radius": 1},
    "ynet": {"widths": (8, 16), "blocks": 1, "dense_width": 8, "strides": (1, 2)},
    "gruunet": {"widths": (4, 8), "state_channels": 8},
    **{
        f"fc_densenet{depth}": {"layers": (2, 2), "growth": 4, "first": 4, "dropout": 0.0}
        for depth in (56, 67, 103)
    },
    "deconvnet": {"widths": (16, 16), "convs": 1, "dense_width": 16, "dense_kernel": 2},
    "enet": {
        "filters": 14,
        "widths": (32, 32),
        "regular": 1,
        "repeats": 1,
        "dilations": (2, 4),
        "dropout": (0.0, 0.0),
    },
    "linknet": {"widths": (8, 16), "blocks": 1, "first_kernel": 3},
    "segnet": {"widths": (16, 16), "convs": 1},
    "segnet_basic": {"widths": (8, 8), "kernel_size": 3},
    "attention_unet": {"widths": (4, 8, 8)},
    "resenc_unet": {"widths": (8, 8, 8), "blocks": (1, 2, 1), "zero_init": False},
    "unet_2015": {"widths": (8, 16), "dropout": 0.0},
    "unetpp": {"widths": (4, 4, 8)},
    "unet": {"widths": (4, 8, 8, 16)},
    "vnet": {"widths": (4, 8), "convs": 2, "decoder_convs": 1},
}
LAYER_NORMED = {"segmenter", "segmenter_linear"}  # transformers from end to end
UNPOOL = {"deconvnet", "enet", "segnet", "segnet_basic"}
REPEATS = {  # other depths of a network that is asked, small as they are here the same
    *(f"segformer_b{size}" for size in range(1, 6)),
    *("fc_densenet56", "fc_densenet67", "fcn16s", "fcn32s"),
    "segmenter_linear",
}
# class tokens and queries fall together at the steps that suit convolutions
PATIENT = {"segmenter": (1e-3, 160), "maskformer": (1e-3, 80)}  # learning rate and steps
MATRIX = pytest.mark.matrix


def every(dims: Sequence[int], *, plain: Sequence[int]) -> pytest.MarkDecorator:
    """Ask each network for each of ``dims``; outside of ``plain`` in the matrix alone."""
    return pytest.mark.parametrize(
        ("name", "ndim"),
        [
            pytest.param(n, d, marks=MATRIX if n in REPEATS or d not in plain else ())
            for n in sorted(NETWORKS)
            for d in dims
        ],
    )


BOTH = every((2, 3), plain=(2, 3))
FLAT_FIRST = every((2, 3), plain=(2,))
FLAT = every((2,), plain=(2,))
SIZES = [(17, 9, 5), pytest.param((16, 8, 8), marks=MATRIX), (1, 1, 1)]
SIZES += [pytest.param((3, 1, 20), marks=MATRIX)]


def make(name: str, ndim: int, **arguments) -> nn.Module:
    torch.manual_seed(0)
    wanted = {"ndim": ndim, "in_channels": 2, "num_classes": 3, **SMALL[name], **arguments}
    return build_network(NetworkSpec(name=name, arguments=wanted))


def logits_of(output) -> torch.Tensor:
    return output.logits if isinstance(output, Prediction) else output


def test_every_network_has_small_arguments_here():
    assert set(SMALL) == set(NETWORKS)


@BOTH
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_any_size_and_batch_one(name, ndim, training, size):
    network = make(name, ndim).train(training)
    image = torch.randn(1, 2, *size[:ndim])
    out = network(image)
    assert logits_of(out).shape == (1, 3, *size[:ndim])
    assert logits_of(out).isfinite().all()
    if not training:
        assert isinstance(out, torch.Tensor)


@BOTH
def test_every_parameter_gets_a_gradient(name, ndim):
    network = make(name, ndim).train()
    out = network(torch.randn(2, 2, *(16,) * ndim))
    total = logits_of(out).square().mean()
    if isinstance(out, Prediction):
        total = total + sum(x.square().mean() for x in (*out.aux, *out.extras.values()))
    total.backward()
    dead = [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert not dead


@FLAT_FIRST
def test_each_normalisation_trains_with_one_odd_image(name, ndim):
    image = torch.randn(1, 2, *(9, 5, 3)[:ndim])
    if name in LAYER_NORMED:
        with pytest.raises(ConfigError, match="norm"):
            make(name, ndim, norm="batch")
        return
    for norm in ("instance", "batch", "group"):
        logits = logits_of(make(name, ndim, norm=norm).train()(image))
        assert logits.shape == (1, 3, *image.shape[2:])
        assert logits.isfinite().all()


@FLAT_FIRST
def test_bfloat16_autocast_is_near_float32(name, ndim):
    network = make(name, ndim).eval()
    image = torch.randn(2, 2, *(16,) * ndim)
    with torch.no_grad():
        exact = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            near = network(image)
    assert near.dtype == torch.bfloat16
    # rounding ties places, so unpooling puts some values next door; test_unpooling holds them fast
    limit = 0.3 if name in UNPOOL else 0.05
    assert (near.float() - exact).norm() < limit * exact.norm()


@FLAT_FIRST
def test_state_dict_round_trip_and_seed(name, ndim):
    network = make(name, ndim).eval()
    image = torch.randn(1, 2, *(8,) * ndim)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    torch.manual_seed(5)
    other = build_network(
        NetworkSpec(
            name=name, arguments={"ndim": ndim, "in_channels": 2, "num_classes": 3, **SMALL[name]}
        )
    ).eval()
    assert not torch.equal(other(image), network(image))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(image), network(image))
    assert torch.equal(make(name, ndim).eval()(image), network(image))


@every((2, 3), plain=())
def test_an_exported_program_gives_the_same_logits(name, ndim):
    network = make(name, ndim).eval()
    image = torch.randn(1, 2, *(16,) * ndim)
    program = torch.export.export(network, (image,))
    torch.testing.assert_close(program.module()(image), network(image), atol=1e-5, rtol=1e-4)


@FLAT_FIRST
def test_one_small_image_is_learnt_by_heart(name, ndim):
    network = make(name, ndim).train()
    generator = torch.Generator().manual_seed(1)
    label = torch.randint(0, 3, (1, *(2,) * ndim), generator=generator)
    for axis in range(1, ndim + 1):
        label = label.repeat_interleave(4, axis)
    image = torch.stack((label.float(), label.float() ** 2), 1)
    image = image + 0.1 * torch.randn(image.shape, generator=generator)
    rate, steps = PATIENT.get(name, (1e-2, 40))
    optimizer = torch.optim.Adam(network.parameters(), rate)
    for _ in range(steps):
        loss = functional.cross_entropy(logits_of(network(image)), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3
    assert (logits_of(network(image)).argmax(1) == label).float().mean() > 0.95


@FLAT
def test_a_padded_image_gives_what_the_padding_by_hand_gives(name, ndim):
    network = make(name, ndim).eval()
    image = torch.randn(1, 2, 13, 16)
    step = network.divisor[0]
    by_hand = functional.pad(image, (0, 0, 0, -13 % step), mode="replicate")
    assert torch.equal(network(image), network(by_hand)[..., :13, :])


@pytest.mark.parametrize("name", ["unet", "vnet"])
def test_strides_and_kernels_per_axis_leave_a_thin_axis_alone(name):
    levels = len(SMALL[name]["widths"])
    network = make(
        name,
        3,
        strides=(1, *((1, 2, 2) for _ in range(levels - 1))),
        kernel_sizes=((1, 3, 3),) * levels,
        norm="none",
    ).eval()
    assert network.divisor[0] == 1
    image = torch.randn(1, 2, 2, 16, 16)
    slices = torch.cat([network(image[:, :, i : i + 1]) for i in range(2)], dim=2)
    torch.testing.assert_close(network(image), slices, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slicewise_equals_the_network_slice_by_slice(axis):
    network = make("unet", 2, norm="instance")
    image = torch.randn(2, 2, 9, 10, 11)
    wrapped = SliceWise(network, axis)
    assert wrapped.divisor[axis] == 1
    one_by_one = torch.stack(
        [network.eval()(part) for part in image.unbind(axis + 2)], dim=axis + 2
    )
    torch.testing.assert_close(wrapped.eval()(image), one_by_one, atol=1e-5, rtol=1e-4)
    out = wrapped.train()(image)
    assert out.logits.shape == (2, 3, 9, 10, 11)
    assert out.aux[0].shape[2 + axis] == image.shape[2 + axis]


def test_build_network_wraps_for_slices_and_explains_mistakes():
    arguments = {"ndim": 2, "in_channels": 1, "num_classes": 2, "widths": (4, 8)}
    network = build_network(NetworkSpec(name="unet", arguments=arguments), slice_axis=2)
    assert network.eval()(torch.zeros(1, 1, 8, 8, 3)).shape == (1, 2, 8, 8, 3)
    with pytest.raises(ConfigError, match="did you mean 'unet'"):
        build_network(NetworkSpec(name="unett", arguments=arguments))
    with pytest.raises(ConfigError, match=r"unet.*wide"):
        build_network(NetworkSpec(name="unet", arguments={**arguments, "wide": 3}))
    with pytest.raises(ConfigError, match="norm"):
        build_network(NetworkSpec(name="unet", arguments={**arguments, "norm": "bach"}))
