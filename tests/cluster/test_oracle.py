"""Small clusters whose tables can be worked out by hand, and laws against a plain simulation of BGP."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, FibRoute, RouteKind, Routes, via
from cluster.oracle import Expected, first_differences
from cluster.oracle.choice import plain
from cluster.oracle.facts import Facts, gather
from cluster.oracle.solver import session_count
from protocol.prefix import Address, Prefix, format_address, format_prefix, parse_address, parse_prefix
from tests.strategies.clusters import (
    Document,
    Listing,
    affinity,
    bgp_configuration,
    bgp_peer,
    document,
    node,
    pool,
    workload,
)

POOL = pool("pool", "192.168.0.0/16")
SHORT = re.compile(r"^192\.168\.(\d+)\.0/26$")
Text = dict[str, str]


def facts_of(
    documents: Iterable[Document], *, down: Iterable[str] = (), cut: Iterable[tuple[str, str]] = ()
) -> Facts:
    listing = Listing([POOL, *documents])
    assert plain(listing)
    return gather(listing, down=set(down), cut=cut)[0]


def block(number: int) -> str:
    return f"192.168.{number}.0/26"


def simple(number: int, *, asn: int | None = None, cluster: str = "", **labels: str) -> list[Document]:
    """Node n<number> at 10.0.0.<number> with block 192.168.<number>.0/26."""
    name = f"n{number}"
    return [
        node(name, f"10.0.0.{number}/24", asn=asn, cluster=cluster, labels=labels),
        affinity(name, block(number)),
    ]


def show(route: FibRoute) -> str:
    """``n1``, ``n1 n2`` (ECMP), ``blackhole`` or ``dev cali0``: nodes by the last octet of their address."""
    if route.kind is RouteKind.VIA:
        names = (
            f"n{gateway[3]}" if len(gateway) == 4 else format_address(gateway) for gateway in route.gateways
        )
        return " ".join(names)
    return "blackhole" if route.kind is RouteKind.BLACKHOLE else f"dev {route.device}"


def tables(*facts: Facts) -> dict[str, Text]:
    """Every table as text. Blocks 192.168.<n>.0/26 are called by their number."""
    return {
        name: {
            SHORT.sub(r"\1", format_prefix(prefix)).removeprefix("192.168."): show(route)
            for prefix, route in table.items()
        }
        for name, table in Expected([*facts]).solve(facts[0].names, via)
    }


def sessions(facts: Facts) -> int:
    counts = Expected([facts]).counts(facts.names)
    assert sum(count.sessions for count in counts.values()) == 2 * session_count(facts)
    return session_count(facts)


class TestMesh:
    def test_three_nodes(self) -> None:
        facts = facts_of([*simple(1), *simple(2), *simple(3), workload("n1", "192.168.1.5/32", "cali1")])
        assert sessions(facts) == 3
        assert tables(facts) == {
            "n1": {"1": "blackhole", "1.5/32": "dev cali1", "2": "n2", "3": "n3"},
            "n2": {"1": "n1", "2": "blackhole", "3": "n3"},
            "n3": {"1": "n1", "2": "n2", "3": "blackhole"},
        }
        counts = Expected([facts]).counts(["n1", "n3"])
        assert {name: (count.sessions, count.routes) for name, count in counts.items()} == {
            "n1": (2, 4),
            "n3": (2, 3),
        }

    def test_a_cut_link_is_not_bridged(self) -> None:
        facts = facts_of([*simple(1), *simple(2), *simple(3)], cut=[("n3", "n1")])
        assert sessions(facts) == 2
        assert tables(facts) == {
            "n1": {"1": "blackhole", "2": "n2"},
            "n2": {"1": "n1", "2": "blackhole", "3": "n3"},
            "n3": {"2": "n2", "3": "blackhole"},
        }

    def test_a_down_node_has_no_table_and_announces_nothing(self) -> None:
        facts = facts_of([*simple(1), *simple(2), *simple(3)], down=["n2"])
        assert sessions(facts) == 1
        assert tables(facts) == {"n1": {"1": "blackhole", "3": "n3"}, "n3": {"1": "n1", "3": "blackhole"}}

    def test_switched_off(self) -> None:
        facts = facts_of([bgp_configuration(nodeToNodeMeshEnabled=False), *simple(1), *simple(2)])
        assert sessions(facts) == 0
        assert tables(facts) == {"n1": {"1": "blackhole"}, "n2": {"2": "blackhole"}}

    def test_a_node_without_address_has_its_workloads_only(self) -> None:
        """No BIRD: nobody makes a blackhole for its block, nobody announces it."""
        nowhere = {"kind": "Node", "metadata": {"name": "a"}, "spec": {}}
        pod = workload("a", "10.0.9.1/32", "cali1")
        facts = facts_of([nowhere, affinity("a", block(9)), pod, *simple(1), *simple(2)])
        assert sessions(facts) == 1
        assert list(tables(facts)["a"].values()) == ["dev cali1"]
        assert "9" not in tables(facts)["n1"]

    def test_ecmp_keeps_the_sixteen_lowest(self) -> None:
        announcers = [
            document
            for number in range(1, 21)
            for document in (*simple(number), workload(f"n{number}", "192.168.99.1/32", "cali1"))
        ]
        facts = facts_of([*announcers, *simple(30)])
        assert tables(facts)["n30"]["99.1/32"] == " ".join(f"n{number}" for number in range(1, 17))


RR_BY_LABEL = [
    bgp_configuration(nodeToNodeMeshEnabled=False),
    bgp_peer("clients", nodeSelector="!has(rr)", peerSelector="has(rr)"),
    bgp_peer("reflectors", nodeSelector="has(rr)", peerSelector="has(rr)"),
]


class TestReflection:
    def test_two_reflectors_of_one_cluster(self) -> None:
        facts = facts_of(
            [
                *RR_BY_LABEL,
                *simple(1, cluster="1.0.0.1", rr="true"),
                *simple(2, cluster="1.0.0.1", rr="true"),
                *simple(3),
                *simple(4),
            ]
        )
        assert sessions(facts) == 5
        assert tables(facts) == {
            "n1": {"1": "blackhole", "2": "n2", "3": "n3", "4": "n4"},
            "n2": {"1": "n1", "2": "blackhole", "3": "n3", "4": "n4"},
            "n3": {"1": "n1", "2": "n2", "3": "blackhole", "4": "n4"},
            "n4": {"1": "n1", "2": "n2", "3": "n3", "4": "blackhole"},
        }

    def test_a_shared_cluster_does_not_survive_a_cut_to_a_client(self) -> None:
        """n2 hears of n3 through n1, and finds its own cluster in CLUSTER_LIST when it would tell its client."""
        documents = [
            *RR_BY_LABEL,
            *simple(1, cluster="1.0.0.1", rr="true"),
            *simple(2, cluster="1.0.0.1", rr="true"),
            *simple(3),
            *simple(4),
        ]
        facts = facts_of(documents, cut=[("n2", "n3"), ("n1", "n4")])
        assert tables(facts) == {
            "n1": {"1": "blackhole", "2": "n2", "3": "n3", "4": "n4"},
            "n2": {"1": "n1", "2": "blackhole", "3": "n3", "4": "n4"},
            "n3": {"1": "n1", "2": "n2", "3": "blackhole"},
            "n4": {"1": "n1", "2": "n2", "4": "blackhole"},
        }

    def test_two_clusters(self) -> None:
        """n1 has client n3, n2 has client n4; each takes the other for a client, its cluster ID being different."""
        facts = facts_of(
            [
                bgp_configuration(nodeToNodeMeshEnabled=False),
                bgp_peer("core", nodeSelector="has(core)", peerSelector="has(core)"),
                bgp_peer("left", nodeSelector="side == 'left'", peerSelector="core == 'left'"),
                bgp_peer("right", nodeSelector="side == 'right'", peerSelector="core == 'right'"),
                *simple(1, cluster="1.0.0.1", core="left"),
                *simple(2, cluster="1.0.0.2", core="right"),
                *simple(3, side="left"),
                *simple(4, side="right"),
            ]
        )
        assert sessions(facts) == 3
        assert tables(facts) == {
            "n1": {"1": "blackhole", "2": "n2", "3": "n3", "4": "n4"},
            "n2": {"1": "n1", "2": "blackhole", "3": "n3", "4": "n4"},
            "n3": {"1": "n1", "2": "n2", "3": "blackhole", "4": "n4"},
            "n4": {"1": "n1", "2": "n2", "3": "n3", "4": "blackhole"},
        }

    def test_non_clients_do_not_hear_of_each_other(self) -> None:
        """A line of three reflectors of one cluster: the middle one does not reflect between the ends."""
        facts = facts_of(
            [
                bgp_configuration(nodeToNodeMeshEnabled=False),
                bgp_peer("line", node="n2", peerSelector="has(end)"),
                *simple(1, cluster="1.0.0.1", end="yes"),
                *simple(2, cluster="1.0.0.1"),
                *simple(3, cluster="1.0.0.1", end="yes"),
            ]
        )
        assert tables(facts)["n1"] == {"1": "blackhole", "2": "n2"}
        assert tables(facts)["n3"] == {"2": "n2", "3": "blackhole"}

    def test_a_client_beside_non_clients(self) -> None:
        """n2's neighbours are alike but for n4 being its client: it hears of everybody, and everybody of it."""
        facts = facts_of(
            [
                bgp_configuration(nodeToNodeMeshEnabled=False),
                bgp_peer("star", node="n2", peerSelector="has(end)"),
                *simple(1, cluster="1.0.0.1", end="yes"),
                *simple(2, cluster="1.0.0.1"),
                *simple(3, cluster="1.0.0.1", end="yes"),
                *simple(4, end="yes"),
            ]
        )
        found = tables(facts)
        assert found["n1"] == {"1": "blackhole", "2": "n2", "4": "n4"}
        assert found["n4"] == {"1": "n1", "2": "n2", "3": "n3", "4": "blackhole"}

    def test_what_comes_straight_from_a_client_is_better_than_its_reflection(self) -> None:
        """n2 has n4's block from n4 and, with a longer CLUSTER_LIST but a lower address, from n1. Only the first goes to n3."""
        facts = facts_of(
            [
                bgp_configuration(nodeToNodeMeshEnabled=False),
                bgp_peer("core", node="n2", peerSelector="has(core)"),
                bgp_peer("clients", nodeSelector="has(top)", peerSelector="has(client)"),
                *simple(1, cluster="1.0.0.1", core="yes", top="yes"),
                *simple(2, cluster="1.0.0.1", top="yes"),
                *simple(3, cluster="1.0.0.1", core="yes"),
                *simple(4, client="yes"),
            ]
        )
        assert tables(facts)["n3"] == {"2": "n2", "3": "blackhole", "4": "n4"}

    def test_a_reflector_is_not_in_the_mesh(self) -> None:
        facts = facts_of([*simple(1, cluster="1.0.0.1"), *simple(2), *simple(3)])
        assert sessions(facts) == 1
        assert tables(facts)["n1"] == {"1": "blackhole"}


class TestPeers:
    OFF = bgp_configuration(nodeToNodeMeshEnabled=False)

    def test_peer_ip_with_its_reverse(self) -> None:
        peer = bgp_peer("p", node="n1", peerIP="10.0.0.2", asNumber=64512)
        assert sessions(facts_of([self.OFF, peer, *simple(1), *simple(2)])) == 1

    def test_manual_reverse_needs_the_other_side(self) -> None:
        there = bgp_peer("there", node="n1", peerIP="10.0.0.2", asNumber=64512, reversePeering="Manual")
        back = bgp_peer("back", node="n2", peerIP="10.0.0.1", asNumber=64512, reversePeering="Manual")
        assert sessions(facts_of([self.OFF, there, *simple(1), *simple(2)])) == 0
        assert sessions(facts_of([self.OFF, there, back, *simple(1), *simple(2)])) == 1

    def test_wrong_as(self) -> None:
        peer = bgp_peer("p", node="n1", peerIP="10.0.0.2", asNumber=64999)
        assert sessions(facts_of([self.OFF, peer, *simple(1), *simple(2)])) == 0

    def test_a_pair_in_the_mesh_that_is_also_peered_has_one_session(self) -> None:
        peer = bgp_peer("some", node="n1", peerSelector="all()")
        facts = facts_of([peer, *simple(1), *simple(2), *simple(3)])
        assert (sessions(facts), facts.edges) == (3, [])

    def test_a_peering_of_every_node_comes_before_the_mesh_and_one_of_a_node_after_it(self) -> None:
        nodes = [*simple(1), *simple(2), *simple(3)]
        assert sessions(facts_of([bgp_peer("p", peerIP="10.0.0.2", asNumber=64999), *nodes])) == 1
        assert sessions(facts_of([bgp_peer("p", node="n1", peerIP="10.0.0.2", asNumber=64999), *nodes])) == 3

    def test_a_selector_that_does_not_parse_matches_nothing(self) -> None:
        peer = bgp_peer("p", nodeSelector="has(", peerSelector="all()")
        assert sessions(facts_of([self.OFF, peer, *simple(1), *simple(2)])) == 0

    def test_external_neighbours_are_nobody_here(self) -> None:
        peer = bgp_peer("tor", peerIP="172.16.0.1", asNumber=65000)
        assert sessions(facts_of([peer, *simple(1), *simple(2)])) == 1

    def test_a_reflector_takes_a_peer_by_address_for_a_client(self) -> None:
        """A peerIP tells no cluster ID, so two reflectors of one cluster are clients of each other; the first name counts."""
        by_address = bgp_peer("a", node="n1", peerIP="10.0.0.2", asNumber=64512, reversePeering="Manual")
        back = bgp_peer("b", node="n2", peerSelector="has(first)", reversePeering="Manual")
        reflectors = [*simple(1, cluster="1.0.0.1", first="yes"), *simple(2, cluster="1.0.0.1")]
        facts = facts_of([by_address, back, *reflectors])
        assert facts.edges == [(0, 1, True, False)]


class TestOrigins:
    def test_a_borrowed_address_is_announced_and_the_owner_of_the_block_takes_it(self) -> None:
        facts = facts_of([*simple(1), *simple(2), *simple(3), workload("n2", "192.168.1.7/32", "cali7")])
        assert tables(facts) == {
            "n1": {"1": "blackhole", "2": "n2", "3": "n3", "1.7/32": "n2"},
            "n2": {"1": "n1", "2": "blackhole", "3": "n3", "1.7/32": "dev cali7"},
            "n3": {"1": "n1", "2": "n2", "3": "blackhole", "1.7/32": "n2"},
        }

    def test_a_reflector_keeps_back_what_lies_in_its_own_block(self) -> None:
        facts = facts_of(
            [
                *RR_BY_LABEL,
                *simple(1, cluster="1.0.0.1", rr="true"),
                *simple(2),
                *simple(3),
                workload("n2", "192.168.1.7/32", "cali7"),
            ]
        )
        assert tables(facts)["n1"]["1.7/32"] == "n2"
        assert "1.7/32" not in tables(facts)["n3"]

    def test_pending_blocks_are_nothing_and_leaving_ones_still_there(self) -> None:
        documents = [
            node("n1", "10.0.0.1/24"),
            node("n2", "10.0.0.2/24"),
            workload("n1", "192.168.3.4/32", "cali4"),
        ]
        states = {"1": "pending", "2": "", "3": "pendingDeletion"}
        blocks = [affinity("n1", block(int(number)), state) for number, state in states.items()]
        blocks += [affinity("n1", block(5)), affinity("n1", block(6))]
        blocks[-2]["spec"]["deleted"] = True
        blocks[-1]["spec"]["type"] = "virtual"
        facts = facts_of([*documents, *blocks])
        assert tables(facts) == {
            "n1": {"2": "blackhole", "3": "blackhole", "3.4/32": "dev cali4"},
            "n2": {"2": "n1", "3": "n1", "3.4/32": "n1"},  # a block on its way out hides nothing any more
        }

    def test_a_pool_that_is_not_exported(self) -> None:
        documents = [
            pool("secret", "172.16.0.0/16", disableBGPExport=True),
            *simple(1),
            *simple(2),
            affinity("n1", "172.16.0.0/26"),
            workload("n1", "172.16.9.1/32", "cali1"),
        ]
        assert tables(facts_of(documents)) == {
            "n1": {"1": "blackhole", "2": "n2", "172.16.0.0/26": "blackhole", "172.16.9.1/32": "dev cali1"},
            "n2": {"1": "n1", "2": "blackhole"},
        }

    def test_outside_of_every_pool_a_block_reaches_neighbours_only(self) -> None:
        documents = [
            *RR_BY_LABEL,
            *simple(1, cluster="1.0.0.1", rr="true"),
            *simple(2),
            *simple(3),
            affinity("n2", "172.16.0.0/26"),
            affinity("n1", "172.17.0.0/26"),
            workload("n2", "172.18.0.1/32", "cali1"),
        ]
        found = tables(facts_of(documents))
        assert found["n1"]["172.16.0.0/26"] == "n2"
        assert "172.16.0.0/26" not in found["n3"]
        assert found["n3"]["172.17.0.0/26"] == "n1"
        assert "172.18.0.1/32" not in found["n1"]

    def test_outside_of_every_pool_a_block_on_its_way_out_is_local(self) -> None:
        """Of the two that have it only n2 announces it, and n1 passes nothing on from outside of the pools."""
        documents = [
            *RR_BY_LABEL,
            *simple(1, cluster="1.0.0.1", rr="true"),
            affinity("n1", "172.16.0.0/26", "pendingDeletion"),
            *simple(2),
            *simple(3),
            affinity("n2", "172.16.0.0/26"),
        ]
        found = tables(facts_of(documents))
        assert found["n1"]["172.16.0.0/26"] == "blackhole"
        assert "172.16.0.0/26" not in found["n3"]

    def test_blocks_of_one_address(self) -> None:
        """No blackhole; the workload's own route is the block's."""
        documents = [
            node("n1", "10.0.0.1/24"),
            node("n2", "10.0.0.2/24"),
            affinity("n1", "192.168.0.1/32"),
            affinity("n1", "192.168.0.2/32"),
            workload("n1", "192.168.0.1/32", "cali1"),
        ]
        assert tables(facts_of(documents)) == {"n1": {"0.1/32": "dev cali1"}, "n2": {"0.1/32": "n1"}}

    def test_two_workloads_with_one_address_and_one_without_an_interface(self) -> None:
        workloads = [workload("n1", "192.168.1.5/32", name) for name in ("cali2", "cali1")]
        nowhere = document("WorkloadEndpoint", "w", {"node": "n1", "ipNetworks": ["192.168.1.6/32"]})
        assert tables(facts_of([*simple(1), *workloads, nowhere]))["n1"] == {
            "1": "blackhole",
            "1.5/32": "dev cali1",
        }

    def test_ipv6_workloads_are_local(self) -> None:
        listing = Listing([POOL, *simple(1), workload("n1", "fd00::1/128", "cali6")])
        assert tables(*gather(listing))["n1"] == {"1": "blackhole", "fd00::1/128": "dev cali6"}

    def test_dual_stack(self) -> None:
        """A family's sessions are between those who have an address of it, and its reflectors the same."""
        documents = [
            *RR_BY_LABEL,
            pool("six", "fd00::/48"),
            *simple(1, cluster="1.0.0.1", rr="true"),
            *simple(2),
            *simple(3),
            affinity("n2", "fd00::40/122"),
            affinity("n3", "fd00::80/122"),
            workload("n2", "fd00::81/128", "cali6"),
        ]
        for each in documents:
            if each["kind"] == "Node" and each["metadata"]["name"] != "n3":
                address = each["spec"]["bgp"]["ipv4Address"].replace("10.0.0.", "fd01::")
                each["spec"]["bgp"]["ipv6Address"] = address.replace("/24", "/64")
        listing = Listing([POOL, *documents])
        assert plain(listing)
        four, six = gather(listing)
        assert (sessions(four), sessions(six)) == (2, 1)
        assert Expected([four, six]).counts(["n1"])["n1"].sessions == 3
        found = tables(four, six)
        assert found["n1"] == {
            "1": "blackhole", "2": "n2", "3": "n3", "fd00::40/122": "fd01::2", "fd00::81/128": "fd01::2",
        }  # fmt: skip
        assert found["n2"]["fd00::81/128"] == "dev cali6"
        assert found["n3"] == {"1": "n1", "2": "n2", "3": "blackhole"}  # no BIRD for IPv6


class TestDifferences:
    ORACLE = Expected(
        [
            facts_of(
                [*simple(1), *simple(2), *simple(3), workload("n1", "192.168.1.5/32", "cali1")],
                down=["n3"],
            )
        ]
    )

    def explain(
        self, change: Mapping[str, FibRoute | None], established: Iterable[str] | None = None
    ) -> list[str]:
        expected = dict(self.ORACLE.solve(["n1"], via))["n1"]
        found = dict(expected)
        for text, route in change.items():
            if route is None:
                del found[parse_prefix(text)]
            else:
                found[parse_prefix(text)] = route
        neighbours = None if established is None else [*map(parse_address, established)]
        differences = first_differences(self.ORACLE, "n1", expected, found, established=neighbours, limit=10)
        assert all(
            found.get(it.prefix) == it.found and expected.get(it.prefix) == it.expected for it in differences
        )
        return [f"{format_prefix(it.prefix)} {it.why}" for it in differences]

    def test_equal(self) -> None:
        assert self.explain({}) == []

    def test_missing(self) -> None:
        assert self.explain({block(2): None}) == [
            "192.168.2.0/26 missing: n2 announces it, and should have a session with n1"
        ]
        assert self.explain({block(2): None}, []) == [
            "192.168.2.0/26 missing: n2 announces it, no session between n2 and n1"
        ]
        assert self.explain({block(2): None}, ["10.0.0.2"]) == [
            "192.168.2.0/26 missing: n2 announces it, the session between n2 and n1 is established"
        ]

    def test_extra(self) -> None:
        n3 = via((parse_address("10.0.0.3"),))
        assert self.explain({block(3): n3}) == [
            "192.168.3.0/26 extra: nobody announces it, and n3 is down: a route that was never withdrawn"
        ]
        assert self.explain({block(8): BLACKHOLE}) == [
            "192.168.8.0/26 extra: n1 has no such block or workload"
        ]

    def test_wrong(self) -> None:
        both = via((parse_address("10.0.0.2"), parse_address("10.0.0.9")))
        assert self.explain({block(2): both, "192.168.1.5/32": BLACKHOLE, block(1): None}) == [
            "192.168.1.0/26 missing: it is a block of n1 itself",
            "192.168.1.5/32 wrong: it is a workload of n1 itself",
            "192.168.2.0/26 wrong: next hop 10.0.0.9 is too much; n2 announces it, and should have a session with n1",
        ]

    def test_limit(self) -> None:
        table = dict(self.ORACLE.solve(["n1"], via))["n1"]
        assert [it.prefix for it in first_differences(self.ORACLE, "n1", table, {}, limit=2)] == [
            parse_prefix(block(1)),
            parse_prefix("192.168.1.5/32"),
        ]

    def test_reflected_and_cut(self) -> None:
        facts = facts_of([*RR_BY_LABEL, *simple(1, cluster="1.0.0.1", rr="true"), *simple(2), *simple(3)])
        oracle = Expected([facts])
        table = dict(oracle.solve(["n3"], via))["n3"]
        up = [parse_address("10.0.0.1")]
        (first, second, *_) = first_differences(oracle, "n3", table, {}, established=up, limit=9)
        assert first.why == "missing: n1 announces it, the session between n1 and n3 is established"
        assert (
            second.why
            == "missing: n2 announces it, through others: no session is configured between n2 and n3"
        )
        cut = Expected([facts_of([*simple(1), *simple(2)], cut=[("n1", "n2")])])
        table = dict(cut.solve(["n1"], via))["n1"]
        found = {**table, parse_prefix(block(2)): via((parse_address("10.0.0.2"),))}
        (extra,) = first_differences(cut, "n1", table, found, limit=9)
        assert (
            extra.why == "extra: n2 announces it, the link between n2 and n1 is cut, and no path leads here"
        )


class TestWire:
    def test_a_shard_solves_its_own_nodes_with_what_it_was_sent(self) -> None:
        facts = facts_of(
            [*simple(1), *simple(2), *simple(3), workload("n3", "192.168.1.7/32", "cali7")],
            cut=[("n2", "n3")],
        )
        routes = Routes()
        everything = dict(Expected([facts]).solve(facts.names, routes.via))
        sent = msgpack.unpackb(msgpack.packb(Expected([facts]).to_wire({"n3"})))
        received = Expected.from_wire(sent)
        assert dict(received.solve(["n3"], routes.via)) == {"n3": everything["n3"]}
        assert received.plain[0].blackholes[0] == []
        assert session_count(received.plain[0]) == session_count(facts)

    def test_the_interned_routes_are_in_the_tables(self) -> None:
        routes = Routes()
        oracle = Expected([facts_of([*simple(1), *simple(2), *simple(3)])])
        tables = dict(oracle.solve({"n1", "n2"}, routes.via))
        third = parse_prefix(block(3))
        assert tables["n1"][third] is tables["n2"][third] is routes.via((parse_address("10.0.0.3"),))


# -- laws: against BGP played out message by message ---------------------------------------------------------------


Heard = set[tuple[int, int, tuple[bytes, ...]]]
"""Paths: (announcer, who told it, CLUSTER_LIST)."""


def spelled_out(facts: Facts) -> dict[tuple[int, int], bool]:
    """(here, there) to whether there is a client of here, for every session, both ways."""
    found: dict[tuple[int, int], bool] = {}
    severed = {number: int.from_bytes(bits, "little") for number, bits in facts.severed}
    for one, other in itertools.permutations(facts.clique, 2):
        if not severed.get(one, 0) >> other & 1:
            found[one, other] = False
    for one, other, one_reflects, other_reflects in facts.edges:
        found[one, other] = one_reflects
        found[other, one] = other_reflects
    return found


def play(
    facts: Facts, announcers: list[int], silent: list[int], transit: bool, order: list[int]
) -> dict[int, set[int]]:
    """The announcers whose paths reach each node: nodes tell their neighbours in ``order``, again until all is quiet."""
    links = spelled_out(facts)
    heard: dict[int, Heard] = {number: set() for number in order}
    quiet = False
    while not quiet:
        quiet = True
        for sender in order:
            passes = (transit or sender in announcers) and sender not in silent
            for (one, receiver), is_client in links.items():
                if one != sender:
                    continue
                told: Heard = {(sender, sender, ())} if sender in announcers else set()
                for announcer, source, clusters in heard[sender] if passes else ():
                    reflected = is_client or links[sender, source]
                    loops = is_client and facts.clusters[sender] in clusters
                    if reflected and not loops and receiver not in (source, announcer):
                        told.add((announcer, sender, (facts.clusters[sender], *clusters)))
                for path in told:
                    if links[receiver, sender] and facts.clusters[receiver] in path[2]:
                        continue
                    if path not in heard[receiver]:
                        heard[receiver].add(path)
                        quiet = False
    return {number: {announcer for announcer, _, _ in paths} for number, paths in heard.items() if paths}


@st.composite
def facts_drawn(draw: st.DrawFn) -> Facts:
    """Any sessions whatsoever: cliques, edges, ASes and reflectors need not come from resources."""
    count = draw(st.integers(2, 8))
    numbers = st.integers(0, count - 1)
    kinds = draw(
        st.sampled_from([[b""], [b"", b"c001"], [b"c001", b"c002"], [b"", b"c001", b"c002", b"c003"]])
    )
    clusters = draw(st.lists(st.sampled_from(kinds), min_size=count, max_size=count))
    mesh = [number for number in range(count) if not clusters[number] and draw(st.booleans())]
    severed: dict[int, int] = {}
    pairs = list(itertools.combinations(range(count), 2))
    edges = []
    for one, other in pairs:
        if one in mesh and other in mesh:
            if draw(st.integers(0, 5)) == 0:
                severed[one] = severed.get(one, 0) | 1 << other
                severed[other] = severed.get(other, 0) | 1 << one
        elif draw(st.booleans()):
            edges.append(
                (
                    one,
                    other,
                    bool(clusters[one]) and draw(st.booleans()),
                    bool(clusters[other]) and draw(st.booleans()),
                )
            )
    announced = []
    blackholes: list[list[Prefix]] = [[] for _ in range(count)]
    for index in range(draw(st.integers(1, 6))):
        prefix = parse_prefix(f"192.168.{index}.0/26")
        announcers = draw(st.lists(numbers, min_size=1, max_size=3, unique=True))
        silent = draw(st.lists(numbers, max_size=4))
        silent = [number for number in silent if number not in announcers]
        for number in announcers:
            blackholes[number].append(prefix)
        announced.append((sorted(announcers), silent, draw(st.integers(0, 5)) > 0, [prefix]))
    return Facts(
        names=[f"n{number}" for number in range(count)],
        addresses=[bytes((10, 0, 0, number)) for number in range(count)],
        clusters=clusters,
        down=[],
        cut=[],
        clique=mesh,
        severed=[(number, bits.to_bytes(1, "little")) for number, bits in severed.items()],
        edges=edges,
        announced=announced,
        blackholes=blackholes,
        workloads=[[] for _ in range(count)],
    )


@settings(max_examples=300)
@given(facts_drawn(), st.randoms(use_true_random=False))
def test_equals_bgp_played_out(facts: Facts, rng: random.Random) -> None:
    order = list(range(len(facts.names)))
    rng.shuffle(order)
    expected: dict[str, dict[Prefix, FibRoute]] = {
        name: dict.fromkeys(facts.blackholes[number], BLACKHOLE) for number, name in enumerate(facts.names)
    }
    for announcers, silent, transit, prefixes in facts.announced:
        for number, reached in play(facts, announcers, silent, transit, order).items():
            if number not in announcers:
                next_hops = [Address(facts.addresses[announcer]) for announcer in reached]
                expected[facts.names[number]][prefixes[0]] = via(tuple(next_hops))
    found = {name: dict(table) for name, table in Expected([facts]).solve(facts.names, via)}
    assert found == expected
    counts = Expected([facts]).counts(facts.names)
    assert {name: count.routes for name, count in counts.items()} == {
        name: len(table) for name, table in found.items()
    }
    assert (
        sum(count.sessions for count in counts.values())
        == len(spelled_out(facts))
        == 2 * session_count(facts)
    )


# -- laws: sessions against each node's configuration, neighbour by neighbour ----------------------------------------

SELECTORS = ["all()", "has(a)", "has(b)", "!has(a)", "a == '1'"]


@st.composite
def resources_drawn(draw: st.DrawFn) -> list[Document]:
    count = draw(st.integers(2, 6))
    asn = draw(st.sampled_from([64512, 65001]))
    documents = [
        node(
            f"n{number}",
            f"10.0.0.{number}/24",
            asn=draw(st.sampled_from([None, asn])),
            cluster=draw(st.sampled_from(["", "", "1.0.0.1", "1.0.0.2"])),
            labels={label: draw(st.sampled_from("12")) for label in "ab" if draw(st.booleans())},
        )
        for number in range(1, count + 1)
    ]
    documents.append(bgp_configuration(nodeToNodeMeshEnabled=draw(st.booleans()), asNumber=asn))
    for index in range(draw(st.integers(0, 4))):
        spec: dict[str, object] = {}
        scope = draw(st.integers(0, 2))
        if scope == 1:
            spec["node"] = f"n{draw(st.integers(1, count))}"
        elif scope == 2:
            spec["nodeSelector"] = draw(st.sampled_from(SELECTORS))
        if draw(st.booleans()):
            spec["peerSelector"] = draw(st.sampled_from(SELECTORS))
        else:
            spec["peerIP"] = f"10.0.0.{draw(st.integers(1, count + 1))}"
            spec["asNumber"] = draw(st.sampled_from([64512, 65001]))
        if draw(st.booleans()):
            spec["reversePeering"] = draw(st.sampled_from(["Auto", "Manual"]))
        documents.append(bgp_peer(f"p{index}", **spec))
    return documents


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    return {
        "all()": True,
        "has(a)": "a" in labels,
        "has(b)": "b" in labels,
        "!has(a)": "a" not in labels,
        "a == '1'": labels.get("a") == "1",
    }[selector]


class Plain:
    """Peers of one node after another, as confd writes them: {neighbour: (AS there, AS here, client)}."""

    def __init__(self, documents: list[Document]) -> None:
        self.nodes = {it["metadata"]["name"]: it for it in documents if it["kind"] == "Node"}
        self.peers = [it["spec"] for it in documents if it["kind"] == "BGPPeer"]
        (self.configuration,) = (it["spec"] for it in documents if it["kind"] == "BGPConfiguration")

    def named(self, name: str) -> int | None:
        asn: int | None = self.nodes[name]["spec"]["bgp"].get("asNumber")
        return asn

    def asn(self, name: str) -> int:
        asn: int = self.named(name) or self.configuration["asNumber"]
        return asn

    def cluster(self, name: str) -> str:
        cluster: str = self.nodes[name]["spec"]["bgp"].get("routeReflectorClusterID", "")
        return cluster

    def here(self, spec: Mapping[str, Any]) -> list[str]:
        if "node" in spec:
            return [spec["node"]]
        selector = spec.get("nodeSelector", "all()")
        return [name for name, it in self.nodes.items() if selects(selector, it["metadata"]["labels"])]

    def there(self, spec: Mapping[str, Any]) -> list[str]:
        if "peerSelector" in spec:
            return [
                name
                for name, it in self.nodes.items()
                if selects(spec["peerSelector"], it["metadata"]["labels"])
            ]
        name = f"n{spec['peerIP'].rpartition('.')[2]}"
        return [name] if name in self.nodes and self.asn(name) == spec["asNumber"] else []

    def explicit(self, own: str, *, globally: bool) -> dict[str, tuple[int, int, bool]]:
        """By BGPPeers; ``globally``: those alone that are for every node."""
        found: dict[str, tuple[int, int, str]] = {}
        is_global = [not ("node" in spec or "nodeSelector" in spec) for spec in self.peers]
        for wanted in (True,) if globally else (True, False):
            for spec, this in zip(self.peers, is_global, strict=True):
                if this is not wanted or own not in self.here(spec):
                    continue
                if "peerSelector" in spec:
                    for name in self.there(spec):
                        found.setdefault(name, (self.asn(name), self.asn(own), self.cluster(name)))
                else:
                    name = f"n{spec['peerIP'].rpartition('.')[2]}"
                    found.setdefault(name, (spec["asNumber"], self.asn(own), ""))
        for spec in () if globally else self.peers:
            if spec.get("reversePeering") != "Manual" and own in self.there(spec):
                for name in self.here(spec):
                    found.setdefault(name, (self.asn(name), self.asn(own), self.cluster(name)))
        mine = self.cluster(own)
        return {
            name: (there, here, bool(mine) and there == here and cluster != mine)
            for name, (there, here, cluster) in found.items()
            if name != own
        }

    def mesh(self, own: str) -> dict[str, tuple[int, int, bool]]:
        if not self.configuration["nodeToNodeMeshEnabled"] or self.cluster(own):
            return {}
        return {
            name: (self.named(name) or self.asn(own), self.asn(own), False)
            for name in self.nodes
            if name != own and not self.cluster(name)
        }

    def sessions(self) -> dict[tuple[str, str], tuple[bool, bool]]:
        """(one, other) to (one reflects for other, the other way round)."""
        leading = {
            own: self.explicit(own, globally=False) | self.mesh(own) | self.explicit(own, globally=True)
            for own in self.nodes
        }
        found = {}
        for one, other in itertools.combinations(self.nodes, 2):
            ours, theirs = leading[one].get(other), leading[other].get(one)
            if ours and theirs and ours[0] == theirs[1] and theirs[0] == ours[1]:
                found[one, other] = ours[2], theirs[2]
        return found


@settings(max_examples=300)
@given(resources_drawn(), st.sets(st.integers(1, 6), max_size=1), st.booleans())
def test_sessions_are_where_both_sides_configure_each_other(
    documents: list[Document], dead: set[int], first_link_cut: bool
) -> None:
    down = {f"n{number}" for number in dead}
    cut = [("n2", "n1")] if first_link_cut else []
    (facts,) = gather(Listing(documents), down=down, cut=cut)
    found = {
        (facts.names[one], facts.names[other]): sides
        for (one, other), sides in both_sides(facts).items()
        if one < other
    }
    expected = {
        pair: sides
        for pair, sides in Plain(documents).sessions().items()
        if not down & set(pair) and not (first_link_cut and pair == ("n1", "n2"))
    }
    assert found == expected
    assert session_count(facts) == len(found)


def both_sides(facts: Facts) -> dict[tuple[int, int], tuple[bool, bool]]:
    links = spelled_out(facts)
    return {pair: (client, links[pair[::-1]]) for pair, client in links.items()}
