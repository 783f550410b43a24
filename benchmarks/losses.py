"""Time one training step of each distance loss against Dice plus cross entropy, and MONAI's.

Run as ``OMP_NUM_THREADS=1 python benchmarks/losses.py``. A step is the loss and its gradient at the
logits: 96 x 96 x 96 voxels, batch 2, 3 classes, smooth random shapes, a prediction that is right in
about five of six voxels. Median seconds of the repeats, which take turns: CPU seconds of one
thread, or wall seconds on a GPU, where copies to the host are counted as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from monai.losses import BoundaryLoss as MonaiBoundary
from monai.losses import DiceCELoss as MonaiDiceCE
from monai.losses import HausdorffDTLoss as MonaiHausdorff
from scipy import ndimage
from torch import Tensor

from medseg.losses import build_loss
from medseg.losses.distance_target import DistanceLoss

SHAPE = (96, 96, 96)
CLASSES = 3
TARGETS = {"hausdorff_dt, target cached": (2.5, 1.3), "boundary, map given": (1.3, 1.3)}
"""At most this many times Dice plus cross entropy, on the CPU and on a GPU."""

Step = Callable[[], Tensor]


def make_case(device: str) -> tuple[Tensor, Tensor]:
    """Return logits (2, 3, *SHAPE) and label (2, *SHAPE)."""
    rng = np.random.default_rng(0)
    size = (2, CLASSES, *SHAPE)
    truth, noise = (
        ndimage.gaussian_filter(rng.standard_normal(size, np.float32), (0, 0, 8, 8, 8))
        for _ in range(2)
    )
    truth[:, 0] += truth.std()  # mostly background
    logits = (truth + noise / 2) / truth.std() * 6
    label = truth.argmax(1).astype(np.int16)
    return torch.from_numpy(logits).to(device), torch.from_numpy(label).to(device)


def ours(name: str, field: bool = False, **settings: object) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss of ours, with its target field made ahead if asked."""
    loss = build_loss({"name": name, **settings}, "softmax")
    if not field:
        return loss
    if not isinstance(loss, DistanceLoss):
        raise TypeError(f"{name} has no target field")
    ahead: list[Tensor] = []

    def given(logits: Tensor, label: Tensor) -> Tensor:
        if not ahead:
            ahead.append(loss.target_field(label, CLASSES))
        return loss(logits, label, field=ahead[0])

    return given


def monai(loss: torch.nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss of MONAI's that takes what ours take."""
    return lambda logits, label: loss(logits, label.unsqueeze(1).long())


def losses() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return every row of the table."""
    peers = {"softmax": True, "to_onehot_y": True, "include_background": False}
    return {
        "dice_ce": ours("dice_ce"),
        "hausdorff_dt, target cached": ours("hausdorff_dt", field=True),
        "hausdorff_dt, target cached, uneven mm": ours(
            "hausdorff_dt", field=True, spacing=(2.5, 0.8, 0.8)
        ),
        "hausdorff_dt": ours("hausdorff_dt"),
        "hausdorff_dt, one-sided, target cached": ours("hausdorff_dt", field=True, one_sided=True),
        "boundary, map given": ours("boundary", field=True),
        "boundary": ours("boundary", convention="kervadec"),
        "generalized_surface, target cached": ours("generalized_surface", field=True),
        "generalized_surface": ours("generalized_surface"),
        "hausdorff_er": ours("hausdorff_er"),
        "hausdorff_cv": ours("hausdorff_cv"),
        "MONAI DiceCELoss": monai(MonaiDiceCE(**peers)),
        "MONAI HausdorffDTLoss": monai(MonaiHausdorff(**peers)),
        "MONAI BoundaryLoss": monai(MonaiBoundary(**peers)),
    }


def make_step(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, label: Tensor) -> Step:
    """Return what runs the loss forwards and backwards."""
    leaf = logits.clone().requires_grad_()

    def step() -> Tensor:
        leaf.grad = None
        value = loss(leaf, label)
        value.backward()
        return value.detach()

    return step


def seconds_of(step: Step, device: str) -> float:
    """Return CPU seconds, or wall seconds of a GPU."""
    if device == "cpu":
        start = time.process_time()
        step()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def copies_to_host(step: Step) -> int:
    """Count the copies from the GPU to the host in one step."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as trace:
        step()
        torch.cuda.synchronize()
    return sum(event.count for event in trace.key_averages() if "Memcpy DtoH" in event.key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logits, label = make_case(options.device)
    right = (logits.argmax(1) == label).float().mean().item()
    print(f"{right:.0%} of the voxels predicted right")
    steps = {name: make_step(loss, logits, label) for name, loss in losses().items()}
    values = {name: step().item() for name, step in steps.items()}  # also warms up
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.repeats):
        for name, step in steps.items():
            taken[name].append(seconds_of(step, options.device))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{'':40}{'ms':>9}{'x dice_ce':>11}{'x MONAI DiceCE':>16}{'value':>12}")
    for name, median in medians.items():
        ratio, peer = median / medians["dice_ce"], median / medians["MONAI DiceCELoss"]
        note = ""
        if name in TARGETS:
            most = TARGETS[name][options.device != "cpu"]
            note = f"  at most {most}: {'met' if ratio <= most else 'MISSED'}"
        if options.device != "cpu":
            note += f"  {copies_to_host(steps[name])} copies to the host"
        row = f"{name:40}{median * 1e3:9.1f}{ratio:11.2f}{peer:16.2f}{values[name]:12.6f}"
        print(row + note)


if __name__ == "__main__":
    main()
