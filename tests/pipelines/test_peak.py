import sys

import numpy as np
import psutil
import pytest

from medseg.pipelines.peak import peak_memory_mb


@pytest.mark.skipif(sys.platform == "win32", reason="not known there")
def test_the_peak_is_at_least_what_is_held_now_and_never_falls():
    block = np.ones(8 << 20)  # 64 MB
    held = psutil.Process().memory_info().rss / 2**20
    peak = peak_memory_mb()
    assert peak >= held - 1
    del block
    assert peak_memory_mb() >= peak
