from __future__ import annotations

import numpy as np
import pytest

from medseg.planning.intensity import foreground_samples, pool_intensities


def test_order_statistics_by_hand():
    data = np.array([[9.0, 4.0, 2.0, 7.0, 100.0]])
    foreground = np.array([True, True, True, True, False])
    # four values 2 4 7 9; ranks floor((k + .5) / 2 * 4) = 1 and 3
    assert foreground_samples(data, foreground, 2).tolist() == [[4.0, 9.0]]


def test_a_small_case_repeats_its_values_equally():
    data = np.array([[[1.0, 2.0], [0.0, 0.0]]])
    assert foreground_samples(data, data[0] > 0, 6).tolist() == [[1, 1, 1, 2, 2, 2]]


def test_no_foreground_has_no_samples():
    assert foreground_samples(np.ones((2, 3, 3)), np.zeros((3, 3), dtype=bool)).shape == (2, 0)


def test_every_case_weighs_the_same():
    small, large = np.full((1, 2), 0.0), np.full((1, 5000), 10.0)
    samples = [foreground_samples(x, np.ones(x.shape[1], dtype=bool), 100) for x in (small, large)]
    (channel,) = pool_intensities(samples, [((0.0, 0.0),), ((10.0, 10.0),)])
    assert (channel.mean, channel.std, channel.min, channel.max) == (5.0, 5.0, 0.0, 10.0)


@pytest.mark.parametrize("shape", [(1, 40, 50), (2, 20, 30, 10)])
def test_agrees_with_random_draws_with_replacement(shape):
    rng = np.random.default_rng(0)
    volumes = [rng.gamma(2, 50 * (i + 1), size=shape) for i in range(3)]
    masks = [rng.random(shape[1:]) < 0.5 for _ in volumes]
    pooled = pool_intensities(
        [foreground_samples(v, m) for v, m in zip(volumes, masks, strict=True)],
        [[(c[m].min(), c[m].max()) for c in v] for v, m in zip(volumes, masks, strict=True)],
    )
    for c, channel in enumerate(pooled):
        drawn = np.concatenate(
            [rng.choice(v[c][m], size=200_000) for v, m in zip(volumes, masks, strict=True)]
        )
        low, median, high = np.percentile(drawn, (0.5, 50, 99.5))
        assert channel.mean == pytest.approx(drawn.mean(), rel=0.01)
        assert channel.std == pytest.approx(drawn.std(), rel=0.01)
        assert channel.median == pytest.approx(median, rel=0.02)
        assert channel.percentile_00_5 == pytest.approx(low, rel=0.05)
        assert channel.percentile_99_5 == pytest.approx(high, rel=0.02)
        assert channel.max == pytest.approx(
            max(v[c][m].max() for v, m in zip(volumes, masks, strict=True))
        )


def test_nothing_pooled_is_nothing():
    assert pool_intensities([], []) == ()
    assert pool_intensities([np.zeros((1, 0), dtype=np.float32)], [()]) == ()
