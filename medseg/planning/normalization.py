"""Which normalisation each channel gets."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.artefacts import ChannelIntensity, ChannelNormalization
from medseg.errors import ManifestError
from medseg.registry import nearest

SCHEMES = ("auto", "ct", "zscore", "none")
CROPPED_AWAY = 0.75
"""Below this share of voxels left by the crop, statistics are taken of non-zero voxels alone."""


def check_schemes(schemes: Sequence[str], channels: Sequence[str]) -> None:
    """Raise a ManifestError at a scheme that does not exist; the message gives the nearest."""
    for scheme, channel in zip(schemes, channels, strict=True):
        if scheme not in SCHEMES:
            raise ManifestError(
                f"channel '{channel}': no normalization is named '{scheme}'; "
                f"{nearest(scheme, SCHEMES)}"
            )


def plan_normalization(
    schemes: Sequence[str],
    intensities: Sequence[ChannelIntensity],
    *,
    modality: str,
    crop_ratio: float,
) -> tuple[ChannelNormalization, ...]:
    """Turn the manifest's words into numbers, channel by channel.

    ``auto`` is ``ct`` for modality CT and ``zscore`` otherwise. ``ct`` clips to the 0.5th and
    99.5th percentile of the training cases' foreground and takes its mean and standard
    deviation; ``zscore`` takes those of each case, of its non-zero voxels where cropping to
    content took away more than a quarter of the median case (a skull-stripped brain).

    Parameters
    ----------
    schemes : sequence of str
        One of `SCHEMES` per channel.
    intensities : sequence of ChannelIntensity
        Fingerprint of each channel.
    modality : str
        DICOM modality.
    crop_ratio : float
        Median of voxels after the crop over voxels before.
    """
    plans = []
    for scheme, channel in zip(schemes, intensities, strict=True):
        chosen = ("ct" if modality.upper() == "CT" else "zscore") if scheme == "auto" else scheme
        if chosen == "ct":
            plan = ChannelNormalization(
                scheme="ct",
                clip=(channel.percentile_00_5, channel.percentile_99_5),
                mean=channel.mean,
                std=max(channel.std, 1e-8),
            )
        elif chosen == "zscore":
            plan = ChannelNormalization(scheme="zscore", mask_nonzero=crop_ratio < CROPPED_AWAY)
        else:
            plan = ChannelNormalization(scheme="none")
        plans.append(plan)
    return tuple(plans)
