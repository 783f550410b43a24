"""Segment Anything with points and boxes as prompts, by transformers, from a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.networks.hf_folder import folder_of, read_config
from medseg.networks.wrapped import import_extra, part_of

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Embedded:
    """What the image encoder makes of an image once, for any number of prompts.

    Attributes
    ----------
    features : float Tensor of shape (1, C, grid, grid)
    sizes : tuple of int
        Rows and columns of the image.
    """

    features: Tensor
    sizes: tuple[int, int]


class Sam:
    """Segment Anything [1]_ for one image at a time: prompts in, a mask per object out.

    Parameters
    ----------
    model : transformers.SamModel

    References
    ----------
    .. [1] Kirillov et al., Segment anything, ICCV 2023.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.side = int(model.config.vision_config.image_size)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @torch.no_grad()
    def embed(self, image: Tensor) -> Embedded:
        """Run the image encoder.

        Parameters
        ----------
        image : float Tensor of shape (rows, cols), (1, rows, cols) or (3, rows, cols)
            In [0, 1]: window a CT, scale an MR image first. A single channel is shown as grey.

        Raises
        ------
        ConfigError
            If it is a volume, has other channels, or values outside [0, 1].
        """
        grey = image[None] if image.ndim == 2 else image
        if grey.ndim != 3 or len(grey) not in (1, 3):
            raise ConfigError(
                f"SAM: an image of shape {tuple(image.shape)} is not (rows, cols) or (1 or 3, "
                "rows, cols); give it a slice of a volume at a time"
            )
        if not 0 <= float(image.min()) <= float(image.max()) <= 1:
            raise ConfigError(
                f"SAM: values from {float(image.min()):.4g} to {float(image.max()):.4g}; bring the "
                "image to [0, 1] first"
            )
        rows, cols = grey.shape[1:]
        shown = functional.interpolate(
            grey.expand(3, -1, -1)[None].to(self.device, torch.float32),
            self._shown(rows, cols),
            mode="bilinear",
            antialias=True,
        )
        mean, std = (shown.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        normal = (shown - mean) / std
        missing = (0, self.side - normal.shape[3], 0, self.side - normal.shape[2])
        features = self.model.get_image_embeddings(functional.pad(normal, missing))
        return Embedded(features, (rows, cols))

    @torch.no_grad()
    def segment(
        self,
        image: Tensor | Embedded,
        *,
        points: Sequence[Any] | Tensor | None = None,
        labels: Sequence[Any] | Tensor | None = None,
        boxes: Sequence[Any] | Tensor | None = None,
        best_of_three: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Segment the objects that prompts point at.

        Parameters
        ----------
        image : float Tensor or Embedded
            See `embed`; embed an image once to prompt it several times.
        points : of shape (objects, n, 2), optional
            Row and column of each point, in pixels of the image.
        labels : of shape (objects, n), optional
            1: on the object, 0: beside it. Default: all on it.
        boxes : of shape (objects, 4), optional
            First row, first column, last row, last column.
        best_of_three : bool, optional
            Ask for three masks and keep the one the model trusts most, as [1]_ does where a prompt
            may mean a part or the whole. Default: for a single point without a box.

        Returns
        -------
        (float Tensor of shape (objects, rows, cols), float Tensor of shape (objects,))
            Logits, positive inside; and the IoU with the truth that the model expects.

        Raises
        ------
        ConfigError
            If there is no prompt, or shapes do not fit each other.
        """
        seen = image if isinstance(image, Embedded) else self.embed(image)
        places, kinds, corners = _prompts(points, labels, boxes)
        if best_of_three is None:
            best_of_three = corners is None and places is not None and places.shape[1] == 1
        factor = max(self._shown(*seen.sizes)) / max(seen.sizes)
        given: dict[str, Tensor] = {}
        if places is not None and kinds is not None:
            given["input_points"] = (places.flip(-1) * factor)[None].to(self.device)  # to x, y
            given["input_labels"] = kinds[None].to(self.device)
        if corners is not None:
            xy = corners[:, [1, 0, 3, 2]] * factor
            given["input_boxes"] = xy[None].to(self.device)
        out = self.model(image_embeddings=seen.features, multimask_output=best_of_three, **given)
        masks, scores = out.pred_masks[0], out.iou_scores[0]  # (objects, 1 or 3, *low), same
        best = scores.argmax(1)
        each = torch.arange(len(best), device=best.device)
        return self._restored(masks[each, best], seen.sizes), scores[each, best]

    def _shown(self, rows: int, cols: int) -> tuple[int, int]:
        """Return the size at which an image is looked at: its longer side is the model's."""
        factor = self.side / max(rows, cols)
        return int(rows * factor + 0.5), int(cols * factor + 0.5)

    def _restored(self, masks: Tensor, sizes: tuple[int, int]) -> Tensor:
        """Bring logits (objects, *low) back to the image: enlarge, cut the margin off, resize."""
        rows, cols = self._shown(*sizes)
        whole = functional.interpolate(masks[None].float(), (self.side,) * 2, mode="bilinear")
        out = functional.interpolate(whole[..., :rows, :cols], sizes, mode="bilinear")
        return out[0]


def load_sam(folder: str | Path, device: str | torch.device = "cpu") -> Sam:
    """Load SAM from a local folder; nothing is ever downloaded.

    Parameters
    ----------
    folder : path
        With ``config.json`` and weights, as ``save_pretrained`` writes them.
    device : str or torch.device

    Raises
    ------
    MissingExtraError
        If transformers is not installed.
    ConfigError
        If the folder is not there, or holds another kind of model.

    Examples
    --------
    ::

        sam = load_sam("weights/sam-vit-base")
        logits, iou = sam.segment(image, boxes=[(40, 30, 90, 110)])
        mask = logits[0] > 0
    """
    library = import_extra("transformers", "SAM", "hf")
    path = folder_of(folder)
    read_config(path, "sam")
    build = part_of(library, "SamModel", "SAM", "hf")
    return Sam(build.from_pretrained(str(path), local_files_only=True).to(device))


def _prompts(
    points: Any, labels: Any, boxes: Any
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return points (objects, n, 2), their labels (objects, n) and boxes (objects, 4)."""
    places = None if points is None else torch.as_tensor(points, dtype=torch.float32)
    corners = None if boxes is None else torch.as_tensor(boxes, dtype=torch.float32)
    if places is None and corners is None:
        raise ConfigError("SAM: no prompt; give 'points' or 'boxes'")
    if places is not None and (places.ndim != 3 or places.shape[2] != 2 or not places.numel()):
        raise ConfigError(
            f"SAM: points of shape {tuple(places.shape)} are not (objects, points, 2): a list per "
            "object of (row, column)"
        )
    if corners is not None and (corners.ndim != 2 or corners.shape[1] != 4 or not len(corners)):
        raise ConfigError(
            f"SAM: boxes of shape {tuple(corners.shape)} are not (objects, 4): first row, first "
            "column, last row, last column of each"
        )
    if places is not None and corners is not None and len(places) != len(corners):
        raise ConfigError(
            f"SAM: points of {len(places)} objects and {len(corners)} boxes; give both for each"
        )
    if places is None:
        if labels is not None:
            raise ConfigError("SAM: 'labels' say what points mean; give 'points' too")
        return None, None, corners
    kinds = torch.ones(places.shape[:2]) if labels is None else torch.as_tensor(labels)
    if kinds.shape != places.shape[:2]:
        raise ConfigError(
            f"SAM: labels of shape {tuple(kinds.shape)} for points of shape {tuple(places.shape)}; "
            "give one per point"
        )
    return places, kinds.long(), corners
