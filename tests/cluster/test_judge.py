"""The judge of a shard: its counts, its words, and what cannot be judged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from agents.dataplane.fib import BLACKHOLE, TUNL0, UNREACHABLE, FibRoute, Routes, device, via
from cluster.judge import Judge, route_text
from cluster.oracle import Oracle, snapshot
from protocol.prefix import Prefix, parse_address, parse_prefix
from protocol.sync.errors import Invalid
from tests.cluster.test_oracle_general import gadget
from tests.strategies.clusters import Document, Listing, affinity, node, pool

if TYPE_CHECKING:
    from agents.node import Node

DOCUMENTS = [
    pool("pool", "192.168.0.0/16"),
    *(node(f"n{number}", f"10.0.0.{number}/24") for number in (1, 2)),
    *(affinity(f"n{number}", f"192.168.{number}.0/26") for number in (1, 2)),
]
RIGHT: dict[str, FibRoute] = {
    "192.168.1.0/26": BLACKHOLE,
    "192.168.2.0/26": via((parse_address("10.0.0.2"),)),
}


def standing(routes: dict[str, FibRoute], *up: str) -> Node:
    """A node with these routes and sessions with these neighbours."""
    table: dict[Prefix, FibRoute] = {parse_prefix(text): route for text, route in routes.items()}
    peers = {text: SimpleNamespace(address=parse_address(text), up=True) for text in up}
    fake = SimpleNamespace(
        name="n1", fib=SimpleNamespace(routes=table), speakers={4: SimpleNamespace(peers=peers)}
    )
    return cast("Node", fake)


def judge(documents: list[Document], nodes: dict[str, Node], *hosted: str) -> Judge:
    expected = Oracle().expect(snapshot(Listing(documents)))
    found = Judge(hosted, nodes, Routes())
    found.judge(1, expected.to_wire(hosted))
    return found


def test_equal() -> None:
    verdict = judge(DOCUMENTS, {"n1": standing(RIGHT)}, "n1").judge(2, None)
    assert verdict.equal
    assert (verdict.revision, verdict.expected, verdict.programmed) == (2, 2, 2)


def test_differences_are_counted_and_the_first_are_told() -> None:
    there = standing({"192.168.1.0/26": BLACKHOLE, "192.168.9.0/26": BLACKHOLE}, "10.0.0.2")
    verdict = judge(DOCUMENTS, {"n1": there}, "n1").judge(1, None)
    assert (verdict.missing, verdict.extra) == (1, 1)
    assert [str(each) for each in verdict.differences] == [
        "n1: 192.168.2.0/26: expected via 10.0.0.2, found nothing: missing: n2 announces it, the session between n2 and "
        "n1 is established",
        "n1: 192.168.9.0/26: expected nothing, found blackhole: extra: n1 has no such block or workload",
    ]


def test_a_node_that_is_not_there_lacks_everything() -> None:
    verdict = judge(DOCUMENTS, {"n1": standing(RIGHT)}, "n1", "n2").judge(1, None)
    assert (verdict.missing, verdict.extra, verdict.differences) == (2, 0, ())


def test_what_bgp_cannot_settle_is_not_judged() -> None:
    documents = [pool("pool", "192.168.0.0/16"), *gadget(3)]
    whatever = {"192.168.1.0/26": BLACKHOLE, "9.9.9.0/24": via((parse_address("10.0.0.200"),))}
    assert judge(documents, {"n1": standing(whatever)}, "n1").judge(1, None).equal


def test_the_first_call_brings_the_facts() -> None:
    with pytest.raises(Invalid, match="nothing to judge by"):
        Judge(["n1"], {}, Routes()).judge(1, None)


def test_routes_in_words() -> None:
    gateways = parse_address("10.0.0.2"), parse_address("10.0.0.3")
    assert [route_text(route) for route in (None, BLACKHOLE, UNREACHABLE, device("cali1"), via(gateways))] == [
        "", "blackhole", "unreachable", "dev cali1", "via 10.0.0.2, 10.0.0.3",
    ]  # fmt: skip
    assert route_text(via(gateways[:1], TUNL0)) == "via 10.0.0.2 dev tunl0"
