"""Secondary capture: slices with contours, volumes and a legend burned in.

For viewers that know neither SEG nor RTSTRUCT. One multi-frame image with a frame for every slice
on which something was found.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import JPEGBaseline8Bit, MultiFrameTrueColorSecondaryCaptureImageStorage

from medseg.dicom_out.contours import rings
from medseg.dicom_out.equipment import Algorithm
from medseg.dicom_out.plain import new_object, reference
from medseg.dicom_out.segments import Segment
from medseg.dicom_out.source import SourceSeries
from medseg.geometry.orientation import axis_codes
from medseg.metrics.box import union_mask
from medseg.metrics.shape import structure_volume_ml

SMALLEST_SIDE = 512
"""Small slices are enlarged so that lines and letters can be read."""
PANEL, LINE, MARGIN = 300, 20, 8
"""Width of the legend, height of its lines and space around it, in px."""
CT_WINDOW = (-160.0, 240.0)
"""Hounsfield units shown from black to white: soft tissue (level 40, width 400)."""
QUALITY = 92
LETTERS: Mapping[str, str] = {**{code: code for code in "RLAP"}, "S": "H", "I": "F"}
"""Our axis codes in DICOM's letters: head and feet."""
OPPOSITE: Mapping[str, str] = dict(zip("RLAPHF", "LRPAFH", strict=True))


def make_capture(
    source: SourceSeries,
    image: NDArray[np.generic],
    indices: NDArray[np.int16],
    segments: Sequence[Segment],
    algorithm: Algorithm,
) -> Dataset:
    """Draw the segments on their slices.

    Parameters
    ----------
    source : SourceSeries
    image : ndarray of shape source.grid.shape
        Rescaled intensities in stored order: columns, rows, slices by position.
    indices : int16 ndarray of shape source.grid.shape
        Class indices.
    segments : sequence of Segment
        At least one.
    algorithm : Algorithm
    """
    shown = np.flatnonzero(np.isin(indices, _claimed(segments)).any(axis=(0, 1)))
    painter = _Painter(source, image, indices, segments, algorithm)
    frames = [painter.paint(int(k)) for k in shown]
    coded = [_jpeg(frame) for frame in frames]
    storage = MultiFrameTrueColorSecondaryCaptureImageStorage
    dataset = new_object(source, storage, "SC", "captures", algorithm)
    dataset.Modality = source.first.get("Modality", "OT")  # SC is a kind of object, no modality
    dataset.ConversionType, dataset.Laterality = "WSD", ""
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ContentDate = dataset.InstanceCreationDate
    dataset.ContentTime = dataset.InstanceCreationTime
    dataset.BurnedInAnnotation = "YES"
    letters = axis_codes(source.grid.matrix)
    dataset.PatientOrientation = [LETTERS[letters[0]], LETTERS[letters[1]]]
    dataset.SourceImageSequence = [reference(source.headers[k]) for k in shown]
    dataset.NumberOfFrames = len(frames)
    dataset.FrameIncrementPointer = Tag("SliceLocationVector")
    dataset.SliceLocationVector = [f"{k * source.grid.spacing[2]:.3f}" for k in shown]
    _set_pixels(dataset, frames, coded)
    return dataset


class _Painter:
    """Draws one slice after another at one scale."""

    def __init__(
        self,
        source: SourceSeries,
        image: NDArray[np.generic],
        indices: NDArray[np.int16],
        segments: Sequence[Segment],
        algorithm: Algorithm,
    ) -> None:
        self.source, self.image, self.indices = source, image, indices
        self.segments, self.algorithm = segments, algorithm
        spacing = np.array(source.grid.spacing[:2])
        aspect = spacing / spacing.min()  # pixels on the screen are square
        sides = aspect * source.grid.shape[:2]
        self.scale = aspect * max(1.0, np.ceil(SMALLEST_SIDE / sides.min()))
        self.size = tuple(int(n) for n in np.round(self.scale * source.grid.shape[:2]))
        self.window = _window(source, image)
        masks = (union_mask(indices, segment.indices) for segment in segments)
        self.volumes = [structure_volume_ml(mask, source.grid) for mask in masks]
        self.font = ImageFont.load_default(size=15)

    def paint(self, k: int) -> Image.Image:
        """Draw slice ``k``."""
        low, high = self.window
        grey = np.clip((self.image[:, :, k].astype(np.float64) - low) / (high - low), 0, 1)
        plane = Image.fromarray(np.round(255 * grey.T).astype(np.uint8))
        width, height = self.size
        canvas = Image.new("RGB", (width + PANEL, height))
        canvas.paste(plane.resize((width, height), Image.Resampling.BICUBIC).convert("RGB"))
        draw = ImageDraw.Draw(canvas)
        for segment in self.segments:
            for piece in rings(union_mask(self.indices[:, :, k], segment.indices)):
                for ring in piece:
                    points = (np.vstack([ring, ring[:1]]) + 0.5) * self.scale
                    draw.line(points.ravel().tolist(), fill=segment.color, width=2)
        self._letters(draw)
        self._legend(draw, k)
        return canvas

    def _letters(self, draw: ImageDraw.ImageDraw) -> None:
        """Name the sides of the picture."""
        right, down = (LETTERS[code] for code in axis_codes(self.source.grid.matrix)[:2])
        width, height = self.size
        for letter, x, y, anchor in (
            (OPPOSITE[right], MARGIN, height / 2, "lm"),
            (right, width - MARGIN, height / 2, "rm"),
            (OPPOSITE[down], width / 2, MARGIN, "mt"),
            (down, width / 2, height - MARGIN, "mb"),
        ):
            draw.text((x, y), letter, fill="white", font=self.font, anchor=anchor)

    def _legend(self, draw: ImageDraw.ImageDraw, k: int) -> None:
        """Write what is seen, and by whom."""
        left, top = self.size[0] + MARGIN, MARGIN
        lines = [
            *(["SYNTHETIC"] if self.algorithm.synthetic else []),
            f"medseg {self.algorithm.version}",
            "not for diagnostic use",
            f"slice {k + 1} of {self.source.grid.shape[2]}",
            "",
        ]
        for line in lines:
            draw.text((left, top), line, fill="white", font=self.font)
            top += LINE
        rows = list(zip(self.segments, self.volumes, strict=True))
        room = (self.size[1] - top - MARGIN) // LINE
        if len(rows) > room:  # then those of this slice go first
            here = set(np.unique(self.indices[:, :, k]).tolist())
            rows.sort(key=lambda row: here.isdisjoint(row[0].indices))
            draw.text(
                (left, top + (room - 1) * LINE),
                f"and {len(rows) - room + 1} more",
                fill="white",
                font=self.font,
            )
            rows = rows[: room - 1]
        for segment, volume in rows:
            draw.rectangle((left, top + 4, left + 10, top + 14), fill=segment.color)
            text = f"{segment.name[:24]}  {volume:.1f} mL"
            draw.text((left + 16, top), text, fill="white", font=self.font)
            top += LINE


def _claimed(segments: Sequence[Segment]) -> list[int]:
    """List the class indices of all segments."""
    return sorted({index for segment in segments for index in segment.indices})


def _window(source: SourceSeries, image: NDArray[np.generic]) -> tuple[float, float]:
    """Return the intensities of black and white."""
    if source.first.get("Modality") == "CT":
        return CT_WINDOW
    low, high = (float(x) for x in np.percentile(image.astype(np.float64), (0.5, 99.5)))
    return low, max(high, low + 1e-6)


def _jpeg(frame: Image.Image) -> bytes:
    """Code a frame as JPEG baseline."""
    stream = io.BytesIO()
    frame.save(stream, "JPEG", quality=QUALITY, subsampling="4:2:2")
    return stream.getvalue()


def _set_pixels(dataset: Dataset, frames: Sequence[Image.Image], coded: Sequence[bytes]) -> None:
    """Store the coded frames."""
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.Columns, dataset.Rows = frames[0].size
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    size = 3 * dataset.Rows * dataset.Columns * len(frames)
    dataset.LossyImageCompressionRatio = f"{size / sum(map(len, coded)):.2f}"
    dataset.PixelData = encapsulate(list(coded))
