"""Patches augmented per CPU second beside MONAI, torchio and batchgeneratorsv2.

Run as ``OMP_NUM_THREADS=1 python benchmarks/augmentation.py``. Everybody gets nnU-Net's list with
its probabilities: rotation and scaling in one resampling (image linear, label nearest neighbour),
Gaussian noise and blur, brightness, contrast, low resolution, gamma inverted and plain, mirrors.
One thread each; ours takes a batch, the others one patch after the other and stack. The peers take
turns in one run; what is not installed is said and left out. torchio has neither brightness nor
contrast and does without. Per-channel probabilities (0.5) are multiplied into those of the patch
where a peer has none.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import math
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from medseg.transforms import Augmenter

SHAPES = ((1, 96, 96, 96), (2, 64, 64, 64))
BATCH = 8
LIMIT = math.radians(30)
MOVED = 1 - (1 - 0.2) ** 2
"""Share of the patches that are rotated or scaled."""

One = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Many = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_batch(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return images (8, *shape) and labels (8, *spatial) of three classes in blocks."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 3, (BATCH, 1, *(n // 16 for n in shape[1:])), generator=generator)
    label = torch.nn.functional.interpolate(coarse.float(), shape[1:])
    image = torch.randn(BATCH, *shape, generator=generator) * 0.5 + label
    return image, label[:, 0].to(torch.int16)


def ours(shape: tuple[int, ...]) -> Many:
    """Return medseg's default list; every axis may be mirrored."""
    axes = tuple(range(len(shape) - 1))
    augment = Augmenter({}, patch_size=shape[1:], spacing=(1.0,) * len(axes), mirror_axes=axes)
    generator = torch.Generator().manual_seed(0)
    return lambda image, label: augment(image, label, generator)


def one_by_one(change: One) -> Many:
    """Return what changes a batch patch by patch."""

    def run(image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        done = [change(i.clone(), m.clone()) for i, m in zip(image, label, strict=True)]
        return torch.stack([i for i, _ in done]), torch.stack([m for _, m in done])

    return run


def monai(shape: tuple[int, ...]) -> Many:
    """Return MONAI's transforms."""
    from monai import transforms as t

    axes = range(len(shape) - 1)
    both, image = ["image", "label"], ["image"]
    compose = t.Compose(
        [
            t.RandAffined(
                both,
                prob=MOVED,
                rotate_range=[LIMIT] * len(axes),
                scale_range=[(-0.3, 0.4)] * len(axes),
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            t.RandGaussianNoised(image, prob=0.1, std=0.3),
            t.RandGaussianSmoothd(image, (0.5, 1.0), (0.5, 1.0), (0.5, 1.0), prob=0.2 * 0.5),
            t.RandScaleIntensityd(image, factors=0.25, prob=0.15),
            t.RandScaleIntensityFixedMeand(image, factors=0.25, preserve_range=True, prob=0.15),
            t.RandSimulateLowResolutiond(image, prob=0.25 * 0.5, zoom_range=(0.5, 1.0)),
            t.RandAdjustContrastd(
                image, prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True
            ),
            t.RandAdjustContrastd(image, prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
            *(t.RandFlipd(both, prob=0.5, spatial_axis=a) for a in axes),
        ]
    ).set_random_state(0)

    def change(image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        out = compose({"image": image, "label": label[None]})
        return torch.as_tensor(out["image"]), torch.as_tensor(out["label"])[0]

    return one_by_one(change)


def torchio(shape: tuple[int, ...]) -> Many:
    """Return torchio's transforms; it resamples with SimpleITK."""
    import SimpleITK as sitk  # noqa: N813
    import torchio as t

    del shape
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    exponents = (math.log(0.7), math.log(1.5))
    compose = t.Compose(
        [
            t.RandomAffine(scales=(0.7, 1.4), degrees=30, isotropic=True, p=MOVED),
            t.RandomNoise(std=(0, 0.3), p=0.1),
            t.RandomBlur(std=(0.5, 1.0), p=0.2 * 0.5),
            t.RandomAnisotropy(axes=(0, 1, 2), downsampling=(1, 2), p=0.25 * 0.5),
            t.RandomGamma(log_gamma=exponents, p=0.1),
            t.RandomGamma(log_gamma=exponents, p=0.3),
            t.RandomFlip(axes=(0, 1, 2), flip_probability=0.5),
        ]
    )

    def change(image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        subject = t.Subject(image=t.ScalarImage(tensor=image), label=t.LabelMap(tensor=label[None]))
        out = compose(subject)
        return out["image"].data, out["label"].data[0]

    return one_by_one(change)


def batchgeneratorsv2(shape: tuple[int, ...]) -> Many:
    """Return nnU-Net's own transforms, but labels by nearest neighbour, as everybody here."""
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    each = {"synchronize_channels": False, "p_per_channel": 1}
    quarter, exponent = BGContrast((0.75, 1.25)), BGContrast((0.7, 1.5))
    some = {
        GaussianNoiseTransform((0, 0.1), p_per_channel=1, synchronize_channels=True): 0.1,
        GaussianBlurTransform((0.5, 1.0), False, False, 0.5, benchmark=True): 0.2,
        MultiplicativeBrightnessTransform(quarter, **each): 0.15,
        ContrastTransform(quarter, preserve_range=True, **each): 0.15,
        SimulateLowResolutionTransform((0.5, 1), False, True, None, None, 0.5): 0.25,
        GammaTransform(exponent, 1, False, 1, p_retain_stats=1): 0.1,
        GammaTransform(exponent, 0, False, 1, p_retain_stats=1): 0.3,
    }
    compose = ComposeTransforms(
        [
            SpatialTransform(
                shape[1:],
                patch_center_dist_from_border=0,
                random_crop=False,
                p_rotation=0.2,
                rotation=(-LIMIT, LIMIT),
                p_scaling=0.2,
                scaling=(0.7, 1.4),
                p_synchronize_scaling_across_axes=1,
                mode_seg="nearest",
            ),
            *(RandomTransform(transform, apply_probability=p) for transform, p in some.items()),
            MirrorTransform(allowed_axes=tuple(range(len(shape) - 1))),
        ]
    )

    def change(image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        out = compose(image=image, segmentation=label[None])
        return out["image"], out["segmentation"][0]

    return one_by_one(change)


PEERS: dict[str, Callable[[tuple[int, ...]], Many]] = {
    "monai": monai,
    "torchio": torchio,
    "batchgeneratorsv2": batchgeneratorsv2,
}


def installed(name: str) -> bool:
    """Tell whether a peer can be imported."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(f"{name}: left out ({error})")
        return False
    print(f"{name} {version(name)}")
    return True


def measure(
    changes: dict[str, Many], shape: tuple[int, ...], rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Return CPU and wall seconds of each batch, the candidates taking turns."""
    image, label = make_batch(shape)
    for change in changes.values():
        for _ in range(3):
            change(image, label)  # batchgeneratorsv2 tries its blurs out first
    gc.collect()
    gc.freeze()  # else whoever triggers it pays for a walk through everything that is imported
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in changes}
    for _ in range(rounds):
        for name, change in changes.items():
            cpu, wall = time.process_time(), time.perf_counter()
            out, mask = change(image, label)
            taken[name][0].append(time.process_time() - cpu)
            taken[name][1].append(time.perf_counter() - wall)
            if out.shape != image.shape or mask.shape != label.shape:
                raise RuntimeError(f"{name} returned {tuple(out.shape)}, {tuple(mask.shape)}")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread, batch {BATCH}")
    peers = {name: make for name, make in PEERS.items() if installed(name)}
    for shape in SHAPES:
        np.random.seed(0)  # noqa: NPY002 (batchgeneratorsv2 draws from the global generators)
        torch.manual_seed(0)
        changes = {"medseg": ours(shape), **{name: make(shape) for name, make in peers.items()}}
        taken = measure(changes, shape, args.rounds)
        print(f"\n{' x '.join(map(str, shape))}, {args.rounds} batches each")
        print(f"{'':20}{'patches/CPU s':>15}{'patches/s':>12}{'ms/patch':>10}{'times as fast':>15}")
        own = sum(taken["medseg"][0])
        for name, (cpu, wall) in taken.items():
            count = BATCH * args.rounds
            each = statistics.mean(cpu) / BATCH * 1e3
            row = f"{name:20}{count / sum(cpu):15.1f}{count / sum(wall):12.1f}{each:10.1f}"
            print(row + ("" if name == "medseg" else f"{sum(cpu) / own:15.2f}"))


if __name__ == "__main__":
    main()
