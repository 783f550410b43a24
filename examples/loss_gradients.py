"""Draw where every loss pushes the prediction of one toy image, and how hard.

The image has a large organ and two small lesions of one class. The prediction misses one lesion
and invents another, and the organ's border is off by some pixels. Each panel shows minus the
gradient by the foreground's logit, full colour being the strongest 2 % of the pixels: red raises
the foreground, blue lowers it, white leaves it as it is.

Run it with a folder to write ``loss_gradients.png`` to:

    python examples/loss_gradients.py OUT
"""

from __future__ import annotations

import sys
from math import ceil
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from medseg.losses import LOSSES, build_loss

SIZE = 64
COLUMNS = 6
STRONG = 0.98
"""Share of the pixels whose gradient is below full colour."""


def disc(row: float, column: float, radius: float) -> NDArray[np.bool_]:
    """Return a disc in the image."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def make_toy() -> tuple[Tensor, Tensor]:
    """Return the logits (1, 2, 64, 64) and the label (1, 64, 64)."""
    label = disc(38, 26, 15) | disc(12, 46, 3) | disc(52, 54, 3)
    predicted = disc(36, 29, 15) | disc(12, 46, 2.5) | disc(10, 12, 3)
    probs = np.clip(gaussian_filter(predicted.astype(float), 1.0), 0.02, 0.98)
    foreground = torch.from_numpy(np.log(probs / (1 - probs)))[None, None]
    logits = torch.cat((torch.zeros_like(foreground), foreground), 1)
    return logits, torch.from_numpy(label.astype(np.int64))[None]


def pull(name: str, logits: Tensor, label: Tensor) -> NDArray[np.float64]:
    """Return minus the gradient by the foreground's logit; 1 at its `STRONG` quantile, clipped."""
    leaf = logits.clone().requires_grad_()
    build_loss({"name": name}, "softmax")(leaf, label).backward()
    assert leaf.grad is not None
    field = -leaf.grad[0, 1].numpy()
    strong = np.quantile(np.abs(field), STRONG)
    return np.asarray((field / max(strong, 1e-12)).clip(-1, 1))


def draw(path: Path) -> None:
    """Draw the toy and a panel per loss."""
    logits, label = make_toy()
    names = sorted(LOSSES)
    count = ceil((len(names) + 1) / COLUMNS)
    figure, axes = plt.subplots(
        count, COLUMNS, figsize=(1.6 * COLUMNS, 1.8 * count), layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    probs = logits.softmax(1)[0, 1].numpy()
    axes.flat[0].imshow(probs, cmap="gray", vmin=0, vmax=1)
    axes.flat[0].set_title("prediction", fontsize=7)
    for axis, name in zip(axes.flat[1:], names, strict=False):
        axis.imshow(pull(name, logits, label), cmap="bwr", vmin=-1, vmax=1)
        axis.set_title(name, fontsize=7)
    for axis in axes.flat[: len(names) + 1]:
        axis.contour(label[0].numpy(), levels=[0.5], colors="#009E73", linewidths=0.8)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256)
    small.save(path, optimize=True)


def main() -> None:
    """Write the picture."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "loss_gradients.png"
    draw(path)
    print(f"wrote {path} with {len(LOSSES)} losses")


if __name__ == "__main__":
    main()
