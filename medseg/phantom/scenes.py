"""Street-like scenes, SYNTHETIC: same seed and index, same pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry.volume import Volume
from medseg.io.picture import write_image_png
from medseg.phantom.scene_parts import (
    CLASSES,
    VOID,
    Camera,
    Canvas,
    Colour,
    paint_bin,
    paint_car,
    paint_facade,
    paint_person,
    paint_pole,
    paint_sign,
    paint_tree,
    rgb,
)

VERSION = 1
"""Raised whenever the same seed gives other pixels."""

DRIVE = 4
"""Scenes of one drive: one street, camera and weather."""

CAR_COLOURS: tuple[Colour, ...] = (
    (0.65, 0.66, 0.67), (0.12, 0.12, 0.14), (0.7, 0.68, 0.62), (0.55, 0.1, 0.1),
    (0.12, 0.2, 0.42), (0.2, 0.33, 0.22), (0.8, 0.8, 0.8),
)  # fmt: skip
SIGN_COLOURS: tuple[Colour, ...] = ((0.72, 0.1, 0.1), (0.1, 0.25, 0.6), (0.8, 0.65, 0.1))


Maker = Callable[[float, int], Callable[[], None]]
"""From a depth in m and a side to what paints a thing there."""


@dataclass(frozen=True, kw_only=True)
class Street:
    """What the scenes of one drive share."""

    camera: Camera
    half_road: float
    """From the middle of the road to the kerb, in m."""
    half_street: float
    """From the middle of the road to the houses, in m."""
    sky: Colour
    asphalt: Colour
    paving: Colour
    walls: tuple[Colour, ...]
    green: Colour
    light: Colour
    """Of the sun and the camera's white balance."""
    bonnet: float
    """Share of the picture's height that shows the camera's own car."""


def make_scene(
    seed: int, index: int, *, shape: tuple[int, int] = (120, 160)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make scene ``index`` of the set ``seed``; `DRIVE` scenes in turn are one drive.

    Sky and pale walls, road and pavement, trees and green cars share their colours, so that place
    and shape decide. Poles, signs and people are a pixel or a few wide, and rare.

    Parameters
    ----------
    seed, index : int
        0 or more; a scene does not depend on how many others are made.
    shape : pair of int
        Rows and columns.

    Returns
    -------
    image : uint8 ndarray of shape (3, rows, cols)
        RGB.
    label : uint8 ndarray of shape (rows, cols)
        Position in `medseg.phantom.scene_parts.CLASSES`, or `VOID`.

    Examples
    --------
    >>> image, label = make_scene(0, 0, shape=(60, 80))
    >>> image.shape, label.shape, bool(label[0, 40] == CLASSES.index("sky"))
    ((3, 60, 80), (60, 80), True)
    """
    fine = (2 * shape[0], 2 * shape[1])
    street = draw_street(np.random.default_rng([seed, index // DRIVE, 0]), fine)
    rng = np.random.default_rng([seed, index // DRIVE, 1 + index % DRIVE])
    canvas = Canvas(fine, street.camera, rng)
    _paint_ground_and_sky(canvas, street)
    _paint_houses(canvas, street)
    for _, paint in sorted(_things(canvas, street), key=lambda thing: -thing[0]):
        paint()
    bonnet = canvas.rows > fine[0] * (1 - street.bonnet)
    bonnet = bonnet & (np.abs(canvas.cols - fine[1] / 2) < 0.42 * fine[1])
    canvas.paint(bonnet, "void", (0.1, 0.1, 0.12), 0.0)
    return _photographed(canvas, street), canvas.label[1::2, 1::2].copy()


def draw_street(rng: np.random.Generator, shape: tuple[int, int]) -> Street:
    """Draw what a drive's scenes share; ``shape`` is that of the canvas, in px."""
    rows, cols = shape
    grey = float(rng.uniform(0.25, 0.45))
    haze = float(rng.uniform(0.6, 0.85))
    overcast = bool(rng.random() < 0.4)
    sky: Colour = (0.8, 0.81, 0.83) if overcast else (0.45, 0.62, float(rng.uniform(0.8, 0.95)))
    warm = float(rng.uniform(-0.08, 0.08))
    bright = float(rng.uniform(0.75, 1.2))
    half_road = float(rng.uniform(3.2, 6.0))
    return Street(
        camera=Camera(
            height=float(rng.uniform(1.2, 1.9)),
            focal=0.7 * cols,
            horizon=float(rng.uniform(0.4, 0.52)) * rows,
            centre=float(rng.uniform(0.4, 0.6)) * cols,
            haze_m=float(rng.uniform(70, 200)),
            haze=(haze, haze, haze + 0.03),
        ),
        half_road=half_road,
        half_street=half_road + float(rng.uniform(2.0, 4.0)),
        sky=sky,
        asphalt=(grey, grey, grey + 0.015),
        paving=_near((grey + 0.12, grey + 0.11, grey + 0.09), 0.04, rng),
        walls=tuple(_near((0.6, 0.54, 0.47), 0.14, rng) for _ in range(5)),
        green=_near((0.22, 0.34, 0.15), 0.05, rng),
        light=(bright * (1 + warm), bright, bright * (1 - warm)),
        bonnet=float(rng.uniform(0.04, 0.1)) if rng.random() < 0.5 else 0.0,
    )


def _near(colour: Colour, spread: float, rng: np.random.Generator) -> Colour:
    """Draw a colour about another: mostly another brightness, a little another hue."""
    shift = rng.normal(0, spread) + rng.normal(0, spread / 4, 3)
    red, green, blue = (
        float(np.clip(c + s, 0.02, 0.95)) for c, s in zip(colour, shift, strict=True)
    )
    return red, green, blue


def _paint_ground_and_sky(canvas: Canvas, street: Street) -> None:
    """Paint the sky with clouds, the road with its marks, and the pavements."""
    camera = canvas.camera
    above = np.broadcast_to(canvas.rows < camera.horizon, canvas.label.shape)
    clouds = np.clip(0.5 * canvas.smooth_noise(canvas.label.shape[1] / 14), 0, 0.6)[..., None]
    sky = rgb(street.sky) * (1 - clouds) + rgb((0.88, 0.88, 0.9)) * clouds
    canvas.paint(above, "sky", sky.astype(np.float32), 0.0, grain=0.008)
    depth = camera.focal * camera.height / np.maximum(canvas.rows - camera.horizon, 0.5)
    depth = np.broadcast_to(depth, canvas.label.shape).astype(np.float32)
    x = np.abs((canvas.cols - camera.centre) * depth / camera.focal)
    worn = 0.02 * canvas.smooth_noise(5)[..., None]
    canvas.paint(~above, "pavement", rgb(street.paving) + worn, depth, grain=0.03)
    joints = (np.mod(depth, 1.5) < 0.08) & (x > street.half_road)
    canvas.paint(~above & joints, None, 0.8 * rgb(street.paving), depth)
    road = ~above & (x < street.half_road)
    canvas.paint(road, "road", rgb(street.asphalt) + worn, depth, grain=0.03)
    dashes = road & (x < 0.08) & (np.mod(depth, 6) < 3)
    canvas.paint(dashes, None, (0.75, 0.75, 0.72), depth)
    kerb = ~above & (np.abs(x - street.half_road) < 0.1)
    canvas.paint(kerb, "pavement", (0.55, 0.54, 0.52), depth)


def _paint_houses(canvas: Canvas, street: Street) -> None:
    """Paint a row of houses on each side, with gaps that trees fill; far ones first."""
    rng = canvas.rng
    across, above = canvas.upright(0.0, 150.0)
    skyline = 12 + 3 * canvas.smooth_noise(canvas.label.shape[1] / 30)[:1]
    canvas.paint(
        (above > -1.6) & (above < skyline + 0 * across), "building", street.walls[0], 150.0
    )
    for side in (-1, 1):
        ends, depth = [], 3.0
        while depth < 120:
            length = float(rng.uniform(8, 22))
            ends.append((depth, depth + length, float(rng.uniform(5, 14)), rng.random() < 0.75))
            depth += length
        for start, stop, height, built in reversed(ends):
            wall = street.walls[int(rng.integers(len(street.walls)))]
            if built:
                paint_facade(canvas, side, street.half_street, start, stop, height, wall)
            else:
                width = float(rng.uniform(4, 6))
                paint_tree(
                    canvas, side * (street.half_street + 2), start + 2, width,
                    _near(street.green, 0.03, rng),
                )  # fmt: skip


def _things(canvas: Canvas, street: Street) -> list[tuple[float, Callable[[], None]]]:
    """Draw what stands and moves in the street: (depth in m, what paints it)."""
    rng = canvas.rng
    kerb, walk = street.half_road, street.half_street - street.half_road
    things: list[tuple[float, Callable[[], None]]] = []

    def add(count: float, least: float, most: float, make: Maker) -> None:
        """Draw how many of a thing there are, and each one's depth (log-uniform) and side."""
        for _ in range(int(rng.poisson(count))):
            depth = float(np.exp(rng.uniform(np.log(least), np.log(most))))
            things.append((depth, make(depth, int(rng.choice((-1, 1))))))

    def car(depth: float, side: int) -> Callable[[], None]:
        x = side * float(rng.choice((0.45 * kerb, kerb - 1.0)))
        colour = CAR_COLOURS[int(rng.integers(len(CAR_COLOURS)))]
        crossing = bool(rng.random() < 0.15)
        return lambda: paint_car(canvas, x, depth, _near(colour, 0.03, rng), crossing=crossing)

    def person(depth: float, side: int) -> Callable[[], None]:
        x = side * (kerb + float(rng.uniform(-0.3, 0.8)) * walk)
        tall = float(rng.uniform(1.2, 1.9))
        clothes = [_near((0.25, 0.25, 0.3), 0.12, rng), _near((0.4, 0.3, 0.3), 0.2, rng)]
        return lambda: paint_person(canvas, x, depth, tall, [*clothes, (0.62, 0.47, 0.38)])

    def pole(depth: float, side: int) -> Callable[[], None]:
        x, tall = side * (kerb + 0.4), float(rng.uniform(4, 6.5))
        arm = -side * 1.5 if rng.random() < 0.5 else 0.0
        return lambda: paint_pole(canvas, x, depth, tall, arm)

    def sign(depth: float, side: int) -> Callable[[], None]:
        x, high = side * (kerb + 0.5), float(rng.uniform(2.1, 2.9))
        colour = SIGN_COLOURS[int(rng.integers(len(SIGN_COLOURS)))]
        disc = bool(rng.random() < 0.6)

        def paint() -> None:
            paint_pole(canvas, x, depth, high, 0.0)
            paint_sign(canvas, x, depth, high, colour, disc=disc)

        return paint

    def tree(depth: float, side: int) -> Callable[[], None]:
        x, size = side * (kerb + 0.6 * walk), float(rng.uniform(2.0, 3.6))
        return lambda: paint_tree(canvas, x, depth, size, _near(street.green, 0.04, rng))

    def litter(depth: float, side: int) -> Callable[[], None]:
        x = side * (kerb + 0.8 * walk)
        return lambda: paint_bin(canvas, x, depth, _near((0.3, 0.3, 0.28), 0.1, rng))

    add(2.5, 6, 50, car)
    add(2.5, 5, 35, person)
    add(4.0, 5, 50, pole)
    add(2.0, 5, 30, sign)
    add(2.0, 8, 60, tree)
    add(0.5, 5, 20, litter)
    return things


def _photographed(canvas: Canvas, street: Street) -> NDArray[np.uint8]:
    """Reduce to half the size, add light, shadow, blur and noise; uint8 (3, rows, cols)."""
    rows, cols = canvas.label.shape
    half = canvas.image.reshape(rows // 2, 2, cols // 2, 2, 3).mean(axis=(1, 3))
    rng = canvas.rng
    shade = 1 + 0.1 * np.linspace(-1, 1, cols // 2, dtype=np.float32) * float(rng.normal())
    half = half * rgb(street.light) * shade[None, :, None]
    half = ndimage.gaussian_filter(half, (float(rng.uniform(0.2, 0.6)),) * 2 + (0,))
    half += rng.normal(0, rng.uniform(0.008, 0.025), half.shape)
    pixels = np.clip(np.rint(255 * np.clip(half, 0, 1)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def scene_id(index: int) -> str:
    """Return the id of a scene, such as ``scene_003``."""
    return f"scene_{index:03d}"


def drive_id(index: int) -> str:
    """Return the id of the drive a scene is from, such as ``drive_00``."""
    return f"drive_{index // DRIVE:02d}"


def write_scene(folder: Path, seed: int, index: int, shape: tuple[int, int]) -> tuple[Path, Path]:
    """Make one scene and write ``images/<id>.png`` and ``labels/<id>.png``; return both."""
    image, label = make_scene(seed, index, shape=shape)
    paths = scene_paths(folder, index)
    for path, pixels in zip(paths, (image, label[None]), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image_png(path, Volume(data=pixels, affine=np.eye(3)))
    return paths


def scene_paths(folder: Path, index: int) -> tuple[Path, Path]:
    """Return where `write_scene` puts image and label."""
    name = f"{scene_id(index)}.png"
    return folder / "images" / name, folder / "labels" / name


__all__ = ["CLASSES", "DRIVE", "VERSION", "VOID", "make_scene", "write_scene"]
