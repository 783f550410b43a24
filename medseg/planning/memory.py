"""Fit a plan to the memory there is, by measured steps: smaller where it has to be, else larger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from medseg.artefacts import Plan
from medseg.errors import StageError

logger = logging.getLogger(__name__)

SHRINK, GROW = 0.8, 1.25
"""Factors of the planned memory from one attempt to the next."""
LEAST, MOST = 0.02, 16.0

Cost = TypeVar("Cost")


def fit_to_memory(
    plan_at: Callable[[float], Plan],
    measure: Callable[[Plan], Cost | None],
    fits: Callable[[Cost], bool],
    *,
    grow: bool,
) -> tuple[Plan, Cost]:
    """Return the plan that fits, with what its step costs.

    Every attempt is a plan by the same published rules for another amount of memory, so the batch
    gives way first and then the patch, and the result depends on what fits alone, not on how long
    anything took.

    Parameters
    ----------
    plan_at : callable
        Plans for a multiple of the memory.
    measure : callable
        Takes a step; None where the device ran out of memory.
    fits : callable
        Whether a cost is within the budget.
    grow : bool
        Whether to fill the budget where the first plan leaves some of it.

    Raises
    ------
    StageError
        If nothing fits, or what is set in the config leaves nothing to change.
    """
    plan = plan_at(1.0)
    cost = measure(plan)
    if cost is None or not fits(cost):
        return _smaller(plan, plan_at, measure, fits)
    scale = GROW
    while grow and scale <= MOST:
        larger = plan_at(scale)
        scale *= GROW
        if _size(larger) == _size(plan):
            continue
        found = measure(larger)
        if found is None or not fits(found):
            break
        plan, cost = larger, found
    return plan, cost


def _smaller(
    first: Plan,
    plan_at: Callable[[float], Plan],
    measure: Callable[[Plan], Cost | None],
    fits: Callable[[Cost], bool],
) -> tuple[Plan, Cost]:
    """Return the first plan for less memory that fits."""
    plan, scale = first, SHRINK
    while scale >= LEAST:
        smaller = plan_at(scale)
        scale *= SHRINK
        if _size(smaller) == _size(plan):
            continue
        plan = smaller
        logger.warning(
            "a step does not fit the memory; trying patch %s, batch size %d",
            " x ".join(map(str, plan.patch_size)),
            plan.batch_size,
        )
        cost = measure(plan)
        if cost is not None and fits(cost):
            return plan, cost
    raise StageError(
        f"plan: a step of {plan.batch_size} patches of {list(plan.patch_size)} does not fit the "
        "memory, and nothing smaller can be planned; free memory, raise train.memory, or set a "
        "smaller patch_sample.patch_size, train.batch_size or network.arguments.widths"
    )


def _size(plan: Plan) -> tuple[object, ...]:
    """Return what decides the cost of a step."""
    return plan.patch_size, plan.batch_size, plan.network
