"""A logged model: signature, input example, no pickle, and the same answer as the network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medseg.artefacts import ChannelNormalization, DataInfo, NetworkSpec, Plan
from medseg.finished import PostprocessRule
from medseg.labels import Label, LabelScheme
from medseg.model_folder import write_model_folder
from medseg.networks import build_network
from medseg.settings import Inference
from medseg.tracking.mlflow_tracker import MlflowTracker
from medseg.tracking.store import asking
from medseg.trained import TrainedFold, TrainedModel

CT = ChannelNormalization(scheme="ct", clip=(-100.0, 300.0), mean=50.0, std=100.0)
LIVER = LabelScheme(labels=(Label(value=6, name="liver"),))


def threshold_folder(folder: Path, ndim: int, rules: tuple[PostprocessRule, ...] = ()) -> Path:
    """Write a model that says liver (value 6) wherever the image is above 50."""
    arguments: Mapping[str, Any] = {
        "ndim": ndim, "in_channels": 1, "num_classes": 2, "widths": (1,), "norm": "none",
        "deep_supervision": False,
    }  # fmt: skip
    spec = NetworkSpec(name="unet", arguments=arguments)
    network = build_network(spec)
    # One level: each convolution passes its centre voxel on, and the leaky ReLU keeps the sign.
    with torch.no_grad():
        for weights in network.state_dict().values():
            weights.zero_()
            if weights.ndim > 2 and weights.shape[0] == 1:
                weights[(0, 0, *(n // 2 for n in weights.shape[2:]))] = 1.0
            if weights.ndim > 2 and weights.shape[0] == 2:
                weights[1] = 1.0
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder.parent / "weights.safetensors")
    plan = Plan(
        spacing=(1.0, 2.0, 3.0)[:ndim],
        normalization=(CT,),
        coarse_axis=None,
        patch_size=(8, 8, 8)[:ndim],
        batch_size=1,
        slice_axis=None,
        mirror_axes=(),
        network=spec,
        budget="1it",
        scheme=LIVER,
        info=DataInfo(
            name="made-up", title="", modality="CT", channels=("CT",), origin="SYNTHETIC",
            licence="", citation="", digest="",
        ),
        decisions=(),
    )  # fmt: skip
    trained = TrainedFold(
        weights=folder.parent / "weights.safetensors", fold=0, cases=(), steps=1, best_step=1,
        validation_dice={}, history=folder, seconds=1.0,
    )  # fmt: skip
    model = TrainedModel(network=spec, folds=(trained,))
    how = Inference(overlap=0.5, mirror=False, precision="32-true")
    return write_model_folder(folder, plan=plan, model=model, rules=rules, inference=how)


def log(tracker: MlflowTracker, folder: Path, input_shape: tuple[int, ...]) -> str:
    run = tracker.start("liver", "first", {}, {})
    tracker.log_model(folder, input_shape=input_shape)
    tracker.finish("FINISHED")
    assert run is not None
    return run


@pytest.fixture
def load(store: Any) -> Any:
    """Load a run's model as any user of MLflow does."""

    def load_model(run: str) -> Any:
        import mlflow

        with asking():
            mlflow.set_tracking_uri(store.uri)
            try:
                return mlflow.pyfunc.load_model(f"runs:/{run}/model")
            finally:
                mlflow.set_tracking_uri(None)

    return load_model


@pytest.mark.parametrize("ndim", [2, 3])
def test_loaded_model_segments_arrays(
    tracker: MlflowTracker, load: Any, tmp_path: Path, ndim: int
) -> None:
    folder = threshold_folder(tmp_path / "made" / "model", ndim)
    image = np.full((2, 1, *(9, 10, 11)[:ndim]), -50.0, dtype=np.float32)
    inside = (slice(2, 6), slice(3, 7), slice(4, 8))[:ndim]
    image[(0, 0, *inside)] = 200.0
    model = load(log(tracker, folder, (1, *(8, 8, 8)[:ndim])))
    pred = model.predict(image)
    expected = np.where(image[:, 0] > 50, 6, 0).astype(np.int16)
    assert pred.dtype == np.int16
    np.testing.assert_array_equal(pred, expected)


def test_spacing_of_the_input_is_resampled_to_the_plans(
    tracker: MlflowTracker, load: Any, tmp_path: Path
) -> None:
    """A half-space keeps its border in mm, whatever the spacing."""
    model = load(log(tracker, threshold_folder(tmp_path / "made" / "model", 3), (1, 8, 8, 8)))
    image = np.full((1, 1, 12, 12, 12), -50.0, dtype=np.float32)
    image[:, :, 6:] = 150.0
    pred = model.predict(image, params={"spacing": [2.0, 4.0, 6.0]})
    np.testing.assert_array_equal(pred, np.where(image[:, 0] > 50, 6, 0))


def test_rules_of_the_folder_are_applied(tracker: MlflowTracker, load: Any, tmp_path: Path) -> None:
    rules = (PostprocessRule(structure="liver", keep_largest=True),)
    folder = threshold_folder(tmp_path / "made" / "model", 3, rules)
    image = np.full((1, 1, 12, 12, 12), -50.0, dtype=np.float32)
    image[0, 0, 1:6, 1:6, 1:6] = 200.0
    image[0, 0, 10, 10, 10] = 200.0
    pred = load(log(tracker, folder, (1, 8, 8, 8))).predict(image)
    assert (pred[0, 1:6, 1:6, 1:6] == 6).all()
    assert pred[0, 10, 10, 10] == 0


def test_wrong_number_of_spacings_is_named(tmp_path: Path) -> None:
    from medseg.tracking.pyfunc import _load_pyfunc

    model = _load_pyfunc(str(threshold_folder(tmp_path / "made" / "model", 3)))
    with pytest.raises(ValueError, match=r"has 2 values; images of shape \(1, 1, 4, 4, 4\)"):
        model.predict(np.zeros((1, 1, 4, 4, 4), np.float32), {"spacing": [1.0, 1.0]})


def test_signature_and_input_example(
    tracker: MlflowTracker, load: Any, tmp_path: Path, client: Any
) -> None:
    folder = threshold_folder(tmp_path / "made" / "model", 3)
    run = log(tracker, folder, (1, 96, 96, 4))
    model = load(run)
    signature = model.metadata.signature.to_dict()
    assert '"dtype": "float32", "shape": [-1, 1, -1, -1, -1]' in signature["inputs"]
    assert '"dtype": "int16", "shape": [-1, -1, -1, -1]' in signature["outputs"]
    assert model.metadata.run_id == run
    example = model.input_example
    assert example.shape == (1, 1, 8, 8, 4)
    assert model.predict(example.astype(np.float32)).shape == (1, 8, 8, 4)


def test_the_folder_is_copied_byte_by_byte_and_nothing_is_pickled(
    tracker: MlflowTracker, client: Any, tmp_path: Path
) -> None:
    folder = threshold_folder(tmp_path / "made" / "model", 3)
    run = log(tracker, folder, (1, 8, 8, 8))
    copy = Path(client.download_artifacts(run, "model", str(tmp_path / "made")))
    files = {p.relative_to(copy).as_posix(): p for p in copy.rglob("*") if p.is_file()}
    for name in ("weights.safetensors", "model.json"):
        digests = [
            hashlib.sha256(p.read_bytes()).hexdigest()
            for p in (folder / name, files[f"data/model/{name}"])
        ]
        assert digests[0] == digests[1]
    assert not [name for name in files if name.endswith((".pkl", ".pt", ".pth"))]
