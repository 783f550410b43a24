from __future__ import annotations

import numpy as np
import pytest

from medseg.tracking.usage import memory_gb


def test_memory_grows_by_what_is_held() -> None:
    before = memory_gb()["memory_gb"]
    held = np.ones(25_000_000)  # 0.2 GB
    assert memory_gb()["memory_gb"] - before == pytest.approx(0.2, abs=0.05)
    assert held.nbytes == 200_000_000


def test_no_gpu_metric_without_a_gpu_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert set(memory_gb()) == {"memory_gb"}


@pytest.mark.gpu
def test_peak_of_the_gpu_is_kept() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    held = torch.ones(25_000_000, device="cuda")  # 0.1 GB
    peak = memory_gb()["gpu_memory_gb"]
    assert peak >= 0.1
    del held
    assert memory_gb()["gpu_memory_gb"] == peak
