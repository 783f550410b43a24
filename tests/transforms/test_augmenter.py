from __future__ import annotations

import pytest
import torch

from medseg.errors import ConfigError
from medseg.transforms import Augmenter, load_preset
from medseg.transforms.draw import Drawn

BOTH = pytest.mark.parametrize("size", [(12, 10), (12, 10, 8), (1, 12, 10)])
AUGMENTATIONS = load_preset()
ALWAYS = {
    name: {"p": 1.0} for name in AUGMENTATIONS if name != "colour"
}  # which is for photographs


def make(size, overrides, mirror_axes=(0, 1)):
    return Augmenter(
        overrides, patch_size=size, spacing=(1.0,) * len(size), mirror_axes=mirror_axes
    )


def batch(size, count: int = 4):
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (count, *size), generator=generator, dtype=torch.int16)
    return torch.randn(count, 2, *size, generator=generator), label


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@BOTH
def test_disabled_is_the_identity(size):
    image, label = batch(size)
    out = make(size, {"enabled": False})(image, label, rng())
    assert out[0] is image
    assert out[1] is label
    off = dict.fromkeys(AUGMENTATIONS, False)
    assert make(size, off)(image, label, rng())[0] is image


@BOTH
def test_same_generator_same_change_and_inputs_stay(size):
    image, label = batch(size)
    before = image.clone(), label.clone()
    augment = make(size, ALWAYS)
    first, second = augment(image, label, rng(1)), augment(image, label, rng(1))
    other = augment(image, label, rng(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])
    assert first[0].shape == image.shape
    assert first[0].dtype == torch.float32
    assert first[1].dtype == torch.int16
    assert first[0].isfinite().all()
    assert set(first[1].unique().tolist()) <= {-1, 0, 1, 2}


@BOTH
def test_mirrored_twice_is_the_identity(size):
    image, label = batch(size)
    augment = make(size, {"mirror": {"p": 1.0}})
    drawn = {k: v for k, v in augment.draw(4, 2, rng()).items() if k.startswith("mirror")}
    once = augment.apply(image, label, drawn)
    assert torch.equal(once[0], image.flip((2, 3)))
    assert torch.equal(once[1], label.flip((1, 2)))
    twice = augment.apply(*once, drawn)
    assert torch.equal(twice[0], image)
    assert torch.equal(twice[1], label)


def test_image_and_label_move_together():
    size = (24, 20, 16)
    label = torch.zeros(6, *size, dtype=torch.int16)
    label[:, 6:16, 5:14, 4:11] = 1
    image = label.float().unsqueeze(1)
    names = {"rotate", "scale", "mirror"}
    overrides = {n: {"p": 1.0} if n in names else False for n in AUGMENTATIONS}
    moved, mask = make(size, overrides, (0, 1, 2))(image, label, rng(3))
    seen = mask >= 0
    agree = ((moved[:, 0] > 0.5) == (mask == 1))[seen].float().mean()
    assert agree > 0.99
    assert not torch.equal(mask, label)


def test_only_chosen_images_are_changed():
    size = (8, 8)
    image, label = batch(size)
    augment = make(size, {})
    drawn = {"brightness": Drawn(torch.tensor([1, 3]), torch.tensor([[2.0, 1.0], [0.5, 3.0]]))}
    out, _ = augment.apply(image, label, drawn)
    torch.testing.assert_close(out[1, 0], image[1, 0] * 2)
    torch.testing.assert_close(out[3, 1], image[3, 1] * 3)
    assert torch.equal(out[[0, 2]], image[[0, 2]])


def test_probabilities_are_those_of_the_settings():
    augment = make((8, 8), {"gamma": {"p": 0.0}, "noise": {"p": 1.0}})
    drawn = augment.draw(4000, 1, rng())
    assert len(drawn["gamma"].chosen) == 0
    assert len(drawn["noise"].chosen) == 4000
    assert len(drawn["blur"].chosen) / 4000 == pytest.approx(0.2, abs=0.03)
    assert (drawn["blur"].values == 0).float().mean().item() == pytest.approx(0.5, abs=0.06)
    scale = drawn["scale"].values
    assert scale.min() >= 0.7
    assert scale.max() <= 1.4
    limit = torch.pi / 6
    assert drawn["rotate"].values.abs().max() <= limit


SPATIAL = ("rotate", "scale", "translate", "elastic", "mirror")


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize("labels", ["nearest", "linear"])
@pytest.mark.parametrize("size", [(30, 26), (24, 20, 22), (4, 26, 24), (1, 26, 24)])
def test_image_and_label_stay_aligned(name, labels, size):
    # The image is the label's own mask, so that linear > 1/2 must be where the label is.
    label = torch.zeros(3, *size, dtype=torch.int16)
    inner = tuple(slice(n // 4, n - n // 3) if n > 4 else slice(0, n) for n in size)
    label[(slice(None), *inner)] = 1
    image = label.float().unsqueeze(1)
    overrides = {n: {"p": 1.0} if n == name else False for n in AUGMENTATIONS}
    overrides["elastic"] = {"p": float(name == "elastic"), "range": (0.3, 0.3)}
    augment = make(size, {**overrides, "labels": labels}, tuple(range(len(size))))
    moved, mask = augment(image, label, rng(2))
    seen = mask >= 0
    agree = ((moved[:, 0] > 0.5) == (mask == 1))[seen].float().mean()
    assert agree > (0.995 if labels == "linear" else 0.98)
    assert seen.float().mean() > 0.5
    assert not torch.equal(moved, image)


@BOTH
def test_a_margin_gives_real_voxels_where_a_patch_alone_has_none(size):
    big = [n + 16 if n > 1 else 1 for n in size]
    label = torch.zeros(5, *big, dtype=torch.int16)
    image = torch.randn(5, 1, *big, generator=rng())
    settings = {"rotate": {"p": 1.0}, "scale": {"p": 1.0}, "mirror": {"p": 0.5}}
    augment = make(size, settings)
    middle = (..., *(slice(8, 8 + n) if n > 1 else slice(None) for n in size))
    alone = augment(image[middle], label[middle], rng(4))
    wide = augment(image, label, rng(4))
    assert wide[0].shape == (5, 1, *size)
    assert wide[1].shape == (5, *size)
    assert (alone[1] == -1).any()
    assert (wide[1] == 0).all()


def test_with_a_margin_and_nothing_drawn_the_centre_is_copied():
    image, label = torch.randn(2, 1, 10, 9), torch.randint(-1, 3, (2, 10, 9), dtype=torch.int16)
    out = make((6, 5), {"enabled": False})(image, label, rng())
    assert torch.equal(out[0], image[..., 2:8, 2:7])
    assert torch.equal(out[1], label[..., 2:8, 2:7])
    out[0].zero_()
    assert (image != 0).all()


def test_the_margin_is_what_is_drawn_needs_and_what_there_is_to_read():
    turn = {"rotate": {"p": 0.2, "degrees": 90.0}, "scale": False}
    assert make((10, 40), turn).margin([(100, 100)]) == (0, 0)  # thin: nothing turns
    margin = make((20, 40), turn).margin([(100, 100)])
    assert margin[0] > 8  # the long side comes to lie along the short one
    assert margin[1] <= 4
    assert make((20, 40), turn).margin([(20, 40), (18, 44), (25, 30)]) == (0, 0)
    assert make((20, 40), turn).margin([(23, 100)]) == (3, margin[1])
    assert make((20, 40), {"rotate": False, "scale": False}).margin([(100, 100)]) == (0, 0)
    thin = Augmenter(turn, patch_size=(1, 20, 40), spacing=(0.7, 0.3, 0.3))
    assert thin.margin([(30, 100, 100)]) == (0, *margin)  # a slice reads no other slice
    zoom = {"rotate": False, "scale": {"p": 1.0, "range": (0.5, 0.5)}}
    assert make((20, 40), zoom).margin([(100, 100)]) == (10, 20)  # four times the voxels: the most
    wide = make((20, 20, 20), zoom).margin([(100, 100, 100)])
    assert wide == (5, 6, 6)  # 30 x 32 x 32 is 3.8 times 20 x 20 x 20


def test_colour_wants_three_channels():
    augment = make((8, 8), {"colour": {"p": 1.0}})
    image = torch.randn(2, 3, 8, 8)
    out, _ = augment(image, torch.zeros(2, 8, 8, dtype=torch.int16), rng())
    assert not torch.equal(out, image)
    with pytest.raises(ConfigError, match=r"colour.p is 1.0, but the images have 2 channel"):
        augment.draw(2, 2, rng())


def test_an_image_in_another_memory_format_is_changed_as_well():
    image, label = batch((8, 8))
    augment = make((8, 8), {"brightness": {"p": 1.0}})
    plain, _ = augment(image, label, rng(5))
    other, _ = augment(image.to(memory_format=torch.channels_last), label, rng(5))
    assert not torch.equal(plain, image)
    assert torch.equal(other, plain)


@pytest.mark.parametrize("labels", ["nearest", "linear"])
def test_a_patch_that_is_thick_along_one_axis_is_scaled_along_it(labels):
    label = torch.arange(32).repeat_interleave(4)[:40, None].expand(40, 8).to(torch.int16)
    label = label.reshape(1, 40, 8).contiguous()
    settings = {"rotate": False, "scale": {"p": 1.0, "range": (2.0, 2.0)}, "labels": labels}
    quiet = dict.fromkeys(AUGMENTATIONS, False)
    moved, mask = make((40, 8), {**quiet, **settings}, ())(label[:, None].float(), label, rng())
    expected = label[:, 10:30].repeat_interleave(2, dim=1)
    assert torch.equal(mask, expected)
    assert (moved[:, 0] - expected).abs().max() <= 0.75
