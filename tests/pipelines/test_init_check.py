"""Two commands bring one's own data: what `medseg init` writes, `medseg check` passes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from medseg.pipelines.cli import main
from tests.readers.conftest import Files

CASES = range(6)


def pairs(root: Path, _: Path | None) -> None:
    files = Files(root)
    files.image(*(f"scans/Pat {i} T1 final.nii.gz" for i in CASES))
    files.label(*(f"my masks/Pat {i} T1 final_seg.nii.gz" for i in CASES))


def nnunet(root: Path, _: Path | None) -> None:
    files = Files(root)
    files.image(*(f"imagesTr/case_{i}_0000.nii.gz" for i in CASES))
    files.label(*(f"labelsTr/case_{i}.nii.gz" for i in CASES))


def dicom_tree(root: Path, _: Path | None) -> None:
    files = Files(root)
    files.series(*(f"scans/p{i}" for i in CASES))
    files.series(*(f"labels/p{i}/liver" for i in CASES), mask=True)


def hippocampus(root: Path, data: Path | None) -> None:
    assert data is not None
    source = data / "hippocampus"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
        for path in sorted((source / folder).glob("*.nii.gz"))[:8]:
            shutil.copyfile(path, root / folder / path.name)
    shutil.copyfile(source / "dataset.json", root / "dataset.json")


def photographs(root: Path, _: Path | None) -> None:
    files = Files(root)
    files.photo(*(f"images/street {i}.png" for i in CASES))
    files.mask(*(f"masks/street {i}.png" for i in CASES), values=(0, 1, 2, 255))


@pytest.mark.parametrize(
    "layout",
    [pairs, nnunet, dicom_tree, photographs, pytest.param(hippocampus, marks=pytest.mark.data)],
)
def test_init_then_check(layout, tmp_path, monkeypatch, capsys, request):
    data = request.getfixturevalue("data_root") if layout is hippocampus else None
    monkeypatch.delenv("MEDSEG_DATA", raising=False)
    root = tmp_path / "a folder of mine"
    layout(root, data)
    monkeypatch.chdir(tmp_path)

    assert main(["init", str(root), "-o", "out"]) == 0
    configs = [p for p in (tmp_path / "out").glob("*.yaml") if not p.stem.endswith("_data")]
    assert len(configs) == 1
    capsys.readouterr()
    assert main(["check", str(configs[0])]) == 0
    output = capsys.readouterr().out
    assert ", 0 set aside" in output
    assert not (tmp_path / "runs").exists()


def configured(root: Path, out: Path) -> dict[str, object]:
    """Run ``medseg init`` as a person does; return the config that it wrote."""
    assert main(["init", str(root), "-o", str(out), "--name", "mine"]) == 0
    config: dict[str, object] = yaml.safe_load((out / "mine.yaml").read_text())
    return config


def test_photographs_get_the_pipeline_of_photographs(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MEDSEG_DATA", raising=False)
    photographs(tmp_path / "data", None)
    config = configured(tmp_path / "data", tmp_path / "out")
    assert config["pipeline"] == "natural_image"
    assert set(config) == {"experiment", "pipeline", "manifest", "seed", "train"}
    assert "value 0 is taken to mean background" in capsys.readouterr().out
    assert main(["run", str(tmp_path / "out" / "mine.yaml"), "--dry-run"]) == 0

    pairs(tmp_path / "scans", None)
    assert configured(tmp_path / "scans", tmp_path / "other")["pipeline"] == "volume"


def test_large_photographs_are_made_smaller_and_one_class_needs_no_mixed_crops(tmp_path):
    files = Files(tmp_path / "data")
    for i in CASES:
        Image.new("RGB", (1500, 1200 + i)).save(files.place(f"images/{i}.jpg"))
        mask = Image.new("L", (1500, 1200 + i))
        mask.putpixel((3, 4), 255)
        mask.save(files.place(f"masks/{i}.png"))
    config = configured(tmp_path / "data", tmp_path / "out")
    assert config["pipeline"] == "natural_image"
    assert config["resample"] == {"short_side": 512}
    assert config["patch_sample"] == {"cat_max_ratio": 1.0}
    assert "short_side: 512}  # of some 1202 px" in (tmp_path / "out" / "mine.yaml").read_text()
