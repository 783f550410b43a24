from __future__ import annotations

import pytest

from medseg.errors import ConfigError, ManifestError
from medseg.labels import Label, LabelScheme, Region
from medseg.planning.planner import make_plan
from medseg.planning.wishes import SET, Wishes
from medseg.settings import NetworkSettings
from tests.planning.tiny import dataset


def decision(plan, key):
    return next(row for row in plan.decisions if row.key == key)


def test_hippocampus_on_a_cpu():
    plan = make_plan(dataset(), Wishes(), "cpu")
    assert plan.spacing == (1.0, 1.0, 1.0)
    assert plan.patch_size == (40, 56, 40)
    assert plan.batch_size == 8
    assert plan.slice_axis is plan.coarse_axis is None
    assert plan.mirror_axes == (0,)
    assert plan.budget == "2h"
    arguments = plan.network.arguments
    assert (arguments["ndim"], arguments["in_channels"], arguments["num_classes"]) == (3, 1, 3)
    assert arguments["widths"] == (12, 48, 96, 192)
    assert arguments["thin"]
    assert arguments["norm"] == "batch"


def test_hippocampus_on_a_gpu():
    plan = make_plan(
        dataset(shapes=((36, 50, 35),) * 260, spacings=((1.0,) * 3,) * 260), Wishes(), "cuda:0"
    )
    assert plan.patch_size == (40, 56, 40)
    assert plan.batch_size == 9
    assert plan.network.arguments["widths"] == (32, 64, 128, 256)
    assert not plan.network.arguments["thin"]


def test_every_decision_has_a_rule_and_its_data():
    plan = make_plan(dataset(), Wishes(), "cpu")
    keys = [row.key for row in plan.decisions]
    assert len(keys) == len(set(keys))
    assert {
        "normalization.image",
        "resample.spacing",
        "resample.coarse_axis",
        "network.ndim",
        "patch_sample.patch_size",
        "train.batch_size",
        "train.budget",
        "mirror_axes",
    } <= set(keys)
    assert all(row.rule and row.data for row in plan.decisions)


def test_what_the_config_sets_stands():
    wishes = Wishes(
        spacing=(2.0, 2.0, 3.0),
        order=1,
        crop=False,
        patch_size=(24, 32, 16),
        batch_size=3,
        budget="7it",
        network=NetworkSettings(arguments={"widths": (4, 8), "norm": "group"}),
    )
    plan = make_plan(dataset(), wishes, "cpu")
    assert plan.spacing == (2.0, 2.0, 3.0)
    assert (plan.order, plan.crop) == (1, False)
    assert (plan.patch_size, plan.batch_size, plan.budget) == ((24, 32, 16), 3, "7it")
    assert plan.network.arguments["widths"] == (4, 8)
    assert plan.network.arguments["norm"] == "group"
    assert len(plan.network.arguments["strides"]) == 2
    for key in (
        "resample.spacing",
        "patch_sample.patch_size",
        "train.batch_size",
        "train.budget",
        "network.arguments.widths",
    ):
        assert decision(plan, key).rule == SET


def test_each_network_argument_has_a_rule_and_data_of_its_own():
    plan = make_plan(dataset(), Wishes(), "cpu")
    rows = {key: decision(plan, f"network.arguments.{key}") for key in plan.network.arguments}
    assert rows["in_channels"].data == "channels image"
    assert rows["num_classes"].data == f"outputs {', '.join(plan.scheme.output_names)}"
    assert rows["strides"].data == "patch 40 x 56 x 40"
    assert "on a CPU" in rows["thin"].rule
    assert "on a CPU" in rows["residual"].rule
    own = ("strides", "kernel_sizes", "deep_supervision", "residual", "thin", "widths")
    assert len({rows[key].rule for key in own}) == len(own)


def test_slices_of_an_anisotropic_volume():
    data = dataset(spacings=((0.8, 0.8, 5.0),) * 4, shapes=((300, 200, 30),) * 4)
    plan = make_plan(data, Wishes(network=NetworkSettings(ndim=2)), "cpu")
    assert plan.slice_axis == plan.coarse_axis == 2
    assert plan.patch_size[2] == 1
    assert len(plan.patch_size) == 3
    assert plan.network.arguments["ndim"] == 2
    assert all(len(stride) == 2 for stride in plan.network.arguments["strides"])


def test_slices_of_an_isotropic_volume_are_axial():
    plan = make_plan(dataset(), Wishes(network=NetworkSettings(ndim=2)), "cpu")
    assert plan.slice_axis == 2
    assert plan.mirror_axes == (0,)


def test_a_flip_across_slices_is_none():
    data = dataset(spacings=((4.0, 0.8, 0.8),) * 10)
    plan = make_plan(data, Wishes(network=NetworkSettings(ndim=2)), "cpu")
    assert plan.slice_axis == 0
    assert plan.mirror_axes == ()


@pytest.mark.parametrize("patch_size", [(32, 32), (32, 32, 1)])
def test_a_slice_patch_can_be_given_with_two_or_three_axes(patch_size):
    wishes = Wishes(patch_size=patch_size, network=NetworkSettings(ndim=2))
    assert make_plan(dataset(), wishes, "cpu").patch_size == (32, 32, 1)


def test_photographs():
    data = dataset(
        spacings=((1.0, 1.0),) * 4,
        shapes=((360, 480),) * 4,
        channels=("red", "green", "blue"),
        modality="photo",
    )
    plan = make_plan(data, Wishes(), "cpu")
    assert len(plan.patch_size) == 2
    assert plan.mirror_axes == (1,)
    assert plan.network.arguments["in_channels"] == 3
    assert [n.scheme for n in plan.normalization] == ["zscore"] * 3


def test_ct_and_what_the_manifest_asks():
    ct = make_plan(dataset(modality="CT"), Wishes(), "cpu")
    assert (ct.normalization[0].scheme, ct.normalization[0].clip) == ("ct", (10.0, 200.0))
    asked = make_plan(dataset(modality="CT", normalization=("zscore",)), Wishes(), "cpu")
    assert asked.normalization[0].scheme == "zscore"
    assert decision(asked, "normalization.image").rule == "set in the manifest"


def test_regions_are_the_output_channels():
    labels = (Label(value=1, name="oedema"), Label(value=2, name="core"))
    scheme = LabelScheme(labels=labels, regions=(Region(name="whole", labels=("oedema", "core")),))
    plan = make_plan(dataset(scheme=scheme), Wishes(), "cpu")
    assert plan.network.arguments["num_classes"] == 1


def test_the_manifests_mirror_axes_stand():
    assert make_plan(dataset(mirror_axes=(0, 1, 2)), Wishes(), "cpu").mirror_axes == (0, 1, 2)
    assert make_plan(dataset(mirror_axes=()), Wishes(), "cpu").mirror_axes == ()


def test_a_mirror_axis_that_is_not_there():
    with pytest.raises(ManifestError, match="from 0 to 2"):
        make_plan(dataset(mirror_axes=(3,)), Wishes(), "cpu")


def test_synthetic_data_is_a_short_demonstration():
    assert make_plan(dataset(origin="SYNTHETIC"), Wishes(), "cpu").budget == "150s"


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (Wishes(spacing=(1.0, 1.0)), r"resample\.spacing: \[1.0, 1.0\] must be 3"),
        (Wishes(spacing=(1.0, 1.0, 0.0)), "3 positive"),
        (Wishes(patch_size=(32, 32)), "3 positive integers"),
        (
            Wishes(
                patch_size=(32, 32), network=NetworkSettings(ndim=2, arguments={"strides": (1, 5)})
            ),
            r"\[35, 35\] is",
        ),
        (Wishes(network=NetworkSettings(arguments={"strides": (1, (2, 2))})), "strides"),
    ],
)
def test_what_does_not_fit_is_refused(wishes, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(dataset(), wishes, "cpu")


def test_a_volume_network_on_photographs_is_refused():
    data = dataset(spacings=((1.0, 1.0),), shapes=((64, 64),))
    with pytest.raises(ConfigError, match="set it to 2 or auto"):
        make_plan(data, Wishes(network=NetworkSettings(ndim=3)), "cpu")


CAMVID = {
    "spacings": ((1.0, 1.0),) * 367,
    "shapes": ((360, 480),) * 367,
    "channels": ("red", "green", "blue"),
    "modality": "photo",
    "scheme": LabelScheme(labels=tuple(Label(value=i, name=f"class {i}") for i in range(1, 12))),
}
LIVER = {"spacings": ((1, 0.7676, 0.7676),) * 131, "shapes": ((482, 512, 512),) * 131}


def test_camvid_on_a_gpu_takes_the_whole_picture():
    # 360 x 480 can be halved six times, so the patch is padded to multiples of 64
    plan = make_plan(dataset(**CAMVID), Wishes(), "cuda:0")
    assert plan.patch_size == (384, 512)
    assert plan.spacing == (1.0, 1.0)
    assert plan.network.arguments["widths"] == (32, 64, 128, 256, 512, 512, 512)
    # 5 % of the pixels: 0.05 * 360 * 480 * 367 / (384 * 512) = 16.1
    assert plan.batch_size == 16
    assert plan.batch_dice


def test_camvid_on_a_cpu_stays_in_its_budget():
    plan = make_plan(dataset(**CAMVID), Wishes(), "cpu")
    assert plan.patch_size == (288, 384)
    assert plan.batch_size == 7
    assert plan.network.arguments["ndim"] == 2


def test_a_network_without_a_rule_is_narrowed_on_a_cpu():
    segnet = Wishes(network=NetworkSettings(name="segnet"))
    plan = make_plan(dataset(**CAMVID), segnet, "cpu")
    assert plan.network.arguments["widths"] == (16, 32, 64, 128, 128)
    assert "widths x 1/4" in decision(plan, "network.arguments.widths").rule
    assert "widths" not in make_plan(dataset(**CAMVID), segnet, "cuda:0").network.arguments


def test_presets_on_real_sizes():
    large = Wishes(network=NetworkSettings(name="resenc_unet", preset="L"))
    plan = make_plan(dataset(**LIVER), large, "cuda:0")
    assert (plan.patch_size, plan.batch_size) == ((192,) * 3, 2)
    assert decision(plan, "network.preset").value == "L"
    assert decision(plan, "train.memory").value == "24GB"
    assert make_plan(dataset(**LIVER), large, "cpu").patch_size == plan.patch_size  # asked for


def test_low_resolution_and_how_the_dice_is_taken():
    full = make_plan(dataset(**LIVER), Wishes(), "cuda:0")
    low = make_plan(dataset(**LIVER), Wishes(resolution="low"), "cuda:0")
    assert full.patch_size == low.patch_size == (128,) * 3
    assert low.spacing == pytest.approx([1.03**31, 0.7676 * 1.03**31, 0.7676 * 1.03**31])
    assert (full.batch_dice, low.batch_dice) == (True, False)
    assert "low is 2.5 x 1.919 x 1.919 mm" in decision(full, "resample.resolution").data
    alone = make_plan(dataset(), Wishes(), "cuda:0")
    assert not alone.batch_dice


@pytest.mark.parametrize(
    ("data", "network", "message"),
    [
        (dataset(), NetworkSettings(), r"covers 100% of the median case .* set it to full"),
        (dataset(), NetworkSettings(ndim=2), "low is for 3-D networks"),
        (dataset(**CAMVID), NetworkSettings(), "low is for 3-D networks"),
    ],
)
def test_a_low_resolution_that_does_not_exist_is_refused(data, network, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(data, Wishes(resolution="low", network=network), "cuda:0")


def test_stated_memory_scales_the_budget():
    plan = make_plan(dataset(**LIVER), Wishes(memory="24GB"), "cuda:0")
    assert plan.patch_size > (128,) * 3
    assert decision(plan, "train.memory").rule == SET
    less = make_plan(dataset(**LIVER), Wishes(), "cuda:0", scale=0.5)
    assert less.patch_size < (128,) * 3
    assert "50%" in decision(less, "train.memory").data


@pytest.mark.parametrize("text", ["8", "0GB", "much", "8 TB"])
def test_a_memory_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=r"train\.memory is '.*'; write a size such as 8GB"):
        make_plan(dataset(), Wishes(memory=text), "cuda:0")
