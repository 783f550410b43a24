"""Does loading starve the trainer? Images per second, ours and peers', against seconds per step.

    OMP_NUM_THREADS=1 python benchmarks/loader.py --data-root DIR [--batches N] [--rounds N]

CamVid's training part in half size, crops of 160 x 224, as `configs/camvid_cpu.yaml` trains on: a
random scale of 0.5 to 2, mirroring, colour jitter, seldom a blur. All loaders make the same
(8, 3, 160, 224) of float32 and the same labels in one process, and take turns. Peers:

- torchvision-style: a ``DataLoader`` over files with PIL and numpy, written as torchvision's
  segmentation references are (random resize, flip, pad, crop, to tensor, normalise), with PIL's
  colour jitter; torchvision itself is not installed here.
- albumentations, where it is installed, over files read by OpenCV.

Both read and decode a PNG pair for each crop, as such loaders do; the rows "in RAM" keep the
decoded half-sized pictures, as ours does, so that what is left is the work on pixels.

A step is augmentation, forward, loss, backward and update of the config's network. CPU seconds,
which other work on the machine disturbs less; the least of the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch.utils.data import DataLoader, Dataset

CROP, HALF, BATCH, VOID = (160, 224), (180, 240), 8, 11
SCALE, JITTER, HUE = (0.5, 2.0), 0.4, 18
MEAN, SD = (0.41, 0.43, 0.43), (0.29, 0.30, 0.30)
Pair = tuple[np.ndarray, np.ndarray]


def pairs_of(folder: Path) -> list[tuple[Path, Path]]:
    """List CamVid's training images with their masks."""
    images = sorted((folder / "train").glob("*.png"))
    return [(path, folder / "trainannot" / path.name) for path in images]


def by_pil(image: Path, mask: Path) -> tuple[Image.Image, Image.Image]:
    """Read a pair and halve it."""
    size = HALF[::-1]
    return (
        Image.open(image).convert("RGB").resize(size, Image.Resampling.BILINEAR),
        Image.open(mask).resize(size, Image.Resampling.NEAREST),
    )


class TorchvisionStyle(Dataset[Pair]):
    """One random crop of each picture, by PIL and numpy."""

    def __init__(self, files: Sequence[tuple[Path, Path]], *, in_memory: bool) -> None:
        self.files = files
        self.kept = [by_pil(*pair) for pair in files] if in_memory else None
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Pair:
        rng = self.rng
        image, mask = self.kept[i] if self.kept else by_pil(*self.files[i])
        factor = rng.uniform(*SCALE)
        size = (round(HALF[1] * factor), round(HALF[0] * factor))
        image = image.resize(size, Image.Resampling.BILINEAR)
        mask = mask.resize(size, Image.Resampling.NEAREST)
        if rng.random() < 0.5:
            flip = Image.Transpose.FLIP_LEFT_RIGHT
            image, mask = image.transpose(flip), mask.transpose(flip)
        room = [max(n - c, 0) for n, c in zip(size[::-1], CROP, strict=True)]
        top, left = (int(rng.integers(n + 1)) for n in room)
        box = (left, top, left + CROP[1], top + CROP[0])
        inside = np.zeros(CROP, bool)
        inside[: size[1] - top, : size[0] - left] = True
        image, mask = image.crop(box), mask.crop(box)  # PIL fills with 0 outside
        if rng.random() < 0.8:
            for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = kind(image).enhance(rng.uniform(1 - JITTER, 1 + JITTER))
            bands = np.array(image.convert("HSV"))
            bands[..., 0] += np.uint8(rng.integers(-HUE, HUE + 1) * 256 // 360 % 256)
            image = Image.fromarray(bands, "HSV").convert("RGB")
        pixels = np.asarray(image, np.float32) / 255
        pixels = (pixels - np.array(MEAN, np.float32)) / np.array(SD, np.float32)
        label = np.where(inside, np.asarray(mask), VOID).astype(np.int16)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)), label


class Albumentations(Dataset[Pair]):
    """The same by albumentations and OpenCV."""

    def __init__(self, files: Sequence[tuple[Path, Path]], *, in_memory: bool) -> None:
        import albumentations as A
        import cv2

        cv2.setNumThreads(0)
        self.files, self.cv2 = files, cv2
        self.kept = [self.read(*pair) for pair in files] if in_memory else None
        jitter = (1 - JITTER, 1 + JITTER)
        self.change = A.Compose(
            [
                A.RandomScale(scale_limit=(SCALE[0] - 1, SCALE[1] - 1), p=1),
                A.PadIfNeeded(*CROP, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=VOID),
                A.RandomCrop(*CROP),
                A.HorizontalFlip(p=0.5),
                A.ColorJitter(jitter, jitter, jitter, (-HUE / 360, HUE / 360), p=0.8),
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 1.5), p=0.1),
                A.Normalize(MEAN, SD),
            ],
            seed=0,
        )

    def read(self, image: Path, mask: Path) -> Pair:
        """Read a pair and halve it."""
        cv2, size = self.cv2, HALF[::-1]
        pixels = cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB)
        label = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        return (
            cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR),
            cv2.resize(label, size, interpolation=cv2.INTER_NEAREST),
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Pair:
        image, mask = self.kept[i] if self.kept else self.read(*self.files[i])
        made = self.change(image=image, mask=mask)
        pixels = np.ascontiguousarray(made["image"].transpose(2, 0, 1))
        return pixels, made["mask"].astype(np.int16)


def endless(dataset: Dataset[Pair]) -> Iterator[Any]:
    """Yield shuffled batches without end, from one process."""
    while True:
        yield from DataLoader(dataset, BATCH, shuffle=True, drop_last=True)


class Ours:
    """What `configs/camvid_cpu.yaml` trains with, up to a step."""

    def __init__(self, data_root: Path, runs: Path) -> None:
        from medseg.pipelines.build import load_experiment
        from medseg.pipelines.options import Options
        from medseg.pipelines.runner import Runner
        from medseg.sampling.patches import PatchDataset
        from medseg.sampling.sampler import PatchSampler
        from medseg.training.data import load_batches
        from medseg.training.fabric import make_fabric
        from medseg.training.learner import build_learner
        from medseg.training.task import Task, split_fold

        wishes = ["tracking=off", "compute.workers=1"]
        experiment = load_experiment("camvid_cpu", wishes, data_root=data_root, runs_dir=runs)
        options = Options(runs_dir=runs, until="patch_sample", device="cpu")
        made = Runner(experiment, options).run().artefacts
        plan, patches = made["plan"], made["patches"]
        stage = dict(experiment.stages)["train"]
        located = {row.id for row in patches.locations}
        train, validation = split_fold(tuple(made["resampled"].cases), 0, located)
        recipe = stage.recipe(plan, "cpu")
        self.task = Task(
            recipe=recipe,
            plan=plan,
            patches=patches,
            train=train,
            validation=validation,
            folder=runs,
        )
        self.learner = build_learner(make_fabric("cpu", 1, self.task), self.task)
        self.learner.network.train()
        dataset = PatchDataset(
            PatchSampler(patches, train, plan.patch_size),
            train,
            plan.scheme,
            length=2**62,
            margin=self.learner.augment.margin([case.grid.shape for case in train]),
        )
        self.batches = load_batches(dataset, recipe.batch_size, torch.device("cpu"))
        self.steps = 0

    def load(self) -> Any:
        """Cut the patches of a batch."""
        return next(self.batches)

    def load_and_augment(self) -> None:
        """Do all that comes before the network."""
        batch = next(self.batches)
        self.learner.augment(batch.image, batch.label, torch.Generator().manual_seed(self.steps))
        self.steps += 1

    def step(self, batch: Any) -> None:
        """Take a training step, augmentation included."""
        from medseg.training.loop import train_step

        recipe = self.task.recipe
        train_step(self.learner, batch, 1e-4, recipe.gradient_clip, self.steps, self.task)
        self.steps += 1


def cpu_seconds(work: Callable[[], object], times: int) -> float:
    """Return the CPU seconds of one call, averaged over some."""
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder with camvid")
    parser.add_argument("--batches", type=int, default=20, help="per loader and round")
    parser.add_argument("--steps", type=int, default=3, help="per round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = pairs_of(args.data_root / "camvid")
    with tempfile.TemporaryDirectory() as runs:
        ours = Ours(args.data_root, Path(runs))
        batch = ours.load()
        known: dict[str, type[Any]] = {"torchvision-style (PIL, numpy)": TorchvisionStyle}
        if find_spec("albumentations"):
            known["albumentations"] = Albumentations
        rows: dict[str, Callable[[], object]] = {
            "medseg, loader alone": ours.load,
            "medseg, loader and augmentation": ours.load_and_augment,
        }
        for name, kind in known.items():
            for in_memory, where in ((False, "files"), (True, "in RAM")):
                rows[f"{name}, {where}"] = endless(kind(files, in_memory=in_memory)).__next__
        seconds = {name: [] for name in rows}
        steps: list[float] = []
        cpu_seconds(lambda: ours.step(batch), 1)  # warm up
        for work in rows.values():
            work()
        for _ in range(args.rounds):
            for name, work in rows.items():
                seconds[name].append(cpu_seconds(work, args.batches))
            steps.append(cpu_seconds(lambda: ours.step(batch), args.steps))
    step = min(steps)
    print(f"a step on {BATCH} crops of {CROP[0]} x {CROP[1]}: {step:.3f} CPU s (one thread)")
    print("| loader | ms per batch | images per CPU s | share of a step |\n|---|---|---|---|")
    for name, found in seconds.items():
        best = min(found)
        print(f"| {name} | {1000 * best:.1f} | {BATCH / best:.0f} | {best / step:.1%} |")


if __name__ == "__main__":
    main()
