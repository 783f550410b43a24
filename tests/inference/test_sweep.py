from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.inference import blend as module
from medseg.inference.forward import is_out_of_memory
from medseg.inference.sliding import sliding_window
from medseg.inference.sweep import Background, Tally, sweep
from medseg.inference.tiles import Layout
from medseg.labels import Label, LabelScheme, Region
from tests.inference.toys import SCHEME

SIZES = [((23, 9), (6, 4)), ((9, 23), (6, 4)), ((19, 8, 9), (6, 4, 9)), ((5, 6, 21), (5, 6, 1))]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def conv_network(ndim):
    torch.manual_seed(0)
    conv = nn.Conv2d if ndim == 2 else nn.Conv3d
    return nn.Sequential(conv(1, 4, 3, padding=1), nn.ReLU(), conv(4, 3, 3, padding=1))


class Bright(nn.Module):
    """Foreground where the image is above one half; counts the tiles it is given."""

    def __init__(self):
        super().__init__()
        self.tiles = 0

    def forward(self, image):
        self.tiles += len(image)
        return torch.cat([0.5 - image, image - 0.5], dim=1) * 20


def collect(slabs, layout, channels):
    """Put slabs together and check that each begins with the last plane of the one before."""
    axis = layout.axis + 1
    whole = torch.full((channels, *layout.size), torch.nan)
    done, thickest = 0, 0
    for start, logits in slabs:
        assert start == max(0, done - 1)
        length = logits.shape[axis]
        if done:
            before = whole.narrow(axis, start, 1)
            assert torch.equal(before, logits.narrow(axis, 0, 1).float())
        whole.narrow(axis, start, length).copy_(logits)
        done, thickest = start + length, max(thickest, length)
    assert done == layout.size[layout.axis]
    return whole, thickest


@pytest.mark.parametrize(("size", "patch"), SIZES)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_sweep_gives_exactly_the_sums_of_all_logits_in_memory(size, patch, batch_size):
    image, network = torch.randn(1, *size, generator=generator()), conv_network(len(size))
    for axis in range(len(size)):
        layout = Layout.of(size, patch, 0.5, axis=axis, batch_size=batch_size)
        full = next(sweep(network, image, layout, batch_size=batch_size, whole=True)).logits
        found, _ = collect(sweep(network, image, layout, batch_size=batch_size), layout, 3)
        assert torch.equal(found, full)
        if axis == 0:
            window = sliding_window(network, image, patch_size=patch, batch_size=batch_size)
            assert torch.equal(found, window)


def test_only_the_window_is_allocated(monkeypatch):
    sizes = []
    zeros = torch.zeros

    def counting(*args, **kwargs):
        tensor = zeros(*args, **kwargs)
        sizes.append(tensor.numel())
        return tensor

    image = torch.randn(1, 60, 8, 6, generator=generator())
    layout = Layout.of((60, 8, 6), (8, 8, 6), 0.5)
    monkeypatch.setattr(module.torch, "zeros", counting)
    for _ in sweep(conv_network(3), image, layout):
        pass
    assert max(sizes) == 3 * 9 * 8 * 6  # a tile's planes and one more, of 60
    assert layout.window == 9


@pytest.mark.parametrize("size", [(26, 18), (26, 12, 10)])
def test_empty_tiles_are_not_run_and_become_background(size):
    image = torch.full((1, *size), -1.0)
    image[0, 2:9, 3:8] = 1.0
    image[0, 12, 1] = -0.9
    patch = (6,) * len(size)
    layout = Layout.of(size, patch, 0.5, batch_size=2)
    full, _ = collect(sweep(Bright(), image, layout, batch_size=2), layout, 2)
    network, tally = Bright(), Tally()
    slabs = sweep(
        network, image, layout, batch_size=2, tally=tally,
        background=Background.of(SCHEME, air=(-0.5,)),
    )  # fmt: skip
    found, _ = collect(slabs, layout, 2)
    assert torch.equal(found.argmax(0), full.argmax(0))
    assert tally.run == network.tiles < layout.count
    assert tally.run + tally.empty == layout.count
    assert torch.equal(found.argmax(0), (image[0] > 0.5).long())


def test_an_image_of_air_is_background_though_no_tile_runs():
    layout = Layout.of((9, 9), (4, 4), 0.5)
    network = Bright()
    image = torch.full((1, 9, 9), -1.0)
    slabs = sweep(network, image, layout, background=Background.of(SCHEME, air=(0.0,)))
    found, _ = collect(slabs, layout, 2)
    assert network.tiles == 0
    torch.testing.assert_close(found, torch.tensor([10.0, 0.0])[:, None, None].expand(2, 9, 9))


def test_a_tile_with_one_channel_above_air_is_run():
    image = torch.full((2, 4, 4), -1.0)
    image[1, 0, 0] = 1.0
    layout = Layout.of((4, 4), (4, 4), 0.5)
    tally = Tally()
    background = Background.of(SCHEME, air=(0.0, 0.0))
    list(sweep(nn.Identity(), image, layout, background=background, tally=tally))
    assert (tally.run, tally.empty) == (1, 0)


def test_empty_tiles_speak_against_every_region():
    labels = (Label(value=1, name="a"), Label(value=2, name="b"))
    regions = tuple(Region(name=n, labels=(n,)) for n in "ab")
    background = Background.of(LabelScheme(labels=labels, regions=regions))
    assert background.logits == (-10.0, -10.0)
    assert background.regions


@pytest.mark.parametrize("size", [(40, 18), (40, 12, 18)])
def test_options_are_run_where_foreground_is(size):
    """A pointwise network says the same from every tile: leaving some out costs nothing."""
    image = torch.full((1, *size), -1.0)
    image[0, 4:9, 3:8] = 1.0
    patch = (8,) * len(size)
    everything = Layout.of(size, patch, 0.5)
    layout = Layout.of(size, patch, 0.5, adaptive=True)
    tally, network = Tally(), Bright()
    background = Background.of(SCHEME)
    slabs = sweep(network, image, layout, batch_size=3, background=background, tally=tally)
    found, _ = collect(slabs, layout, 2)
    full, _ = collect(sweep(Bright(), image, everything), everything, 2)
    torch.testing.assert_close(found, full, rtol=1e-4, atol=1e-4)
    assert tally.run == network.tiles
    assert 0 < tally.unneeded < layout.count
    options = sum(len(g.tiles) for g in layout.groups if g.optional)
    assert tally.unneeded < options  # those at the structure were run


def test_an_image_full_of_foreground_runs_all_options():
    layout = Layout.of((20, 12), (8, 8), 0.5, adaptive=True)
    tally = Tally()
    image = torch.randn(1, 20, 12, generator=generator()).abs() + 1
    network = conv_network(2)

    class Foreground(nn.Module):
        def forward(self, tile):
            return network(tile) * 0.01 + torch.tensor([0.0, 5.0, 0.0])[:, None, None]

    background = Background(logits=(10.0, 0.0, 0.0))
    slabs = sweep(Foreground(), image, layout, background=background, tally=tally)
    found, _ = collect(slabs, layout, 3)
    assert tally.run == layout.count
    full = sliding_window(Foreground(), image, patch_size=(8, 8))
    torch.testing.assert_close(found, full, rtol=0, atol=1e-3)  # some corners weigh 1e-3


def test_options_need_to_know_the_background():
    layout = Layout.of((20, 12), (8, 8), 0.5, adaptive=True)
    with pytest.raises(ValueError, match="background"):
        next(sweep(Bright(), torch.zeros(1, 20, 12), layout))


@pytest.mark.parametrize("adaptive", [False, True])
def test_half_precision_sums_stay_within_their_error(adaptive):
    image = torch.randn(1, 19, 12, generator=generator())
    layout = Layout.of((19, 12), (8, 8), 0.5, adaptive=adaptive)
    background = Background(logits=(10.0, 0.0, 0.0))
    kind = {"background": background}
    exact, _ = collect(sweep(conv_network(2), image, layout, **kind), layout, 3)
    rough, _ = collect(
        sweep(conv_network(2), image, layout, accumulate_in=torch.float16, **kind), layout, 3
    )
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=4 * 2**-11, atol=2e-3)


class Cramped(nn.Module):
    """Runs out of memory above a number of tiles."""

    def __init__(self, most):
        super().__init__()
        self.most, self.batches = most, []

    def forward(self, image):
        if len(image) > self.most:
            raise torch.OutOfMemoryError("full")
        self.batches.append(len(image))
        return Bright()(image)


def test_out_of_memory_halves_the_batch_and_goes_on_with_the_same_tiles():
    image = torch.rand(1, 30, 9, generator=generator())
    layout = Layout.of((30, 9), (6, 4), 0.5, batch_size=8)
    network = Cramped(most=3)
    found, _ = collect(sweep(network, image, layout, batch_size=8), layout, 2)
    assert sum(network.batches) == layout.count
    assert set(network.batches) <= {1, 2}
    full, _ = collect(sweep(Bright(), image, layout, batch_size=8), layout, 2)
    assert torch.equal(found, full)


def test_one_tile_that_does_not_fit_is_an_error():
    layout = Layout.of((8, 8), (4, 4), 0.5)
    with pytest.raises(torch.OutOfMemoryError):
        list(sweep(Cramped(most=0), torch.zeros(1, 8, 8), layout, batch_size=4))


def test_a_full_memory_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("size mismatch"))


def test_other_errors_of_a_network_go_up_at_once():
    class Broken(nn.Module):
        def forward(self, image):
            raise RuntimeError("shape mismatch")

    layout = Layout.of((8, 8), (4, 4), 0.5)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(sweep(Broken(), torch.zeros(1, 8, 8), layout, batch_size=4))


def test_progress_sums_to_one_also_where_tiles_are_left_out():
    shares = []
    layout = Layout.of((40, 18), (8, 8), 0.5, adaptive=True)
    image = torch.full((1, 40, 18), -1.0)
    slabs = sweep(Bright(), image, layout, background=Background.of(SCHEME), advance=shares.append)
    list(slabs)
    assert sum(shares) == pytest.approx(1)
