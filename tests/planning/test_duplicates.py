from __future__ import annotations

from medseg.planning.duplicates import find_duplicates, merge_groups


def test_equal_digests_are_found():
    found = find_duplicates({"a": "1", "b": "2", "c": "1", "d": "3", "e": "2"})
    assert found == (("a", "c"), ("b", "e"))
    assert find_duplicates({"a": "1", "b": "2"}) == ()


def test_duplicates_bring_their_groups_together():
    groups = {"a": "p1", "b": "p1", "c": "p2", "d": None, "e": "p3"}
    merged = merge_groups(groups, (("a", "c"), ("c", "d")))
    assert merged["a"] == merged["b"] == merged["c"] == merged["d"]
    assert merged["e"] == "p3"


def test_duplicates_without_groups_get_one():
    merged = merge_groups({"a": None, "b": None, "c": None}, (("a", "b"),))
    assert merged["a"] == merged["b"] is not None
    assert merged["c"] is None
