import numpy as np
import pytest

from medseg.geometry.volume import Grid, Volume
from medseg.reporting.scan_checks import ScanFacts, check_scan, scan_facts, training_scans

MEANS = [("liver", 90.0), ("tumour", None)]


def training(intensity=(-50.0, 200.0)):
    grids = [Grid.of((9, 9, 9), np.diag([s, s, 3.0, 1.0])) for s in (0.7, 0.9)]
    return training_scans(grids, ["LPS", "RAS"], intensity)


def states(facts=None, spacing=(0.8, 0.8, 3.0), means=MEANS, known="given", modality="CT"):
    given = facts or ScanFacts(orientation="LPS", tilt_degrees=1.0, clipped=())
    checks = check_scan(given, spacing, means, training() if known == "given" else known, modality)
    return {check.name: check.state for check in checks}


def test_a_scan_like_the_training_scans_passes():
    assert set(states().values()) == {"passed"}


@pytest.mark.parametrize(
    ("spacing", "state"), [(1.1, "passed"), (1.2, "look here"), (0.5, "look here")]
)
def test_the_spacing_may_leave_its_range_by_a_quarter(spacing, state):
    assert states(spacing=(0.8, spacing, 3.0))["Voxel spacing"] == state


def test_another_orientation_is_named():
    facts = ScanFacts(orientation="LIP", tilt_degrees=0.0, clipped=())
    assert states(facts)["Orientation"] == "look here"
    tilted = ScanFacts(orientation="LPS", tilt_degrees=12.0, clipped=())
    assert states(tilted)["Orientation"] == "look here"


def test_intensities_outside_training_are_flagged():
    assert states(means=[("liver", 900.0)])["Intensities"] == "look here"


def test_what_cannot_be_known_is_not_assessable():
    assert states(means=[("liver", None)])["Intensities"] == "not assessable"
    assert states(known=training(None))["Intensities"] == "not assessable"
    unknown = ScanFacts(orientation="", tilt_degrees=0.0, clipped=None)
    assert states(unknown, modality="MR")["Field of view"] == "not assessable"
    assert states(unknown)["Orientation"] == "not assessable"
    assert set(states(known=None).values()) == {"passed", "not assessable"}


def ct(body):
    """Voxels of 5 x 5 x 1 mm."""
    data = np.full((20, 20, 10), -1000.0, dtype=np.float32)
    data[body] = 40.0
    return Volume(data=data[None], affine=np.diag([5.0, 5.0, 1.0, 1.0]))


def test_a_body_that_reaches_the_side_is_clipped():
    inside = scan_facts(ct((slice(3, 17), slice(3, 17))), "CT", "LPS")
    assert inside.clipped == ()
    left = scan_facts(ct((slice(0, 17), slice(3, 17))), "CT", "LPS")
    assert left.clipped == ("left",)
    front = scan_facts(ct((slice(3, 17), slice(3, 20))), "CT", "LPS")
    assert front.clipped == ("front",)
    assert states(front)["Field of view"] == "look here"


def test_the_couch_at_the_back_is_no_body():
    couch = scan_facts(ct((slice(2, 18), slice(0, 3))), "CT", "LPS")  # 15 mm thin
    assert couch.clipped == ()


def test_every_scan_ends_at_head_and_feet():
    assert scan_facts(ct((slice(3, 17), slice(3, 17), slice(None))), "CT", "LPS").clipped == ()


def test_other_modalities_have_no_known_air():
    assert scan_facts(ct((slice(0, 20),)), "MR", "LPS").clipped is None


def test_of_photographs_or_nothing_there_is_no_training_range():
    assert training_scans([], [], None) is None
    assert training_scans([Grid.of((4, 4), np.eye(3))], [""], None) is None
