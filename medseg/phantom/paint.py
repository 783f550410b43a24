"""Paint a patient on a grid, from the skin inwards; what comes later lies on top."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.phantom.anatomy import Bowel, Patient
from medseg.phantom.shapes import Blob, Box, Level, Points, Space, Tube, smooth_union, superellipse

AIR, LUNG = -1000.0, -840.0
OMENTUM_MM = 2.5
"""Fat between the liver and what lies against it; thinner than a voxel, so blurred but there."""
WHOLE: Box = (slice(None), slice(None), slice(None))


class Canvas:
    """Hounsfield units and labels of a grid under painting."""

    def __init__(self, space: Space) -> None:
        self.space = space
        shape = space.points.shape[1:]
        self.image: NDArray[np.float32] = np.full(shape, AIR, dtype=np.float32)
        self.label: NDArray[np.int16] = np.zeros(shape, dtype=np.int16)
        self.soft = float(np.mean(space.spacing))  # width of the partial-volume edge in mm

    def fill(
        self, level: Level, value: float | NDArray[np.float32], box: Box = WHOLE, label: int = 0
    ) -> None:
        """Paint what lies inside ``level`` on ``box``; the voxels take the label."""
        share = np.clip(0.5 - level / self.soft, 0, 1)
        self.image[box] += share * (value - self.image[box])
        self.label[box][level < 0] = label

    def shape(
        self, shape: Blob | Tube, value: float, limit: Callable[[Points], Level] | None = None
    ) -> None:
        """Paint one shape, cut off where ``limit`` is positive."""
        box = shape.box(self.space)
        points = self.space.points[(slice(None), *box)]
        level = shape.level(points)
        self.fill(level if limit is None else np.maximum(level, limit(points)), value, box)


def paint_patient(
    patient: Patient, space: Space, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Return Hounsfield units before the scanner's blur and noise, and the labels."""
    canvas = Canvas(space)
    paint_couch(canvas, patient)
    paint_trunk(canvas, patient)
    paint_chest(canvas, patient)
    paint_gut(canvas, patient)
    paint_liver(canvas, patient, rng)
    paint_organs(canvas, patient)
    paint_skeleton(canvas, patient)
    return canvas.image, canvas.label


def diaphragm(patient: Patient, points: Points) -> Level:
    """Return the height above the diaphragm in mm: positive in the chest."""
    height = np.full(points.shape[1:], patient.domes_floor, dtype=np.float32)
    for x, y, rise, width in patient.domes.astype(np.float32):
        squared = (points[0] - x) ** 2 + (points[1] - y) ** 2
        height += rise * np.exp(-squared / (2 * width**2))
    level: Level = points[2] - height
    return level


def in_abdomen(patient: Patient, gap: float) -> Callable[[Points], Level]:
    """Return the level of the abdominal cavity, ``gap`` mm inside its wall and the diaphragm."""

    def level(points: Points) -> Level:
        walls = superellipse(points, patient.cavity)
        inside: Level = np.maximum(walls, diaphragm(patient, points)) + np.float32(gap)
        return inside

    return level


def paint_couch(canvas: Canvas, patient: Patient) -> None:
    """Paint the table top under the back."""
    x, y, _ = canvas.space.points
    below = -patient.half[1] - 7 - (x / 40) ** 2 * -0.5
    canvas.fill(np.maximum(np.abs(y - below) - 3, np.abs(x) - 120), -180.0)


def paint_trunk(canvas: Canvas, patient: Patient) -> None:
    """Paint fat, the muscle wall and the fat of the abdomen, then the muscles beside the spine."""
    points, tissue = canvas.space.points, patient.tissue
    under_skin = (patient.half[0] - patient.fat, patient.half[1] - patient.fat)
    canvas.fill(superellipse(points, patient.half), tissue.fat)
    canvas.fill(superellipse(points, under_skin), tissue.muscle)
    canvas.fill(superellipse(points, patient.cavity), tissue.fat)
    for muscle in (*patient.back_muscles, *patient.psoas):
        canvas.shape(muscle, tissue.muscle)


def paint_chest(canvas: Canvas, patient: Patient) -> None:
    """Paint lungs above the diaphragm, its muscle, and the heart."""
    points = canvas.space.points
    chest = superellipse(points, patient.cavity)
    height = diaphragm(patient, points)
    canvas.fill(np.maximum(chest, -height - 3), patient.tissue.muscle)
    behind = points[1] - (patient.spine_y + 12)
    beside_spine = np.maximum(np.abs(points[0]) - 26, behind)  # the spine's place
    canvas.fill(np.maximum.reduce([chest + 2, -height, -beside_spine]), LUNG)
    canvas.shape(patient.heart, patient.tissue.blood, lambda p: -diaphragm(patient, p))


def paint_gut(canvas: Canvas, patient: Patient) -> None:
    """Paint loops of gut and the stomach: wall, content, gas towards the front."""
    for loop in (*patient.bowel, patient.stomach):
        paint_loop(canvas, patient, loop)


def paint_loop(canvas: Canvas, patient: Patient, loop: Bowel) -> None:
    """Paint one loop; gas rises to the front of a patient on the back."""
    box = loop.shape.box(canvas.space)
    if any(axis.stop <= axis.start for axis in box):
        return
    points = canvas.space.points[(slice(None), *box)]
    level = np.maximum(loop.shape.level(points), in_abdomen(patient, 2)(points))
    canvas.fill(level, loop.wall, box)
    canvas.fill(level + 4, loop.content, box)
    if loop.gas:
        center = loop.shape.center if isinstance(loop.shape, Blob) else loop.shape.path.mean(0)
        front = np.float32(center[1] + 9) - points[1]
        canvas.fill(np.maximum(level + 4, front), AIR + 60, box)


def paint_liver(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint the two lobes, their vessels and the tumours; the only labelled voxels."""
    right, left = patient.liver
    box = tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(right.box(canvas.space), left.box(canvas.space), strict=True)
    )
    box = (box[0], box[1], box[2])
    points = canvas.space.points[(slice(None), *box)]
    lobes = smooth_union(right.level(points), left.level(points), 14.0)
    spine = patient.spine_y + 22 - points[1] - np.float32(0.7) * np.abs(points[0])
    liver = np.maximum.reduce([lobes, in_abdomen(patient, 3.5)(points), spine])
    spots = ndimage.gaussian_filter(rng.standard_normal(liver.shape, dtype=np.float32), 2.0)
    omentum = np.maximum(liver - OMENTUM_MM, in_abdomen(patient, 3.5)(points))
    canvas.fill(omentum, patient.tissue.fat, box)
    canvas.fill(liver, patient.tissue.liver + spots * np.float32(4 / spots.std()), box, label=1)
    for vessel in patient.liver_vessels:
        bright = patient.tissue.liver + 0.45 * (patient.tissue.blood - patient.tissue.liver) + 8
        canvas.fill(np.maximum(vessel.level(points), liver + 3), bright, box, label=1)
    for shape, value in patient.tumours:
        canvas.fill(np.maximum(shape.level(points), liver + 1), value, box, label=2)


def paint_organs(canvas: Canvas, patient: Patient) -> None:
    """Paint what presses into the liver or lies behind it."""
    tissue = patient.tissue
    abdomen = in_abdomen(patient, 4)
    canvas.shape(patient.spleen, tissue.spleen, abdomen)
    canvas.shape(patient.gallbladder, 12.0, abdomen)
    pancreas = patient.pancreas
    around = Tube(pancreas.path, pancreas.radius + OMENTUM_MM)
    canvas.shape(around, tissue.fat, abdomen)
    canvas.shape(pancreas, tissue.pancreas, abdomen)
    for kidney in patient.kidneys:
        box = kidney.box(canvas.space)
        points = canvas.space.points[(slice(None), *box)]
        level = np.maximum(kidney.level(points), abdomen(points))
        canvas.fill(level - 4, tissue.fat, box)  # perirenal fat
        canvas.fill(level, tissue.kidney, box)
        canvas.fill(level + 16, tissue.kidney - 45, box)  # renal pelvis
    for vessel in patient.vessels:
        canvas.shape(vessel, tissue.blood)


def paint_skeleton(canvas: Canvas, patient: Patient) -> None:
    """Paint vertebrae with discs and canal, and the ribs in the muscle wall."""
    x, y, z = canvas.space.points
    bone, spine = patient.tissue.bone, patient.spine_y
    body = (np.sqrt((x / 23) ** 2 + ((y - spine) / 17) ** 2) - 1) * 17
    phase = np.abs(np.mod(z, 34) - 17)
    canvas.fill(body, 90.0)  # discs
    canvas.fill(np.maximum(body, 4 - phase), bone + 150)
    canvas.fill(np.maximum(body + 3, 6.5 - phase), bone)
    arch = np.sqrt(x**2 + (y - spine + 24) ** 2)
    spinous = np.maximum(np.abs(x) - 4, np.abs(y - spine + 42) - 12)
    canvas.fill(np.maximum(np.minimum(arch - 14, spinous), 3 - phase), bone + 130)
    canvas.fill(arch - 8.5, 35.0)
    wall = superellipse(canvas.space.points, patient.cavity)
    along = z + 0.55 * y  # ribs fall from the back to the front
    rib = np.maximum(np.abs(np.mod(along, 27) - 13.5) - 5, np.abs(wall - 5.5) - 3.5)
    rib = np.maximum.reduce([rib, -60 - along, y - 0.72 * patient.cavity[1], -(np.abs(x) - 40)])
    canvas.fill(rib, bone + 160)
