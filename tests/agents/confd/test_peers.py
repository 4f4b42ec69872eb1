"""One node's stanzas: mesh, names, the passive side, route reflectors."""

from __future__ import annotations

from hypothesis import given

from agents.speaker.config import PeerKind
from protocol.prefix import parse_address
from protocol.v3.bgp import BGPConfiguration
from protocol.v3.node import Node
from tests.strategies.confd import (
    bgp_configuration,
    bgp_configurations,
    bgp_peer,
    config_of,
    node,
    nodes,
    stanzas,
)

ONE = node("one", "10.77.0.1/16")
TWO = node("two", "10.77.0.2/16")
NINE = node("nine", "10.77.0.9")
TEN = node("ten", "10.77.0.10")
NO_MESH = bgp_configuration(node_to_node_mesh_enabled=False)


def test_mesh_is_every_other_node_in_the_order_of_the_protocols_names() -> None:
    assert stanzas("two", NINE, TWO, TEN, ONE) == [
        "Mesh_10_77_0_1 as 64512",
        "Mesh_10_77_0_10 as 64512",
        "Mesh_10_77_0_9 as 64512 passive",
    ]


def test_a_stanza_has_both_ends() -> None:
    (peer,) = config_of("one", ONE, TWO).peers
    assert peer.kind is PeerKind.MESH
    assert (peer.address, peer.local_address) == (parse_address("10.77.0.2"), parse_address("10.77.0.1"))
    assert (peer.local_as, peer.internal) == (64512, True)


def test_the_larger_address_as_text_dials() -> None:
    assert stanzas("nine", NINE, TEN) == ["Mesh_10_77_0_10 as 64512"]
    assert stanzas("ten", NINE, TEN) == ["Mesh_10_77_0_9 as 64512 passive"]


def test_mesh_can_be_switched_off_and_is_on_when_nothing_is_said() -> None:
    assert stanzas("one", ONE, TWO, NO_MESH) == []
    assert stanzas("one", ONE, TWO, bgp_configuration()) == ["Mesh_10_77_0_2 as 64512 passive"]
    assert stanzas("one", ONE, TWO, bgp_configuration("other", node_to_node_mesh_enabled=False)) != []


def test_nodes_without_an_ipv4_address_are_not_in_the_mesh() -> None:
    assert stanzas("one", ONE, node("six", "")) == []


def test_route_reflectors_leave_the_mesh() -> None:
    reflector = node("rr", "10.77.0.3", cluster_id="244.0.0.1")
    assert stanzas("rr", ONE, TWO, reflector) == []
    assert stanzas("one", ONE, TWO, reflector) == ["Mesh_10_77_0_2 as 64512 passive"]


def test_mesh_neighbours_with_their_own_as_are_external() -> None:
    other = node("other", "10.77.0.3", as_number=64600)
    config = config_of("one", ONE, other, bgp_configuration(as_number=64999))
    assert [(peer.local_as, peer.peer_as, peer.internal) for peer in config.peers] == [(64999, 64600, False)]


def test_a_neighbour_without_as_is_expected_in_the_as_of_this_node() -> None:
    special = node("special", "10.77.0.3", as_number=64600)
    assert stanzas("special", ONE, special) == ["Mesh_10_77_0_1 as 64600"]
    assert stanzas("one", ONE, special) == ["Mesh_10_77_0_3 as 64600 passive"]


def test_mesh_ports_are_the_neighbours_and_not_part_of_the_name() -> None:
    resources = (
        ONE,
        TWO,
        NINE,
        bgp_configuration(listen_port=150),
        bgp_configuration("node.two", listen_port=151),
    )
    assert stanzas("one", *resources) == [
        "Mesh_10_77_0_2 as 64512 port 151 passive",
        "Mesh_10_77_0_9 as 64512 port 150 passive",
    ]


def test_global_peers_by_ip_are_passive_towards_larger_nodes_only() -> None:
    resources = (
        ONE,
        TWO,
        NO_MESH,
        bgp_peer("node", peer_ip="10.77.0.2", as_number=64512),
        bgp_peer("smaller", peer_ip="10.77.0.1", as_number=64512),
        bgp_peer("stranger", peer_ip="10.77.0.99", as_number=64512),
    )
    assert stanzas("one", *resources) == ["Global_10_77_0_2 as 64512 passive", "Global_10_77_0_99 as 64512"]
    assert stanzas("two", *resources) == ["Global_10_77_0_1 as 64512", "Global_10_77_0_99 as 64512"]


def test_global_peers_by_selector_are_dialled_from_both_ends() -> None:
    resources = (ONE, TWO, NO_MESH, bgp_peer("all", peer_selector="all()"))
    assert stanzas("one", *resources) == ["Global_10_77_0_2 as 64512"]
    assert stanzas("two", *resources) == ["Global_10_77_0_1 as 64512"]


def test_node_peers_are_dialled_from_both_ends() -> None:
    resources = (ONE, TWO, NO_MESH, bgp_peer("pair", node="one", peer_ip="10.77.0.2", as_number=64512))
    assert stanzas("one", *resources) == ["Node_10_77_0_2 as 64512"]
    assert stanzas("two", *resources) == ["Node_10_77_0_1 as 64512"]


def test_an_explicit_peering_stands_beside_the_mesh() -> None:
    resources = (ONE, TWO, bgp_peer("pair", node="one", peer_selector="all()"))
    assert stanzas("one", *resources) == ["Mesh_10_77_0_2 as 64512 passive", "Node_10_77_0_2 as 64512"]


CLIENT = node("client", "10.77.0.20", role="client")
REFLECTOR_A = node("rr-a", "10.77.0.3", cluster_id="244.0.0.1", role="rr")
REFLECTOR_B = node("rr-b", "10.77.0.4", cluster_id="244.0.0.1", role="rr")
OTHER_TIER = node("rr-z", "10.77.0.5", cluster_id="244.0.0.9", role="rr")


def test_reflectors_serve_clients_and_other_clusters_but_not_their_own() -> None:
    resources = (
        CLIENT,
        REFLECTOR_A,
        REFLECTOR_B,
        OTHER_TIER,
        bgp_peer("clients", node_selector="role == 'client'", peer_selector="role == 'rr'"),
        bgp_peer("reflectors", node_selector="role == 'rr'", peer_selector="role == 'rr'"),
    )
    assert stanzas("rr-a", *resources) == [
        "Node_10_77_0_20 as 64512 client of 244.0.0.1",
        "Node_10_77_0_4 as 64512",
        "Node_10_77_0_5 as 64512 client of 244.0.0.1",
    ]
    assert stanzas("client", *resources) == [
        "Node_10_77_0_3 as 64512",
        "Node_10_77_0_4 as 64512",
        "Node_10_77_0_5 as 64512",
    ]


def test_external_neighbours_are_no_clients() -> None:
    peer = bgp_peer("tor", node="rr-a", peer_ip="10.99.0.1", as_number=65000)
    assert stanzas("rr-a", REFLECTOR_A, peer) == ["Node_10_99_0_1 as 65000"]


def test_a_reflector_of_the_same_cluster_by_ip_is_a_client() -> None:
    peer = bgp_peer("pair", node="rr-a", peer_ip="10.77.0.4", as_number=64512, reverse_peering="Manual")
    assert stanzas("rr-a", REFLECTOR_A, REFLECTOR_B, peer) == ["Node_10_77_0_4 as 64512 client of 244.0.0.1"]


@given(nodes(), bgp_configurations())
def test_mesh_sessions_have_two_ends_and_one_dials(
    cluster: list[Node], settings: list[BGPConfiguration]
) -> None:
    ends = {
        (config.address, peer.address): peer
        for config in (config_of(it.metadata.name, *cluster, *settings) for it in cluster)
        for peer in config.peers
    }
    for (here, there), peer in ends.items():
        assert here != there
        assert peer.passive != ends[there, here].passive
