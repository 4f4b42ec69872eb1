"""Growth: nodes that restart hold what they held, and what is kept for nothing is seen."""

from __future__ import annotations

import pytest

from agents.speaker.peer import Peer
from agents.speaker.speaker import Speaker
from cluster.fuzz import growth
from cluster.fuzz.trial import attempt
from cluster.scenario.model import Cluster, Scenario

SCENARIO = Scenario(name="rounds", seed=8, cluster=Cluster(nodes=3, pods_per_node=1))


def test_restarts_leave_nothing() -> None:
    assert attempt(SCENARIO).findings == ()


def test_what_is_kept_for_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every session that ends leaves its peer's name somewhere."""
    right = Speaker._went_down

    def wrong(self: Speaker, peer: Peer, *facts: object, **more: object) -> None:
        self._early.append((peer.config.name, len(self._early)))  # type: ignore[arg-type]  # a list that is otherwise empty
        right(self, peer, *facts, **more)  # type: ignore[arg-type]  # whatever it takes

    monkeypatch.setattr(Speaker, "_went_down", wrong)
    [finding] = attempt(SCENARIO).findings
    assert finding.kind == "growth"
    assert finding.text.startswith("after each of 10 restarts nodes hold more: ")


def test_what_comes_and_goes_is_no_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = iter([5479, 5480, 5482, 5483, 5483])
    monkeypatch.setattr(growth, "weigh", lambda stage: next(weights))
    assert attempt(SCENARIO).findings == ()
    assert [*weights] == []
