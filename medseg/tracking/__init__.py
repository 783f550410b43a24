"""Records of runs. The one place that imports MLflow, and only once a tracker is used."""

from __future__ import annotations

from medseg.tracking.make import make_tracker
from medseg.tracking.tracker import NullTracker, Status, Tracker

__all__ = ["NullTracker", "Status", "Tracker", "make_tracker"]
