from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError
from medseg.networks import NETWORKS, build_network
from medseg.planning.narrow import (
    BESIDE_WIDTH,
    CPU_STEP_FLOPS,
    WIDTH_ARGUMENTS,
    affordable_batch,
    forward_flops,
    narrowed_arguments,
    scale_words,
    width_defaults,
)

BASE = {"ndim": 2, "in_channels": 3, "num_classes": 12}


def test_operations_by_hand(monkeypatch):
    monkeypatch.setitem(NETWORKS, "one", lambda **_: nn.Conv2d(3, 8, 3, padding=1))
    spec = NetworkSpec(name="one", arguments=BASE)
    # a multiplication and an addition per weight and voxel, for five patches
    assert forward_flops(spec, (10, 20), 5) == 2 * 3 * 8 * 9 * 10 * 20 * 5


def test_segnet_is_narrowed_to_what_a_step_may_cost():
    spec = NetworkSpec(name="segnet", arguments=BASE)
    assert forward_flops(spec, (288, 384), 7) > CPU_STEP_FLOPS
    narrow, scale = narrowed_arguments(spec, (288, 384), 7)
    assert scale == 0.25
    assert narrow == {"widths": (16, 32, 64, 128, 128)}
    less = NetworkSpec(name="segnet", arguments={**BASE, **narrow})
    assert forward_flops(less, (288, 384), 7) <= CPU_STEP_FLOPS
    half = NetworkSpec(name="segnet", arguments={**BASE, "widths": (32, 64, 128, 256, 256)})
    assert forward_flops(half, (288, 384), 7) > CPU_STEP_FLOPS  # the largest that fits


def test_what_fits_and_what_is_given_stays():
    assert narrowed_arguments(NetworkSpec(name="enet", arguments=BASE), (64, 64), 2) == ({}, 1.0)
    given = NetworkSpec(name="segnet", arguments={**BASE, "widths": (64,) * 5})
    assert narrowed_arguments(given, (288, 384), 7) == ({}, 1.0)


def test_only_channels_are_widths():
    spec = NetworkSpec(name="deeplabv3", arguments=BASE)
    assert width_defaults(spec) == {"width": 1.0}
    assert width_defaults(NetworkSpec(name="resenc_unet", arguments=BASE)) == {}  # None: its own


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {"width": 1.0}),
        ({"width": 0.5}, {}),  # the head's channels are not narrowed behind the user's back
        ({"channels": 64}, {"width": 1.0}),
    ],
)
def test_heads_follow_their_encoder(given, found):
    for name in ("deeplabv3", "fcn8s", "semantic_fpn"):
        spec = NetworkSpec(name=name, arguments={**BASE, **given})
        assert width_defaults(spec) == found


def channels_of(name: str, **arguments) -> set[int]:
    """Return the sizes that occur in a network's weights."""
    with torch.device("meta"):
        network = build_network(NetworkSpec(name=name, arguments={**BASE, **arguments}))
    return {size for weight in network.parameters() for size in weight.shape}


def test_every_layer_is_scaled_once():
    """Half of all channels is a quarter of the work, but for image and classes."""
    plain = forward_flops(NetworkSpec(name="deeplabv3", arguments=BASE), (64, 64), 2)
    narrow, scale = narrowed_arguments(
        NetworkSpec(name="deeplabv3", arguments=BASE), (64, 64), 2, limit=plain / 2
    )
    assert (narrow, scale) == ({"width": 0.5}, 0.5)
    assert 2048 in channels_of("deeplabv3")
    assert {1024, 256} <= channels_of("deeplabv3", **narrow)  # encoder's last, head's 512
    assert 128 in channels_of("maskformer", width=0.5, channels=128)
    assert {"width", "channels"} == set(
        width_defaults(NetworkSpec(name="maskformer", arguments=BASE))
    )


@pytest.mark.matrix
@pytest.mark.parametrize("name", NETWORKS)
def test_width_multiplies_what_it_is_said_to_multiply(name):
    build = NETWORKS[name]
    if "width" not in width_defaults(NetworkSpec(name=name, arguments=BASE)):
        pytest.skip("it has no width")
    for word in parameters_of(build).keys() & set(WIDTH_ARGUMENTS) - {"width", "widths", "first"}:
        usual_sizes = parameters_of(build)[word].default
        sizes = (352,) * len(usual_sizes) if isinstance(usual_sizes, tuple) else 352
        seen = channels_of(name, width=0.25, **{word: sizes})
        usual = channels_of(name, width=0.25)
        assert (352 if word in BESIDE_WIDTH.get(name, ()) else 88) in seen - usual, word


def parameters_of(build) -> dict[str, inspect.Parameter]:
    """Return the arguments of a network and of its bases, the network's own first."""
    found: dict[str, inspect.Parameter] = {}
    for one in getattr(build, "__mro__", (build,)):
        found = {**inspect.signature(one).parameters, **found}
    return found


def test_networks_of_other_libraries_have_widths_too():
    spec = NetworkSpec(name="monai:BasicUNet", arguments=BASE)
    assert width_defaults(spec) == {"features": (32, 32, 64, 128, 256, 32)}
    given = NetworkSpec(name="monai:BasicUNet", arguments={**BASE, "features": (8,) * 6})
    assert width_defaults(given) == {}
    assert width_defaults(NetworkSpec(name="monai:VNet", arguments=BASE)) == {}  # has none
    assert width_defaults(NetworkSpec(name="smp:unet", arguments=BASE)) == {}
    assert width_defaults(NetworkSpec(name="fastfcn", arguments=BASE)) == {"width": 1.0}


def test_heads_that_do_not_divide_the_channels_end_the_narrowing_not_before(monkeypatch):
    class Grouped(nn.Module):
        """A convolution of ``width`` channels, which must be a multiple of 16."""

        def __init__(self, *, width=128, **_):
            super().__init__()
            if width % 16:
                raise ConfigError("width")
            self.conv = nn.Conv2d(3, width, 1)

        def forward(self, image):
            return self.conv(image)

    monkeypatch.setitem(NETWORKS, "grouped", Grouped)
    spec = NetworkSpec(name="grouped", arguments=BASE)
    whole = forward_flops(spec, (10, 10), 1)
    # a step of a 16th of the work is asked for at once, which makes 8 channels
    assert narrowed_arguments(spec, (10, 10), 1, limit=whole / 300) == ({"width": 16}, 1 / 8)


@pytest.mark.parametrize(("share", "batch"), [(1.0, 8), (0.5, 4), (0.01, 2)])
def test_a_network_of_one_width_gets_fewer_patches(monkeypatch, share, batch):
    monkeypatch.setitem(NETWORKS, "one", lambda **_: nn.Conv2d(3, 8, 3, padding=1))
    spec = NetworkSpec(name="one", arguments=BASE)
    limit = forward_flops(spec, (10, 20), 8) * share
    assert affordable_batch(spec, (10, 20), 8, limit) == batch


def test_words():
    assert scale_words(0.25, {"width": 0.25, "channels": 128}) == "width, channels x 1/4"


@pytest.mark.parametrize("name", ["segformer_b0", "pspnet", "fcn8s", "semantic_fpn", "linknet"])
def test_networks_of_every_kind_can_be_narrowed_and_built(name):
    spec = NetworkSpec(name=name, arguments=BASE)
    narrow, scale = narrowed_arguments(spec, (64, 64), 2, limit=1e8)
    with torch.device("meta"):
        build_network(NetworkSpec(name=name, arguments={**BASE, **narrow}))
    assert scale < 1


def test_a_network_that_needs_values_keeps_its_form(monkeypatch):
    class Asks(nn.Module):
        def __init__(self, *, width=1.0, **_):
            super().__init__()

        def forward(self, image):
            return image * float(image.mean())

    monkeypatch.setitem(NETWORKS, "asks", Asks)
    spec = NetworkSpec(name="asks", arguments=BASE)
    assert forward_flops(spec, (8, 8), 2) is None
    assert narrowed_arguments(spec, (8, 8), 2) == ({}, 1.0)


def test_widths_of_a_base_class_count():
    class Base(nn.Module):
        def __init__(self, *, width=1.0, channels=512):
            super().__init__()

    class Derived(Base):
        def __init__(self, *, bins=4, **arguments):
            super().__init__(**arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "derived", Derived)
        found = width_defaults(NetworkSpec(name="derived", arguments=BASE))
    assert found == {"width": 1.0}
