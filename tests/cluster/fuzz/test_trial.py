"""Trying a scenario out: what has no end is given up, and said where nobody else is at fault."""

from __future__ import annotations

import pytest

from cluster.fuzz import trial
from cluster.fuzz.trial import attempt
from cluster.scenario.model import ALL, AddPods, Cluster, Converged, Scenario, Step
from tests.cluster.fuzz.test_oscillation import ring

BUSY = Scenario(
    name="busy",
    cluster=Cluster(nodes=3, pods_per_node=0),
    steps=(Step(do=(AddPods((ALL,), 100),)),),
    expect=(Converged(),),
)


def test_who_has_too_much_to_do_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "DETOUR", 200)
    outcome = attempt(BUSY)
    assert outcome.endless
    assert not outcome.findings


def test_who_has_nothing_to_do_and_finds_no_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST", 200)
    [finding] = attempt(ring(3)).findings
    assert finding.kind == "oscillation"
    assert "route 9.9.9.0/24 " in finding.text
