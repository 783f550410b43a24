"""How MLflow loads a model that medseg logged: arrays in, labels out.

For files, ``medseg predict`` is the better tool: it knows orientations and writes on their grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ArrayModel:
    """A model folder as a function of arrays; what ``mlflow.pyfunc.load_model`` wraps.

    Parameters
    ----------
    folder : Path
        A model folder.
    """

    def __init__(self, folder: Path) -> None:
        from medseg.inference.weights import load_predictor
        from medseg.model_folder import read_model_folder

        self.model = read_model_folder(folder)
        self.predictor = load_predictor(self.model)

    def predict(
        self, model_input: NDArray[np.float32], params: Mapping[str, Any] | None = None
    ) -> NDArray[np.int16]:
        """Segment images.

        Parameters
        ----------
        model_input : float32 ndarray of shape (N, C, *spatial)
            Images as they are stored (Hounsfield units for CT), with axes turned to the closest
            RAS+: left to right, back to front, feet to head. Photographs: (N, C, rows, cols).
        params : mapping, optional
            ``spacing`` in mm along each spatial axis; the spacing of training where it is missing.

        Returns
        -------
        int16 ndarray of shape (N, *spatial)
            Values of the label table, post-processed; 0 is background.
        """
        spacing = tuple(float(s) for s in (params or {}).get("spacing", ()))
        used = spacing or self.model.document.preprocessing.spacing
        if len(used) != model_input.ndim - 2:
            raise ValueError(
                f"spacing {used} has {len(used)} values; images of shape {model_input.shape} "
                f"(N, C, *spatial) need {model_input.ndim - 2}"
            )
        affine = np.diag([*used, 1.0])
        pairs = enumerate(model_input)
        return np.stack([self._segment(image, affine, f"input_{i}") for i, image in pairs])

    def _segment(
        self, image: NDArray[np.float32], affine: NDArray[np.float64], case: str
    ) -> NDArray[np.int16]:
        """Segment one image (C, *spatial)."""
        from medseg.geometry.volume import Volume
        from medseg.inference.cascade import network_input
        from medseg.postprocess.rules import apply_rules
        from medseg.preprocessing import preprocess

        volume = Volume(data=image, affine=affine)
        ready = preprocess(volume, self.model.recipe)
        indices = self.predictor.indices(
            network_input(self.predictor, ready, case=case, source=volume.grid),
            case=case,
            crop_start=ready.crop_start,
            crop_stop=ready.crop_stop,
            source=volume.grid,
        )
        scheme = self.model.document.scheme
        return scheme.to_values(apply_rules(indices, volume.grid, scheme, self.model.rules))


def _load_pyfunc(data_path: str) -> ArrayModel:
    """Load a model folder; MLflow calls this by its name."""
    return ArrayModel(Path(data_path))
