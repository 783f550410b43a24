from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medseg.io.store import open_array, write_array
from medseg.labels import Label, LabelScheme
from medseg.losses import build_loss
from medseg.sampling.sampler import PatchSampler
from medseg.training.draws import Draws, count_draws, write_draws
from medseg.training.hard_cases import CaseTable, case_weights
from medseg.training.launch import train
from medseg.training.loop import loss_of_each
from medseg.training.schedule import Budget
from tests.sampling.test_sampler import labelled, make_index
from tests.training.made import Recorder, make_task

ALONE = SimpleNamespace(world_size=1)
SCHEME = LabelScheme(labels=(Label(value=1, name="a"), Label(value=2, name="b")))


def test_running_mean_by_hand():
    table = CaseTable()
    table.add(["x", "y", "x"], torch.tensor([1.0, 4.0, 3.0]))
    table.settle(ALONE)
    assert table.means == {"x": 2.0, "y": 4.0}
    table.add(["x"], torch.tensor([4.0]))
    assert table.means["x"] == 2.0  # nothing moves between two settlements
    table.settle(ALONE)
    assert table.means == {"x": 3.0, "y": 4.0}
    table.settle(ALONE)
    assert table.means == {"x": 3.0, "y": 4.0}


def test_weights_are_bounded_and_neutral_where_nothing_is_known():
    assert case_weights({}) == {}
    assert case_weights({"x": 0.0, "y": 0.0}) == {"x": 1.0, "y": 1.0}
    losses = {str(i): float(v) for i, v in enumerate(np.geomspace(1e-3, 1e3, 30))}
    weights = case_weights(losses)
    assert set(weights.values()) >= {0.5, 3.0}
    assert all(0.5 <= w <= 3 for w in weights.values())
    assert sorted(weights, key=lambda n: weights[n]) == list(losses)


def test_a_table_survives_a_round_trip():
    table, again = CaseTable(), CaseTable()
    table.add(["x", "y"], torch.tensor([1.0, 2.0]))
    table.settle(ALONE)
    table.add(["x"], torch.tensor([0.25]))
    again.load(table.state())
    for one in (table, again):
        one.add(["x", "y"], torch.tensor([0.75, 8.0]))
        one.settle(ALONE)
    assert again.means == table.means == {"x": 0.75, "y": 5.0}


@pytest.mark.parametrize("shape", [(6, 6), (4, 4, 4)])
def test_the_loss_of_each_patch_is_that_of_a_batch_of_one(shape):
    loss = build_loss({"name": "dice_ce"}, "softmax", [(1,), (2,)], (1.0,) * len(shape))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((3, 3, *shape), generator=generator, requires_grad=True)
    label = torch.randint(0, 3, (3, *shape), generator=generator, dtype=torch.int16)
    annotated = torch.tensor([[True, True, True], [True, True, False], [True, False, True]])
    each = loss_of_each(loss, logits, label, annotated)
    assert each.shape == (3,)
    assert not each.requires_grad
    for b in range(3):
        one = loss(logits[b : b + 1], label[b : b + 1], annotated=annotated[b : b + 1])
        assert each[b].item() == pytest.approx(one.item())
    assert len(set(each.tolist())) == 3


def test_draws_are_counted_and_written_once_per_step(tmp_path):
    index, cases = make_index(
        tmp_path, {n: labelled((9, 9), (2, 2), (5, 5)) for n in "xy"}, share=0.5
    )
    sampler = PatchSampler(index, cases, (3, 3))
    draws = count_draws(sampler, 10, 40)
    refs = [sampler.draw(i) for i in range(10, 40)]
    assert draws.total == 30
    assert draws.cases["x"] == sum(ref.case == "x" for ref in refs)
    shares = draws.class_shares(SCHEME)
    assert shares["a"] == pytest.approx(sum(ref.foreground == 1 for ref in refs) / 30)
    assert sum(shares.values()) == pytest.approx(1)
    for step in (2, 4, 6, 4):  # the last after a kill or a way back
        write_draws(tmp_path, step, draws, SCHEME, {"x": 2.0, "z": 0.5}, {"x": 0.25})
    with (tmp_path / "sampling.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted({int(row["step"]) for row in rows}) == [2, 4]
    last = {row["name"]: row for row in rows if row["step"] == "4"}
    assert set(last) == {"a", "b", "anywhere", "x", "y", "z"}
    assert (last["x"]["weight"], last["x"]["mean_loss"], last["z"]["drawn"]) == ("2.0", "0.25", "0")


def test_nothing_drawn_has_no_shares():
    assert Draws(total=0, classes={}, cases={}).class_shares(SCHEME) == {}


def test_a_case_with_a_wrong_label_is_drawn_oftener(tmp_path):
    """Its loss stays high, so it is what hard cases are to the network."""
    recipe = {"budget": Budget(iterations=60), "validations": 6, "lr": 1e-2, "hard_cases": True}
    network = {"norm": "batch", "widths": (8, 16)}
    task = make_task(tmp_path, cases=8, augment={"enabled": False}, network=network, **recipe)
    wrong = task.train[0]
    label = open_array(wrong.label).read_all()
    write_array(wrong.label, np.where(label > 0, 3 - label, 0).astype(np.int16))
    monitor = Recorder()
    state = train(task, monitor)
    weights = state.cases.weights()
    assert max(weights, key=lambda name: weights[name]) == wrong.id
    assert weights[wrong.id] > 1.2
    with (task.folder / "sampling.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == wrong.id]
    assert [int(row["step"]) for row in rows] == [10, 20, 30, 40, 50, 60]
    assert float(rows[0]["weight"]) == 1.0
    assert float(rows[-1]["weight"]) > 1
    logged = [m for _, m in monitor.metrics if "sampling/class/left" in m]
    assert len(logged) == 6
    assert sum(v for k, v in logged[0].items() if k.startswith("sampling/")) == pytest.approx(1)
