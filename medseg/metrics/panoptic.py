"""Panoptic quality of instance segmentations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medseg.metrics.instances import Instances, count_overlaps, match_by_iou


@dataclass(frozen=True, kw_only=True)
class PanopticQuality:
    """Counts of one image or, added up, of many; PQ = SQ x RQ."""

    tp: int
    fp: int
    fn: int
    iou_sum: float
    """Total IoU of the matched pairs."""

    def __add__(self, other: PanopticQuality) -> PanopticQuality:
        """Add the counts of another image."""
        return PanopticQuality(
            tp=self.tp + other.tp,
            fp=self.fp + other.fp,
            fn=self.fn + other.fn,
            iou_sum=self.iou_sum + other.iou_sum,
        )

    @property
    def sq(self) -> float:
        """Segmentation quality: mean IoU of the matches; 0 without one, NaN without objects."""
        return self.iou_sum / self.tp if self.tp else 0.0 * self.rq

    @property
    def rq(self) -> float:
        """Recognition quality: TP / (TP + FP/2 + FN/2); NaN without objects."""
        whole = self.tp + (self.fp + self.fn) / 2
        return self.tp / whole if whole else math.nan

    @property
    def pq(self) -> float:
        """Panoptic quality; NaN without objects."""
        return self.sq * self.rq


def panoptic_quality(
    pred: Instances, label: Instances, *, iou_threshold: float = 0.5
) -> PanopticQuality:
    """Compare the objects of one class in one image.

    Parameters
    ----------
    pred, label : integer ndarray of shape (*spatial)
        Object numbers, 0 is background (`medseg.metrics.instances.find_lesions` makes them from a
        mask).
    iou_threshold : float
        In [0, 1). A pair matches above it: an IoU of exactly .5 fails at .5. Below .5 an object
        may have several partners and the Hungarian method chooses.

    Raises
    ------
    ValueError
        If the shapes or the threshold are wrong.

    References
    ----------
    .. [1] Kirillov et al., Panoptic segmentation, CVPR 2019, equation 1.
    """
    if pred.shape != label.shape:
        raise ValueError(f"pred has shape {pred.shape}, label {label.shape}; they must be equal")
    overlaps = count_overlaps(pred, label)
    iou = overlaps.iou
    rows, cols = match_by_iou(iou, iou_threshold)
    return PanopticQuality(
        tp=len(rows),
        fp=len(overlaps.pred_sizes) - len(rows),
        fn=len(overlaps.true_sizes) - len(rows),
        iou_sum=float(iou[rows, cols].sum()),
    )
