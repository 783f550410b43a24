from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.io.store import open_array, write_array
from medseg.labels import IGNORE_INDEX, Label, LabelScheme
from medseg.sampling.patches import PatchDataset, annotated_mask, cut
from medseg.sampling.sampler import PatchSampler
from tests.sampling.test_sampler import make_index

SCHEME = LabelScheme(labels=(Label(value=1, name="a"), Label(value=2, name="b")))


def make_dataset(tmp_path, shape=(10, 12, 14), patch_size=(6, 6, 6), **options):
    rng = np.random.default_rng(0)
    labels = {n: rng.integers(0, 3, shape).astype(np.int16) for n in "xy"}
    index, cases = make_index(tmp_path, labels, share=0.5)
    images = {}
    for case in cases:
        images[case.id] = rng.normal(size=(2, *shape)).astype(np.float32)
        write_array(case.image, images[case.id], max_error=0)
        write_array(case.label, labels[case.id])
    sampler = PatchSampler(index, cases, patch_size)
    dataset = PatchDataset(sampler, cases, SCHEME, length=20, **options)
    return dataset, sampler, images, labels


def test_cut_by_hand_with_padding(tmp_path):
    store = open_array(write_array(tmp_path / "a.b2nd", np.arange(6, dtype=np.int16).reshape(2, 3)))
    out = cut(store, (-1, 1), (3, 3), (2, 3), fill=-1, dtype=np.int16)
    assert out.tolist() == [[-1, -1, -1], [1, 2, -1], [4, 5, -1]]
    assert cut(store, (5, 5), (1, 2), (2, 3), fill=-1, dtype=np.int16).tolist() == [[-1, -1]]
    assert cut(store, (-9, 0), (2, 3), (2, 3), fill=-1, dtype=np.int16).tolist() == [[-1] * 3] * 2


@pytest.mark.parametrize("memory_share", [0.25, 0.0])
@pytest.mark.parametrize(("shape", "patch"), [((14, 11), (6, 5)), ((10, 12, 14), (6, 5, 4))])
def test_patches_are_what_lies_at_their_start(tmp_path, shape, patch, memory_share):
    dataset, sampler, images, labels = make_dataset(
        tmp_path, shape, patch, memory_share=memory_share
    )
    assert dataset.in_memory == (memory_share > 0)
    assert len(dataset) == 20
    for i in range(20):
        ref, item = sampler.draw(i), dataset[i]
        box = tuple(slice(s, s + n) for s, n in zip(ref.start, patch, strict=True))
        assert item["case"] == ref.case
        assert item["image"].dtype == torch.float32
        assert item["label"].dtype == torch.int16
        assert np.array_equal(item["image"].numpy(), images[ref.case][:, *box])
        assert np.array_equal(item["label"].numpy(), labels[ref.case][box])


def test_a_margin_surrounds_the_patch(tmp_path):
    dataset, *_ = make_dataset(tmp_path)
    wide, *_ = make_dataset(tmp_path, margin=(2, 0, 3))
    for i in range(20):
        inner, outer = dataset[i], wide[i]
        assert outer["image"].shape == (2, 10, 6, 12)
        assert torch.equal(outer["image"][:, 2:8, :, 3:9], inner["image"])
        assert torch.equal(outer["label"][2:8, :, 3:9], inner["label"])


def test_outside_the_case_the_image_is_zero_and_the_label_ignored(tmp_path):
    dataset, *_, labels = make_dataset(tmp_path, shape=(4, 5), patch_size=(8, 9))
    item = dataset[0]
    inside = torch.zeros(8, 9, dtype=torch.bool)
    inside[2:6, 2:7] = True
    assert (item["label"][~inside] == IGNORE_INDEX).all()
    assert (item["image"][:, ~inside] == 0).all()
    assert np.array_equal(item["label"][inside].numpy().reshape(4, 5), labels[item["case"]])


def test_a_patch_can_be_changed_without_changing_the_case(tmp_path):
    dataset, *_ = make_dataset(tmp_path)
    before = dataset[3]["image"].clone()
    dataset[3]["image"].fill_(9)
    assert torch.equal(dataset[3]["image"], before)


def test_the_data_set_travels_to_workers(tmp_path):
    for share in (0.0, 0.25):
        dataset, *_ = make_dataset(tmp_path, memory_share=share)
        copy = pickle.loads(pickle.dumps(dataset))
        assert torch.equal(copy[5]["image"], dataset[5]["image"])


def test_the_annotated_mask():
    assert annotated_mask((2,), SCHEME).tolist() == [True, False, True]
    assert annotated_mask((), SCHEME).tolist() == [True, False, False]


def test_a_case_without_annotation_is_refused(tmp_path):
    _, sampler, *_ = make_dataset(tmp_path)
    _, cases = make_index(tmp_path, {"x": np.ones((4, 4), dtype=np.int16)})
    with pytest.raises(ValueError, match="no annotation"):
        PatchDataset(sampler, [replace(cases[0], label=None)], SCHEME, length=1)
