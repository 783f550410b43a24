"""What stands in a street: facades, cars, people, trees, poles and signs, painted far to near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Colour = tuple[float, float, float]
Mask = NDArray[np.bool_]

CLASSES = ("sky", "building", "road", "pavement", "tree", "car", "person", "pole", "sign")
"""Classes in the order of their values in label files, 0 first."""
VOID = 255
"""Value of what belongs to no class: the bonnet of the camera's car, bins on the pavement."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera that looks along the street; lengths in m, image positions in px."""

    height: float
    focal: float
    horizon: float
    """Row of the horizon."""
    centre: float
    """Column of the vanishing point."""
    haze_m: float
    """Depth at which haze has taken about 63 % of a colour."""
    haze: Colour


class Canvas:
    """An image and its classes, painted from far to near.

    Parameters
    ----------
    shape : pair of int
        Rows and columns.
    camera : Camera
    rng : Generator
        Draws textures.
    """

    def __init__(self, shape: tuple[int, int], camera: Camera, rng: np.random.Generator) -> None:
        self.camera, self.rng = camera, rng
        self.image = np.zeros((*shape, 3), dtype=np.float32)
        self.label = np.full(shape, VOID, dtype=np.uint8)
        self.rows, self.cols = np.meshgrid(
            np.arange(shape[0], dtype=np.float32),
            np.arange(shape[1], dtype=np.float32),
            indexing="ij",
            sparse=True,
        )

    def paint(
        self,
        mask: Mask,
        name: str | None,
        colour: Colour | NDArray[np.float32],
        depth: float | NDArray[np.float32],
        *,
        grain: float = 0.02,
    ) -> None:
        """Colour where ``mask`` is true and give it a class; None leaves the class as it is.

        Parameters
        ----------
        mask : bool ndarray of shape (rows, cols)
        name : str, optional
            One of `CLASSES`, or ``void``.
        colour : triple of float, or float ndarray of shape (3,) or (rows, cols, 3)
            In [0, 1].
        depth : float, or float ndarray of shape (rows, cols)
            Distance in m, for the haze.
        grain : float
            Standard deviation of the texture.
        """
        count = int(np.count_nonzero(mask))
        if count == 0:
            return
        shade = np.asarray(colour, dtype=np.float32)
        shade = shade[mask] if shade.ndim == 3 else np.broadcast_to(shade, (count, 3))
        far = np.asarray(depth, dtype=np.float32)
        far = far[mask] if far.ndim == 2 else np.broadcast_to(far, (count,))
        clear = np.exp(-far / self.camera.haze_m)[:, None]
        texture = self.rng.normal(0, grain, (count, 1)).astype(np.float32)
        self.image[mask] = (shade + texture) * clear + rgb(self.camera.haze) * (1 - clear)
        if name is not None:
            self.label[mask] = VOID if name == "void" else CLASSES.index(name)

    def upright(self, x: float, depth: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return metres right of ``x`` and above the ground of an upright plane at a depth.

        Returns
        -------
        (float32 ndarray of shape (1, cols), float32 ndarray of shape (rows, 1))
        """
        scale = depth / self.camera.focal  # m per px
        across = (self.cols - self.camera.centre) * scale - x
        above = self.camera.height - (self.rows - self.camera.horizon) * scale
        return across.astype(np.float32), above.astype(np.float32)

    def smooth_noise(self, sigma: float) -> NDArray[np.float32]:
        """Return noise of mean 0 and standard deviation 1 that changes over ``sigma`` px."""
        field = ndimage.gaussian_filter(
            self.rng.standard_normal(self.label.shape, dtype=np.float32), sigma
        )
        noise: NDArray[np.float32] = field / max(float(field.std()), 1e-6)
        return noise


def rgb(colour: Colour) -> NDArray[np.float32]:
    """Return a colour as a float32 array of shape (3,)."""
    return np.array(colour, dtype=np.float32)


def paint_facade(
    canvas: Canvas, side: int, distance: float, start: float, stop: float, height: float,
    colour: Colour,
) -> None:  # fmt: skip
    """Paint a house front along the street, with windows, from one depth to another.

    Parameters
    ----------
    side : int
        -1 left, 1 right.
    distance : float
        From the camera's axis, in m.
    start, stop : float
        Depths in m.
    height : float
        In m.
    """
    camera = canvas.camera
    offset = side * (canvas.cols - camera.centre)
    depth = camera.focal * distance / np.maximum(offset, 1e-3)
    above = camera.height - (canvas.rows - camera.horizon) * depth / camera.focal
    front = (offset > 0) & (depth > start) & (depth < stop) & (above > 0) & (above < height)
    canvas.paint(front, "building", colour, np.broadcast_to(depth, front.shape))
    pane = (np.mod(depth, 3.0) > 1.1) & (np.mod(depth, 3.0) < 2.2)
    pane = pane & (np.mod(above, 3.2) > 1.2) & (np.mod(above, 3.2) < 2.6) & (above < height - 0.5)
    dark = tuple(0.45 * part + 0.02 for part in colour)
    canvas.paint(
        front & pane, None, (dark[0], dark[1], dark[2] + 0.04), np.broadcast_to(depth, front.shape)
    )


def paint_tree(canvas: Canvas, x: float, depth: float, size: float, green: Colour) -> None:
    """Paint a trunk and a ragged crown, ``size`` m wide."""
    across, above = canvas.upright(x, depth)
    trunk = (np.abs(across) < 0.13) & (above > 0) & (above < size)
    canvas.paint(trunk, "tree", (0.28, 0.2, 0.14), depth)
    ragged = 1 + 0.12 * canvas.smooth_noise(max(1.0, 0.3 * canvas.camera.focal / depth))
    crown = (across / (0.5 * size)) ** 2 + ((above - 1.25 * size) / (0.6 * size)) ** 2 < ragged
    canvas.paint(crown, "tree", green, depth, grain=0.06)


def paint_car(canvas: Canvas, x: float, depth: float, colour: Colour, *, crossing: bool) -> None:
    """Paint a car from behind (1.8 m wide), or from its side (4.3 m long)."""
    across, above = canvas.upright(x, depth)
    half = 2.15 if crossing else 0.9
    body = (np.abs(across) < half) & (above > 0.3) & (above < 0.9)
    narrowing = np.clip((above - 0.9) / 0.6, 0, 1)
    cabin = (np.abs(across) < half * (0.75 - 0.2 * narrowing)) & (above >= 0.9) & (above < 1.5)
    glass = (np.abs(across) < half * (0.65 - 0.2 * narrowing)) & (above > 1.0) & (above < 1.4)
    hub = 0.65 * half
    wheels = (np.abs(np.abs(across) - hub) < (0.33 if crossing else 0.14)) & (above > 0)
    shadow = (np.abs(across) < half + 0.1) & (np.abs(above) < 0.1)
    canvas.paint(shadow, None, (0.08, 0.08, 0.09), depth)
    canvas.paint(wheels & (above < 0.6), "car", (0.07, 0.07, 0.07), depth)
    canvas.paint(body | cabin, "car", colour, depth)
    canvas.paint(glass, None, (0.16, 0.19, 0.22), depth)
    if not crossing:
        lights = (np.abs(np.abs(across) - 0.72) < 0.13) & (np.abs(above - 0.75) < 0.08)
        canvas.paint(lights, None, (0.75, 0.08, 0.06), depth)


def paint_person(
    canvas: Canvas, x: float, depth: float, tall: float, colours: list[Colour]
) -> None:
    """Paint legs, coat and head of a person ``tall`` m high."""
    across, above = canvas.upright(x, depth)
    up = above / tall
    legs = (np.abs(np.abs(across) - 0.1) < 0.09) & (up > 0) & (up <= 0.48)
    coat = (np.abs(across) < 0.24 - 0.12 * np.abs(up - 0.68)) & (up > 0.44) & (up < 0.84)
    head = (across / 0.12) ** 2 + ((above - 0.92 * tall) / 0.14) ** 2 < 1
    for part, colour in zip((legs, coat, head), colours, strict=True):
        canvas.paint(part, "person", colour, depth)


def paint_pole(canvas: Canvas, x: float, depth: float, tall: float, arm: float) -> None:
    """Paint a pole, with a lamp's arm that reaches ``arm`` m over the road."""
    across, above = canvas.upright(x, depth)
    pole = (np.abs(across) < 0.09) & (above > 0) & (above < tall)
    reach = (across * np.sign(arm) >= 0) & (across * np.sign(arm) < abs(arm))
    canvas.paint(pole | (reach & (np.abs(above - tall) < 0.07)), "pole", (0.36, 0.37, 0.38), depth)


def paint_sign(
    canvas: Canvas, x: float, depth: float, high: float, colour: Colour, *, disc: bool
) -> None:
    """Paint a traffic sign with a white rim, its middle ``high`` m above the ground."""
    across, above = canvas.upright(x, depth)
    far = np.hypot(across, above - high)
    if not disc:
        far = np.maximum(np.abs(across), 0.75 * np.abs(above - high))
    canvas.paint(far < 0.42, "sign", (0.85, 0.85, 0.83), depth)
    canvas.paint(far < 0.32, None, colour, depth)


def paint_bin(canvas: Canvas, x: float, depth: float, colour: Colour) -> None:
    """Paint a bin, which belongs to no class."""
    across, above = canvas.upright(x, depth)
    canvas.paint((np.abs(across) < 0.3) & (above > 0) & (above < 1.1), "void", colour, depth)
