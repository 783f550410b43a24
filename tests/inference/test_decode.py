from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.geometry import logits as geometry
from medseg.geometry.logits import logits_to_indices
from medseg.inference.decode import decoder, is_convex
from medseg.labels import Label, LabelScheme, Region
from tests.inference.toys import SCHEME

LABELS = tuple(Label(value=i, name=n) for i, n in enumerate(("oedema", "core", "rest"), start=1))


def regions(*unions):
    rows = tuple(Region(name=str(i), labels=names) for i, names in enumerate(unions))
    return LabelScheme(labels=LABELS, regions=rows)


NESTED = regions(("core",), ("oedema", "core"), ("oedema", "core", "rest"))
TWICE = regions(("core",), ("core",))


def test_regions_that_paint_one_class_twice_are_not_convex():
    """At each end one region is above 0, in the middle neither: core, nothing, core."""
    assert is_convex(SCHEME)
    assert is_convex(NESTED)
    assert not is_convex(TWICE)
    ends = torch.tensor([[1.0, -3.0], [-3.0, 1.0]])
    assert decoder(TWICE)(ends).tolist() == [2, 2]
    assert decoder(TWICE)(ends.mean(1, keepdim=True)).tolist() == [0]


@pytest.mark.parametrize("scheme", [NESTED, LabelScheme(labels=LABELS)])
@pytest.mark.parametrize("size", [(12, 9), (12, 9, 10)])
def test_blocks_of_one_class_may_be_skipped(scheme, size, monkeypatch):
    monkeypatch.setattr(geometry, "BLOCK", 4)
    generator = torch.Generator().manual_seed(0)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    coarse = torch.randn(1, scheme.num_classes, *(3 for _ in size), generator=generator)
    logits = torch.nn.functional.interpolate(coarse, size=size, mode=mode)[0]
    new = tuple(2 * n + 3 for n in size)
    assert is_convex(scheme)
    skipping = logits_to_indices(logits, new, decoder(scheme), convex=True)
    np.testing.assert_array_equal(skipping, logits_to_indices(logits, new, decoder(scheme)))
    assert len(np.unique(skipping)) > 2


@pytest.mark.parametrize("size", [(4, 5), (3, 4, 5)])
def test_without_background_no_pixel_is_called_it(size):
    street = LabelScheme(labels=LABELS, label_map={"0": "oedema", "1": "core", "2": "rest"})
    logits = torch.randn(4, *size, generator=torch.Generator().manual_seed(0))
    logits[0] += 10  # the output that is never right
    pred = decoder(street)(logits)
    assert torch.equal(pred, logits[1:].argmax(0).to(torch.int16) + 1)
    assert pred.min() == 1
    assert decoder(LabelScheme(labels=LABELS))(logits).max() == 0
