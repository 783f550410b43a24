from __future__ import annotations

import logging

import numpy as np
import pytest

from medseg.errors import StageError
from medseg.pipelines.check import check
from medseg.pipelines.cli import main
from medseg.settings import Compute
from medseg.stages.ingest import Ingest
from tests.fakes import LocalContext
from tests.planning.tiny import make_case, manifest, write, write_task

CONFIG = """
experiment: tiny
pipeline: volume
manifest: {folder}/tiny.yaml
compute: {{workers: 1}}
"""

MANIFEST = """
name: tiny
title: Tiny things
reader: decathlon
root: {folder}/task
modality: MR
labels:
  - {{value: 1, name: organ}}
  - {{value: 5, name: tumour}}
splits: {{test: 0.2, folds: 2}}
"""


@pytest.fixture
def task(tmp_path):
    """Ten cases: one cut short, one without foreground, one there twice."""
    root = tmp_path / "task"
    write_task(root, 10)
    cut = root / "imagesTr" / "c03.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-300])
    write(root / "labelsTr" / "c05.nii.gz", np.zeros((10, 12, 8), dtype=np.uint8))
    write(root / "imagesTr" / "c07.nii.gz", make_case(6)[0])
    (tmp_path / "tiny.yaml").write_text(MANIFEST.format(folder=tmp_path))
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path))
    return tmp_path


def test_the_command_prints_every_finding_and_changes_nothing(task, capsys):
    before = sorted(task.rglob("*"))
    code = main(["check", str(task / "config.yaml"), "--runs-dir", str(task / "runs")])
    out = capsys.readouterr().out
    assert code == 3
    assert "set aside: case c03: " in out
    assert "warning: case c05: the annotation has no foreground" in out
    assert "warning: case c06: the image has the same voxels as c07" in out
    assert "Tiny things (real): 9 sound case(s), 3 with warnings, 1 set aside" in out
    line = next(line for line in out.splitlines() if line.startswith("c00"))
    assert "10 x 12 x 8  1 x 1 x 2 mm  RAS  organ 56, tumour 8" in line
    assert sorted(task.rglob("*")) == before


def test_the_findings_are_those_of_ingest(task, capsys, caplog):
    stage = Ingest(manifest=manifest(task / "task"))
    context = LocalContext(task / "run")
    dataset = stage.run(context=context)
    caplog.clear()
    aside = check(stage, Compute(workers=1))
    assert [row.reason for row in aside] == [row.reason for row in context.listed]
    out = capsys.readouterr().out
    for case in dataset.cases:
        for warning in case.warnings:
            assert f"case {case.case.id}: {warning}" in out
    assert not caplog.records  # said once, on stdout
    assert logging.getLogger("medseg.stages.ingest").level == logging.NOTSET


def test_sound_cases_end_with_zero(tmp_path, capsys):
    write_task(tmp_path / "task", 3)
    (tmp_path / "tiny.yaml").write_text(MANIFEST.format(folder=tmp_path))
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path))
    assert main(["check", str(tmp_path / "config.yaml"), "--quiet"]) == 0
    assert "3 sound case(s), 0 with warnings, 0 set aside" in capsys.readouterr().out


def test_what_was_found_is_printed_before_an_error(tmp_path, capsys):
    write_task(tmp_path / "task", 2)
    for i in range(2):
        write(
            tmp_path / "task" / "imagesTr" / f"c{i:02d}.nii.gz", np.zeros((10, 12, 8), np.float32)
        )
    with pytest.raises(StageError):
        check(Ingest(manifest=manifest(tmp_path / "task")), Compute(workers=1))
    out = capsys.readouterr().out
    assert out.count("set aside: case c0") == 2
