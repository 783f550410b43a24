import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]


def test_example_writes_a_case_and_a_picture(tmp_path):
    script = ROOT / "examples" / "make_phantom.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "3"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )
    assert (tmp_path / "images" / "phantom_003.nii.gz").is_file()
    assert (tmp_path / "labels" / "phantom_003.nii.gz").is_file()
    with Image.open(tmp_path / "overlay.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(2**24)) > 100
    assert "overlay.png" in done.stdout
