from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from medseg.planning.stratify import Member, stratify


def member(*labels, size=1):
    return Member(size=size, labels=Counter(labels))


def test_by_hand_the_rare_label_is_served_first():
    members = {"a": member("x", "y"), "b": member("x", "y"), "c": member("x"), "d": member("x")}
    bins = stratify(members, (0.5, 0.5), np.random.default_rng(0))
    assert {bins["a"], bins["b"]} == {0, 1}
    assert {bins["c"], bins["d"]} == {0, 1}


def test_a_fixed_group_counts_and_stays():
    members = {name: member("x") for name in "abcd"}
    bins = stratify(members, (0.5, 0.5), np.random.default_rng(0), fixed={"a": 1, "b": 1})
    assert bins == {"a": 1, "b": 1, "c": 0, "d": 0}


@pytest.mark.parametrize("seed", range(5))
def test_every_bin_is_within_one_of_its_share_of_cases_and_labels(seed):
    rng = np.random.default_rng(seed)
    members = {i: member(*[n for n in "xyz" if rng.random() < 0.5]) for i in range(60)}
    bins = stratify(members, (0.25,) * 4, rng)
    for label in "xyz":
        total = sum(m.labels[label] for m in members.values())
        counts = [sum(members[i].labels[label] for i in bins if bins[i] == b) for b in range(4)]
        assert max(abs(count - total / 4) for count in counts) <= 2


def test_large_groups_are_balanced_by_small_ones():
    members = {"big": member(*"xxxx", size=4), **{i: member("x") for i in range(4)}}
    bins = stratify(members, (0.5, 0.5), np.random.default_rng(0))
    assert all(bins[i] != bins["big"] for i in range(4))


def test_no_groups_is_no_places():
    assert stratify({}, (0.5, 0.5), np.random.default_rng(0)) == {}
