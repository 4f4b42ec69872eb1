"""The cheap count of sessions."""

from __future__ import annotations

from cluster.topology import Topology, derive
from protocol.v3.bgp import BGPConfiguration, BGPConfigurationSpec, BGPPeer, BGPPeerSpec
from protocol.v3.metadata import Metadata
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec

MESH_OFF = BGPConfiguration(Metadata("default"), BGPConfigurationSpec(node_to_node_mesh_enabled=False))


def node(name: str, number: int, as_number: int | None = None, cluster: str = "", **labels: str) -> Node:
    bgp = NodeBGPSpec(
        ipv4_address=f"10.0.0.{number}/24", as_number=as_number, route_reflector_cluster_id=cluster
    )
    return Node(Metadata(name, labels=labels), NodeSpec(bgp=bgp))


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
