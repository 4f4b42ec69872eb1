"""The bench of ``plan`` measures changes that do what they are for."""

from __future__ import annotations

import pytest

from bench import plan
from bench.rows import BenchError, Case

CASE = Case(bench="plan", nodes=3, sessions=3)


def test_every_change_is_measured() -> None:
    runs = plan.plan(CASE)
    assert [run.event for run in runs] == ["mesh off", "another AS", "pool deleted"]
    assert all(run.wall_s > 0 for run in runs)


def test_a_change_that_harms_nobody_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = ("BGPConfiguration", "default", {"asNumber": 64512, "nodeToNodeMeshEnabled": True})
    monkeypatch.setitem(plan.CHANGES, "mesh off", harmless)
    with pytest.raises(BenchError, match="mesh off: no pair of nodes loses traffic"):
        plan.plan(CASE)
