"""Sweep over the tiles of an image and hand on each plane of logits as soon as it is finished.

Tiles are run in order along one axis. Only the planes that later tiles may still touch are held:
about one tile's thickness, however long the image is. The sums are the same, in the same order, as
with all logits in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.inference.blend import Blend, Slab
from medseg.inference.forward import Forward, evaluating
from medseg.inference.precision import Precision
from medseg.inference.tiles import Group, Layout, Tile, box_maxima
from medseg.labels import LabelScheme

BACKGROUND_LOGIT = 10.0
"""What an empty tile says for background (over zeros), or against each region."""

SUSPICION = 2.0
"""An option is run where foreground's logit comes this close to winning (probability 0.12)."""

RIM = 1 / 8
"""Share of a tile at each side in which its own blending weight is next to nothing (3 sigma)."""


@dataclass(frozen=True)
class Background:
    """What is known of a network's background, so that tiles can be left out; see `sweep`."""

    logits: tuple[float, ...]
    """What an empty tile says, per output channel."""
    regions: bool = False
    """Each channel is a structure of its own; otherwise the first one is background."""
    air: tuple[float, ...] | None = None
    """Per image channel the value up to which a voxel is air; None: no tile is empty."""

    @classmethod
    def of(cls, scheme: LabelScheme, air: tuple[float, ...] | None = None) -> Background:
        """Return the background of a label scheme."""
        if scheme.activation == "sigmoid":
            return cls((-BACKGROUND_LOGIT,) * scheme.num_classes, regions=True, air=air)
        return cls((BACKGROUND_LOGIT, *(0.0,) * (scheme.num_classes - 1)), air=air)


@dataclass(kw_only=True)
class Tally:
    """Count what became of the tiles."""

    run: int = 0
    empty: int = 0
    unneeded: int = 0


def sweep(
    network: nn.Module,
    image: Tensor,
    layout: Layout,
    *,
    batch_size: int = 1,
    mirror_axes: Sequence[int] = (),
    device: torch.device | str = "cpu",
    precision: Precision = "32-true",
    accumulate_on: torch.device | str | None = None,
    accumulate_in: torch.dtype = torch.float32,
    background: Background | None = None,
    whole: bool = False,
    advance: Callable[[float], None] | None = None,
    tally: Tally | None = None,
) -> Generator[Slab]:
    """Predict an image and yield its blended logits from the first plane to the last.

    *Empty tiles.* With ``background.air``, a tile in which no channel rises above its air value is
    not run; it says background. *Options.* An optional tile (`Layout.of` with ``adaptive``) is run
    where, inside all but its rim, what has been seen so far is foreground or close to it
    (`SUSPICION`); else the tiles that were run share its weight.

    If the device runs out of memory, the batch is halved and the same tiles are run again; with one
    tile left, the logits move to the host. Only then does the error go up.

    Parameters
    ----------
    network : nn.Module
        Maps (B, C, *patch) to logits (B, num_classes, *patch); run in eval mode, left as it came.
    image : float Tensor of shape (C, *layout.size)
    layout : Layout
    accumulate_on : device, optional
        Where logits are summed; None: on ``device`` where half of its free memory holds them,
        else on the CPU.
    accumulate_in : dtype
        float32; float16 halves the memory at an error of 2**-11 of a logit per tile.
    background : Background, optional
        Must be given where the layout has options.
    whole : bool
        Hold all planes and yield them at once.

    Yields
    ------
    Slab

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 2021 (tile step, Gaussian weights).
    """
    device = torch.device(device)
    forward = Forward(network, device, precision, mirror_axes, batch_size)
    choice = _Choice(image, layout, background)
    held = layout.size[layout.axis] if whole else layout.window
    blend = Blend(layout, held, device, accumulate_on, accumulate_in)
    tally = tally or Tally()
    with evaluating(network):
        for group, floor in zip(layout.groups, layout.floors(), strict=True):
            if not whole:
                yield from blend.pass_on(floor)
            tiles, empty = choice.split(group, blend)
            tally.run += len(tiles)
            tally.empty += len(empty)
            tally.unneeded += len(group.tiles) - len(tiles) - len(empty)
            for tile in empty:
                blend.add_constant(tile, choice.background.logits)
            for done, outputs in forward.run(image, layout, tiles, on_full=blend.to_host):
                for tile, output in zip(done, outputs, strict=True):
                    blend.add(tile, output)
            if advance:
                advance(len(group.tiles) / layout.count)
        yield from blend.pass_on(layout.size[layout.axis])


class _Choice:
    """Decides which tiles are run."""

    def __init__(self, image: Tensor, layout: Layout, background: Background | None) -> None:
        self.layout = layout
        options = any(group.optional for group in layout.groups)
        if options and background is None:
            raise ValueError("options among the tiles need to know what background is")
        self.background = background or Background(())
        self.empty = self._empty(image)

    def split(self, group: Group, blend: Blend) -> tuple[list[Tile], list[Tile]]:
        """Return a group's tiles to run, and those that are empty."""
        empty = [tile for tile in group.tiles if self.empty is not None and self.empty[tile]]
        left = [tile for tile in group.tiles if self.empty is None or not self.empty[tile]]
        if group.optional:
            wanted = self._wanted(blend)
            return [tile for tile in left if wanted[tile]], []
        return left, empty

    def _empty(self, image: Tensor) -> Tensor | None:
        """Tell for each tile whether nothing in it rises above air; shape (starts per axis)."""
        if self.background.air is None:
            return None
        boxes = _intervals(self.layout, rim=0.0)
        full = torch.zeros([len(axis) for axis in boxes], dtype=torch.bool, device=image.device)
        for channel, air in zip(image, self.background.air, strict=True):
            full |= box_maxima(channel, boxes) > air
        return ~full.cpu()

    def _wanted(self, blend: Blend) -> Tensor:
        """Tell for each tile whether something like foreground lies in it, off its rim."""
        axis = self.layout.axis
        boxes = _intervals(self.layout, rim=RIM)
        # Intervals beyond the planes held get any one of them: their tiles are not asked for.
        inside = [min(max(a - blend.base, 0), blend.held - 1) for a, _ in boxes[axis]]
        ends = [min(b - blend.base, blend.held) for _, b in boxes[axis]]
        boxes[axis] = [(a, max(a + 1, b)) for a, b in zip(inside, ends, strict=True)]
        like = blend.like_foreground(regions=self.background.regions, within=SUSPICION)
        return box_maxima(like, boxes).cpu()


def _intervals(layout: Layout, *, rim: float) -> list[list[tuple[int, int]]]:
    """Return the interval of each tile along each axis, less its rim where neighbours are."""
    boxes = []
    for size, patch, starts in zip(layout.size, layout.patch, layout.starts, strict=True):
        off = int(rim * patch)
        boxes.append(
            [
                (s + (off if s > 0 else 0), s + patch - (off if s + patch < size else 0))
                for s in starts
            ]
        )
    return boxes
