"""Pack a model folder as an MLflow model: data plus the name of a loader, no pickle."""

from __future__ import annotations

from pathlib import Path

import medseg

EXAMPLE_SIDE = 8
"""Voxels along each side of the input example, at most; it is stored as JSON."""


def write_mlflow_model(
    folder: Path, out: Path, input_shape: tuple[int, ...], *, run_id: str | None = None
) -> None:
    """Write ``out/MLmodel`` with signature and input example, and the folder as its data.

    Parameters
    ----------
    folder : Path
        A model folder (safetensors and JSON); it is copied byte by byte.
    out : Path
        Folder to create.
    input_shape : tuple of int
        (C, *spatial): channels, and the patch size the network was trained on.
    run_id : str, optional
        The MLflow run that made the model, for the MLmodel file.
    """
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    channels, *sides = input_shape
    anywhere = (-1,) * len(sides)
    image = TensorSpec(np.dtype(np.float32), (-1, channels, *anywhere), name=None)
    mask = TensorSpec(np.dtype(np.int16), (-1, *anywhere), name=None)
    spacing = ParamSpec("spacing", "double", default=[], shape=(-1,))
    signature = ModelSignature(Schema([image]), Schema([mask]), ParamSchema([spacing]))
    example = np.zeros((1, channels, *(min(n, EXAMPLE_SIDE) for n in sides)), dtype=np.float32)
    pyfunc.save_model(
        path=str(out),
        loader_module="medseg.tracking.pyfunc",
        data_path=str(folder),
        mlflow_model=Model(artifact_path=out.name, run_id=run_id),
        signature=signature,
        input_example=example,
        pip_requirements=[f"medseg=={medseg.__version__}"],
    )
