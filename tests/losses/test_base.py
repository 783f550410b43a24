"""The seams every loss hangs on: precision, spacing, arguments that a config can be checked by."""

from __future__ import annotations

import inspect

import pytest
import torch

from medseg.errors import ConfigError
from medseg.losses import LOSSES, build_loss, check_loss
from medseg.losses.build import check_arguments, settings_of
from tests.losses.worked import LABEL, LOGITS

ALL = pytest.mark.parametrize("name", sorted(LOSSES))


def test_prepare_keeps_float64_and_lifts_the_rest():
    loss = build_loss({"name": "dice"}, "softmax")
    assert loss.prepare(LOGITS, LABEL, None)[0].dtype == torch.float64
    assert loss.prepare(LOGITS.bfloat16(), LABEL, None)[0].dtype == torch.float32


@ALL
def test_every_argument_says_its_type_and_has_a_default(name):
    parameters = inspect.signature(LOSSES[name], eval_str=True).parameters
    for argument, parameter in parameters.items():
        assert parameter.kind is not parameter.VAR_POSITIONAL, argument
        if argument != "activation" and parameter.kind is not parameter.VAR_KEYWORD:
            assert parameter.default is not parameter.empty, argument
            assert parameter.annotation is not parameter.empty, argument
            plain = isinstance(parameter.default, int | float | str)
            if plain and argument != "regions":  # the default is itself a value of that type
                checked = check_arguments(LOSSES[name], {argument: parameter.default})
                assert checked == {argument: parameter.default}


@ALL
def test_what_takes_spacing_is_given_the_plans(name):
    kind = LOSSES[name]
    takes = "spacing" in settings_of(kind)
    assert takes == kind.takes_spacing
    loss = build_loss({"name": name}, "softmax", spacing=(0.8, 2.5))
    assert loss.spacing == ((0.8, 2.5) if takes else None)
    if takes:
        assert (
            build_loss({"name": name, "spacing": None}, "softmax", (), (0.8, 2.5)).spacing is None
        )
        own = build_loss({"name": name, "spacing": [1, 3]}, "softmax", (), (0.8, 2.5))
        assert tuple(own.spacing) == (1.0, 3.0)


@ALL
def test_weights_move_with_the_loss_and_stay_out_of_checkpoints(name):
    loss = build_loss({"name": name}, "softmax")
    assert list(loss.parameters()) == []
    assert dict(loss.state_dict()) == {}


@ALL
def test_progress_is_taken_by_every_loss(name):
    loss = build_loss({"name": name}, "softmax")
    before = loss(LOGITS, LABEL)
    loss.set_progress(0.5)
    torch.testing.assert_close(loss(LOGITS, LABEL), before)


def test_checking_needs_neither_classes_nor_regions():
    check_loss({"name": "dice_ce"})
    check_loss([{"name": "dice"}, {"name": "boundary", "weight": "increase"}])
    with pytest.raises(ConfigError, match="did you mean 'dice_ce'"):
        check_loss({"name": "dice_cee"})
    with pytest.raises(ConfigError, match=r"no argument 'weight_dyce'; did you mean 'weight_dice'"):
        check_loss({"name": "dice_ce", "weight_dyce": 1})
