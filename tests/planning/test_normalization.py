from __future__ import annotations

import pytest

from medseg.artefacts import ChannelIntensity
from medseg.errors import ManifestError
from medseg.planning.normalization import check_schemes, plan_normalization

SEEN = ChannelIntensity(
    mean=99.0,
    std=36.0,
    min=-700.0,
    median=101.0,
    max=1200.0,
    percentile_00_5=-20.0,
    percentile_99_5=190.0,
)


def plan(scheme, modality="MR", crop_ratio=1.0):
    return plan_normalization([scheme], [SEEN], modality=modality, crop_ratio=crop_ratio)[0]


def test_ct_takes_the_data_sets_numbers():
    for how in (plan("auto", "CT"), plan("auto", "ct"), plan("ct", "MR")):
        assert (how.scheme, how.clip, how.mean, how.std) == ("ct", (-20.0, 190.0), 99.0, 36.0)


def test_anything_else_is_normalised_by_case():
    assert plan("auto", "MR").scheme == plan("auto", "photo").scheme == "zscore"
    assert plan("zscore", "CT").clip is None
    assert plan("none", "CT").scheme == "none"


def test_a_crop_that_takes_much_away_means_non_zero_statistics():
    assert plan("zscore", crop_ratio=0.74).mask_nonzero
    assert not plan("zscore", crop_ratio=0.75).mask_nonzero
    assert not plan("ct", crop_ratio=0.5).mask_nonzero


def test_an_unknown_scheme_names_channel_and_nearest():
    with pytest.raises(ManifestError, match=r"'T2'.*'z-score'.*'zscore'"):
        check_schemes(["auto", "z-score"], ["T1", "T2"])
