"""The arithmetic of rows and ratios, and what is printed of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rows import FIGURES, Case, Run, as_json, as_table, ratios, summarize

MESH = Case(bench="mesh", nodes=5, sessions=10)


def test_a_row_has_the_medians_and_their_spread() -> None:
    runs = [
        Run(wall_s=3.0, cpu_s=0.5, pss_mb=20.0),
        Run(wall_s=1.0, cpu_s=0.1, pss_mb=40.0),
        Run(wall_s=2.0, cpu_s=0.4, pss_mb=10.0),
    ]
    (row,) = summarize(MESH, "tortie", runs)
    assert row == {
        "bench": "mesh", "tool": "tortie", "nodes": 5, "sessions": 10, "runs": 3,
        "wall_s": 2.0, "wall_s_min": 1.0, "wall_s_max": 3.0,
        "cpu_s": 0.4, "cpu_s_min": 0.1, "cpu_s_max": 0.5,
        "pss_mb": 20.0, "pss_mb_min": 10.0, "pss_mb_max": 40.0,
        "us_per_session": 40_000.0, "us_per_session_min": 10_000.0, "us_per_session_max": 50_000.0,
    }  # fmt: skip


def test_what_was_not_measured_is_none_and_not_zero() -> None:
    (row,) = summarize(MESH, "tortie", [Run(wall_s=1.0)])
    assert [row[name] for name in FIGURES] == [1.0, None, None, None]


def test_events_of_one_run_become_rows_of_their_own() -> None:
    runs = [
        Run(wall_s=0.1, event="announce"),
        Run(wall_s=0.2, event="kill"),
        Run(wall_s=0.3, event="announce"),
        Run(wall_s=0.4, event="kill"),
    ]
    rows = summarize(MESH, "bird", runs)
    assert [(row["event"], row["wall_s"], row["runs"]) for row in rows] == [
        ("announce", 0.2, 2),
        ("kill", 0.3, 2),
    ]


def test_ratios_are_ours_over_theirs() -> None:
    ours = summarize(MESH, "tortie", [Run(wall_s=1.0, cpu_s=1.0, pss_mb=25.0)])
    theirs = summarize(MESH, "bird", [Run(wall_s=4.0, cpu_s=2.0, pss_mb=100.0)])
    assert ratios([*ours, *theirs], ours="tortie", theirs="bird") == [
        {
            "bench": "mesh",
            "nodes": 5,
            "against": "bird",
            "wall_ratio": 0.25,
            "cpu_ratio": 0.5,
            "memory_ratio": 0.25,
        }
    ]


def test_only_the_same_case_and_event_are_compared() -> None:
    many_routes = Case(bench="mesh", nodes=5, sessions=10, routes=7)
    ours = summarize(MESH, "tortie", [Run(wall_s=1.0, event="kill"), Run(wall_s=1.0, event="announce")])
    theirs = summarize(MESH, "bird", [Run(wall_s=2.0, event="announce")])
    others = summarize(many_routes, "bird", [Run(wall_s=3.0, event="kill")])
    found = ratios([*ours, *theirs, *others], ours="tortie", theirs="bird")
    assert [(row["event"], row["wall_ratio"], row["cpu_ratio"]) for row in found] == [("announce", 0.5, None)]


@given(st.lists(st.floats(0.001, 1000), min_size=1))
def test_the_median_lies_between_min_and_max(walls: list[float]) -> None:
    (row,) = summarize(MESH, "tortie", [Run(wall_s=wall) for wall in walls])
    low, median, high = (row[name] for name in ("wall_s_min", "wall_s", "wall_s_max"))
    assert isinstance(low, float)
    assert isinstance(median, float)
    assert isinstance(high, float)
    assert low <= median <= high
    assert low == pytest.approx(min(walls), rel=1e-3)
    assert high == pytest.approx(max(walls), rel=1e-3)


def test_json_is_one_list() -> None:
    rows = summarize(MESH, "tortie", [Run(wall_s=1.5)])
    assert json.loads(as_json(rows * 2)) == rows * 2
    assert json.loads(as_json([])) == []


def test_the_table_shows_the_spread_and_leaves_out_what_is_empty() -> None:
    rows = [
        *summarize(MESH, "tortie", [Run(wall_s=1.0), Run(wall_s=2.0)]),
        *summarize(Case(bench="mesh", nodes=1000, sessions=499_500), "bird", [Run(wall_s=1234.5)]),
    ]
    assert as_table(rows).splitlines() == [
        "bench  tool    nodes  sessions  runs     wall_s",
        "mesh   tortie      5        10     2  1.5 (1-2)",
        "mesh   bird    1,000   499,500     1      1,234",
    ]
