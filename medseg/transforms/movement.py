"""The spatial part of an augmentation: one resampling, then the mirrors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.transforms import spatial
from medseg.transforms.draw import Drawn
from medseg.transforms.fields import lattice_size, spline_field
from medseg.transforms.settings import LabelMode

NOTHING = Drawn(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0))


@dataclass(frozen=True)
class Patch:
    """What does not change from batch to batch.

    Attributes
    ----------
    size : tuple of int
    spacing : tuple of float
        mm per voxel of each axis.
    cell : float
        Distance of the control points of elastic deformation: share of the longest side.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    cell: float

    @property
    def sides(self) -> Tensor:
        """Its sides in mm, float64."""
        return torch.tensor(self.size) * torch.tensor(self.spacing, dtype=torch.float64)

    @property
    def thick(self) -> Tensor:
        """1.0 for the axes that take part, 0.0 for the others, float64."""
        turning = spatial.turning_axes(self.size)
        return torch.tensor([float(a in turning) for a in range(len(self.size))]).double()


@dataclass(frozen=True)
class Movement:
    """How the images of a batch are resampled; all in mm about the patch centre.

    Attributes
    ----------
    rows : list of n int
        Which images are.
    matrices : float64 Tensor of shape (n, ndim, ndim)
        See `medseg.transforms.spatial.affine_matrices`.
    shift : float64 Tensor of shape (n, ndim)
    strength : list of n float
        How far the control points of elastic deformation move at most, in cells; 0 for not at all.
    seed : int
        Of the control points.
    """

    rows: list[int]
    matrices: Tensor
    shift: Tensor
    strength: list[float]
    seed: int

    def reaches(self, patch: Patch) -> Tensor:
        """Return how far each image is read from its centre along each axis, in voxels."""
        bent = torch.tensor(self.strength).double()[:, None] * patch.cell * patch.sides.max()
        half = patch.sides / 2 + bent * patch.thick  # (n, ndim)
        reach = (self.matrices.abs() @ half.unsqueeze(2)).squeeze(2) + self.shift.abs()
        return reach / torch.tensor(patch.spacing, dtype=torch.float64)

    def bends(self, patch: Patch, device: torch.device) -> list[Tensor | None]:
        """Return the elastic displacements in mm, (ndim, *size); None for an image without.

        An axis that takes no part has size 1.
        """
        size = [n if t else 1 for n, t in zip(patch.size, patch.thick.tolist(), strict=True)]
        cell = patch.cell * float(patch.sides.max())
        lattice = lattice_size(size, [cell / s for s in patch.spacing])
        fields: list[Tensor | None] = []
        for row, strength in zip(self.rows, self.strength, strict=True):
            if strength == 0:
                fields.append(None)
                continue
            generator = torch.Generator().manual_seed((self.seed + row) % 2**63)
            control = torch.rand(len(size), *lattice, generator=generator) * 2 - 1
            weights = (strength * cell * patch.thick).float().view(-1, *(1,) * len(size))
            fields.append(spline_field((control * weights).to(device), size))
        return fields


def plan_movement(drawn: Mapping[str, Drawn], batch: int, patch: Patch) -> Movement:
    """Put together what rotation, scaling, translation and elastic deformation have drawn."""
    ndim = len(patch.size)
    angles = torch.zeros(batch, len(spatial.rotation_planes(patch.size)))
    scale, shift = torch.ones(batch, 1), torch.zeros(batch, ndim)
    strength, touched = torch.zeros(batch, 1), torch.zeros(batch, dtype=torch.bool)
    parts = {"rotate": angles, "scale": scale, "translate": shift, "elastic": strength}
    for name, target in parts.items():
        chosen = drawn.get(name, NOTHING).chosen
        touched[chosen] = True
        if len(chosen):
            target[chosen] = drawn[name].values
    rows = touched.nonzero().flatten()
    return Movement(
        rows=rows.tolist(),
        matrices=spatial.affine_matrices(angles[rows], scale[rows, 0], patch.size),
        shift=shift[rows].double() * patch.thick * patch.sides,
        strength=strength[rows, 0].tolist(),
        seed=drawn.get("elastic", NOTHING).seed,
    )


def move(
    image: Tensor,
    label: Tensor,
    movement: Movement,
    flips: Sequence[Sequence[int]],
    patch: Patch,
    labels: LabelMode,
) -> tuple[Tensor, Tensor]:
    """Resample what moves, crop the rest, mirror; return the batch itself if that is nothing.

    Parameters
    ----------
    image : float Tensor of shape (B, C, *source)
        The patch, or more around it.
    label : integer Tensor of shape (B, *source)
    movement : Movement
    flips : sequence of B sequences of int
        Spatial axes along which each image is mirrored.
    patch : Patch
    labels : {"nearest", "linear"}
        How labels are resampled.
    """
    rows = movement.rows
    if not rows and not any(flips) and tuple(image.shape[2:]) == patch.size:
        return image, label
    moved = image.new_empty(*image.shape[:2], *patch.size)
    marks = label.new_empty(len(label), *patch.size)

    def put(row: int, part: Tensor, mask: Tensor) -> None:
        """Mirror one image and its label into the result."""
        axes = flips[row]
        moved[row] = part.flip([a + 1 for a in axes]) if axes else part
        marks[row] = mask.flip(list(axes)) if axes else mask

    images, masks = (spatial.centre(t, patch.size) for t in (image, label.unsqueeze(1)))
    for row in set(range(len(image))).difference(rows):
        put(row, images[row], masks[row, 0])
    bends = movement.bends(patch, image.device) if rows else []
    for some in _portions(len(rows), image.device):
        chosen = rows[some]
        index = slice(chosen[0], chosen[0] + 1) if len(chosen) == 1 else chosen
        turned = spatial.apply_affine(
            image[index],
            label[index],
            movement.matrices[some],
            patch.spacing,
            size=patch.size,
            shift=movement.shift[some],
            bend=bends[some],
            labels=labels,
        )
        for row, part, mask in zip(chosen, *turned, strict=True):
            put(row, part, mask)
    return moved, marks


def _portions(count: int, device: torch.device) -> list[slice]:
    """Take one image at a time on the CPU, where memory is the slow part, and all on a GPU."""
    if device.type == "cpu":
        return [slice(k, k + 1) for k in range(count)]
    return [slice(0, count)] if count else []
