"""`medseg schema`: the JSON Schema of configs, by which editors complete and check them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.config import json_schema
from medseg.pipelines.sections import General, own_fields


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``medseg schema``."""
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="default: print it")


def main(args: argparse.Namespace) -> int:
    """Write or print the schema."""
    text = schema_text()
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(text, encoding="utf-8")
    return 0


def schema_text() -> str:
    """Return what ``configs/schema.json`` holds."""
    from medseg.stages import STAGES

    return json.dumps(config_schema(STAGES), indent=2) + "\n"


def config_schema(stages: Mapping[str, type]) -> dict[str, Any]:
    """Return the JSON Schema of configs whose pipelines use these stages.

    Parameters
    ----------
    stages : mapping
        Stage classes by name; each with fields of its own gives a section.
    """
    schema = json_schema(General)
    definitions: dict[str, Any] = schema.pop("$defs")
    properties: dict[str, Any] = schema["properties"]
    properties["tracking"] = {
        "anyOf": [properties["tracking"], {"enum": ["off", "on", False, True]}]
    }
    properties["extends"] = {
        "description": "A config (or several) that this one changes: a path or a shipped name.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    for name, kind in stages.items():
        own = own_fields(kind, stages)
        if not own:
            continue
        section = json_schema(kind)
        definitions = section.pop("$defs") | definitions  # a section of its own stands
        section["properties"] = {key: section["properties"][key] for key in own}
        section["required"] = [key for key in section.get("required", []) if key in own]
        definitions[kind.__name__] = {k: v for k, v in section.items() if v != []}
        properties[name] = {"$ref": f"#/$defs/{kind.__name__}"}
    used = {name: definitions[name] for name in sorted(_reachable(properties, definitions))}
    schema.pop("required", None)  # `experiment` may come from what a config extends
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "medseg config",
        "description": "A pipeline, a data manifest, and what differs from the defaults.",
        "properties": properties,
        "$defs": used,
    }


def _reachable(properties: Mapping[str, Any], definitions: Mapping[str, Any]) -> set[str]:
    """Return the names of the definitions that are referred to, directly or not."""
    found: set[str] = set()
    waiting = [json.dumps(properties)]
    while waiting:
        for part in waiting.pop().split('"#/$defs/')[1:]:
            name = part.partition('"')[0]
            if name not in found:
                found.add(name)
                waiting.append(json.dumps(definitions[name]))
    return found
