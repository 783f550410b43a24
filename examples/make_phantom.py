"""Make one CT phantom, write it as NIfTI, and draw three planes with the labels' outlines.

Run it with a folder to write to:

    python examples/make_phantom.py OUT [INDEX]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt
import numpy as np

from medseg.phantom import make_phantom, write_case


def draw(index: int, path: Path) -> None:
    """Draw the three planes through the middle of the liver."""
    image, label = make_phantom(0, index)
    center = np.argwhere(label > 0).mean(0).round().astype(int)
    spacing = image.spacing
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.5), layout="constrained")
    for axis, (across, name) in enumerate([(2, "axial"), (1, "coronal"), (0, "sagittal")]):
        plane = np.take(image.data[0], center[across], axis=across)
        mask = np.take(label, center[across], axis=across)
        # the patient's right is at the left of the picture, front and head at the top
        plane, mask = plane[::-1, ::-1].T, mask[::-1, ::-1].T
        first, second = (i for i in range(3) if i != across)
        axes[axis].imshow(
            plane, cmap="gray", vmin=-160, vmax=240, aspect=spacing[second] / spacing[first]
        )
        for value, color in ((0, "#E69F00"), (1, "#56B4E9")):
            if (mask > value).any():
                axes[axis].contour(mask > value, levels=[0.5], colors=color, linewidths=1)
        axes[axis].set_title(f"{name} (SYNTHETIC)")
        axes[axis].axis("off")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    """Write a case and its picture."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    folder, index = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    image, label = write_case(folder, 0, index)
    picture = folder / "overlay.png"
    draw(index, picture)
    print(f"wrote {image}, {label} and {picture}")


if __name__ == "__main__":
    main()
