from __future__ import annotations

import pytest
import torch

from medseg.errors import ConfigError
from medseg.transforms import AUGMENTATIONS, Augmenter, resolve_settings
from medseg.transforms.draw import Drawn

BOTH = pytest.mark.parametrize("size", [(12, 10), (12, 10, 8), (1, 12, 10)])
ALWAYS = {name: {"p": 1.0} for name in AUGMENTATIONS}


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


def test_settings_are_merged_and_mistakes_explained():
    settings = resolve_settings({"noise": {"p": 0.5}, "gamma": False})
    assert settings["noise"] == {"p": 0.5, "range": (0.0, 0.1)}
    assert "gamma" not in settings
    with pytest.raises(ConfigError, match="did you mean 'rotate'"):
        resolve_settings({"rotat": {}})
    with pytest.raises(ConfigError, match=r"augment.noise has no setting 'q'"):
        resolve_settings({"noise": {"q": 1}})
    with pytest.raises(ConfigError, match="probability"):
        resolve_settings({"noise": {"p": 2}})
    with pytest.raises(ConfigError, match="low first"):
        resolve_settings({"scale": {"range": (1.4, 0.7)}})
    with pytest.raises(ConfigError, match="or false"):
        resolve_settings({"scale": 3})
