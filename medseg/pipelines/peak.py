"""How much memory this process has held at most."""

from __future__ import annotations

import sys


def peak_memory_mb() -> float | None:
    """Return the largest resident memory of this process so far, in MB; None where not known.

    The number never falls: a stage that follows a larger one shows the larger one's peak. Worker
    processes are not in it.
    """
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
