"""A comparison in plain words: who is better, by how much, or why nobody can say."""

from __future__ import annotations

import math

from medseg.metrics.paired import SMALLEST_N
from medseg.reporting.comparison import METRICS, Row
from medseg.reporting.words import number

ALPHA = 0.05


def verdict(row: Row) -> str:
    """Say in one sentence what a comparison found.

    A run is called better only if the corrected p is below 0.05 and mean and median do not point
    the other way; in every other case the sentence says what stands against it.
    """
    if not row.paired.n:
        return "nothing to compare: no case where both are defined"
    differ = row.wins + row.losses
    if not differ:
        return f"no significant difference: all {row.ties} pairs are equal"
    if differ < SMALLEST_N:
        return (
            f"no significant difference: {differ} pair(s) differ, and fewer than {SMALLEST_N} "
            "pairs cannot reach 0.05"
        )
    if row.paired.p_holm >= ALPHA:
        corrected = ""
        if row.paired.p < ALPHA:
            corrected = f" after Holm's correction (alone it would be {p_text(row.paired.p)})"
        return f"no significant difference: {p_text(row.paired.p_holm)}{corrected}"
    winner = _winner(row)
    if winner is None:
        return (
            f"the runs differ ({p_text(row.paired.p_holm)}), but mean and median do not point one "
            f"way: {_effect(row, keep_sign=True)}"
        )
    return f"{winner} is better by {_effect(row, keep_sign=False)}, {p_text(row.paired.p_holm)}"


def p_text(p: float) -> str:
    """Write a p-value.

    Examples
    --------
    >>> p_text(0.03125), p_text(0.00001)
    ('p = 0.031', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {number(p)}"


def p_cell(p: float) -> str:
    """Write a p-value for a table.

    Examples
    --------
    >>> p_cell(0.03125), p_cell(0.00001), p_cell(float("nan"))
    ('0.0312', '< 0.0001', 'n/a')
    """
    return "< 0.0001" if p < 0.0001 else number(p, 4)


def signed(value: float, digits: int) -> str:
    """Write a difference with its sign; -0.000 has none.

    Examples
    --------
    >>> signed(0.0337, 3), signed(-0.00001, 3), signed(float("nan"), 3)
    ('+0.034', '0.000', 'n/a')
    """
    text = number(value, digits)
    if math.isnan(value) or not value or not text.strip("-0."):
        return text.lstrip("-")
    return text if value < 0 else f"+{text}"


def _winner(row: Row) -> str | None:
    """Name the run that mean and median both favour; None if they disagree."""
    signs = {
        math.copysign(1, value)
        for value in (row.mean_difference, row.paired.median_difference)
        if value and not math.isnan(value)
    }
    if len(signs) != 1:
        return None
    up = signs.pop() > 0
    return row.second if up == (METRICS[row.metric].better == "higher") else row.first


def _effect(row: Row, *, keep_sign: bool) -> str:
    """Write mean and median difference with their intervals; unsigned, as seen by the winner."""
    digits = METRICS[row.metric].digits
    one, parts = row.paired, []
    spans = (
        (row.mean_difference, row.mean_low, row.mean_high, "on average"),
        (one.median_difference, one.low, one.high, "in the median"),
    )
    for middle, low, high, what in spans:
        if math.isnan(middle):
            continue
        if not keep_sign and middle < 0:
            middle, low, high = -middle, -high, -low
        shown = [_amount(value, digits) for value in (middle, low, high)]
        parts.append(f"{shown[0]} {what} (95 % interval {shown[1]} to {shown[2]})")
    return " and ".join(parts)


def _amount(value: float, digits: int) -> str:
    """Write an amount; one too small for its digits keeps two that carry meaning."""
    if not value:
        return number(0.0, digits)
    return number(value, digits) if abs(value) >= 10**-digits else f"{value:.2g}"
