"""A crop that one class fills is moved within its case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medseg.labels import IGNORE_INDEX
from medseg.sampling.redraw import TRIES, draw_varied, largest_share
from medseg.sampling.sampler import PatchSampler
from tests.sampling.test_sampler import make_index


class Looked:
    """Label arrays that count how often they are read."""

    def __init__(self, labels):
        self.labels, self.reads = labels, 0

    def __call__(self, case):
        return self, self.labels[case].shape

    @property
    def shape(self):
        return next(iter(self.labels.values())).shape

    def read(self, start, stop):
        self.reads += 1
        label = next(iter(self.labels.values()))
        return label[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]


def sampler_of(tmp_path, label, patch, *, ratio, share=0.0):
    index, cases = make_index(tmp_path, {"a": label}, share=share)
    return PatchSampler(replace(index, cat_max_ratio=ratio), cases, patch), Looked({"a": label})


def test_the_share_is_of_what_counts():
    label = np.array([[1, 1, 1, 2], [IGNORE_INDEX] * 4], np.int16)
    assert largest_share(label) == 0.75
    assert largest_share(np.full((2, 2), IGNORE_INDEX, np.int16)) == 1.0
    assert largest_share(np.zeros((2, 2, 2), np.int16)) == 1.0


@pytest.mark.parametrize("shape", [(40, 60), (12, 14, 40)])
def test_crops_move_to_where_classes_meet(tmp_path, shape):
    label = np.ones(shape, np.int16)
    label[..., : shape[-1] // 2] = 2
    sampler, looked = sampler_of(tmp_path, label, (8,) * len(shape), ratio=0.8)
    meant, plain = 0, 0
    for number in range(60):
        ref = draw_varied(sampler, number, looked)
        again = draw_varied(sampler, number, looked)
        assert ref == again
        meant += share_at(label, ref.start) <= 0.8
        plain += share_at(label, sampler.draw(number).start) <= 0.8
    assert meant > 2 * plain


def share_at(label, start):
    return largest_share(label[tuple(slice(s, s + 8) for s in start)])


def test_after_ten_places_the_last_is_taken(tmp_path):
    sampler, looked = sampler_of(tmp_path, np.ones((30, 30), np.int16), (8, 8), ratio=0.75)
    ref = draw_varied(sampler, 4, looked)
    assert looked.reads == TRIES - 1  # the tenth place is not looked at: nothing follows it
    assert ref == sampler.draw(4, TRIES - 1)


def test_without_a_ratio_no_label_is_read(tmp_path):
    sampler, looked = sampler_of(tmp_path, np.ones((30, 30), np.int16), (8, 8), ratio=1.0)
    assert draw_varied(sampler, 4, looked) == sampler.draw(4)
    assert looked.reads == 0


def test_a_further_attempt_keeps_case_and_class(tmp_path):
    label = np.ones((40, 40), np.int16)
    label[20:] = 2
    index, cases = make_index(tmp_path, {"a": label, "b": label})
    sampler = PatchSampler(index, cases, (4, 4))
    for number in range(20):
        refs = [sampler.draw(number, attempt) for attempt in range(4)]
        assert len({(ref.case, ref.foreground) for ref in refs}) == 1
        assert len({ref.start for ref in refs}) > 1
