import numpy as np
import pytest
from scipy.io import savemat

from medseg.errors import ManifestError
from medseg.readers import read_cases
from medseg.readers.voc import trainaug

LISTS = "ImageSets/Segmentation/"


@pytest.fixture
def voc(files):
    files.photo(*(f"JPEGImages/{n}.jpg" for n in ("2007_t", "2007_v", "2008_s", "2009_x")))
    files.mask("SegmentationClass/2007_t.png", "SegmentationClass/2007_v.png", values=(0, 1, 255))
    files.text(f"{LISTS}train.txt", "2007_t\n")
    files.text(f"{LISTS}val.txt", "2007_v\n")
    files.text(f"{LISTS}test.txt", "2009_x\n")
    return files


def test_train_validates_on_val_and_segments_test(voc, manifest):
    found = read_cases(manifest("voc"))
    assert [(c.id, c.split, c.fold) for c in found] == [
        ("2007_t", "train", 1),
        ("2007_v", "train", 0),
        ("2009_x", "predict", None),
    ]
    found = read_cases(manifest("voc", options={"validation": "test"}))
    assert [(c.id, c.split, c.fold) for c in found[:2]] == [
        ("2007_t", None, None),  # divided into folds: something must validate
        ("2007_v", "test", None),
    ]


def test_trainaug_adds_sbd_less_vocs_val(voc, manifest):
    for name in ("2007_t", "2007_v", "2008_s"):
        path = voc.place(f"SBD/cls/{name}.mat")
        savemat(path, {"GTcls": {"Segmentation": np.zeros((6, 7), np.uint8)}})
    voc.text("SBD/train.txt", "2008_s\n2007_t\n")
    voc.text("SBD/val.txt", "2007_v\n")
    found = read_cases(manifest("voc", options={"train": "trainaug", "sbd": "SBD"}))
    places = {c.id: (c.split, c.fold, c.label[0].path.name) for c in found if c.label}
    assert places == {
        "2007_t": ("train", 1, "2007_t.png"),  # VOC's own mask has void borders
        "2007_v": ("train", 0, "2007_v.png"),
        "2008_s": ("train", 1, "2008_s.mat"),
    }
    voc.text(f"{LISTS}trainaug.txt", "2008_s\n")
    voc.mask("SegmentationClassAug/2008_s.png")
    found = read_cases(manifest("voc", options={"train": "trainaug"}))
    assert found[1].label[0].path.parent.name == "SegmentationClassAug"


def test_no_image_of_vocs_val_is_trained_on_whoever_annotated_it():
    assert trainaug(["b", "a", "v1"], ["c", "a"], ["v1", "v2"]) == ["a", "b", "c"]


def test_what_is_missing_is_named(voc, manifest):
    with pytest.raises(ManifestError, match=r"no ImageSets/Segmentation/trainaug\.txt"):
        read_cases(manifest("voc", options={"train": "trainaug"}))
    voc.text(f"{LISTS}train.txt", "2007_t\n2008_s\n2010_z\n")
    with pytest.raises(ManifestError) as error:
        read_cases(manifest("voc"))
    assert "3 listed file(s) are not there: SegmentationClass/2008_s.png" in str(error.value)
    assert "JPEGImages/2010_z.jpg" in str(error.value)
