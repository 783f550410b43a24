"""Published checkpoints under our names.

``published_names.json`` holds names and shapes of the files that torchvision 0.28 and timm 1.0
publish. What a file gives is compared with transformers, which is installed, with MSCAN written
down here, and at the end with torchvision and timm where they are.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from medseg.networks.deeplabv3 import DeepLabV3
from medseg.networks.encoders import build_encoder
from medseg.networks.encoders.densenet import LAYERS
from medseg.networks.encoders.mscan import MSCAN
from medseg.networks.encoders.vit import ViT
from medseg.networks.fcn import FCN
from medseg.networks.pretrained import load_pretrained, match_pretrained
from medseg.networks.pretrained_names import rename
from medseg.networks.segformer import SegFormer
from medseg.networks.segmenter import Segmenter

PUBLISHED = json.loads((Path(__file__).parent / "published_names.json").read_text())


def settle(network: nn.Module) -> nn.Module:
    """Give every norm statistics and every parameter a value of its own."""
    torch.manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            nn.init.uniform_(value, 0.01, 2.0)
        elif name.endswith("running_mean") or (name.endswith("bias") and value.ndim == 1):
            nn.init.uniform_(value, -0.1, 0.1)
    return network.eval()


def saved(state: dict[str, torch.Tensor], folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(state, path)
    return path


# -- names and shapes --


@pytest.mark.parametrize(
    ("source", "encoder", "left"),
    [
        ("mobilenet_v3_small of torchvision", "mobilenet_v3_small", "classifier."),
        ("mobilenet_v3_large of timm", "mobilenet_v3_large", ("conv_head.", "classifier.")),
        ("xception41 of timm", "xception41", "head.fc."),
    ],
)
@pytest.mark.parametrize(("ndim", "channels"), [(2, 3), (2, 5), (3, 1)])
def test_every_published_tensor_has_its_place(tmp_path, source, encoder, left, ndim, channels):
    # one number each, as large as it has to be
    state = {name: torch.zeros(1).expand(shape) for name, shape in PUBLISHED[source].items()}
    with torch.device("meta"):
        network = build_encoder(encoder, ndim=ndim, in_channels=channels)
    tensors, report = match_pretrained(network, saved(state, tmp_path), inflate=ndim == 3)
    assert (report.untouched, report.mismatched) == ((), ())
    assert report.unused == tuple(name for name in state if name.startswith(left))
    assert len(report.loaded) == len(state) - len(report.unused)
    assert len(report.averaged) == (0 if channels == 3 else 1)
    known = network.state_dict()
    assert {name: x.shape for name, x in tensors.items()} == {n: known[n].shape for n in tensors}


def test_every_tensor_of_densenet_has_its_place(tmp_path):
    shapes, width = {"conv0.weight": (64, 3, 7, 7), "norm0.weight": (64,)}, 64
    for i, count in enumerate(LAYERS[121], start=1):
        for j in range(1, count + 1):
            layer = f"denseblock{i}.denselayer{j}"
            shapes |= {f"{layer}.norm1.weight": (width,), f"{layer}.norm2.weight": (128,)}
            shapes |= {
                f"{layer}.conv1.weight": (128, width, 1, 1),
                f"{layer}.conv2.weight": (32, 128, 3, 3),
            }
            width += 32
        last = f"transition{i}.norm" if i < 4 else "norm5"
        shapes[f"{last}.weight"] = (width,)
        if i < 4:
            shapes[f"transition{i}.conv.weight"] = (width // 2, width, 1, 1)
            width //= 2
    for name in [name for name in shapes if "norm" in name]:
        for other in ("bias", "running_mean", "running_var"):
            shapes[name.replace("weight", other)] = shapes[name]
    state = {f"features.{name}": torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    with torch.device("meta"):
        network = build_encoder("densenet121", ndim=2, in_channels=3)
    _, report = match_pretrained(network, saved(state, tmp_path))
    assert len(report.loaded) == len(state) == 604
    assert (report.untouched, report.unused, report.mismatched) == ((), (), ())


def test_pieces_sums_and_differences_by_hand():
    given = {"qkv": torch.arange(6.0), "mean": torch.ones(2), "bias": torch.tensor([1.0, 3.0])}
    rules = ((r"^qkv$", "q&k+0&k+1"), (r"^bias$", "mean-"))
    made = {name: value.tolist() for name, value in rename(given, rules).items()}
    assert made == {"q": [0, 1], "k": [2, 3, 4, 5], "mean": [0, -2]}


@pytest.mark.parametrize("own", [0, 1])
def test_positions_are_laid_on_their_grid_by_hand(own):
    places = torch.arange(own, 4.0 + own)[None, :, None] * torch.tensor([1.0, 10.0])
    tokens = torch.cat((torch.full((1, own, 2), 7.0), places), 1)
    made = rename({"positions.tokens": tokens, "token": torch.ones(1, 1, 2)}, ())
    grid = torch.tensor([[0.0, 1.0], [2.0, 3.0]]) + own
    torch.testing.assert_close(made["positions.weight"], torch.stack((grid, 10 * grid))[None])
    assert made["token"].flatten().tolist() == ([8.0, 8.0] if own else [1.0, 1.0])
    odd = rename({"positions.tokens": torch.zeros(1, 7, 2)}, ())  # no square: left where it is
    assert list(odd) == ["positions.tokens"]


# -- vision transformers --


@pytest.fixture(scope="module")
def vit():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8, layer_norm_eps=1e-6, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.uniform_(-0.3, 0.3)
    return model


def as_saved(vit, folder):
    vit.save_pretrained(folder)
    return folder / "model.safetensors"


def as_in_memory(vit, folder):
    return saved({f"vit.{name}": value for name, value in vit.state_dict().items()}, folder)


def as_timm(vit, folder):
    return saved(timm_names(vit), folder)


def timm_names(vit) -> dict[str, torch.Tensor]:
    state = {
        "cls_token": vit.embeddings.cls_token,
        "pos_embed": vit.embeddings.position_embeddings,
        **under("patch_embed.proj", vit.embeddings.patch_embeddings.projection),
        **under("norm", vit.layernorm),
        "head.weight": torch.zeros(10, 8),
    }
    for i, layer in enumerate(vit.layers):
        qkv = (layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj)
        here = f"blocks.{i}"
        state |= {f"{here}.attn.qkv.weight": torch.cat([one.weight for one in qkv])}
        state |= {f"{here}.attn.qkv.bias": torch.cat([one.bias for one in qkv])}
        state |= under(f"{here}.attn.proj", layer.attention.o_proj)
        state |= under(f"{here}.mlp.fc1", layer.mlp.fc1) | under(f"{here}.mlp.fc2", layer.mlp.fc2)
        state |= under(f"{here}.norm1", layer.layernorm_before)
        state |= under(f"{here}.norm2", layer.layernorm_after)
    return {name: value.detach() for name, value in state.items()}


def under(name: str, module: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def as_torchvision(vit, folder):
    swap = (("blocks.", "encoder.layers.encoder_layer_"), ("attn.qkv.", "self_attention.in_proj_"),
            ("attn.proj", "self_attention.out_proj"), (".norm", ".ln_"), ("norm.", "encoder.ln."),
            ("mlp.fc", "mlp.linear_"), ("cls_token", "class_token"), ("head.", "heads.head."),
            ("pos_embed", "encoder.pos_embedding"), ("patch_embed.proj", "conv_proj"))  # fmt: skip
    state = {}
    for name, value in timm_names(vit).items():
        for old, new in swap:
            name = name.replace(old, new)
        state[name] = value
    return saved(state, folder)


SMALL_VIT = {"embed_dim": 8, "depth": 2, "heads": 2, "final_norm": True}


@pytest.mark.parametrize("write", [as_saved, as_in_memory, as_timm, as_torchvision])
def test_a_vision_transformer_gives_what_it_gave(vit, tmp_path, write):
    ours = ViT(ndim=2, in_channels=3, patch=8, grid=4, **SMALL_VIT).eval()
    report = load_pretrained(ours, write(vit, tmp_path))
    assert (report.untouched, report.mismatched, report.resized) == ((), (), ())
    heads = {as_timm: ("head.weight",), as_torchvision: ("heads.head.weight",)}
    assert report.unused == heads.get(write, ())
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        theirs = vit(image).last_hidden_state[:, 1:].transpose(1, 2).reshape(2, 8, 4, 4)
        torch.testing.assert_close(ours(image)[-1], theirs, atol=1e-5, rtol=1e-4)


def test_its_positions_come_to_another_grid_and_its_patches_to_3d(vit, tmp_path):
    path = as_timm(vit, tmp_path)
    flat = ViT(ndim=2, in_channels=1, patch=8, grid=4, **SMALL_VIT).eval()
    load_pretrained(flat, path)
    ours = ViT(ndim=3, in_channels=1, patch=(4, 8, 8), grid=(3, 4, 4), **SMALL_VIT).eval()
    report = load_pretrained(ours, path, inflate=True)
    assert report.inflated == report.averaged == ("embed.weight",)
    assert report.resized == ("positions.weight",)
    assert ("positions.weight", "brought to another grid") in report.rows()
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():  # one layer of patches sees what the 2-D network saw
        got = ours(image[:, :, None].expand(-1, -1, 4, -1, -1))[-1]
        torch.testing.assert_close(got[:, :, 0], flat(image)[-1], atol=1e-5, rtol=1e-4)
    network = Segmenter(
        ndim=2, in_channels=1, num_classes=2, embed_dim=8, depth=2, heads=2, patch=8, grid=7
    )
    report = load_pretrained(network, path)
    assert report.resized == ("encoder.positions.weight",)
    assert not any(name.startswith("encoder.") for name in report.untouched)


# -- the authors' names of MiT and MSCAN --


def test_segformer_of_its_authors_gives_what_it_gave(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"depths": [2, 1, 1, 1], "hidden_sizes": [8, 16, 20, 32], "decoder_hidden_size": 24}
    config = transformers.SegformerConfig(num_labels=5, **sizes)
    model = settle(transformers.SegformerForSemanticSegmentation(config))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = nn.functional.interpolate(model(image).logits, (64, 64), mode="bilinear")
    model.save_pretrained(tmp_path)
    ours = SegFormer(ndim=2, in_channels=3, num_classes=5, widths=(8, 16, 20, 32),
                     depths=(2, 1, 1, 1), decoder_channels=24).eval()  # fmt: skip
    load_pretrained(ours, tmp_path / "model.safetensors")
    state = {}
    for stage in range(4):
        n, blocks = stage + 1, ours.encoder.stages[stage]
        state |= under(f"patch_embed{n}.proj", blocks[0].project)
        state |= under(f"patch_embed{n}.norm", blocks[0].norm) | under(f"norm{n}", blocks[-1])
        for j, block in enumerate(blocks[1:-1]):
            here, attention = f"block{n}.{j}", block.attention
            for name, module in {"norm1": block.norm1, "norm2": block.norm2,
                                 "attn.q": attention.query, "attn.kv": attention.key_value,
                                 "attn.proj": attention.project, "mlp.fc1": block.ffn.expand,
                                 "mlp.dwconv.dwconv": block.ffn.mix,
                                 "mlp.fc2": block.ffn.project}.items():  # fmt: skip
                state |= under(f"{here}.{name}", module)
            if attention.reduce is not None:
                state |= under(f"{here}.attn.sr", attention.reduce)
                state |= under(f"{here}.attn.norm", attention.norm)
        state |= under(f"decode_head.linear_c{n}.proj", ours.project[stage])
    state |= under("decode_head.linear_pred", ours.head)
    state["decode_head.linear_fuse.conv.weight"] = ours.fuse[0].weight
    norm = ours.fuse[1].state_dict()
    state |= {f"decode_head.linear_fuse.bn.{name}": value for name, value in norm.items()}
    state = {name: value.detach() for name, value in state.items()}
    other = SegFormer(ndim=2, in_channels=3, num_classes=5, widths=(8, 16, 20, 32),
                      depths=(2, 1, 1, 1), decoder_channels=24).eval()  # fmt: skip
    report = load_pretrained(other, saved(state, tmp_path))
    assert (report.untouched, report.unused, report.mismatched) == ((), (), ())
    with torch.no_grad():
        torch.testing.assert_close(other(image), wanted, atol=1e-4, rtol=1e-3)
    sizes = {"widths": (8, 16, 20, 32), "depths": (2, 1, 1, 1)}
    pyramid = build_encoder("mit_b0", ndim=2, in_channels=3, **sizes).eval()
    for path in (tmp_path / "weights.pth", tmp_path / "model.safetensors"):  # both ways of naming
        pyramid.mit.apply(lambda module: [nn.init.zeros_(x) for x in module.parameters(False)])
        report = load_pretrained(pyramid, path)
        assert all(name.startswith("stem.") for name in report.untouched)  # its own convolution
        with torch.no_grad():
            for one, same in zip(pyramid(image)[1:], other.encoder(image), strict=True):
                torch.testing.assert_close(one, same, atol=1e-5, rtol=1e-4)


class Gating(nn.Module):
    """The attention of MSCAN under its authors' names."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        for i, k in enumerate((7, 11, 21)):
            self.add_module(f"conv{i}_1", nn.Conv2d(dim, dim, (1, k), 1, (0, k // 2), groups=dim))
            self.add_module(f"conv{i}_2", nn.Conv2d(dim, dim, (k, 1), 1, (k // 2, 0), groups=dim))
        self.conv3 = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        near = self.conv0(x)
        strips = [getattr(self, f"conv{i}_2")(getattr(self, f"conv{i}_1")(near)) for i in range(3)]
        return self.conv3(near + sum(strips)) * x


class AuthorsBlock(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(dim), nn.BatchNorm2d(dim)
        self.attn = nn.ModuleDict(
            {f"proj_{i}": nn.Conv2d(dim, dim, 1) for i in (1, 2)}
            | {"spatial_gating_unit": Gating(dim)}
        )
        depthwise = nn.ModuleDict({"dwconv": nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)})
        outer = {"fc1": nn.Conv2d(dim, hidden, 1), "fc2": nn.Conv2d(hidden, dim, 1)}
        self.mlp = nn.ModuleDict({**outer, "dwconv": depthwise})
        self.layer_scale_1 = nn.Parameter(torch.rand(dim))
        self.layer_scale_2 = nn.Parameter(torch.rand(dim))

    def forward(self, x):
        y = self.norm1(x)
        z = nn.functional.gelu(self.attn["proj_1"](y))
        y = self.attn["proj_2"](self.attn["spatial_gating_unit"](z)) + y
        x = x + self.layer_scale_1[:, None, None] * y
        y = self.mlp["dwconv"]["dwconv"](self.mlp["fc1"](self.norm2(x)))
        return x + self.layer_scale_2[:, None, None] * self.mlp["fc2"](nn.functional.gelu(y))


class AuthorsMSCAN(nn.Module):
    """Two stages of two blocks."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.GELU(),
                  nn.Conv2d(4, 8, 3, 2, 1), nn.BatchNorm2d(8))  # fmt: skip
        self.patch_embed1 = nn.ModuleDict({"proj": nn.Sequential(*layers)})
        conv = nn.Conv2d(8, 12, 3, 2, 1)
        self.patch_embed2 = nn.ModuleDict({"proj": conv, "norm": nn.BatchNorm2d(12)})
        self.block1 = nn.Sequential(AuthorsBlock(8, 16), AuthorsBlock(8, 16))
        self.block2 = nn.Sequential(AuthorsBlock(12, 24), AuthorsBlock(12, 24))
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(12)

    def forward(self, x):
        x = self.block1(self.patch_embed1["proj"](x))
        x = self.norm1(x.movedim(1, -1)).movedim(-1, 1)
        x = self.block2(self.patch_embed2["norm"](self.patch_embed2["proj"](x)))
        return self.norm2(x.movedim(1, -1)).movedim(-1, 1)


def test_mscan_of_its_authors_gives_what_it_gave(tmp_path):
    theirs = settle(AuthorsMSCAN())
    ours = MSCAN(ndim=2, in_channels=3, widths=(8, 12), depths=(2, 2), expansions=(2, 2)).eval()
    state = {f"backbone.{name}": value for name, value in theirs.state_dict().items()}
    report = load_pretrained(ours, saved({"state_dict": state}, tmp_path))
    assert (report.untouched, report.unused, report.mismatched) == ((), (), ())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image)[-1], theirs(image), atol=1e-5, rtol=1e-4)


# -- where torchvision and timm are installed --


def the_real(library: str, **arguments) -> nn.Module:
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)
    if library != "torchvision":
        models = pytest.importorskip(library, exc_type=ImportError)
        return settle(models.create_model(arguments.pop("name"), **arguments))
    return settle(getattr(models, arguments.pop("name"))(weights=None, **arguments))


@pytest.mark.parametrize(
    ("library", "name", "encoder"),
    [
        ("torchvision", "mobilenet_v3_small", "mobilenet_v3_small"),
        ("torchvision", "mobilenet_v3_large", "mobilenet_v3_large"),
        ("timm", "mobilenetv3_small_100", "mobilenet_v3_small"),
        ("timm", "mobilenetv3_large_100", "mobilenet_v3_large"),
        ("timm", "xception41", "xception41"),
        ("torchvision", "densenet121", "densenet121"),
        ("torchvision", "vgg16", "vgg16"),
        ("torchvision", "vgg16_bn", "vgg16_bn"),
        ("torchvision", "resnet18", "resnet18"),
        ("timm", "resnet50", "resnet50"),
    ],
)
def test_the_real_ones_give_what_they_gave(tmp_path, library, name, encoder):
    theirs = the_real(library, name=name)
    ours = build_encoder(encoder, ndim=2, in_channels=3).eval()
    report = load_pretrained(ours, saved(theirs.state_dict(), tmp_path))
    assert (report.untouched, report.mismatched) == ((), ())
    heads = ("fc.", "classifier.", "conv_head.", "head.")
    assert all(name.startswith(heads) for name in report.unused)
    image = torch.randn(1, 3, 64, 64)
    if library == "timm":
        last = theirs.forward_features(image)
    elif hasattr(theirs, "features"):
        last = theirs.features(image).relu()  # DenseNet's is rectified behind it
        last = last if "mobilenet" not in name else theirs.features(image)
    else:
        last = nn.Sequential(*list(theirs.children())[:-2])(image)
    with torch.no_grad():
        torch.testing.assert_close(ours(image)[-1], last, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("depth", [50, 101])
def test_fcn_is_torchvisions(tmp_path, depth):
    segmentation = pytest.importorskip("torchvision.models.segmentation", exc_type=ImportError)
    build = getattr(segmentation, f"fcn_resnet{depth}")
    theirs = build(weights=None, weights_backbone=None, num_classes=3, aux_loss=True)
    theirs = settle(theirs)
    ours = FCN(ndim=2, in_channels=3, num_classes=3, encoder=f"resnet{depth}", convs=1,
               concat=False, dropout=0.0)  # fmt: skip
    report = load_pretrained(ours, saved(theirs.state_dict(), tmp_path))
    assert (report.untouched, report.unused, report.mismatched) == ((), (), ())
    count = [sum(p.numel() for p in network.parameters()) for network in (ours, theirs)]
    assert count[0] == count[1]
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(image), theirs(image)["out"], atol=1e-4, rtol=1e-3)
        for module in theirs.train().modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        out, wanted = ours.train()(image), theirs(image)
        torch.testing.assert_close(out.logits, wanted["out"], atol=1e-3, rtol=1e-3)
        aux = nn.functional.interpolate(out.aux[0], (64, 64), mode="bilinear")
        torch.testing.assert_close(aux, wanted["aux"], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("depth", [50, 101])
def test_the_branches_of_deeplabv3_are_torchvisions(tmp_path, depth):
    """Theirs fuses them by a 1x1 and a 3x3 convolution, ours by one of 3x3, so no more is equal."""
    segmentation = pytest.importorskip("torchvision.models.segmentation", exc_type=ImportError)
    build = getattr(segmentation, f"deeplabv3_resnet{depth}")
    theirs = build(weights=None, weights_backbone=None, num_classes=3, aux_loss=True)
    theirs = settle(theirs)
    ours = DeepLabV3(ndim=2, in_channels=3, num_classes=3, encoder=f"resnet{depth}", channels=256)
    report = load_pretrained(ours.eval(), saved(theirs.state_dict(), tmp_path))
    beside = ("head.context.pooled.2.", "head.context.fuse.", "head.classify.")
    assert all(name.startswith(beside) for name in report.untouched)
    assert report.mismatched == ()
    image = torch.randn(2, 3, 64, 64)
    for train in (False, True):
        with torch.no_grad():
            maps = ours.train(train).encoder(image)
            seen = theirs.train(train).backbone(image)
            torch.testing.assert_close(maps[-1], seen["out"], atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(maps[-2], seen["aux"], atol=1e-4, rtol=1e-3)
            for i in range(4):
                one = ours.head.context.branches[i](maps[-1])
                same = theirs.classifier[0].convs[i](seen["out"])
                torch.testing.assert_close(one, same, atol=1e-3, rtol=1e-3)
