from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.artefacts import CaseLocations, PatchIndex, ResampledCase
from medseg.geometry.volume import Grid
from medseg.sampling.sampler import PatchSampler, sample_locations


def make_index(tmp_path, labels, *, share=1.0, seed=0):
    """Return an index and the cases of some label arrays."""
    locations, cases = [], []
    for name, label in labels.items():
        voxels, coordinates = sample_locations(label, seed)
        file = tmp_path / f"{name}.npz"
        np.savez(file, **{f"c{i}": c for i, c in coordinates.items()})
        locations.append(CaseLocations(id=name, voxels=voxels, file=file))
        grid = Grid.of(label.shape, np.eye(label.ndim + 1))
        zero = (0,) * label.ndim
        cases.append(
            ResampledCase(
                id=name,
                split="train",
                fold=0,
                image=tmp_path / f"{name}_i.b2nd",
                label=tmp_path / f"{name}_l.b2nd",
                grid=grid,
                crop_start=zero,
                crop_stop=label.shape,
                source=grid,
                annotated=(1, 2),
            )
        )
    index = PatchIndex(
        seed=seed, foreground_share=share, locations=tuple(locations), table=Path("t.csv")
    )
    return index, cases


def labelled(shape, *points):
    label = np.zeros(shape, dtype=np.int16)
    for index, point in enumerate(points, start=1):
        label[point] = index
    return label


def test_a_patch_is_centred_on_the_only_voxel(tmp_path):
    index, cases = make_index(tmp_path, {"a": labelled((20, 30), (9, 21))})
    ref = PatchSampler(index, cases, (5, 8)).draw(0)
    assert (ref.case, ref.start, ref.foreground) == ("a", (7, 17), 1)


def test_a_centre_at_the_border_moves_inside(tmp_path):
    index, cases = make_index(tmp_path, {"a": labelled((20, 30), (0, 29))})
    assert PatchSampler(index, cases, (5, 8)).draw(0).start == (0, 22)


def test_a_small_case_is_covered_centrally(tmp_path):
    index, cases = make_index(tmp_path, {"a": labelled((4, 9, 8), (0, 0, 0))}, share=0.5)
    sampler = PatchSampler(index, cases, (8, 8, 8))
    starts = {sampler.draw(i).start for i in range(50)}
    assert {s[0] for s in starts} == {-2}
    assert {s[1] for s in starts} == {0, 1}
    assert {s[2] for s in starts} == {0}


def test_a_patch_depends_on_its_number_alone(tmp_path):
    rng = np.random.default_rng(0)
    labels = {n: rng.integers(0, 3, (12, 12, 12)).astype(np.int16) for n in "abc"}
    index, cases = make_index(tmp_path, labels, share=0.5)
    forwards, backwards = (PatchSampler(index, cases, (6, 6, 6)) for _ in range(2))
    drawn = [forwards.draw(i) for i in range(40)]
    assert [backwards.draw(i) for i in reversed(range(40))] == drawn[::-1]
    other, _ = make_index(tmp_path, labels, share=0.5, seed=1)
    assert [PatchSampler(other, cases, (6, 6, 6)).draw(i) for i in range(40)] != drawn


@pytest.mark.parametrize("shape", [(40, 40), (20, 20, 20)])
def test_shares_of_foreground_classes_and_cases(tmp_path, shape):
    label = np.zeros(shape, dtype=np.int16)
    label[:10] = 1
    label[15, 15] = 2  # rare, and drawn as often as class 1
    index, cases = make_index(tmp_path, {"a": label, "b": label}, share=0.4)
    sampler = PatchSampler(index, cases, (4,) * len(shape))
    refs = [sampler.draw(i) for i in range(3000)]
    classes = Counter(ref.foreground for ref in refs)
    assert classes[None] == pytest.approx(1800, abs=120)  # 4.5 sd
    assert classes[1] == pytest.approx(600, abs=100)
    assert classes[2] == pytest.approx(600, abs=100)
    assert Counter(ref.case for ref in refs)["a"] == pytest.approx(1500, abs=125)


@pytest.mark.parametrize("shape", [(9, 30), (9, 30, 5)])
def test_patches_stay_inside_and_hold_their_class(tmp_path, shape):
    label = np.random.default_rng(1).integers(0, 3, shape).astype(np.int16)
    index, cases = make_index(tmp_path, {"a": label}, share=0.7)
    size = (4, 7, 5)[: len(shape)]
    sampler = PatchSampler(index, cases, size)
    for i in range(200):
        ref = sampler.draw(i)
        box = tuple(slice(s, s + n) for s, n in zip(ref.start, size, strict=True))
        assert label[box].shape == size
        if ref.foreground is not None:
            assert (label[box] == ref.foreground).any()


def test_slices_reach_every_slice(tmp_path):
    index, cases = make_index(tmp_path, {"a": labelled((8, 8, 6), (4, 4, 3))}, share=0.2)
    sampler = PatchSampler(index, cases, (4, 4, 1))
    refs = [sampler.draw(i) for i in range(200)]
    assert {ref.start[2] for ref in refs} == set(range(6))
    assert {ref.start[2] for ref in refs if ref.foreground} == {3}


def test_a_case_without_foreground_is_drawn_anywhere(tmp_path):
    index, cases = make_index(tmp_path, {"a": np.zeros((9, 9), dtype=np.int16)})
    sampler = PatchSampler(index, cases, (3, 3))
    assert {sampler.draw(i).foreground for i in range(20)} == {None}


def test_an_unknown_case_is_refused(tmp_path):
    index, cases = make_index(tmp_path, {"a": labelled((9, 9), (1, 1))})
    with pytest.raises(ValueError, match="no case"):
        PatchSampler(index, [], (3, 3))
    _, strangers = make_index(tmp_path, {"z": labelled((9, 9), (1, 1))})
    with pytest.raises(ValueError, match="z"):
        PatchSampler(index, [*cases, *strangers], (3, 3))


def test_locations_by_hand():
    label = np.array([[0, 2, 0], [1, -1, 2]], dtype=np.int16)
    voxels, coordinates = sample_locations(label, 0)
    assert voxels == {1: 1, 2: 2}
    assert coordinates[1].tolist() == [[1, 0]]
    assert coordinates[2].tolist() == [[0, 1], [1, 2]]
    assert coordinates[2].dtype == np.int32


@pytest.mark.parametrize("shape", [(60, 50), (20, 15, 10)])
def test_locations_are_of_their_class_and_as_many_as_asked(shape):
    label = np.random.default_rng(0).integers(-1, 4, shape).astype(np.int16)
    voxels, coordinates = sample_locations(label, 0, most=100, share=0.5)
    for index in (1, 2, 3):
        count = int((label == index).sum())
        assert voxels[index] == count
        assert len(np.unique(coordinates[index], axis=0)) == -(-count // 2)
        assert (label[tuple(coordinates[index].T)] == index).all()
    again = sample_locations(label, 0, most=100, share=0.5)[1]
    assert np.array_equal(again[1], coordinates[1])
    other = sample_locations(label, 1, most=100, share=0.5)[1]
    assert not np.array_equal(other[1], coordinates[1])


def rare_class(tmp_path, balance, *, share=0.6):
    """Four cases have class 1, one of them class 2 as well."""
    labels = {n: labelled((9, 9), (4, 4)) for n in "abc"}
    labels["d"] = labelled((9, 9), (4, 4), (2, 6))
    index, cases = make_index(tmp_path, labels, share=share)
    return PatchSampler(replace(index, balance=balance), cases, (3, 3))


def test_balance_over_the_data_set_shows_a_rare_class_as_often_as_a_common_one(tmp_path):
    def classes(balance):
        sampler = rare_class(tmp_path, balance)
        return Counter(sampler.draw(i).foreground for i in range(4000))

    within, over = classes("case"), classes("dataset")
    assert within[None] == pytest.approx(1600, abs=140)  # 4.5 sd
    assert over[None] == pytest.approx(1600, abs=140)
    assert within[2] == pytest.approx(4000 * 0.6 / 8, abs=75)  # half of the patches of d
    assert over[2] == pytest.approx(4000 * 0.6 / 2, abs=130)
    assert over[1] == pytest.approx(4000 * 0.6 / 2, abs=130)


def test_balance_is_nothing_where_every_case_has_every_class(tmp_path):
    labels = {n: labelled((9, 9, 9), (2, 2, 2), (5, 5, 5)) for n in "abc"}
    index, cases = make_index(tmp_path, labels, share=0.5)
    plain = PatchSampler(index, cases, (3, 3, 3))
    balanced = PatchSampler(replace(index, balance="dataset"), cases, (3, 3, 3))
    assert [plain.draw(i) for i in range(50)] == [balanced.draw(i) for i in range(50)]


@pytest.mark.parametrize("balance", ["case", "dataset"])
def test_cases_are_drawn_by_weight(tmp_path, balance):
    sampler = rare_class(tmp_path, balance, share=0.3)
    plain = [sampler.draw(i) for i in range(100)]
    sampler.weigh({"a": 3.0, "b": 0.5, "stranger": 9.0})  # c and d count as 1
    anywhere = Counter(r.case for r in map(sampler.draw, range(6000)) if r.foreground is None)
    total = anywhere.total()
    for case, share in {"a": 3 / 5.5, "b": 0.5 / 5.5, "c": 1 / 5.5}.items():
        assert anywhere[case] / total == pytest.approx(share, abs=0.035)  # 4.5 sd
    rare = {r.case for r in map(sampler.draw, range(1000)) if r.foreground == 2}
    assert rare == {"d"}
    sampler.weigh({})
    assert [sampler.draw(i) for i in range(100)] == plain


@pytest.mark.parametrize("balance", ["case", "dataset"])
def test_case_and_class_are_known_without_the_place(tmp_path, balance):
    sampler = rare_class(tmp_path, balance)
    sampler.weigh({"d": 2.5})
    for i in range(100):
        ref = sampler.draw(i)
        assert sampler.case_and_class(i) == (ref.case, ref.foreground)


def test_no_foreground_has_no_locations():
    assert sample_locations(np.full((4, 4), -1, dtype=np.int16), 0) == ({}, {})
