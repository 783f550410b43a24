"""transformers is real here; its models have random weights and are tiny."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest
import torch

from medseg.artefacts import NetworkSpec
from medseg.errors import ConfigError, MissingExtraError
from medseg.inference.weights import load_network
from medseg.losses import build_loss
from medseg.losses.deep_supervision import supervise
from medseg.networks import Prediction, build_network
from medseg.networks.hf import FORMS, settled
from medseg.networks.hf_wraps import segment
from medseg.planning.narrow import width_defaults
from medseg.training.checkpoint import save_weights

SWIN = {
    "model_type": "swin",
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 2, 2],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
RESNET = {
    "model_type": "resnet",
    "embedding_size": 4,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
SMALL = {
    "segformer": {"width": 0.25, "depths": [1, 1, 1, 1]},
    "mask2former": {
        "backbone_config": SWIN,
        "feature_size": 32,
        "mask_feature_size": 16,
        "hidden_dim": 32,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "num_queries": 5,
        "num_attention_heads": 2,
        "dim_feedforward": 16,
        "encoder_feedforward_dim": 16,
    },
    "upernet": {"backbone_config": RESNET, "hidden_size": 8, "auxiliary_channels": 8},
}
BASE = {"ndim": 2, "in_channels": 2, "num_classes": 3}


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def make(name: str, **arguments):
    torch.manual_seed(0)
    wanted = {**BASE, **SMALL[name], **arguments}
    return build_network(NetworkSpec(name=f"hf:{name}", arguments=wanted))


@pytest.mark.parametrize("name", FORMS)
def test_one_odd_image_in_training_and_in_evaluation(transformers, name):
    network, image = make(name), torch.randn(1, 2, 33, 45)
    out = network.train()(image)
    parts = [out.logits, *out.aux] if isinstance(out, Prediction) else [out]
    assert {tuple(x.shape) for x in parts} == {(1, 3, 33, 45)}
    torch.stack([x.square().mean() for x in parts]).sum().backward()
    used = [n for n, p in network.named_parameters() if p.grad is not None]
    unused = {n for n, _ in network.named_parameters()} - set(used)
    # of Swin's last norm transformers itself makes no use in a backbone
    assert all(n.endswith(("swin.layernorm.weight", "swin.layernorm.bias")) for n in unused)
    with torch.no_grad():
        plain = network.eval()(image)
    assert isinstance(plain, torch.Tensor)
    assert plain.shape == (1, 3, 33, 45)
    assert plain.isfinite().all()


@pytest.mark.parametrize(("name", "aux"), [("upernet", (0.4,)), ("mask2former", (1.0,))])
def test_auxiliary_logits_weigh_what_their_papers_say(transformers, name, aux):
    out = make(name).train()(torch.randn(2, 2, 32, 32))
    assert out.aux_weights == aux


def test_upernet_is_what_transformers_computes(transformers):
    network, image = make("upernet").eval(), torch.randn(1, 2, 64, 32)
    with torch.no_grad():
        assert torch.equal(network(image), network.network(pixel_values=image).logits)


def test_segformer_is_what_transformers_computes_enlarged(transformers):
    network, image = make("segformer").eval(), torch.randn(1, 2, 64, 32)
    with torch.no_grad():
        theirs = network.network(pixel_values=image).logits
        assert theirs.shape == (1, 3, 16, 8)
        enlarged = torch.nn.functional.interpolate(theirs, (64, 32), mode="bilinear")
        assert torch.equal(network(image), enlarged)


def test_the_masks_of_queries_are_summed_by_class():
    # two queries: the first is class 0 for sure, the second class 1 or none, evenly
    classes = torch.tensor([[[50.0, 0.0, 0.0], [-50.0, 0.0, 0.0]]])
    masks = torch.tensor([[[[50.0, 0.0]], [[0.0, 50.0]]]])  # sigmoid: 1, 1/2; 1/2, 1
    probs = segment(classes, masks).exp()
    torch.testing.assert_close(probs, torch.tensor([[[[1.0, 0.5]], [[0.25, 0.5]]]]))


def test_mask2former_sums_what_transformers_computes(transformers):
    network, image = make("mask2former").eval(), torch.randn(1, 2, 64, 32)
    with torch.no_grad():
        out = network.network(pixel_values=image)
        probs = torch.einsum(
            "bqc,bqhw->bchw",
            out.class_queries_logits.softmax(-1)[..., :-1],
            out.masks_queries_logits.sigmoid(),
        )
        theirs = torch.nn.functional.interpolate(probs.log(), (64, 32), mode="bilinear")
        torch.testing.assert_close(network(image), theirs)


@pytest.mark.parametrize("sizes", [(32, 64), (33, 45)])
def test_mask2former_hands_its_queries_to_the_matching_loss(transformers, sizes):
    plain, matched = make("mask2former").train(), make("mask2former", matching=True).train()
    image = torch.randn(2, 2, *sizes)
    torch.manual_seed(1)  # it skips branches at random
    wanted = plain(image)
    torch.manual_seed(1)
    out = matched(image)
    torch.testing.assert_close(out.logits, wanted.logits)
    assert not out.aux
    assert not out.logits.requires_grad
    assert set(out.extras) == {
        f"query_{what}_ce_{i}" for what in ("classes", "masks") for i in range(1 + len(wanted.aux))
    }
    classes, masks = out.extras["query_classes_ce_1"], out.extras["query_masks_ce_1"]
    assert classes.shape == (2, 5 * 4, 1, 1)
    # a fitting image has masks at a quarter of its size, a padded one at its own
    assert masks.shape == (2, 5, *((8, 16) if sizes == (32, 64) else sizes))
    with torch.no_grad():
        assert torch.equal(matched.eval()(image), plain.eval()(image))


def test_mask2former_learns_a_square_by_matching_alone(transformers):
    network = make("mask2former", matching=True, backbone_config={**SWIN, "drop_path_rate": 0.0})
    label = torch.zeros(2, 32, 32, dtype=torch.long)
    label[0, 8:24, 8:20], label[1, 4:16, 12:28] = 1, 2
    image = torch.stack([label, label == 1], 1).float() + 0.1 * torch.randn(2, 2, 32, 32)
    loss = build_loss({"name": "dice_ce"}, "softmax")
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    seen = []
    for _ in range(20):
        out = network.train()(image)
        total, terms = supervise(loss, out.logits, out.aux, label, extras=out.extras)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        seen.append(total.item())
    unused = {n for n, p in network.named_parameters() if p.grad is None}
    assert all("swin.layernorm" in n for n in unused)
    assert torch.equal(terms["matching"], total.detach())
    assert seen[-1] < 0.3 * seen[0]
    with torch.no_grad():  # predictions follow, though no loss of theirs was trained
        right = network.eval()(image).argmax(1) == label
    assert right.float().mean() > 0.9


def test_bfloat16_is_safe(transformers):
    network = make("mask2former").train()
    with torch.autocast("cpu", torch.bfloat16):
        out = network(torch.randn(2, 2, 32, 32))
    assert out.logits.isfinite().all()


def test_a_saved_folder_is_read_back_and_a_plan_stands_without_it(transformers, tmp_path):
    network = make("segformer").eval()
    network.network.save_pretrained(tmp_path / "there")
    arguments = {**BASE, "checkpoint": str(tmp_path / "there")}
    spec = NetworkSpec(name="hf:segformer", arguments=settled("hf:segformer", arguments))
    again, image = build_network(spec), torch.randn(1, 2, 32, 32)
    assert again.training
    with torch.no_grad():
        assert torch.equal(again.eval()(image), network(image))
    save_weights(tmp_path / "w.safetensors", again)
    (tmp_path / "there").rename(tmp_path / "gone")
    loaded = load_network(spec, tmp_path / "w.safetensors")  # as prediction does
    with torch.no_grad():
        assert torch.equal(loaded(image), network(image))


def test_other_classes_than_the_checkpoints_start_untrained(transformers, tmp_path):
    network = make("segformer")
    network.network.save_pretrained(tmp_path)
    other = build_network(
        NetworkSpec(
            name="hf:segformer",
            arguments={**BASE, "num_classes": 5, "checkpoint": str(tmp_path)},
        )
    )
    assert other.network.decode_head.classifier.weight.shape[0] == 5
    ours, theirs = (dict(n.network.named_parameters()) for n in (network, other))
    kept = [n for n in ours if ours[n].shape == theirs[n].shape]
    assert len(kept) == len(ours) - 2
    assert all(torch.equal(ours[n], theirs[n]) for n in kept)


def test_width_scales_the_channels(transformers):
    wide = make("segformer", width=0.5)
    assert wide.network.config.hidden_sizes == [16, 32, 80, 128]
    assert width_defaults(NetworkSpec(name="hf:segformer", arguments=BASE)) == {"width": 1.0}
    given = {**BASE, "checkpoint": "x"}
    assert width_defaults(NetworkSpec(name="hf:segformer", arguments=given)) == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"ndim": 3}, r"'hf:segformer' exists in 2-D alone; set network\.ndim: 2"),
        ({"checkpoint": "nvidia/mit-b0"}, "no local folder.*nothing is fetched"),
        ({"backbone": "resnet50"}, "'backbone_config', not by a hub's name"),
        ({"depths": "three"}, r"network\.arguments of 'hf:segformer'"),
        ({"matching": True}, "matching is for 'hf:mask2former', which has queries"),
    ],
)
def test_what_does_not_fit_is_told(transformers, arguments, says):
    with pytest.raises(ConfigError, match=says):
        make("segformer", **arguments)


def test_a_folder_of_another_model_is_refused(transformers, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam"}))
    with pytest.raises(ConfigError, match="holds a model of kind 'sam', not 'segformer'"):
        make("segformer", checkpoint=str(tmp_path))


def test_a_transformers_that_does_not_import_is_told(monkeypatch):
    class Broken(ModuleType):
        """Imports its parts when they are asked for, as the library does."""

        def __getattr__(self, name: str):
            raise RuntimeError("operator torchvision::nms does not exist")

    pytest.importorskip("transformers")
    monkeypatch.setitem(sys.modules, "transformers", Broken("transformers"))
    with pytest.raises(MissingExtraError, match=r"SegformerConfig, which does not import \(operat"):
        make("segformer")


def test_a_missing_extra_is_one_line_that_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"'hf:upernet' needs.*medseg\[hf\]") as told:
        make("upernet")
    assert "\n" not in str(told.value)
