"""Networks of MONAI under the contract; importing MONAI takes seconds, so it is done once."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import partial

import pytest
import torch

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError, MissingExtraError
from medseg.inference.weights import load_network
from medseg.networks import Prediction, build_network
from medseg.networks.monai_forms import FORMS
from medseg.networks.wraps import MONAI, MonaiNetwork
from medseg.planning import device_plan
from medseg.planning.narrow import CPU_STEP_FLOPS, affordable_batch, narrowed_arguments
from medseg.settings import NetworkSettings
from medseg.stages.plan import Planning
from medseg.training.checkpoint import save_weights
from medseg.training.ema import Average
from tests.fakes import LocalContext
from tests.planning.tiny import dataset

SMALL = {
    "AttentionUnet": {"channels": (4, 8), "strides": (2,)},
    "BasicUNet": {"features": (4, 4, 4, 4, 4, 4)},
    "BasicUNetPlusPlus": {"features": (4, 4, 4, 4, 4, 4)},
    "DynUNet": {"filters": (4, 8, 8), "strides": (1, 2, 2)},
    "FlexibleUNet": {"decoder_channels": (8, 8, 8, 8, 4)},
    "HighResNet": {},
    "MedNeXt": {"init_filters": 4, "kernel_size": 3},
    "SegResNet": {"blocks_down": (1, 1), "blocks_up": (1,)},
    "SegResNetDS": {"init_filters": 8, "blocks_down": (1, 1, 1)},
    "SwinUNETR": {"feature_size": 12, "depths": (1, 1, 1, 1), "window_size": 4},
    "UNet": {"channels": (4, 8, 8), "num_res_units": 0},
    "UNETR": {
        "img_size": 32,
        "feature_size": 4,
        "hidden_size": 24,
        "mlp_dim": 24,
        "num_heads": 2,
    },
    "VNet": {},
}


@pytest.fixture(scope="module")
def nets():
    return pytest.importorskip("monai.networks.nets")


def make(name: str, ndim: int, **arguments) -> MonaiNetwork:
    torch.manual_seed(0)
    wanted = {"ndim": ndim, "in_channels": 1, "num_classes": 3, **SMALL.get(name, {}), **arguments}
    return build_network(NetworkSpec(name=f"monai:{name}", arguments=wanted))


def test_importing_the_networks_does_not_import_monai():
    code = "import sys, medseg.networks; sys.exit('monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_one_is_built_without_weights_and_takes_an_odd_size(nets, name, ndim):
    with torch.device("meta"):
        network = make(name, ndim).eval()
        out = network(torch.zeros(1, 1, *(17, 9, 20)[:ndim]))
    assert out.shape == (1, 3, *(17, 9, 20)[:ndim])
    assert all(p.is_meta for p in network.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_one_image_in_training_and_in_evaluation(nets, name):
    network = make(name, 2).train()
    image = torch.randn(1, 1, 20, 33)
    out = network(image)
    logits = out.logits if isinstance(out, Prediction) else out
    assert logits.shape == (1, 3, 20, 33)
    logits.square().mean().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    with torch.no_grad():
        plain = network.eval()(image)
    assert isinstance(plain, torch.Tensor)
    assert plain.shape == (1, 3, 20, 33)
    assert plain.isfinite().all()


@pytest.mark.parametrize("name", ["SegResNet", "DynUNet", "BasicUNetPlusPlus", "SwinUNETR"])
def test_a_fitting_image_gives_exactly_what_monai_gives(nets, name):
    network = make(name, 2).eval()
    image = torch.randn(2, 1, 32, 64)
    with torch.no_grad():
        theirs = network.network(image)
        theirs = theirs[0] if isinstance(theirs, list) else theirs
        assert torch.equal(network(image), theirs)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_fixed_size_sees_a_larger_image_tile_by_tile(nets, ndim):
    network = make("UNETR", ndim, img_size=(32, 16, 16)[:ndim]).eval()
    assert network.divisor == (32, 16, 16)[:ndim]
    image = torch.randn(2, 1, *(32, 40, 16)[:ndim])
    with torch.no_grad():
        out = network(image)
        for start in (0, 16):
            tile = network.network(image[:, :, :, start : start + 16])
            torch.testing.assert_close(out[:, :, :, start : start + 16], tile)
    assert out.shape == (2, 3, *image.shape[2:])


@pytest.mark.parametrize(
    ("name", "arguments", "coarser"),
    [
        ("DynUNet", {"deep_supervision": True, "deep_supr_num": 1}, [(9, 16)]),
        ("BasicUNetPlusPlus", {"deep_supervision": True}, [(9, 16)] * 3),
        # of the 16 x 32 voxels they are padded to, and of 12 x 16
        ("MedNeXt", {"deep_supervision": True}, [(8, 16), (4, 8), (2, 4), (1, 2)]),
        ("SegResNetDS", {"dsdepth": 2}, [(6, 8)]),
    ],
)
def test_deep_supervision_comes_finest_first(nets, name, arguments, coarser):
    network = make(name, 2, **arguments).train()
    image = torch.randn(1, 1, 9, 16)
    out = network(image)
    assert isinstance(out, Prediction)
    assert out.logits.shape[2:] == image.shape[2:]
    assert [tuple(aux.shape[2:]) for aux in out.aux] == coarser
    assert isinstance(network.eval()(image), torch.Tensor)


def test_the_last_output_of_unetpp_is_the_deepest(nets):
    network = make("BasicUNetPlusPlus", 2, deep_supervision=True).train()
    seen = []
    network.network.final_conv_0_4.register_forward_hook(lambda *args: seen.append(args[2]))
    image = torch.randn(1, 1, 16, 32)
    assert torch.equal(network(image).logits, seen[0])


def test_strides_per_axis_give_the_divisor(nets):
    network = make(
        "DynUNet",
        3,
        kernel_size=((1, 3, 3),) * 3,
        strides=(1, (1, 2, 2), (1, 2, 2)),
        filters=(4, 4, 4),
    ).eval()
    assert network.divisor == (1, 4, 4)
    assert network(torch.zeros(1, 1, 3, 9, 8)).shape == (1, 3, 3, 9, 8)


@pytest.mark.parametrize("name", ["SegResNet", "DynUNet"])
@pytest.mark.parametrize("slice_axis", [None, 2])
def test_weights_are_saved_once_and_loaded_whole(nets, tmp_path, name, slice_axis):
    wanted = {"ndim": 2, "in_channels": 1, "num_classes": 3, **SMALL[name]}
    spec = NetworkSpec(name=f"monai:{name}", arguments=wanted)
    network = build_network(spec, slice_axis).eval()
    save_weights(tmp_path / "w.safetensors", network)
    other = load_network(spec, tmp_path / "w.safetensors", slice_axis)
    image = torch.randn(1, 1, 8, 8, 3) if slice_axis else torch.randn(1, 1, 8, 8)
    assert torch.equal(network(image), other(image))


def test_a_running_average_counts_each_weight_once(nets):
    network = make("DynUNet", 2)
    average = Average(network, decay=0.5)
    name, weight = next(iter(network.named_parameters()))
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1)
    average.update(network, step=10**6)
    torch.testing.assert_close(dict(average.network.named_parameters())[name], before + 0.5)


@pytest.mark.parametrize("name", ["SegResNet", "UNETR", "SwinUNETR", "DynUNet", "UNet"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_one_passes_the_plan(nets, tmp_path, monkeypatch, name, ndim):
    # a CPU on which a step may cost a fortieth, since the plan takes a few of them
    for part in (narrowed_arguments, affordable_batch):
        monkeypatch.setattr(device_plan, part.__name__, partial(part, limit=CPU_STEP_FLOPS / 40))
    small = dataset(shapes=((18, 26, 20),) * 10)
    settings = NetworkSettings(name=f"monai:{name}", ndim=ndim)
    plan = Planning(network=settings).run(dataset=small, context=LocalContext(tmp_path))
    narrower = {"SwinUNETR": ("feature_size", 24), "UNETR": ("hidden_size", 768)}.get(name)
    if narrower and ndim == 3:
        assert plan.network.arguments[narrower[0]] < narrower[1]
    assert plan.network.name == f"monai:{name}"
    if name == "UNETR":
        seen = [n for axis, n in enumerate(plan.patch_size) if axis != plan.slice_axis]
        size = plan.network.arguments["img_size"]
        assert all(n <= m < max(n + 16, 33) for n, m in zip(seen, size, strict=True))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("monai:SegResnet", "did you mean 'monai:SegResNet'"),
        ("SwinUNETR", "did you mean 'monai:SwinUNETR'"),
        ("smp:unett", "did you mean 'smp:unet'"),
        ("tv:zzzz", "known: .*monai:SegResNet.*unet"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, hint):
    with pytest.raises(ConfigError, match=rf"no network is named '{name}'; {hint}"):
        build_network(NetworkSpec(name=name, arguments={}))


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("SegResNet", {"filters": 3}, r"network\.arguments of 'monai:SegResNet'.*filters"),
        ("SegResNet", {"out_channels": 3}, r"network\.arguments of 'monai:SegResNet'.*out_chan"),
        ("UNet", {"channels": (4,)}, r"network\.arguments of 'monai:UNet'.*channels"),
        ("DynUNet", {"strides": (1, 2)}, r"network\.arguments of 'monai:DynUNet'.*strides"),
    ],
)
def test_an_argument_that_monai_refuses_is_named(nets, name, arguments, says):
    with pytest.raises(ConfigError, match=says):
        build_network(
            NetworkSpec(
                name=f"monai:{name}",
                arguments={"ndim": 2, "in_channels": 1, "num_classes": 2, **arguments},
            )
        )


def test_a_missing_extra_is_one_line_that_names_it(monkeypatch):
    for module in [m for m in sys.modules if m.partition(".")[0] == "monai"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(MissingExtraError, match=r"'monai:VNet' needs monai.*medseg\[zoo\]") as told:
        make("VNet", 2)
    assert "\n" not in str(told.value)


def test_what_monai_itself_lacks_is_named_too(nets, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="'monai:SwinUNETR' needs einops"):
        make("SwinUNETR", 2)


def test_the_table_is_that_of_the_names():
    assert list(MONAI) == [f"monai:{name}" for name in FORMS]
    sizes_of_one = {f"MedNeXt{size}" for size in "SMBL"}
    assert set(SMALL) | sizes_of_one == set(FORMS)
