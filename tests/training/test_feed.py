from __future__ import annotations

import itertools
import time

import pytest
import torch

from medseg.training.data import Batch
from medseg.training.feed import HostFeed, open_feed, ready

CPU = torch.device("cpu")


def batch(number: int, *, whole: bool = True) -> Batch:
    annotated = torch.tensor([[True, True], [True, whole]])
    return Batch(torch.full((2, 1, 4, 4), float(number)), torch.zeros(2, 4, 4).short(), annotated)


def test_a_full_annotation_is_not_asked_about_again():
    assert ready(batch(0)).annotated is None
    assert ready(ready(batch(0))).annotated is None
    partly = batch(0, whole=False)
    assert torch.equal(ready(partly).annotated, partly.annotated)


def test_waiting_is_added_up_and_asked_for_once():
    def slow():
        for number in itertools.count():
            time.sleep(0.02)
            yield batch(number)

    feed = open_feed(slow(), CPU)
    assert isinstance(feed, HostFeed)
    assert [float(next(feed).image[0, 0, 0, 0]) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.1)  # the step, which is no waiting
    waited = feed.waited()
    assert waited > 0.055
    assert feed.waited() == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_sees_the_same_batches_and_its_idle_time():
    def slow():
        for number in itertools.count():
            time.sleep(0.02)
            pinned = batch(number, whole=number % 2 == 0)
            yield Batch(*(part.pin_memory() for part in pinned))

    feed = open_feed(slow(), torch.device("cuda"))
    for number in range(5):
        got, expected = next(feed), ready(batch(number, whole=number % 2 == 0))
        assert got.image.is_cuda
        assert torch.equal(got.image.cpu(), expected.image)
        assert (got.annotated is None) == (expected.annotated is None)
    assert feed.waited() > 0.05  # an idle GPU waits for every batch
    assert feed.waited() == 0
