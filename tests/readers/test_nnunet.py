import json

import pytest

from medseg.errors import ManifestError
from medseg.readers.describe import describe
from medseg.readers.nnunet import read_nnunet


def test_channels_come_in_the_order_of_their_numbers(files, manifest):
    files.image("imagesTr/c_01_0001.nii.gz", "imagesTr/c_01_0000.nii.gz")
    files.image("imagesTs/c_02_0000.nii.gz", "imagesTs/c_02_0001.nii.gz")
    files.label("labelsTr/c_01.nii.gz")
    one, two = read_nnunet(files.root, manifest("nnunet", channels=("T1", "T2")))
    assert (one.id, one.split) == ("c_01", None)
    assert [f.path.name for f in one.image] == ["c_01_0000.nii.gz", "c_01_0001.nii.gz"]
    assert one.label[0].path.name == "c_01.nii.gz"
    assert (two.id, two.split, two.label) == ("c_02", "predict", ())


def test_missing_channels_and_labels_are_named(files, manifest):
    files.image("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "imagesTr/b_0001.nii.gz")
    with pytest.raises(ManifestError, match=r"2 channel.*b has channels 0001"):
        read_nnunet(files.root, manifest("nnunet", channels=("T1", "T2")))
    files.image("imagesTr/b_0000.nii.gz")
    files.label("labelsTr/a.nii.gz")
    with pytest.raises(ManifestError, match="labelsTr for b"):
        read_nnunet(files.root, manifest("nnunet", channels=("T1", "T2")))


def test_description_with_regions_and_ignore_label(files):
    content = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {
            "background": 0,
            "whole": [1, 2, 3],
            "core": [2, 3],
            "enhancing": 3,
            "ignore": 4,
        },
        "regions_class_order": [1, 2, 3],
    }
    files.text("dataset.json", json.dumps(content))
    found = describe(files.root)
    assert found.labels == {"label_1": 1, "label_2": 2, "enhancing": 3}
    assert found.regions == {
        "whole": ("label_1", "label_2", "enhancing"),
        "core": ("label_2", "enhancing"),
        "enhancing": ("enhancing",),
    }
    assert found.ignore_value == 4
    assert (found.channels, found.modality) == (("T1", "FLAIR"), "MR")


def test_description_of_the_decathlon(files):
    content = {
        "name": "Liver",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "licence": "CC-BY-SA 4.0",
    }
    files.text("dataset.json", json.dumps(content))
    found = describe(files.root)
    assert (found.title, found.labels, found.regions) == ("Liver", {"liver": 1, "cancer": 2}, {})
    assert (found.modality, found.ignore_value, found.licence) == ("CT", None, "CC-BY-SA 4.0")


def test_description_that_is_none(files):
    assert describe(files.root) is None
    files.text("dataset.json", '{"labels": ["liver"]}')
    with pytest.raises(ManifestError, match=r"dataset\.json: is not a dataset\.json"):
        describe(files.root)
