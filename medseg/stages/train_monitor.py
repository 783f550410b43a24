"""What a training tells, handed to the runner."""

from __future__ import annotations

from medseg.stages.context import Context, Progress


class ContextMonitor:
    """Hands what a training tells to the runner; of several folds, under the fold's name.

    Parameters
    ----------
    context : Context
    progress : Progress
        One bar for all folds.
    fold : int, optional
        Given where there are several: metrics become ``fold<k>/train/loss`` and so on.
    """

    def __init__(self, context: Context, progress: Progress, fold: int | None = None) -> None:
        self.context, self.progress, self.fold = context, progress, fold
        self.used = 0.0

    def advance(self, amount: float, note: str) -> None:
        """Move the bar."""
        self.used += amount
        where = "" if self.fold is None else f"fold {self.fold} "
        self.progress.advance(amount, note=f"{where}{note}".strip())

    def fill(self, total: float) -> None:
        """Move the bar to the end of this fold's share: it may have been known already."""
        if self.used < total:
            self.advance(total - self.used, "")

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Hand metrics to the tracker."""
        prefix = "" if self.fold is None else f"fold{self.fold}/"
        self.context.log_metrics({f"{prefix}{name}": v for name, v in metrics.items()}, step)
