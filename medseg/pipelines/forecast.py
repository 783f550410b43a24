"""What a run would do: the key of each stage, and whether its result is there already."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from medseg.pipelines.keys import artefact_digest, stage_key
from medseg.pipelines.options import Forecast
from medseg.pipelines.runfolder import RunFolder
from medseg.pipelines.store import Places
from medseg.pipelines.wiring import Node


def node_key(node: Node, places: Places, digests: Mapping[str, str]) -> str:
    """Return the key of a stage whose inputs are known.

    Parameters
    ----------
    node : Node
    places : Places
        Of the run folder, whose own path does not enter the key.
    digests : mapping
        Artefact to digest; it holds every one that the stage reads.
    """
    settings = places.dump(node.stage, type(node.stage))
    token = places.dump(node.stage.inputs_token()) if hasattr(node.stage, "inputs_token") else ""
    inputs = {parameter: digests[name] for parameter, name in node.reads.items()}
    return stage_key(node.stage, settings, inputs, token)


def forecast(
    nodes: Sequence[Node], folder: RunFolder, asked: Collection[str]
) -> tuple[Forecast, ...]:
    """Say what a run would do, as far as can be known without doing it; nothing is written.

    Parameters
    ----------
    nodes : sequence of Node
        The stages, in order.
    folder : RunFolder
    asked : collection of str
        Stages that are to run in any case.
    """
    digests: dict[str, str] = {}
    rows: list[Forecast] = []
    for node in nodes:
        waits = [artefact for artefact in node.reads.values() if artefact not in digests]
        if not (folder.path / "stages" / node.name).is_dir():
            rows.append(Forecast(node.name, "would run"))  # no key: a reader may make its data
            continue
        if waits:
            unless = f"would run, unless {waits[0]} comes out as it was"
            state = "would run (asked for)" if node.name in asked else unless
            rows.append(Forecast(node.name, state))
            continue
        place = folder.stage(node.name, node_key(node, folder.places, digests))
        if node.name in asked:
            state = "would run (asked for)"
        elif place.is_done():
            state = "done"
            digests[node.writes] = artefact_digest(place.text(), place.key)
        else:
            state = "would go on" if place.partial.is_dir() else "would run"
        rows.append(Forecast(node.name, state, place.key))
    return tuple(rows)
