"""A training that waits for its data: said once, with the cure."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

BAD_SHARE = 0.1
"""Share of the time waited for data that is worth a warning."""
LONG_ENOUGH_S = 30.0
"""Seconds of training before it is judged: the first batches are slow."""


class StallWatch:
    """Adds up the time that a device waited for data, and warns where it is much.

    Parameters
    ----------
    in_memory : bool
        Whether the cases are held in RAM; else patches are read from the compressed store.
    own_processes : bool
        Whether other processes than the training load the patches.
    """

    def __init__(self, *, in_memory: bool, own_processes: bool) -> None:
        self.in_memory, self.own_processes = in_memory, own_processes
        self.waited = self.seconds = 0.0
        self.told = False

    @property
    def share(self) -> float:
        """Share of the training time so far."""
        return self.waited / self.seconds if self.seconds else 0.0

    def watch(self, waited: float, seconds: float) -> None:
        """Take in an interval; warn once if the share is bad."""
        self.waited += waited
        self.seconds += seconds
        if self.told or self.seconds < LONG_ENOUGH_S or self.share < BAD_SHARE:
            return
        self.told = True
        logger.warning(
            "the device waited for data during %.0f %% of the training; %s",
            100 * self.share,
            self.cure(),
        )

    def cure(self) -> str:
        """Say what would help."""
        if not self.in_memory:
            return (
                "the cases do not fit into the free memory, so patches are read from the "
                "compressed store, which is slower than the training step: free memory, put the "
                "run folder on a faster disk, or set a coarser resample.spacing"
            )
        if self.own_processes:
            return "give it more CPU cores for loading, or take a larger network or patch"
        return "cutting patches takes long beside so small a network: take a larger one"
