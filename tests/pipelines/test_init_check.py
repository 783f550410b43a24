"""Two commands bring one's own data: what `medseg init` writes, `medseg check` passes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    "layout", [pairs, nnunet, dicom_tree, pytest.param(hippocampus, marks=pytest.mark.data)]
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
