"""Does the expected Dice foretell the Dice where it varies? SYNTHETIC cases, easy to hard.

    python benchmarks/quality_estimate.py MODEL [--cases 24] [--work FOLDER] [--markdown FILE]

MODEL is the model folder of a run of ``configs/ct_liver.yaml`` on the phantom. New patients of the
same generator are predicted as they are, with more noise, less contrast, brighter or in thick
slices. One half of the patients is judged, twice: calibrated on the scans of the other half, of all
kinds; and on ordinary scans alone, as the validation cases of a run are, of more patients.
Predictions that are done in WORK are not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.expected import Calibration, ExpectedDice
from medseg.geometry.volume import Volume
from medseg.inference.clues import ClueCounter
from medseg.inference.predictor import Predictor
from medseg.inference.weights import load_predictor
from medseg.metrics.case import score_case
from medseg.metrics.expected_dice import (
    Evidence,
    calibrate,
    clues_left,
    estimate,
    rank_correlation,
)
from medseg.model_folder import ModelFolder, read_model_folder
from medseg.phantom.ct import PhantomSettings, make_phantom
from medseg.postprocess.rules import apply_rules
from medseg.preprocessing import preprocess

SEED, FIRST = 0, 1000
"""Cohort of the training cases, and a patient far behind them."""


Found = tuple[str, dict[str, Any]]
"""Patient, and structure to its clues and Dice."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a scan differs from those of the training."""

    scanner: PhantomSettings = field(default_factory=PhantomSettings)
    contrast: float = 1.0
    """Of all Hounsfield units above -200, about 50 HU: soft tissue."""
    brighter_hu: float = 0.0


ORDINARY = "as in training"
KINDS = {
    ORDINARY: Kind(),
    "noise x2": Kind(scanner=PhantomSettings(noise_hu=(24.0, 48.0))),
    "noise x4": Kind(scanner=PhantomSettings(noise_hu=(48.0, 96.0))),
    "contrast x0.6": Kind(contrast=0.6),
    "contrast x0.3": Kind(contrast=0.3),
    "25 HU brighter": Kind(brighter_hu=25.0),
    "slices of 10 mm": Kind(scanner=PhantomSettings(slice_mm=(9.0, 11.0))),
}


def make(kind: Kind, index: int) -> tuple[Volume, np.ndarray]:
    """Make one patient as a kind of scan shows it."""
    volume, label = make_phantom(SEED, index, kind.scanner)
    data = volume.data.astype(np.float32)
    soft = data > -200
    data[soft] = 50 + kind.contrast * (data[soft] - 50) + kind.brighter_hu
    return replace(volume, data=data), label


def predict(
    folder: ModelFolder, predictor: Predictor, volume: Volume, label: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Predict a case as `medseg predict` does; return clues and Dice of what was found."""
    scheme = folder.document.scheme
    ready = preprocess(volume, folder.recipe)
    counter = ClueCounter(scheme)
    pred = predictor.indices(
        ready.image,
        case="phantom",
        crop_start=ready.crop_start,
        crop_stop=ready.crop_stop,
        source=volume.grid,
        clues=counter,
    )
    pred = apply_rules(pred, volume.grid, scheme, folder.rules)
    clues = clues_left(counter.found(), pred, scheme)
    dice = {one.structure: one.dice for one in score_case(pred, label, volume.grid, scheme)}
    return {name: {"clues": found, "dice": dice[name]} for name, found in clues.items()}


def cases(model: Path, count: int, work: Path) -> dict[str, list[Found]]:
    """Return what was found in every case of every kind, predicting what is not there yet."""
    folder = read_model_folder(model)
    predictor = load_predictor(folder, "cpu")
    found: dict[str, list[Found]] = {}
    work.mkdir(parents=True, exist_ok=True)
    for name, kind in KINDS.items():
        patients = 2 * count if name == ORDINARY else count
        for index in range(FIRST, FIRST + patients):
            file = work / f"{name.replace(' ', '_')}_{index}.json"
            if not file.is_file():
                volume, label = make(kind, index)
                file.write_text(json.dumps(predict(folder, predictor, volume, label)))
            found.setdefault(name, []).append((f"{index}", json.loads(file.read_text())))
    return found


def evidence(found: Sequence[Found], structure: str) -> list[Evidence]:
    """Return one structure's clues and Dice where it was predicted."""
    return [
        Evidence(clues=one[structure]["clues"], dice=one[structure]["dice"], patient=patient)
        for patient, one in found
        if structure in one
    ]


def judged(calibration: Calibration, seen: Sequence[Evidence]) -> list[tuple[ExpectedDice, float]]:
    """Pair what is expected of cases with their Dice."""
    return [(estimate(calibration, one.clues), one.dice) for one in seen]


def row(name: str, pairs: Sequence[tuple[ExpectedDice, float]], calibration: Calibration) -> str:
    """Lay out how the estimates of some cases met their Dice."""
    known = [(one, dice) for one, dice in pairs if one.value is not None]
    if not known:
        return f"| {name} | 0 | | | | | | | |"
    value = np.array([one.value for one, _ in known])
    dice = np.array([true for _, true in known])
    spearman = rank_correlation(value, dice)
    held = sum(one.low <= true <= one.high for one, true in known)
    guessed = np.array([one.reason != calibration.reason for one, _ in known])
    off = np.abs(value - dice)
    left = f"{off[~guessed].mean():.3f}" if not guessed.all() else ""
    return (
        f"| {name} | {len(known)} | {dice.mean():.3f} ({dice.std():.3f}) | {value.mean():.3f} "
        f"| {off.mean():.3f} | {np.abs(calibration.mean - dice).mean():.3f} "
        f"| {'' if spearman is None else f'{spearman:.2f}'} | {held} | {guessed.sum()} | {left} |"
    )


def report(found: Mapping[str, Sequence[Found]], structures: Sequence[str]) -> str:
    """Calibrate both ways, judge the rest, and lay out what came of it."""
    count = len(found[ORDINARY]) // 2
    half = count // 2
    taught = {
        "ordinary scans": [*found[ORDINARY][:half], *found[ORDINARY][count:]],
        "scans of all kinds": [one for rows in found.values() for one in rows[:half]],
    }
    lines = []
    for structure in structures:
        for title, rows in taught.items():
            calibration = calibrate(structure, evidence(rows, structure)).calibration
            lines += ["", f"## {structure}, calibrated on {calibration.cases} {title}", ""]
            if calibration.clue is None:
                lines.append(f"Not calibrated: {calibration.reason}.")
                continue
            judged_ones = {name: rows[half:count] for name, rows in found.items()}
            lines += list(table(structure, judged_ones, calibration))
            if calibration.reason:
                lines += ["", f"Not shown for single cases, since {calibration.reason}."]
    return "\n".join(lines)


def table(
    structure: str,
    found: Mapping[str, Sequence[Found]],
    calibration: Calibration,
) -> Iterator[str]:
    """Yield the rows of one calibration: all judged cases, then kind by kind."""
    yield (
        "| scans | n | Dice, mean (sd) | expected | off by | guessing the mean is off by "
        "| Spearman | in the 80 % interval | said to be a guess | the others off by |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    pairs = {name: judged(calibration, evidence(rows, structure)) for name, rows in found.items()}
    yield row("all", [one for some in pairs.values() for one in some], calibration)
    for name, some in pairs.items():
        yield row(name, some, calibration)


def main() -> None:
    """Make, predict, calibrate, judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="model folder of a run on the CT phantom")
    parser.add_argument("--cases", type=int, default=24, help="of each kind, half of them judged")
    parser.add_argument("--work", type=Path, default=Path("runs/quality_estimate"))
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    options = parser.parse_args()
    found = cases(options.model, options.cases, options.work)
    structures = [one.name for one in read_model_folder(options.model).document.scheme.structures]
    text = report(found, structures)
    print(text)
    if options.markdown:
        options.markdown.write_text(text.lstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
