"""What ``medseg init`` writes for photographs beyond the defaults of their pipeline."""

from __future__ import annotations

from medseg.readers.survey import Survey

VOID = 255
"""Value that marks pixels without a class in many sets of photographs."""
LARGE, SHORT_SIDE = 1024, 512
"""Photographs with a shorter side above the first are brought to the second, in px: a patch then
shows more than a detail of one thing."""


def are_photographs(found: Survey) -> bool:
    """Tell whether the images are pictures with rows and columns."""
    return found.picture and found.ndim == 2


def photograph_settings(found: Survey) -> str:
    """Return the lines of the config that photographs need beyond the pipeline's defaults."""
    if not are_photographs(found):
        return ""
    lines = []
    if found.short_side > LARGE:
        lines.append(
            f"resample: {{short_side: {SHORT_SIDE}}}  # of some {found.short_side} px; results are "
            "at the full size\n"
        )
    classes = [value for value in found.values if value != VOID or len(found.values) == 1]
    if len(classes) == 1:
        lines.append(
            "patch_sample: {cat_max_ratio: 1.0}  # one class: no crop has to mix several\n"
        )
    return "".join(lines)
