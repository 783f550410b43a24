from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import ConfigError
from medseg.finished import PostprocessRule
from medseg.geometry.volume import Grid
from medseg.labels import Label, LabelScheme, Region
from medseg.postprocess.rules import apply_rules

LABELS = (
    Label(value=1, name="oedema"),
    Label(value=2, name="core"),
    Label(value=4, name="enhancing"),
)
PLAIN = LabelScheme(labels=LABELS)
REGIONS = LabelScheme(
    labels=LABELS,
    regions=(
        Region(name="enhancing tumour", labels=("enhancing",)),
        Region(name="whole", labels=("oedema", "core", "enhancing")),
        Region(name="tumour core", labels=("core", "enhancing")),
    ),
)


def grid_of(indices, spacing=1.0):
    ndim = indices.ndim
    return Grid.of(indices.shape, np.diag([spacing] * ndim + [1.0]))


def cleaned(rows, scheme, *rules, spacing=1.0):
    indices = np.array(rows, dtype=np.int16)
    return apply_rules(indices, grid_of(indices, spacing), scheme, rules).tolist()


def test_removed_voxels_become_background():
    rule = PostprocessRule(structure="core", keep_largest=True)
    assert cleaned([[2, 2, 0, 2, 1]], PLAIN, rule) == [[2, 2, 0, 0, 1]]


def test_filling_takes_background_only():
    ring = [[1, 1, 1, 1], [1, 0, 2, 1], [1, 1, 1, 1]]
    rule = PostprocessRule(structure="oedema", fill_holes=True)
    assert cleaned(ring, PLAIN, rule) == [[1, 1, 1, 1], [1, 1, 2, 1], [1, 1, 1, 1]]


def test_components_go_before_holes_are_filled():
    """The island in the hole goes (largest), and the hole is then filled whole."""
    mask = np.ones((5, 5), int)
    mask[1:4, 1:4] = 0
    mask[2, 2] = 1
    rule = PostprocessRule(structure="oedema", keep_largest=True, fill_holes=True)
    assert cleaned(mask, PLAIN, rule) == np.ones((5, 5), int).tolist()


def test_minimum_volume_is_in_ml():
    """Voxels of 10 mm are 1 mL each: 2 mL stay, 1 mL goes."""
    volume = np.zeros((1, 1, 5), np.int16)
    volume[0, 0, [0, 1, 3]] = 3
    rule = PostprocessRule(structure="enhancing", min_volume_ml=2.0)
    assert cleaned(volume, PLAIN, rule, spacing=10.0) == [[[3, 3, 0, 0, 0]]]
    less = PostprocessRule(structure="enhancing", min_volume_ml=1.0)
    assert cleaned(volume, PLAIN, less, spacing=10.0) == volume.tolist()


def test_voxel_removed_from_a_region_becomes_what_surrounds_it():
    """Enhancing tumour is inside the core, the core inside the whole tumour."""
    row = [[0, 1, 2, 3, 3, 2, 3, 1, 0]]
    enhancing = PostprocessRule(structure="enhancing tumour", keep_largest=True)
    assert cleaned(row, REGIONS, enhancing) == [[0, 1, 2, 3, 3, 2, 2, 1, 0]]
    row = [[0, 1, 2, 3, 3, 1, 3, 1, 0]]
    core = PostprocessRule(structure="tumour core", keep_largest=True)
    assert cleaned(row, REGIONS, core) == [[0, 1, 2, 3, 3, 1, 1, 1, 0]]
    row = [[0, 1, 2, 3, 0, 3]]
    whole = PostprocessRule(structure="whole", keep_largest=True)
    assert cleaned(row, REGIONS, whole) == [[0, 1, 2, 3, 0, 0]]


def test_hole_of_a_region_takes_the_surrounding_label():
    """A speck of oedema or background inside the tumour core becomes core, not what is narrower."""
    ring = np.full((3, 5), 2)
    ring[1, 1:4] = [1, 0, 3]
    rule = PostprocessRule(structure="tumour core", fill_holes=True)
    assert cleaned(ring, REGIONS, rule)[1] == [2, 2, 2, 3, 2]


def test_no_rule_changes_nothing_and_the_input_is_kept():
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 4, (6, 5, 4)).astype(np.int16)
    before = indices.copy()
    out = apply_rules(indices, grid_of(indices), PLAIN, ())
    assert np.array_equal(out, indices)
    rule = PostprocessRule(structure="core", keep_largest=True, fill_holes=True)
    apply_rules(indices, grid_of(indices), PLAIN, [rule])
    assert np.array_equal(indices, before)


@pytest.mark.parametrize("shape", [(9, 8), (7, 6, 5)])
@pytest.mark.parametrize("scheme", [PLAIN, REGIONS])
def test_rules_are_idempotent(shape, scheme):
    indices = np.random.default_rng(1).choice(4, shape, p=[0.7, 0.1, 0.1, 0.1]).astype(np.int16)
    rules = [
        PostprocessRule(structure=s.name, keep_largest=True, fill_holes=True)
        for s in scheme.structures[:1]
    ]
    once = apply_rules(indices, grid_of(indices), scheme, rules)
    assert not np.array_equal(once, indices)
    assert np.array_equal(apply_rules(once, grid_of(once), scheme, rules), once)


def test_empty_prediction_stays_empty():
    empty = np.zeros((3, 3, 3), np.int16)
    rules = [PostprocessRule(structure="core", keep_largest=True, fill_holes=True)]
    assert not apply_rules(empty, grid_of(empty), PLAIN, rules).any()


def test_unknown_structure_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'oedma'.*did you mean 'oedema'"):
        cleaned([[0]], PLAIN, PostprocessRule(structure="oedma"))
