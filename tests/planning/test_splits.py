from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from medseg.errors import ManifestError
from medseg.manifest import Splits
from medseg.planning.splits import SplitCase, assign_splits, check_ids, read_split_file


def cases(count, labels=("organ",), **fields):
    return [SplitCase(id=f"c{i:03d}", labels=labels, **fields) for i in range(count)]


def test_ten_cases_give_two_tests_and_four_folds_of_two():
    places = assign_splits(cases(10), Splits(test=0.2, folds=4))
    assert Counter(places.values()) == {
        ("test", None): 2,
        ("train", 0): 2,
        ("train", 1): 2,
        ("train", 2): 2,
        ("train", 3): 2,
    }


def test_a_rare_label_is_spread_over_the_parts():
    rows = cases(50) + [SplitCase(id=f"r{i}", labels=("organ", "rare")) for i in range(10)]
    places = assign_splits(rows, Splits(test=0.2, folds=4))
    rare = Counter(places[f"r{i}"] for i in range(10))
    assert set(rare.values()) == {2}
    assert len(rare) == 5


def test_a_group_is_never_torn_apart():
    rows = [SplitCase(id=f"c{i:02d}", group=f"p{i // 3}", labels=("organ",)) for i in range(30)]
    places = assign_splits(rows, Splits(test=0.2, folds=3))
    for patient in range(10):
        assert len({places[f"c{i:02d}"] for i in range(3 * patient, 3 * patient + 3)}) == 1
    assert sum(split == "test" for split, _ in places.values()) == 6


def test_order_of_cases_does_not_matter_and_the_seed_does():
    rows = cases(40)
    shuffled = random.Random(1).sample(rows, k=40)
    splits = Splits(test=0.2, folds=5)
    assert assign_splits(rows, splits) == assign_splits(shuffled, splits)
    assert assign_splits(rows, splits) != assign_splits(rows, Splits(test=0.2, folds=5, seed=1))


def test_unlabelled_cases_are_predicted():
    rows = [
        *cases(5),
        SplitCase(id="u", labels=None),
        SplitCase(id="v", labels=(), split="predict"),
    ]
    places = assign_splits(rows, Splits(test=0.2, folds=2))
    assert places["u"] == places["v"] == ("predict", None)


def test_an_annotated_case_without_foreground_trains():
    places = assign_splits([*cases(5), SplitCase(id="empty", labels=())], Splits(test=0, folds=2))
    assert places["empty"][0] == "train"


def test_what_the_data_set_says_stands():
    rows = [
        SplitCase(id="a", labels=("x",), split="test"),
        SplitCase(id="b", labels=("x",), split="train", fold=1),
        *cases(6, split="train"),
    ]
    places = assign_splits(rows, Splits(test=0.5, folds=3))
    assert places["a"] == ("test", None)
    assert places["b"] == ("train", 1)
    assert {split for name, (split, _) in places.items() if name != "a"} == {"train"}


def test_a_group_follows_its_stated_test_case():
    rows = [
        SplitCase(id="a", labels=("x",), group="p", split="test"),
        SplitCase(id="b", labels=("x",), group="p"),
        *cases(6),
    ]
    assert assign_splits(rows, Splits(test=0.1, folds=2))["b"] == ("test", None)


def test_a_stated_conflict_is_kept_with_a_warning(caplog):
    rows = [
        SplitCase(id="a", labels=("x",), group="drive", split="test"),
        SplitCase(id="b", labels=("x",), group="drive", split="train"),
        *cases(4, split="train"),
    ]
    places = assign_splits(rows, Splits(folds=2))
    assert places["a"][0] == "test"
    assert places["b"][0] == "train"
    assert "'drive'" in caplog.text


def test_listed_test_cases():
    places = assign_splits(cases(6), Splits(test=("c001", "c004"), folds=2))
    assert [name for name, (split, _) in places.items() if split == "test"] == ["c001", "c004"]


def test_few_groups_reduce_the_folds_with_a_warning(caplog):
    places = assign_splits(cases(5), Splits(test=0.2, folds=5))
    assert Counter(places.values()) == {("test", None): 1, **{("train", f): 1 for f in range(4)}}
    assert "too few for 5 folds; there are 4" in caplog.text


def test_two_cases_train_and_validate_without_a_test(caplog):
    places = assign_splits(cases(2), Splits(test=0.2, folds=5))
    assert sorted(places.values()) == [("train", 0), ("train", 1)]
    assert "none is held out" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (cases(1), "of one group"),
        (cases(4, group="p"), "of one group"),
        ([SplitCase(id="u", labels=None)], "no annotated case"),
        (cases(3, split="test"), "no annotated case"),
    ],
)
def test_too_little_to_train_on_says_what_to_do(rows, message):
    with pytest.raises(ManifestError, match=message):
        assign_splits(rows, Splits())


def test_split_files_in_three_forms(tmp_path):
    table = tmp_path / "s.csv"
    table.write_text("case,split,fold\na,train,1\nb,test,\nc,train,\nd,predict,\n")
    expected = {
        "a": ("train", 1),
        "b": ("test", None),
        "c": ("train", None),
        "d": ("predict", None),
    }
    assert read_split_file(table) == expected
    rows = tmp_path / "s.json"
    rows.write_text(
        json.dumps([{"case": n, "split": s, "fold": f} for n, (s, f) in expected.items()])
    )
    assert read_split_file(rows) == expected
    nnunet = tmp_path / "splits_final.json"
    nnunet.write_text(
        json.dumps([{"train": ["a", "c"], "val": ["b"]}, {"train": ["b", "c"], "val": ["a"]}])
    )
    assert read_split_file(nnunet) == {"a": ("train", 1), "b": ("train", 0), "c": ("train", None)}


def test_a_split_file_overrides_the_rest(tmp_path, caplog):
    file = tmp_path / "s.csv"
    file.write_text("case,split,fold\nc000,train,0\nc001,train,1\nc002,test,\n")
    rows = [*cases(4, split="test"), SplitCase(id="u", labels=None, split="predict")]
    places = assign_splits(rows, Splits(file=file, test=("c000",)))
    assert places == {
        "c000": ("train", 0),
        "c001": ("train", 1),
        "c002": ("test", None),
        "c003": ("train", None),
        "u": ("predict", None),
    }
    assert "does not list c003;" in caplog.text


@pytest.mark.parametrize(
    "text", ["case,split\na,valid\n", "name\na\n", "case,split,fold\na,train,x\n"]
)
def test_a_broken_split_file_is_refused(tmp_path, text):
    file = tmp_path / "s.csv"
    file.write_text(text)
    with pytest.raises(ManifestError, match="columns case, split"):
        read_split_file(file)


def test_a_missing_split_file_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        read_split_file(tmp_path / "none.csv")


def test_an_unknown_id_gets_the_nearest_one():
    with pytest.raises(ManifestError, match=r"'liver_01'.*did you mean 'liver_10'"):
        check_ids(Splits(test=("liver_01",)), ["liver_10", "spleen_2"], "m.yaml")
