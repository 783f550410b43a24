"""Seconds to import medseg and to answer ``--help``; ratios to importing torch in the same run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def seconds(*arguments: str, runs: int = 5) -> float:
    """Return the median wall time of a Python command."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    empty = seconds("-c", "pass")
    torch = seconds("-c", "import torch") - empty
    for name, arguments in {
        "import medseg": ("-c", "import medseg"),
        "medseg --help": ("-m", "medseg.pipelines.cli", "--help"),
        "import torch": ("-c", "import torch"),
    }.items():
        taken = seconds(*arguments) - empty
        print(f"{name:16s} {taken:7.3f} s  {taken / torch:6.3f} x torch")
