from __future__ import annotations

import builtins
import json
import shutil
from pathlib import Path

import pytest

from medseg.errors import ConfigError, MissingExtraError
from medseg.export.load import OnnxNetwork, ProgramNetwork, _providers, load_predictor
from medseg.export.write import export_graphs
from medseg.model_folder import read_model_folder
from tests.export.models import make_folder, unet

PLAN = {"spacing": (1.0, 1.0), "patch_size": (8, 8), "network": unet(2)}


@pytest.fixture(scope="module", params=["onnx", "torch-export"])
def written(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    export_graphs(make_folder(root / "run", **PLAN), root / "out", request.param)
    return root / "out"


@pytest.fixture
def exported(written, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(written, tmp_path / "copy"))


def graph(folder):
    (name,) = json.loads((folder / "export.json").read_text())["graphs"].values()
    return folder / name


def test_a_damaged_graph_is_named(exported):
    graph(exported).write_bytes(graph(exported).read_bytes()[:200])
    with pytest.raises(ConfigError, match="is not the file that was exported"):
        load_predictor(read_model_folder(exported), "cpu")
    graph(exported).unlink()
    with pytest.raises(ConfigError, match=r"network\.(onnx|pt2) is missing beside export.json"):
        load_predictor(read_model_folder(exported), "cpu")


def test_a_damaged_document_is_named(exported):
    path = exported / "export.json"
    good = json.loads(path.read_text())
    path.write_text("{")
    with pytest.raises(ConfigError, match="not readable as JSON"):
        load_predictor(read_model_folder(exported), "cpu")
    path.write_text(json.dumps({**good, "kind": "onyx"}))
    with pytest.raises(ConfigError, match="kind: Input should be 'onnx' or 'torch-export'"):
        load_predictor(read_model_folder(exported), "cpu")
    path.write_text(json.dumps({**good, "format": 9}))
    with pytest.raises(ConfigError, match="format is 9, and this medseg reads format 1"):
        load_predictor(read_model_folder(exported), "cpu")
    path.write_text(json.dumps({**good, "graphs": {"4": "network.onnx"}}))
    with pytest.raises(ConfigError, match=r"has folds \[0\], export.json has graphs of \[4\]"):
        load_predictor(read_model_folder(exported), "cpu")


def test_files_that_are_no_graphs(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"no graph at all")
    with pytest.raises(ConfigError, match="onnxruntime cannot read it"):
        OnnxNetwork(path, "cpu")
    with pytest.raises(ConfigError, match=r"not readable as a torch\.export graph"):
        ProgramNetwork(path, "cpu")


def test_a_missing_extra_is_one_line(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("onnxruntime"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'medseg\[export\]'") as caught:
        OnnxNetwork(tmp_path / "x.onnx", "cpu")
    assert "\n" not in str(caught.value)


def test_exporting_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    folder = make_folder(tmp_path / "run", **PLAN)
    with pytest.raises(MissingExtraError, match="needs onnx, which is not installed"):
        export_graphs(folder, tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()


def test_where_onnx_runs():
    cpu, both = ["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert _providers("auto", cpu) == _providers("cpu", both) == cpu
    assert _providers("cuda:1", both)[0] == ("CUDAExecutionProvider", {"device_id": "1"})
    with pytest.raises(ConfigError, match="has no CUDA"):
        _providers("cuda", cpu)
    with pytest.raises(ConfigError, match="must be auto, cpu"):
        _providers("gpu", both)


def test_tiles_of_64_voxels_are_not_halved_to_measure_memory(tmp_path):
    plan = {**PLAN, "patch_size": (64, 8)}
    export_graphs(make_folder(tmp_path / "run", **plan), tmp_path / "out", "torch-export")
    predictor = load_predictor(read_model_folder(tmp_path / "out"), "cpu")
    assert predictor.thrift.tile_bytes > 4 * 64 * 8
