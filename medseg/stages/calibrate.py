"""The Dice to expect of each prediction, calibrated on the validation cases; see *postprocess*."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medseg.artefacts import IngestedCase
from medseg.case import Case
from medseg.expected import Calibration, ExpectedDice
from medseg.finished import SegmentedCase
from medseg.labels import LabelScheme
from medseg.stages.context import Context
from medseg.stages.out_of_fold import out_of_fold


def expect_dice(
    ingested: Mapping[str, IngestedCase],
    scheme: LabelScheme,
    segmented: Mapping[str, SegmentedCase],
    context: Context,
    memory: int,
) -> tuple[tuple[Calibration, ...], dict[str, tuple[ExpectedDice, ...]]]:
    """Calibrate each structure's clues on the validation cases, and judge every case by them.

    A validation case is judged by what the other patients taught.

    Parameters
    ----------
    ingested : mapping of str to IngestedCase
    scheme : LabelScheme
    segmented : mapping of str to SegmentedCase
        Finished predictions with their clues.
    context : Context
    memory : int
        Bytes that scoring one case needs.

    Returns
    -------
    tuple
        One calibration per structure, and per case what to expect of its structures.
    """
    from medseg.metrics.expected_dice import Evidence, calibrate, estimates

    items = out_of_fold(ingested, segmented.values(), scheme)
    dice = context.map_cases(final_dice, items, memory=memory).done if items else {}
    calibrations: list[Calibration] = []
    own: dict[tuple[str, str], ExpectedDice] = {}
    for structure in scheme.structures:
        judged = [
            name
            for name, scores in dice.items()
            if structure.name in scores and structure.name in segmented[name].clues
        ]
        evidence = [
            Evidence(
                clues=segmented[name].clues[structure.name],
                dice=dice[name][structure.name],
                patient=ingested[name].case.group or name,
            )
            for name in judged
        ]
        found = calibrate(structure.name, evidence)
        calibrations.append(found.calibration)
        own |= {(name, structure.name): e for name, e in zip(judged, found.left_out, strict=True)}
    expected = {
        name: tuple(
            own.get((name, one.structure), one) for one in estimates(calibrations, case.clues)
        )
        for name, case in segmented.items()
    }
    return tuple(calibrations), expected


def final_dice(
    *,
    out: Path,  # noqa: ARG001 - nothing is written but the result
    pred: Path,
    case: Case,
    digest: str,  # noqa: ARG001 - names the content of the files, so it is part of the key
    scheme: LabelScheme,
) -> dict[str, float]:
    """Return the Dice of each structure that a finished prediction holds and that is annotated."""
    from medseg.io.load import load_image, load_label
    from medseg.io.store import open_array
    from medseg.metrics.confusion import confusion_matrix

    label = load_label(case, scheme, load_image(case))
    pairs = confusion_matrix(open_array(pred).read_all(), label, len(scheme.labels) + 1)
    covered = set(range(1, len(scheme.labels) + 1))
    if case.annotated is not None:
        covered = {scheme.index_of(name) for name in case.annotated}
    found = {}
    for structure in scheme.structures:
        chosen = list(structure.indices)
        predicted, truth = int(pairs[:, chosen].sum()), int(pairs[chosen].sum())
        if predicted and covered.issuperset(chosen):
            found[structure.name] = 2 * int(pairs[chosen][:, chosen].sum()) / (predicted + truth)
    return found
