from __future__ import annotations

import threading

import pytest

from medseg.errors import CaseError, FormatError
from medseg.pipelines.overlap import overlapped


def bad(name):
    return CaseError(name, "is bad", "mend it")


def run(items, read=lambda i: i, compute=lambda i, x: x, write=lambda i, x: x):
    return [
        (o.item, o.result if o.error is None else str(o.error))
        for o in overlapped(items, read, compute, write)
    ]


def test_every_item_goes_through_all_steps_in_order():
    result = run("abc", str.upper, lambda i, x: x + i, lambda i, x: x + "!")
    assert result == [("a", "Aa!"), ("b", "Bb!"), ("c", "Cc!")]


def test_nothing_to_do():
    assert run([]) == []


@pytest.mark.parametrize("step", ["read", "compute", "write"])
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_bad_item_is_set_aside_wherever_it_fails(step, name):
    def fail(item, value=None):
        if item == name:
            raise bad(item)
        return item

    result = run("abc", **{step: fail})
    expected = [(i, f"case {i}: is bad; mend it" if i == name else i) for i in "abc"]
    assert result == expected


def test_all_bad():
    def read(item):
        raise FormatError(f"{item} is cut", "copy it again")

    assert [text for _, text in run("ab", read)] == [
        "a is cut; copy it again",
        "b is cut; copy it again",
    ]


@pytest.mark.parametrize("step", ["read", "compute", "write"])
def test_an_error_nobody_foresaw_ends_the_loop(step):
    def fail(item, value=None):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run("abc", **{step: fail})
    assert not [t for t in threading.enumerate() if t.name.startswith("medseg-")]


def test_the_steps_of_three_items_run_at_once():
    """While b is computed, c is read and a is written: each waits for the other two."""
    meet = threading.Barrier(3, timeout=20)

    def at(moment, item):
        if item == moment:
            meet.wait()
        return item

    result = run(
        "abc",
        lambda item: at("c", item),
        lambda item, _: at("b", item),
        lambda item, _: at("a", item),
    )
    assert [item for item, _ in result] == ["a", "b", "c"]


def test_no_more_than_one_item_is_read_ahead():
    read, computed = [], []

    def compute(item, value):
        assert len(read) <= len(computed) + 2, "the next one only"
        computed.append(item)
        return item

    def remember(item):
        read.append(item)
        return item

    assert len(run(range(8), remember, compute)) == 8


def test_an_interrupt_lets_the_write_under_way_end():
    written = []

    def compute(item, value):
        if item == "b":
            raise KeyboardInterrupt
        return item

    def write(item, value):
        written.append(item)

    with pytest.raises(KeyboardInterrupt):
        run("abc", compute=compute, write=write)
    assert written == ["a"]
    assert not [t for t in threading.enumerate() if t.name.startswith("medseg-")]
