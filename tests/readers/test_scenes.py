"""The built-in street scenes as a data set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medseg.io.load import load_image, load_label
from medseg.manifest_file import load_manifest
from medseg.phantom.scenes import make_scene
from medseg.readers import read_cases


def test_scenes_are_made_once_and_read_with_their_map(tmp_path):
    manifest = load_manifest("scenes", scratch=tmp_path)
    small = with_options(manifest, {"cases": 5, "rows": 20, "cols": 30})
    cases = read_cases(small)
    assert [case.group for case in cases] == ["drive_00"] * 4 + ["drive_01"]
    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.png")}
    assert len(written) == 10
    assert read_cases(small) == cases
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.png")} == written
    image = load_image(cases[1])
    pixels, stored = make_scene(0, 1, shape=(20, 30))
    assert np.array_equal(image.volume.data, pixels)
    label = load_label(cases[1], small.scheme, image)
    assert np.array_equal(label, np.where(stored == 255, -1, stored.astype(np.int16) + 1))
    assert not small.scheme.has_background
    assert small.synthetic


def with_options(manifest, options):
    return replace(manifest, options=options)
