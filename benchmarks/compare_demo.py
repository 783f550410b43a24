"""What `medseg compare` says of runs that differ by the seed, and of runs that differ by the loss.

    python benchmarks/compare_demo.py DATA_ROOT WORK [--budget 150it] [--cases 100]
                                      [--set key=value ...] [--markdown FILE]

Three runs of ``configs/hippocampus.yaml`` on one split of the first cases: as it is; with another
seed; with a loss that makes an invented voxel nine times as dear as a missed one. Each is compared
with the first on the same test cases. Runs that are done in WORK are not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOSS = "train.loss={name: tversky, fn_weight: 0.1, fp_weight: 0.9}"
RUNS = {
    "base": (),
    "seed": ("seed=1",),
    "loss": (LOSS,),
}
"""Name of each run, and what it changes."""
PAIRS = ("seed", "loss")
SHOWN = ("dice", "hd95_mm", "relative_volume_error")


def first_cases(data_root: Path, work: Path, count: int) -> Path:
    """Link the first cases into a data root of their own and return it."""
    found = [data_root / name for name in ("Task04_Hippocampus", "hippocampus")]
    source = next(folder for folder in found if folder.is_dir()).resolve()
    root = work / "data"
    for kind in ("imagesTr", "labelsTr"):
        place = root / "hippocampus" / kind
        place.mkdir(parents=True, exist_ok=True)
        files = sorted(p for p in (source / kind).glob("*.nii.gz") if not p.name.startswith("."))
        for file in files[:count]:
            if not (place / file.name).exists():
                (place / file.name).symlink_to(file)
    return root


def train(name: str, data_root: Path, work: Path, more: list[str]) -> Path:
    """Run the pipeline as a user does and return the run folder."""
    folder = work / "runs" / name
    record = folder / "run.json"
    if not record.is_file() or json.loads(record.read_text())["status"] != "done":
        subprocess.run(
            [
                sys.executable, "-m", "medseg.pipelines.run",
                str(ROOT / "configs/hippocampus.yaml"),
                f"experiment={name}", "tracking=off", "report.viewer=false", *more, *RUNS[name],
                "--data-root", str(data_root), "--runs-dir", str(work / "runs"),
            ],
            check=True,
        )  # fmt: skip
    return folder


def compare(second: str, work: Path) -> list[dict[str, str]]:
    """Run ``medseg compare`` against the base and return the rows of its table."""
    out = work / f"base_against_{second}"
    runs = [str(work / "runs" / name) for name in ("base", second)]
    subprocess.run(
        [
            sys.executable, "-m", "medseg.pipelines.cli", "compare", *runs, "-o", str(out),
            "--no-tracking",
        ],
        check=True,
    )  # fmt: skip
    with (out / "comparison.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def table(second: str, rows: list[dict[str, str]]) -> str:
    """Lay out what was found, the tests of all metrics counted."""
    lines = [
        f"## `{second}` against `base`: `{' '.join(RUNS[second])}`",
        "",
        "| label | metric | pairs | mean difference [95 %] | median difference [95 %] | p "
        "| p (Holm) | wins / losses |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["metric"] not in SHOWN:
            continue
        mean, median = (
            f"{float(row[f'{what}_difference']):+.4f} "
            f"[{float(row[f'{what}_low']):+.4f}, {float(row[f'{what}_high']):+.4f}]"
            if row[f"{what}_difference"]
            else "n/a"
            for what in ("mean", "median")
        )
        lines.append(
            f"| {row['label']} | {row['metric']} | {row['n']} | {mean} | {median} "
            f"| {float(row['p']):.2g} | {float(row['p_holm']):.2g} "
            f"| {row['second_better']} / {row['first_better']} |"
        )
    lines += ["", "In the words of the page:", ""]
    lines += [f"- {row['label']}, {row['metric']}: {row['verdict']}" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Run, compare, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data_root", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--budget", default="150it", help="of each training, in steps")
    parser.add_argument("--cases", type=int, default=100, help="how many of the data set")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="for all runs")
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    options = parser.parse_args()
    data_root = first_cases(options.data_root, options.work, options.cases)
    for name in RUNS:
        train(name, data_root, options.work, [f"train.budget={options.budget}", *options.set])
    shown = "\n\n".join(table(name, compare(name, options.work)) for name in PAIRS)
    sys.stdout.write(shown + "\n")
    if options.markdown:
        head = f"# medseg compare, hippocampus, {options.cases} cases, {options.budget} each"
        options.markdown.write_text(f"{head}\n\n{shown}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
