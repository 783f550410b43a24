import math

import numpy as np
import pytest

from medseg.geometry.volume import Grid
from medseg.labels import Label, LabelScheme, Region
from medseg.metrics.case import measure_case, score_case

ORGANS = LabelScheme(
    labels=(
        Label(value=5, name="liver", nsd_tolerance_mm=1.0),
        Label(value=9, name="tumour", nsd_tolerance_mm=2.0),
    )
)
NESTED = LabelScheme(
    labels=ORGANS.labels,
    regions=(
        Region(name="whole", labels=("liver", "tumour")),
        Region(name="core", labels=("tumour",)),
    ),
)


def grid(shape, spacing):
    return Grid.of(shape, np.diag([*spacing, 1.0]))


def worked_3d():
    label, pred = np.zeros((2, 10, 14, 14), dtype=np.int16)
    label[3:7, 4:10, 4:10] = 1
    pred[2:7, 5:11, 4:10] = 1
    return pred, label


def test_the_3d_shape_worked_in_the_reference():
    pred, label = worked_3d()
    score, tumour = score_case(pred, label, grid(pred.shape, (3.0, 1.0, 1.0)), ORGANS)
    assert score.structure == "liver"
    assert score.status == "ok"
    assert score.hd_mm == pytest.approx(3.1622776602)
    assert score.hd95_mm == pytest.approx(3.0)
    assert score.assd_mm == pytest.approx(0.7908756802)
    assert score.nsd == pytest.approx(0.8360655738)
    assert score.dice == pytest.approx(2 * 120 / (144 + 180))
    assert score.volume_ml == pytest.approx(180 * 3 / 1000)
    assert score.volume_error_ml == pytest.approx(36 * 3 / 1000)
    assert score.relative_volume_error == pytest.approx(0.25)
    assert (score.components, score.reference_components) == (1, 1)
    assert score.diagonal_mm == pytest.approx(math.sqrt(30**2 + 14**2 + 14**2))
    assert tumour.status == "both_empty"


def test_the_2d_shape_worked_in_the_reference():
    label, pred = np.zeros((2, 12, 12), dtype=np.int16)
    label[2:8, 3:9] = 1
    pred[2:8, 4:11] = 1
    pred[10, 1] = 1
    score = score_case(pred, label, grid(pred.shape, (2.0, 1.0)), ORGANS)[0]
    assert score.dice == pytest.approx(0.7594936709)
    assert score.iou == pytest.approx(0.6122448980)
    assert (score.volume_ml, score.reference_volume_ml) == (43, 36)  # px in 2-D
    assert score.components == 2


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4)])
def test_every_row_of_the_empty_mask_table(shape):
    here, nothing = np.zeros((2, *shape), dtype=np.int16)
    here[1:3, 1:3] = 1
    unit = grid(shape, (1.0,) * len(shape))
    both = score_case(nothing, nothing, unit, ORGANS)[0]
    missed = score_case(nothing, here, unit, ORGANS)[0]
    invented = score_case(here, nothing, unit, ORGANS)[0]
    assert [s.status for s in (both, missed, invented)] == ["both_empty", "missed", "false_alarm"]
    for name in ("dice", "iou", "nsd", "hd_mm", "hd95_mm", "assd_mm", "precision", "recall"):
        assert math.isnan(getattr(both, name)), name
    for score in (missed, invented):
        assert (score.dice, score.iou, score.nsd) == (0.0, 0.0, 0.0)
        assert score.hd_mm == score.hd95_mm == score.assd_mm == math.inf
    assert math.isnan(missed.precision)
    assert missed.recall == 0.0
    assert invented.precision == 0.0
    assert math.isnan(invented.recall)
    assert math.isnan(invented.relative_volume_error)
    assert missed.relative_volume_error == -1.0


def test_regions_are_unions_of_labels():
    label, pred = np.zeros((2, 6, 6, 6), dtype=np.int16)
    label[1:5, 1:5, 1:5] = 1
    label[2:4, 2:4, 2:4] = 2
    pred[1:5, 1:5, 1:5] = 2
    whole, core = score_case(pred, label, grid(pred.shape, (1.0, 1.0, 1.0)), NESTED)
    assert (whole.structure, whole.dice) == ("whole", 1.0)
    assert core.dice == pytest.approx(2 * 8 / (8 + 64))


def test_ignored_voxels_count_nowhere():
    pred, label = worked_3d()
    spacing = grid(pred.shape, (3.0, 1.0, 1.0))
    label[pred != (label == 1)] = -1
    score = score_case(pred, label, spacing, ORGANS)[0]
    assert (score.dice, score.hd_mm, score.volume_error_ml) == (1.0, 0.0, 0.0)


def test_structures_without_annotation_are_left_out():
    pred, label = worked_3d()
    spacing = grid(pred.shape, (3.0, 1.0, 1.0))
    assert [s.structure for s in score_case(pred, label, spacing, ORGANS, annotated=(2,))] == [
        "tumour"
    ]
    assert [s.structure for s in score_case(pred, label, spacing, NESTED, annotated=(2,))] == [
        "core"
    ]


def test_fortran_order_and_far_stray_voxels_change_nothing_else():
    pred, label = worked_3d()
    spacing = grid(pred.shape, (3.0, 1.0, 1.0))
    plain = score_case(pred, label, spacing, ORGANS)
    assert repr(score_case(np.asfortranarray(pred), np.asfortranarray(label), spacing, ORGANS)) == (
        repr(plain)
    )


def test_several_labels_in_one_pass_equal_each_alone():
    rng = np.random.default_rng(2)
    pred, label = rng.integers(0, 3, (2, 7, 8, 6)).astype(np.int16)
    spacing = grid(pred.shape, (2.0, 1.0, 0.5))
    together = score_case(pred, label, spacing, ORGANS)
    for index, score in enumerate(together, start=1):
        alone = score_case(
            np.where(pred == index, pred, 0).astype(np.int16),
            np.where(label == index, label, 0).astype(np.int16),
            spacing,
            ORGANS,
        )[index - 1]
        assert alone == score


def test_measuring_needs_no_reference():
    pred = worked_3d()[0]
    pred[9, 13, 13] = 1
    liver, tumour = measure_case(pred, grid(pred.shape, (3.0, 1.0, 1.0)), ORGANS)
    assert liver.volume_ml == pytest.approx(0.543)
    assert liver.components == 2
    assert (tumour.volume_ml, tumour.components) == (0.0, 0)


def test_arrays_of_another_shape_than_the_grid_are_refused():
    pred, label = worked_3d()
    with pytest.raises(ValueError, match="differ"):
        score_case(pred, label[1:], grid(pred.shape, (3.0, 1.0, 1.0)), ORGANS)
