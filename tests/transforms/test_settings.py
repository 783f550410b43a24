from __future__ import annotations

import pytest

from medseg.errors import ConfigError
from medseg.transforms.settings import (
    list_presets,
    load_preset,
    resolve_labels,
    resolve_settings,
)

PUBLISHED = {  # p and range as nnU-Net's supplement has them
    "rotate": (0.2, None),
    "scale": (0.2, (0.7, 1.4)),
    "mirror": (0.5, None),
    "noise": (0.1, (0.0, 0.1)),
    "blur": (0.2, (0.5, 1.0)),
    "brightness": (0.15, (0.75, 1.25)),
    "contrast": (0.15, (0.75, 1.25)),
    "low_resolution": (0.25, (0.5, 1.0)),
    "gamma_inverted": (0.1, (0.7, 1.5)),
    "gamma": (0.3, (0.7, 1.5)),
    "previous_morphology": (0.4, (1, 8)),  # of a cascade alone
    "previous_removal": (0.2, None),
}


@pytest.mark.parametrize("name", ["default", "nnunet"])
def test_the_published_list_is_complete_and_the_rest_is_off(name):
    preset = load_preset(name)
    drawn = {k: (v["p"], v.get("range")) for k, v in preset.items() if v["p"] > 0}
    assert drawn == PUBLISHED
    assert preset["blur"]["channel_p"] == preset["low_resolution"]["channel_p"] == 0.5
    assert preset["rotate"]["degrees"] == (30 if name == "default" else "by_shape")
    assert resolve_labels({"preset": name}) == ("nearest" if name == "default" else "linear")


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_is_in_order(name):
    assert list(load_preset(name)) == list(load_preset("default"))  # the order of application
    assert resolve_settings({"preset": name}) == load_preset(name)


def test_presets_are_not_shared_between_callers():
    load_preset("default")["noise"]["p"] = 0.9
    assert load_preset("default")["noise"]["p"] == 0.1


def test_overrides_change_a_preset():
    settings = resolve_settings({"preset": "nnunet", "scale": {"p": 0.5}, "labels": "nearest"})
    assert settings["scale"] == {"p": 0.5, "range": (0.7, 1.4)}
    assert settings["rotate"]["degrees"] == "by_shape"
    assert resolve_labels({"preset": "nnunet", "labels": "nearest"}) == "nearest"


def test_settings_are_merged_and_mistakes_explained():
    settings = resolve_settings({"noise": {"p": 0.5}, "gamma": False})
    assert settings["noise"] == {"p": 0.5, "range": (0.0, 0.1)}
    assert "gamma" not in settings
    with pytest.raises(ConfigError, match="did you mean 'rotate'"):
        resolve_settings({"rotat": {}})
    with pytest.raises(ConfigError, match=r"augment.noise has no setting 'q'"):
        resolve_settings({"noise": {"q": 1}})
    with pytest.raises(ConfigError, match="probability"):
        resolve_settings({"noise": {"p": 2}})
    with pytest.raises(ConfigError, match="low first"):
        resolve_settings({"scale": {"range": (1.4, 0.7)}})
    with pytest.raises(ConfigError, match="or false"):
        resolve_settings({"scale": 3})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"preset": "nnunett"}, "did you mean 'nnunet'"),
        ({"labels": "cubic"}, "one of nearest, linear"),
        ({"noise": {"p": "often"}}, r"noise.p is 'often'; it is a number"),
        ({"noise": {"p": True}}, "a number"),
        ({"rotate": {"degrees": "auto"}}, r"degrees is 'auto'"),
        ({"rotate": {"degrees": -3}}, "at least 0"),
        ({"elastic": {"cell": 0}}, "between 0.05 and 1"),
        ({"blur": {"range": 1}}, "two numbers"),
        ({"blur": {"range": ["a", "b"]}}, "two numbers"),
        ({"gamma": {"range": [0, 1]}}, "two positive numbers"),
    ],
)
def test_what_cannot_be_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        resolve_settings(overrides)
    assert resolve_settings({"rotate": {"degrees": "by_shape"}})["rotate"]["p"] == 0.2
