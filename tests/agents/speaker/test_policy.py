"""Import and export policy, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.speaker.config import Block, ExportPolicy
from agents.speaker.peer import Peer
from agents.speaker.policy import ExportClass, PrefixFilter, admit, may_tell, rewrite
from protocol.bgp.attributes import AS_SEQUENCE, AS_SET, Attributes, Origin
from protocol.prefix import Prefix, parse_prefix
from tests.strategies.speaker import LOCAL_AS, as_path, host, neighbour

CLUSTER = host(200)
US = host(9)


def to(**changes: Any) -> ExportClass:
    facts: dict[str, Any] = {
        "internal": True, "local_as": LOCAL_AS, "local_address": US, "rr_client": False, "cluster_id": None,
    }  # fmt: skip
    return ExportClass(**{**facts, **changes})


IBGP, EBGP, CLIENT = to(), to(internal=False), to(rr_client=True, cluster_id=CLUSTER)


# --- import -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "admitted"),
    [
        ({}, True),
        ({"as_path": as_path(1, 2)}, True),
        ({"as_path": as_path(1, LOCAL_AS)}, False),
        ({"as_path": ((AS_SEQUENCE, (1,)), (AS_SET, (2, LOCAL_AS)))}, False),
        ({"originator_id": host(3)}, True),
        ({"originator_id": US}, False),
        ({"cluster_list": (CLUSTER,)}, True),  # not a client's
    ],
)
def test_loops_by_ibgp(facts: dict[str, Any], *, admitted: bool) -> None:
    assert admit(Attributes(next_hop=host(1), **facts), neighbour(1), US) is admitted


def test_a_clients_route_that_was_in_our_cluster_is_a_loop() -> None:
    client = neighbour(1, rr_client=True, cluster_id=CLUSTER)
    assert not admit(Attributes(next_hop=host(1), cluster_list=(host(3), CLUSTER)), client, US)
    assert admit(Attributes(next_hop=host(1), cluster_list=(host(3),)), client, US)


def test_an_external_peer_loops_by_as_alone() -> None:
    external = neighbour(1, peer_as=1)
    assert admit(Attributes(next_hop=host(1), as_path=as_path(1), originator_id=US), external, US)
    assert not admit(Attributes(next_hop=host(1), as_path=as_path(1, LOCAL_AS)), external, US)


# --- who is told --------------------------------------------------------------------------------------------------

OWN: Peer | None = None


def test_what_ibgp_taught_goes_on_by_reflection_alone() -> None:
    plain, client, external = neighbour(1), neighbour(2, rr_client=True), neighbour(3, peer_as=1)
    told = {
        (name, which): may_tell(source, target)
        for name, source in (("own", OWN), ("plain", plain), ("client", client), ("external", external))
        for which, target in (("ibgp", IBGP), ("client", CLIENT), ("ebgp", EBGP))
    }
    assert [case for case, yes in told.items() if not yes] == [("plain", "ibgp")]


# --- which prefixes leave -----------------------------------------------------------------------------------------


def prefixes(*texts: str) -> tuple[Prefix, ...]:
    return tuple(map(parse_prefix, texts))


POLICY = ExportPolicy(
    blocks=tuple(
        Block(cidr=cidr, state="confirmed") for cidr in prefixes("192.168.4.64/26", "172.16.0.0/26")
    ),
    pools=prefixes("192.168.0.0/16"),
    export_disabled=prefixes("172.16.0.0/16"),
)


@pytest.mark.parametrize(
    ("prefix", "leaves"),
    [
        ("192.168.4.64/26", True),  # a block, whole
        ("192.168.4.65/32", False),  # inside one
        ("192.168.4.64/27", False),
        ("192.168.9.3/32", True),  # borrowed: another node's block, our workload
        ("192.168.9.0/26", True),  # another node's block, as a reflector tells it
        ("192.168.4.0/24", True),  # around a block, inside the pool
        ("192.168.0.0/15", False),  # more than the pool
        ("10.0.0.0/8", False),  # nobody's
        ("172.16.0.0/26", False),  # our block, but of a pool that is not exported
        ("172.16.1.0/26", False),
    ],
)
def test_calico_export_to_bgp_peers(prefix: str, *, leaves: bool) -> None:
    accepts = PrefixFilter(POLICY).accepts
    assert accepts(parse_prefix(prefix)) is leaves
    assert accepts(parse_prefix(prefix)) is leaves, "the second time, by memory"


def test_memory_of_verdicts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.speaker.policy.MAX_MEMO", 4)
    fresh = PrefixFilter(POLICY)
    for octet in range(64, 74):
        assert not fresh.accepts(parse_prefix(f"192.168.4.{octet}/32"))
        assert len(fresh._memo) <= 4


# --- what becomes of the attributes -------------------------------------------------------------------------------


def test_a_route_of_our_own() -> None:
    own = Attributes(next_hop=US)
    assert rewrite(own, None, IBGP, router_id=US, priority=1024) == Attributes(
        next_hop=US, local_pref=2147483647 - 1024
    )
    assert rewrite(own, None, EBGP, router_id=US, priority=1024) == Attributes(
        next_hop=US, as_path=as_path(LOCAL_AS)
    )


FULL: dict[str, Any] = {
    "next_hop": host(1), "origin": Origin.EGP, "as_path": as_path(1), "med": 5, "local_pref": 200,
    "communities": (1, 2), "large_communities": ((1, 2, 3),), "atomic_aggregate": True, "aggregator": (1, host(1)),
}  # fmt: skip


def test_by_ebgp_the_as_is_prepended_and_what_is_ours_stays_here() -> None:
    reflected = Attributes(**FULL, originator_id=host(2), cluster_list=(CLUSTER,))
    for source in (neighbour(1), neighbour(1, peer_as=1)):
        changed = {"next_hop": US, "as_path": as_path(LOCAL_AS, 1), "med": None, "local_pref": None}
        assert rewrite(reflected, source, EBGP, router_id=US, priority=0) == Attributes(**{**FULL, **changed})


def test_from_ebgp_to_ibgp_only_local_pref_is_filled_in() -> None:
    external = neighbour(1, peer_as=1)
    bare = Attributes(**{**FULL, "local_pref": None})
    expected = Attributes(**{**FULL, "local_pref": 100})
    assert rewrite(bare, external, IBGP, router_id=US, priority=0) == expected
    assert rewrite(Attributes(**FULL), external, IBGP, router_id=US, priority=0) == Attributes(**FULL)


def test_reflection_says_who_began_and_whom_it_passed() -> None:
    told = Attributes(**FULL)
    once = rewrite(told, neighbour(1), CLIENT, router_id=US, priority=0)
    assert once == Attributes(**FULL, originator_id=host(1), cluster_list=(CLUSTER,))
    # The next reflector keeps the originator and adds itself; to a non-client, as the client's cluster.
    client = neighbour(2, rr_client=True, cluster_id=host(201))
    twice = rewrite(once, client, IBGP, router_id=US, priority=0)
    assert twice == Attributes(**FULL, originator_id=host(1), cluster_list=(host(201), CLUSTER))


@given(priority=st.integers(1, 2147483646))
def test_a_better_priority_is_a_higher_preference(priority: int) -> None:
    own = Attributes(next_hop=US)
    better, worse = (
        rewrite(own, None, IBGP, router_id=US, priority=each) for each in (priority, priority + 1)
    )
    assert better.rank < worse.rank
