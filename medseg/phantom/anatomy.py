"""Draw one patient: sizes, positions, shapes and Hounsfield units, from a generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.phantom.shapes import Blob, Tube, turn_about

Rng = np.random.Generator


@dataclass(frozen=True)
class Tissue:
    """Hounsfield units of one patient at one moment after contrast; organs overlap on purpose."""

    fat: float
    muscle: float
    liver: float
    spleen: float
    kidney: float
    pancreas: float
    blood: float
    bone: float


@dataclass(frozen=True)
class Bowel:
    """A loop of gut, or the stomach: a wall and what is in it."""

    shape: Blob | Tube
    wall: float
    content: float
    gas: bool
    """Whether the part that lies to the front is filled with gas."""


@dataclass(frozen=True)
class Patient:
    """All that is painted; lengths in mm, body axes (right, front, head), origin mid-abdomen."""

    half: tuple[float, float]
    """Half width and half depth of the torso."""
    fat: float
    """Thickness of the subcutaneous fat."""
    wall: float
    """Thickness of the muscle wall."""
    domes: NDArray[np.float64]
    """Diaphragm: rows of (x, y, height, width) over the floor ``domes_floor``."""
    domes_floor: float
    tissue: Tissue
    liver: tuple[Blob, Blob]
    liver_vessels: tuple[Tube, ...]
    tumours: tuple[tuple[Blob, float], ...]
    """Shape and Hounsfield units."""
    spleen: Blob
    kidneys: tuple[Blob, Blob]
    gallbladder: Blob
    heart: Blob
    stomach: Bowel
    bowel: tuple[Bowel, ...]
    pancreas: Tube
    vessels: tuple[Tube, ...]
    psoas: tuple[Tube, Tube]
    back_muscles: tuple[Tube, Tube]

    @property
    def cavity(self) -> tuple[float, float]:
        """Half width and half depth inside the muscle wall."""
        inset = self.fat + self.wall
        return (self.half[0] - inset, self.half[1] - inset)

    @property
    def spine_y(self) -> float:
        """Centre of the vertebral bodies, front to back."""
        return -self.half[1] + self.fat + 54.0


def draw_patient(rng: Rng) -> Patient:
    """Draw a patient of the size, build and contrast phase that the generator gives."""
    build = rng.normal(0, 1)  # slight to stout
    half = (float(150 + 9 * build + rng.normal(0, 4)), float(104 + 7 * build + rng.normal(0, 3)))
    fat = float(np.clip(13 + 6 * build + rng.normal(0, 2), 5, 28))
    wall = float(rng.uniform(12, 17))
    tissue = draw_tissue(rng)
    size = float(np.clip(1 + 0.04 * build + rng.normal(0, 0.05), 0.85, 1.15))
    back = -half[1] + fat
    spine = back + 54
    liver = draw_liver(rng, size)
    stomach = blob(rng, (-52, 22, 18), (38 * size, 36, 48), jitter=8, wobble=0.09, tilt=20)
    return Patient(
        half=half,
        fat=fat,
        wall=wall,
        domes=np.array(
            [
                (58 + rng.normal(0, 5), rng.normal(2, 5), rng.uniform(40, 58), 56),
                (-62 + rng.normal(0, 5), rng.normal(2, 5), rng.uniform(28, 46), 52),
            ]
        ),
        domes_floor=float(rng.uniform(14, 26)),
        tissue=tissue,
        liver=liver,
        liver_vessels=draw_liver_vessels(rng, spine),
        tumours=draw_tumours(rng, liver[0], tissue.liver),
        spleen=blob(rng, (-94, -28, 22), (27, 42, 46), jitter=7, wobble=0.08, tilt=18, size=size),
        kidneys=(
            blob(rng, (58, spine + 2, -62), (25, 27, 50), jitter=5, wobble=0.06, tilt=12),
            blob(rng, (-60, spine + 2, -46), (25, 27, 52), jitter=5, wobble=0.06, tilt=12),
        ),
        gallbladder=blob(rng, (40, 38, -26), (13, 14, 25), jitter=6, wobble=0.06, tilt=20),
        heart=blob(rng, (-22, 18, 98), (58, 44, 42), jitter=6, wobble=0.05, tilt=10),
        stomach=Bowel(stomach, tissue.muscle + 12, draw_content(rng, tissue), gas=True),
        bowel=draw_bowel(rng, tissue, half),
        pancreas=bent(rng, (34, 12, -22), (-74, -8, 6), 12, bend=(0, 16, 8)),
        vessels=(
            bent(rng, (-9, spine + 34, -140), (-9, spine + 30, 140), 11.5, bend=(0, 2, 0)),
            bent(rng, (19, spine + 30, -140), (20, spine + 32, 62), 12.5, bend=(0, 3, 0)),
            bent(rng, (2, spine + 44, -34), (40, 8, 6), 7, bend=(4, 4, 0)),
        ),
        psoas=(
            bent(rng, (40, spine + 2, -140), (28, spine - 2, 10), 19, bend=(6, 0, 0)),
            bent(rng, (-40, spine + 2, -140), (-28, spine - 2, 10), 19, bend=(-6, 0, 0)),
        ),
        back_muscles=(
            bent(rng, (34, back + 24, -140), (32, back + 22, 140), 23, bend=(2, 0, 0)),
            bent(rng, (-34, back + 24, -140), (-32, back + 22, 140), 23, bend=(-2, 0, 0)),
        ),
    )


def draw_tissue(rng: Rng) -> Tissue:
    """Draw Hounsfield units: from unenhanced (0) to portal venous phase (1)."""
    phase = rng.uniform(0.15, 1.0)
    liver = 52 + 52 * phase - rng.exponential(5)
    return Tissue(
        fat=float(rng.normal(-98, 5)),
        muscle=float(52 + 12 * phase + rng.normal(0, 4)),
        liver=float(liver),
        spleen=float(liver + rng.normal(4, 11)),
        kidney=float(liver + rng.normal(16, 18)),
        pancreas=float(liver + rng.normal(-10, 9)),
        blood=float(46 + 105 * phase + rng.normal(0, 8)),
        bone=float(rng.uniform(160, 230)),
    )


def draw_content(rng: Rng, tissue: Tissue) -> float:
    """Draw what fills a piece of gut: fluid, food as dense as liver, or oral contrast."""
    kind = rng.choice(3, p=(0.3, 0.55, 0.15))
    return float((rng.uniform(5, 40), rng.normal(tissue.liver, 12), rng.uniform(150, 260))[kind])


def draw_liver(rng: Rng, size: float) -> tuple[Blob, Blob]:
    """Draw the right and the left lobe."""
    right = blob(rng, (60, 2, 6), (70, 72, 76), jitter=6, wobble=0.06, tilt=12, size=size)
    reach = float(rng.uniform(52, 82))  # some left lobes end at the midline, some touch the spleen
    left = blob(rng, (2, 34, 24), (reach, 34, 34), jitter=6, wobble=0.08, tilt=12, size=size)
    return right, left


def draw_liver_vessels(rng: Rng, spine: float) -> tuple[Tube, ...]:
    """Draw the hepatic veins to the vena cava and the portal branches."""
    vein, porta = np.array((20, spine + 34, 48.0)), np.array((36, 8, 4.0))
    ends = [(95, 15, 25), (62, 50, 10), (5, 40, 30), (100, -10, -10), (70, 30, -30), (0, 40, 15)]
    tubes = []
    for i, end in enumerate(ends):
        start = vein if i < 3 else porta
        middle = (start + np.array(end)) / 2 + rng.normal(0, 7, 3)
        path = np.stack([start, middle, np.array(end) + rng.normal(0, 9, 3)])
        tubes.append(Tube(path, np.array((6.0, 4.5, 2.5)) * rng.uniform(0.8, 1.2)))
    return tuple(tubes)


def draw_tumours(rng: Rng, lobe: Blob, liver: float) -> tuple[tuple[Blob, float], ...]:
    """Draw up to five tumours, darker than the liver; one patient in eight has none."""
    count = 0 if rng.random() < 0.125 else int(rng.integers(1, 6))
    tumours = []
    for _ in range(count):
        direction = rng.normal(0, 1, 3)
        direction /= np.linalg.norm(direction)
        place = lobe.center + direction * lobe.radii * rng.uniform(0.05, 0.72)
        radius = float(np.clip(rng.gamma(5, 3.2), 8, 32))
        shape = blob(rng, tuple(place), (radius, radius, radius), wobble=0.1, tilt=90)
        tumours.append((shape, float(liver - rng.uniform(28, 55))))
    return tuple(tumours)


def draw_bowel(rng: Rng, tissue: Tissue, half: tuple[float, float]) -> tuple[Bowel, ...]:
    """Draw loops of gut in the lower abdomen, a third of them with gas."""
    loops = []
    for _ in range(int(rng.integers(13, 19))):
        start = np.array(
            (
                rng.uniform(-0.62, 0.62) * half[0],
                rng.uniform(-0.05, 0.5) * half[1],
                rng.uniform(-120, -38),
            )
        )
        steps = rng.normal(0, 26, (2, 3)) * (1.0, 0.7, 0.5)
        path = np.concatenate([start[None], start + np.cumsum(steps, axis=0)])
        path[:, 2] = np.minimum(path[:, 2], -28)
        tube = Tube(path, np.full(3, rng.uniform(11, 20)))
        loops.append(
            Bowel(tube, tissue.muscle + 10, draw_content(rng, tissue), bool(rng.random() < 0.35))
        )
    return tuple(loops)


def blob(
    rng: Rng,
    center: tuple[float, ...],
    radii: tuple[float, ...],
    *,
    jitter: float = 0.0,
    wobble: float,
    tilt: float,
    size: float = 1.0,
) -> Blob:
    """Draw a blob near ``center``; ``jitter`` in mm, ``tilt`` in degrees."""
    angles = rng.uniform(-tilt, tilt, 3)
    return Blob(
        center=np.array(center) + rng.normal(0, 1, 3) * jitter,
        radii=np.array(radii) * size * rng.uniform(0.93, 1.07, 3),
        turn=turn_about((float(angles[0]), float(angles[1]), float(angles[2]))),
        wobble=rng.normal(0, wobble, 8).clip(-2 * wobble, 2 * wobble),
    )


def bent(
    rng: Rng,
    start: tuple[float, ...],
    end: tuple[float, ...],
    radius: float,
    *,
    bend: tuple[float, ...],
) -> Tube:
    """Draw a tube from ``start`` to ``end`` with its middle moved by about ``bend`` mm."""
    ends = np.array([start, end], dtype=np.float64) + rng.normal(0, 2, (2, 3))
    middle = ends.mean(0) + np.array(bend) * rng.uniform(0.4, 1.4)
    path = np.stack([ends[0], (ends[0] + middle) / 2 + np.array(bend) / 4, middle, ends[1]])
    return Tube(path, np.full(4, radius * rng.uniform(0.9, 1.1)))
