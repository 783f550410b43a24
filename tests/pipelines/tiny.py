"""A run of all stages that takes seconds: a small phantom, a small net, a handful of steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFIG = """
experiment: tiny
pipeline: volume
manifest: {manifest}
seed: 3
network: {{arguments: {{widths: [4, 8]}}}}
patch_sample: {{patch_size: [16, 16, 16], rows: 20}}
resample: {{spacing: [8, 8, 8]}}
train: {{budget: 6it, batch_size: 2, validations: 2, checkpoint_every: 1it, precision: 32-true}}
compute: {{device: cpu, workers: 1}}
tracking: off
"""

MANIFEST = """
name: tiny_phantom
reader: phantom
root: tiny_phantom
options: {cases: 7, seed: 5}
modality: CT
labels:
  - {value: 1, name: liver}
  - {value: 2, name: tumour}
splits: {test: 0.3, folds: 2}
synthetic: true
"""


def write_tiny(folder: Path, config: str = CONFIG, manifest: str = MANIFEST) -> Path:
    """Write the config and its manifest; return the config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny_phantom.yaml").write_text(manifest)
    path = folder / "tiny.yaml"
    path.write_text(config.format(manifest=folder / "tiny_phantom.yaml"))
    return path


def run(config: Path, runs: Path, *arguments: str, code: int = 0) -> str:
    """Run the pipeline as a user does; return what it printed."""
    command = [sys.executable, "-m", "medseg.pipelines.run", str(config), "--runs-dir", str(runs)]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=600, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, output[-4000:]
    return output
