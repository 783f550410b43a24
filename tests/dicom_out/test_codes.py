import pytest
from pydicom.sr.codedict import codes

from medseg.dicom_out.codes import LESIONS, ORGANS, code_structure


@pytest.mark.parametrize(
    ("name", "kind", "side", "category"),
    [
        ("liver", "10200004", None, "91723000"),
        ("Left Kidney", "64033007", "7771000", "91723000"),
        ("kidneys", "64033007", None, "91723000"),
        ("adrenal_gland_right", "23451007", "24028007", "91723000"),
        ("heart_left_ventricle", "87878005", None, "91723000"),
        ("Oesophagus", "32849002", None, "91723000"),
        ("tumours", "108369006", None, "49755003"),
        ("oedema", "79654002", None, "49755003"),
    ],
)
def test_a_name_says_what_it_is(name, kind, side, category):
    found = code_structure(name, None)
    assert found.type.value == kind
    assert (found.side.value if found.side else None) == side
    assert found.category.value == category
    assert found.known


def test_every_word_of_the_tables_has_a_code():
    for table in (ORGANS, LESIONS):
        for name, keyword in table.items():
            assert code_structure(name, None).type == getattr(codes.SCT, keyword), name


def test_a_lesion_lies_in_the_organ_it_is_named_after():
    found = code_structure("lung_cancer left", None)
    assert (found.type.value, found.region.value, found.side.value) == (
        "108369006",
        "39607008",
        "7771000",
    )


def test_the_manifests_code_goes_before_the_name():
    found = code_structure("class_7", "10200004")
    assert (found.type.value, found.type.meaning) == ("10200004", "Liver")
    found = code_structure("Liver segment VII", "245408009")
    assert (found.type.value, found.type.meaning) == ("245408009", "Liver segment VII")
    assert found.category.value == "91723000"
    assert code_structure("core of the tumour", "6574001").category.value == "49755003"


def test_a_code_of_its_own_names_its_side_itself():
    assert code_structure("left kidney", "18639004").side is None
    assert code_structure("left kidney", "64033007").side.value == "7771000"


def test_a_name_that_says_nothing_is_tissue_and_owned_up_to():
    found = code_structure("class_7", None)
    assert (found.category.value, found.type.value) == ("85756007", "85756007")
    assert not found.known
