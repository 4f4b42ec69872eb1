"""Measured runs become rows, rows become ratios, both become a table or JSON.

Owns the arithmetic and the shape of what ``python -m bench`` prints. A ``Run`` is one measurement of one tool. Runs of
the same case and tool become one row: the median of each figure, with the smallest and the largest beside it, because
a figure without its spread says little on a computer that does other things too. Two tools' rows of the same case
become one row of ratios, ours over theirs, of the medians.

A figure that a bench does not measure is None and stays None.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence

import attrs

Row = dict[str, object]

FIGURES = ("wall_s", "cpu_s", "pss_mb", "us_per_session")
RATIOS = {"wall_ratio": "wall_s", "cpu_ratio": "cpu_s", "memory_ratio": "pss_mb"}
_CASE = ("bench", "event", "nodes", "routes")  # what two rows of different tools must have in common


class BenchError(Exception):
    """A run that gave no figure; the text says why in one line."""


@attrs.frozen(kw_only=True)
class Case:
    """What is measured, whatever tool does it."""

    bench: str
    nodes: int
    sessions: int
    routes: int | None = None  # a node; None: one block each


@attrs.frozen(kw_only=True)
class Run:
    wall_s: float
    cpu_s: float | None = None
    pss_mb: float | None = None
    event: str | None = None  # of several things measured in one run


def summarize(case: Case, tool: str, runs: Iterable[Run]) -> list[Row]:
    """One row per event, in the order of their first appearance."""
    by_event: dict[str | None, list[Run]] = {}
    for run in runs:
        by_event.setdefault(run.event, []).append(run)
    return [_row(case, tool, event, of_event) for event, of_event in by_event.items()]


def _row(case: Case, tool: str, event: str | None, runs: Sequence[Run]) -> Row:
    row: Row = {"bench": case.bench, "tool": tool, "nodes": case.nodes, "sessions": case.sessions}
    if case.routes is not None:
        row["routes"] = case.routes
    if event is not None:
        row["event"] = event
    row["runs"] = len(runs)
    figures: dict[str, list[float | None]] = {
        "wall_s": [run.wall_s for run in runs],
        "cpu_s": [run.cpu_s for run in runs],
        "pss_mb": [run.pss_mb for run in runs],
        "us_per_session": [None if run.cpu_s is None else run.cpu_s / case.sessions * 1e6 for run in runs],
    }
    for name in FIGURES:
        known = [value for value in figures[name] if value is not None]
        row[name] = _rounded(statistics.median(known)) if known else None
        row[f"{name}_min"] = _rounded(min(known)) if known else None
        row[f"{name}_max"] = _rounded(max(known)) if known else None
    return row


def ratios(rows: Iterable[Row], *, ours: str, theirs: str) -> list[Row]:
    """Ours over theirs, for every case that both tools have a row of."""
    rows = list(rows)
    of_theirs = {_case_of(row): row for row in rows if row["tool"] == theirs}
    found = []
    for row in rows:
        other = of_theirs.get(_case_of(row))
        if row["tool"] != ours or other is None:
            continue
        ratio: Row = {name: row[name] for name in _CASE if name in row}
        ratio["against"] = theirs
        for name, figure in RATIOS.items():
            ratio[name] = _ratio(row[figure], other[figure])
        found.append(ratio)
    return found


def _case_of(row: Row) -> tuple[object, ...]:
    return tuple(row.get(name) for name in _CASE)


def _ratio(ours: object, theirs: object) -> float | None:
    if not isinstance(ours, int | float) or not isinstance(theirs, int | float) or not theirs:
        return None
    return _rounded(ours / theirs)


def _rounded(value: float) -> float:
    """Four significant digits: more are noise, and 0.0021 must not become 0.0."""
    return float(f"{value:.4g}")


def as_json(rows: Sequence[Row]) -> str:
    """A JSON list, a row a line."""
    return "[\n " + ",\n ".join(json.dumps(row) for row in rows) + "\n]" if rows else "[]"


def as_table(rows: Sequence[Row]) -> str:
    """Aligned columns for people: min and max behind their median, and no column that is empty everywhere."""
    names = [name for row in rows for name in row if not name.endswith(("_min", "_max"))]
    names = [name for name in dict.fromkeys(names) if any(row.get(name) is not None for row in rows)]
    lines = [names, *([_cell(row, name) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if name in ("bench", "tool", "event", "against") else cell.rjust(width)
            for name, cell, width in zip(names, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None:
        return "-"
    low, high = row.get(f"{name}_min"), row.get(f"{name}_max")
    if low is None or low == high:
        return _text(value)
    return f"{_text(value)} ({_text(low)}-{_text(high)})"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
