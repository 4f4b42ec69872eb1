"""What bench derive derives: every end of every session, and all that its clusters are there for."""

from __future__ import annotations

import attrs
import pytest

from agents.confd.derive import Confd
from agents.speaker.config import PeerKind, Timers
from bench import derive
from bench.rows import BenchError, Case
from protocol.prefix import IPV4

CASE = Case(bench="derive", nodes=12, sessions=66)


def test_both_clusters_are_measured() -> None:
    runs = derive.derive(CASE)
    assert [run.event for run in runs] == ["plain", "trimmings"]
    assert all(run.wall_s > 0 and run.cpu_s is not None for run in runs)


def test_the_trimmings_reach_a_node() -> None:
    world = derive.trimmings(12)
    config = Confd(derive.view(world), Timers()).derive("node-001", IPV4)
    assert config is not None
    assert config.policy is not None
    assert {peer.kind for peer in config.peers} == {PeerKind.GLOBAL}
    assert all(peer.import_filters and peer.export_filters for peer in config.peers)
    assert config.policy.blocks
    assert config.policy.communities
    assert len(config.policy.services) == 3  # two CIDRs, and the Service with an endpoint here
    assert config.notes == ()


def test_sessions_that_are_missing_are_no_result() -> None:
    with pytest.raises(BenchError, match="132 ends of sessions, not 134"):
        derive.derive(attrs.evolve(CASE, sessions=67))
