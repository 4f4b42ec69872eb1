"""The cheap count of sessions."""

from __future__ import annotations

from cluster.topology import Topology, derive
from protocol.v3.bgp import BGPConfiguration, BGPConfigurationSpec, BGPPeer, BGPPeerSpec
from protocol.v3.lab import Router, RouterNeighbor, RouterSpec
from protocol.v3.metadata import Metadata
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec

MESH_OFF = BGPConfiguration(Metadata("default"), BGPConfigurationSpec(node_to_node_mesh_enabled=False))


def node(name: str, number: int, as_number: int | None = None, cluster: str = "", **labels: str) -> Node:
    bgp = NodeBGPSpec(
        ipv4_address=f"10.0.0.{number}/24", as_number=as_number, route_reflector_cluster_id=cluster
    )
    return Node(Metadata(name, labels=labels), NodeSpec(bgp=bgp))


def dual(name: str, number: int, ipv4: bool = True, **labels: str) -> Node:
    address = f"10.0.0.{number}/24" if ipv4 else ""
    bgp = NodeBGPSpec(ipv4_address=address, ipv6_address=f"fd00::{number}/64")
    return Node(Metadata(name, labels=labels), NodeSpec(bgp=bgp))


def router(
    name: str, *addresses: str, asn: int = 65001, neighbors: tuple[RouterNeighbor, ...] = ()
) -> Router:
    return Router(Metadata(name), RouterSpec(addresses=addresses, as_number=asn, neighbors=neighbors))


def peer(spec: BGPPeerSpec) -> BGPPeer:
    return BGPPeer(Metadata("p"), spec)


def count(topology: Topology) -> dict[str, int]:
    return dict(topology.sessions)


NODES = [node("a", 1, rack="1"), node("b", 2, rack="1"), node("c", 3), node("d", 4)]


def test_a_mesh_is_everybody_with_everybody() -> None:
    topology = derive(NODES, None, [])
    assert (topology.name, topology.total, count(topology)) == ("full mesh", 6, dict.fromkeys("abcd", 3))


def test_a_reflector_is_outside_the_mesh() -> None:
    assert count(derive([*NODES[:3], node("r", 9, cluster="1.1.1.1")], None, [])) == {
        "a": 2,
        "b": 2,
        "c": 2,
        "r": 0,
    }


def test_nodes_of_two_systems_do_not_agree_on_the_mesh() -> None:
    """A node takes a neighbour without an AS of its own to be in the node's own: bad peer AS on both sides."""
    own = [node("x", 5, as_number=65001), node("y", 6, as_number=65002)]
    assert count(derive([*NODES[:2], *own], None, [])) == {"a": 1, "b": 1, "x": 1, "y": 1}


def test_peers_by_selector_are_answered_unless_manual() -> None:
    selective = BGPPeerSpec(node_selector="rack == '1'", peer_selector="!has(rack)")
    assert count(derive(NODES, MESH_OFF, [peer(selective)])) == dict.fromkeys("abcd", 2)
    manual = BGPPeerSpec(node_selector="rack == '1'", peer_selector="!has(rack)", reverse_peering="Manual")
    assert derive(NODES, MESH_OFF, [peer(manual)]).total == 0


def test_a_peer_by_address_is_a_node_in_the_right_system_or_nobody() -> None:
    def total(address: str, number: int) -> int:
        return derive(NODES, MESH_OFF, [peer(BGPPeerSpec(peer_ip=address, as_number=number))]).total

    assert total("10.0.0.4", 64512) == 3
    assert total("10.0.0.4:1790", 64512) == 3
    assert total("10.0.0.4", 65001) == 0
    assert total("10.9.9.9", 64512) == 0


def test_a_peering_that_the_mesh_has_already_counts_once() -> None:
    topology = derive(NODES, None, [peer(BGPPeerSpec(node="a", peer_selector="all()"))])
    assert (topology.name, topology.total) == ("full mesh", 6)


def test_a_reflectors_client_hears_every_route_from_every_reflector() -> None:
    nodes = [node("r", 9, cluster="1.1.1.1", rr="1"), *NODES]
    topology = derive(nodes, MESH_OFF, [peer(BGPPeerSpec(node_selector="!has(rr)", peer_selector="has(rr)"))])
    assert {load.name: load.routes for load in topology.loads(2)} == {"r": 8, **dict.fromkeys("abcd", 10)}


# --- families -----------------------------------------------------------------------------------------------------


def test_each_family_has_a_mesh_of_those_that_have_an_address_of_it() -> None:
    topology = derive([dual("a", 1), dual("b", 2), node("c", 3), dual("d", 4, ipv4=False)], None, [])
    assert count(topology) == {"a": 4, "b": 4, "c": 2, "d": 2}
    assert {load.name: load.families for load in topology.loads(1)} == {"a": 2, "b": 2, "c": 1, "d": 1}


def test_a_peer_by_selector_is_a_peer_in_every_family_both_have() -> None:
    nodes = [dual("a", 1), dual("b", 2), node("c", 3)]
    selected = derive(nodes, MESH_OFF, [peer(BGPPeerSpec(node="a", peer_selector="all()"))])
    assert count(selected) == {"a": 3, "b": 2, "c": 1}
    for address in ("fd00::2", "[fd00::2]:1790", "FD00:0::2"):
        by_address = derive(nodes, MESH_OFF, [peer(BGPPeerSpec(node="a", peer_ip=address))])
        assert count(by_address) == {"a": 1, "b": 1, "c": 0}


# --- routers ------------------------------------------------------------------------------------------------------


def test_a_router_has_a_session_with_those_that_name_it() -> None:
    named = RouterNeighbor(node_selector="rack == '1'")
    tor = router("tor", "10.0.0.254/24", neighbors=(named,))
    to_tor = BGPPeerSpec(peer_ip="10.0.0.254", as_number=65001)
    topology = derive(NODES, MESH_OFF, [peer(to_tor)], [tor])
    assert count(topology) == {"a": 1, "b": 1, "c": 0, "d": 0, "tor": 2}
    assert topology.routers == {"tor"}
    assert derive(NODES, MESH_OFF, [], [tor]).total == 0, "nobody names it"
    wrong = BGPPeerSpec(peer_ip="10.0.0.254", as_number=65002)
    assert derive(NODES, MESH_OFF, [peer(wrong)], [tor]).total == 0


def test_routers_name_one_another() -> None:
    spine = router(
        "spine",
        "10.1.0.1/24",
        "fd01::1/64",
        neighbors=(RouterNeighbor(router_selector="all()", as_number=65001),),
    )
    leaf = router("leaf", "10.1.0.2/24", "fd01::2/64", neighbors=(RouterNeighbor(peer_ip="fd01::1"),))
    assert count(derive([], None, [], [spine, leaf])) == {"spine": 1, "leaf": 1}
