import numpy as np
import pytest

from medseg.geometry.volume import Volume
from medseg.labels import Label, LabelScheme, Region, Structure
from medseg.reporting.findings import MOST_LESIONS, find, is_lesion
from tests.reporting.examples import SCHEME, label_map, volume


def structure(name, lesion=None):
    return LabelScheme(labels=(Label(value=1, name=name, lesion=lesion),)).structures[0]


@pytest.mark.parametrize("name", ["tumour", "Brain Tumor core", "liver metastases", "renal_cyst"])
def test_names_of_lesions_are_known(name):
    assert is_lesion(structure(name))


def test_the_manifest_overrules_the_name():
    assert not is_lesion(structure("cyst-like fold", lesion=False))
    assert is_lesion(structure("finding", lesion=True))
    assert not is_lesion(structure("liver"))


def test_regions_carry_the_mark_too():
    scheme = LabelScheme(
        labels=(Label(value=1, name="core"),),
        regions=(Region(name="all of it", labels=("core",), lesion=True),),
    )
    assert is_lesion(scheme.structures[0])


def test_two_lesions_by_hand():
    """Voxels of 1 x 2 x 4 mm: 2 x 1 x 1 voxels in the liver, and one beside it."""
    pred = np.zeros((12, 10, 8), dtype=np.int16)
    pred[1:9, 1:9, 1:7] = 1
    pred[3:5, 4, 3] = 2
    pred[10, 5, 6] = 2
    image = volume(np.where(pred == 2, 30.0, 80.0).astype(np.float32))
    image = Volume(data=image.data, affine=image.affine + np.eye(4, k=3) * 100)  # x from 100 mm
    liver, tumour = find(image, pred, SCHEME.structures)
    assert liver.lesions is None
    assert (liver.intensity_mean, liver.intensity_sd) == (80.0, 0.0)
    first, second = tumour.lesions
    assert first.volume_ml == pytest.approx(0.016)
    assert first.position == (103.5, 8.0, 12.0)
    assert (first.slice, first.organ, first.organ_share) == (4, "liver", 1.0)
    assert first.diameter_mm == pytest.approx(17**0.5)  # one voxel on, and 4 mm up
    assert first.axial_diameter_mm == pytest.approx(5**0.5)  # one voxel on, and 2 mm to the front
    assert (second.organ, second.organ_share) == (None, 0.0)
    assert tumour.intensity_mean == 30.0
    assert tumour.diameter_mm == first.diameter_mm, "of one piece, not across both"


def test_a_lesion_at_the_edge_of_an_organ_has_its_share():
    pred = np.zeros((8, 8, 8), dtype=np.int16)
    pred[:, :, :4] = 1
    pred[4, 4, 4] = 2  # of its six neighbours one is liver
    _, tumour = find(volume(np.zeros(pred.shape)), pred, SCHEME.structures)
    assert tumour.lesions[0].organ == "liver"
    assert tumour.lesions[0].organ_share == pytest.approx(1 / 6)


def test_mean_and_sd_are_those_of_numpy():
    pred = label_map()
    values = np.random.default_rng(1).normal(40, 9, pred.shape)
    liver, _ = find(volume(values), pred, SCHEME.structures)
    assert liver.intensity_mean == pytest.approx(values[pred == 1].mean())
    assert liver.intensity_sd == pytest.approx(values[pred == 1].std())


def test_without_image_there_are_no_intensities():
    liver, _ = find(volume(np.zeros((16, 14, 10))), label_map(), SCHEME.structures, has_image=False)
    assert liver.intensity_mean is None
    assert liver.diameter_mm > 0


def test_what_was_not_found_is_not_assessable():
    liver, tumour = find(
        volume(np.zeros((5, 6, 7))), np.zeros((5, 6, 7), np.int16), SCHEME.structures
    )
    assert liver.diameter_mm is liver.intensity_mean is liver.axial_slice is None
    assert tumour.lesions == ()


def test_a_photograph_has_lesions_without_slices():
    pred = np.zeros((20, 20), dtype=np.int16)
    pred[2:5, 3] = 2
    _, tumour = find(volume(np.zeros(pred.shape)), pred, SCHEME.structures)
    (lesion,) = tumour.lesions
    assert (lesion.volume_ml, lesion.slice, lesion.position) == (3.0, None, (3.0, 3.0))
    assert lesion.diameter_mm == pytest.approx(3.0, abs=0.2)


def test_specks_beyond_the_limit_are_counted():
    pred = np.zeros((60, 60), dtype=np.int16)
    pred[::4, ::4] = 2
    _, tumour = find(volume(np.zeros(pred.shape)), pred, SCHEME.structures)
    assert len(tumour.lesions) == MOST_LESIONS
    assert tumour.lesions_left_out == 225 - MOST_LESIONS


def test_a_structure_carries_what_the_label_says():
    assert isinstance(structure("x", lesion=True), Structure)
    assert structure("x", lesion=True).lesion is True
