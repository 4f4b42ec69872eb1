"""Which peerings BGPPeers make: who, with whom, and which of two wins."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given

from agents.confd.derive import Confd
from agents.speaker.config import Timers
from protocol.prefix import IPV4, IPV6, format_address
from protocol.v3.bgp import BGPConfiguration, BGPPeer, BGPPeerSpec
from protocol.v3.fields import split_peer_address
from protocol.v3.metadata import Resource
from protocol.v3.node import Node
from protocol.v3.selector import SelectorError, parse
from tests.strategies.confd import (
    GLOBAL_AS,
    Writer,
    bgp_configuration,
    bgp_configurations,
    bgp_peer,
    bgp_peers,
    config_of,
    node,
    nodes,
    stanza,
    stanzas,
)

ONE = node("one", "10.77.0.1/16", rack="a")
TWO = node("two", "10.77.0.2/16", rack="b")
THREE = node("three", "10.77.0.3/16", rack="b", as_number=64600)
NO_MESH = bgp_configuration(node_to_node_mesh_enabled=False)
CLUSTER = (ONE, TWO, THREE, NO_MESH)


def test_who_is_named_by_node_by_selector_or_is_everyone() -> None:
    tor = {"peer_ip": "10.99.0.1", "as_number": 65000}

    def having(peer: BGPPeer) -> dict[str, list[str]]:
        return {it.metadata.name: stanzas(it.metadata.name, *CLUSTER, peer) for it in (ONE, TWO, THREE)}

    here = ["Node_10_99_0_1 as 65000"]
    assert having(bgp_peer("tor", node="two", **tor)) == {"one": [], "two": here, "three": []}
    assert having(bgp_peer("tor", node_selector="rack == 'b'", **tor)) == {
        "one": [],
        "two": here,
        "three": here,
    }
    everywhere = ["Global_10_99_0_1 as 65000"]
    assert having(bgp_peer("tor", **tor)) == {"one": everywhere, "two": everywhere, "three": everywhere}


def test_with_whom_is_named_by_selector_and_the_nodes_say_the_rest() -> None:
    peer = bgp_peer("b", node="one", peer_selector="rack == 'b'")
    port = bgp_configuration("node.three", listen_port=151)
    assert stanzas("one", *CLUSTER, port, peer) == [
        "Node_10_77_0_2 as 64512",
        "Node_10_77_0_3_port_151 as 64600 port 151",
    ]


def test_a_neighbour_without_any_address_is_left_out_and_said_to_those_who_would_have_it() -> None:
    four, none, other = (
        node("four", rack="b"),
        node("none", rack="b"),
        node("other", ipv6="fd00:77::1/64", rack="b"),
    )
    ours = bgp_peer("b", node="one", peer_selector="rack == 'b'")
    assert config_of("one", *CLUSTER, other, none, ours).notes == (
        "BGPPeer/b: Node/none has no address: skipped",
    )
    assert config_of("one", *CLUSTER, other, none, four, ours).notes == (
        "BGPPeer/b: Node/four and 1 more have no address: skipped",
    )
    assert config_of("two", *CLUSTER, none, ours).notes == ()
    assert config_of("one", *CLUSTER, other, ours).notes == ()
    everyones = bgp_peer("b", peer_selector="rack == 'b'")
    assert config_of("two", *CLUSTER, none, everyones).notes == (
        "BGPPeer/b: Node/none has no address: skipped",
    )


def test_a_port_is_part_of_an_explicit_name() -> None:
    peer = bgp_peer("tor", peer_ip="10.99.0.1:1790", as_number=65000)
    assert stanzas("one", ONE, peer) == ["Global_10_99_0_1_port_1790 as 65000 port 1790"]


def test_a_selector_that_does_not_parse_matches_nothing() -> None:
    assert stanzas("one", *CLUSTER, bgp_peer("bad", node="one", peer_selector="rack ==")) == []
    assert (
        stanzas("one", *CLUSTER, bgp_peer("bad", node_selector="(", peer_ip="10.99.0.1", as_number=1)) == []
    )


def test_a_peer_ip_that_does_not_parse_or_is_of_another_family_is_no_peer() -> None:
    for text in ("10.99.0", "10.99.0.1:", "10.99.0.1:x", "", "[fd00::1]:179", "fd00::1"):
        assert stanzas("one", *CLUSTER, bgp_peer("bad", peer_ip=text, as_number=1)) == []


def test_without_as_a_peer_ip_is_in_the_global_as() -> None:
    settings = bgp_configuration(as_number=64999, node_to_node_mesh_enabled=False)
    special = node("special", "10.77.0.5", as_number=64600)
    peer = bgp_peer("pair", node="special", peer_ip="10.77.0.1")
    assert stanzas("special", ONE, special, settings, peer) == ["Node_10_77_0_1 as 64999"]
    assert stanzas("one", ONE, special, settings, peer) == ["Node_10_77_0_5 as 64600"]


def test_a_node_by_ip_is_dialled_at_its_own_port_or_the_global_one() -> None:
    everywhere = bgp_configuration(node_to_node_mesh_enabled=False, listen_port=150)
    peer = bgp_peer("two", node="one", peer_ip="10.77.0.2", as_number=64512)
    stranger = bgp_peer("tor", node="one", peer_ip="10.99.0.1", as_number=65000)
    assert stanzas("one", ONE, TWO, everywhere, peer, stranger) == [
        "Node_10_77_0_2_port_150 as 64512 port 150",
        "Node_10_99_0_1 as 65000",
    ]
    own = bgp_configuration("node.two", listen_port=151)
    assert stanzas("one", ONE, TWO, everywhere, own, peer) == ["Node_10_77_0_2_port_151 as 64512 port 151"]
    wrong_as = bgp_peer("two", node="one", peer_ip="10.77.0.2", as_number=65000)
    assert stanzas("one", ONE, TWO, everywhere, wrong_as) == ["Node_10_77_0_2 as 65000"]


def test_a_global_peering_wins_over_one_of_the_node() -> None:
    everywhere = bgp_peer("z", peer_ip="10.99.0.1", as_number=65000)
    own = bgp_peer("a", node="one", peer_ip="10.99.0.1", as_number=65001)
    assert stanzas("one", ONE, everywhere, own) == ["Global_10_99_0_1 as 65000"]
    other_port = bgp_peer("a", node="one", peer_ip="10.99.0.1:180", as_number=65001)
    assert stanzas("one", ONE, everywhere, other_port) == [
        "Global_10_99_0_1 as 65000",
        "Node_10_99_0_1_port_180 as 65001 port 180",
    ]


def test_of_two_alike_the_first_by_name_wins() -> None:
    first = bgp_peer("a", peer_ip="10.99.0.1", as_number=65000)
    second = bgp_peer("b", peer_ip="10.99.0.1", as_number=65001)
    assert stanzas("one", ONE, second, first) == ["Global_10_99_0_1 as 65000"]


def test_of_two_nodes_with_one_address_the_first_by_name_is_the_neighbour() -> None:
    first, second = node("a", "10.77.0.9", as_number=64600), node("b", "10.77.0.9", as_number=64601)
    peer = bgp_peer("all", node="one", peer_selector="all()")
    found = ["Mesh_10_77_0_9 as 64600 passive", "Node_10_77_0_9 as 64600"]
    assert stanzas("one", ONE, first, second, peer) == stanzas("one", second, first, ONE, peer) == found


def test_the_far_end_peers_back_unless_told_otherwise() -> None:
    def far_end(**spec: str | int) -> list[str]:
        return stanzas("two", *CLUSTER, bgp_peer("pair", node="one", **spec))

    assert far_end(peer_selector="rack == 'b'") == ["Node_10_77_0_1 as 64512"]
    assert far_end(peer_selector="rack == 'b'", reverse_peering="Auto") == ["Node_10_77_0_1 as 64512"]
    assert far_end(peer_selector="rack == 'b'", reverse_peering="Manual") == []
    assert far_end(peer_ip="10.77.0.2", as_number=64512) == ["Node_10_77_0_1 as 64512"]
    assert far_end(peer_ip="10.77.0.2") == ["Node_10_77_0_1 as 64512"]
    assert far_end(peer_ip="10.77.0.2", as_number=65000) == []


def test_a_global_peering_with_a_node_is_reversed_to_every_other_node() -> None:
    assert stanzas("two", *CLUSTER, bgp_peer("hub", peer_ip="10.77.0.2", as_number=64512)) == [
        "Node_10_77_0_1 as 64512",
        "Node_10_77_0_3 as 64600",
    ]


def test_what_is_written_wins_over_what_is_reversed() -> None:
    reversed_first = bgp_peer("a", node="one", peer_selector="rack == 'b'")
    written = bgp_peer("b", node="two", peer_ip="10.77.0.1", as_number=65000, reverse_peering="Manual")
    assert stanzas("two", *CLUSTER, reversed_first, written) == ["Node_10_77_0_1 as 65000"]


def test_a_peer_ip_with_a_port_means_the_node_that_listens_there() -> None:
    def far_end(*settings: Resource) -> bool:
        peer = bgp_peer("pair", node="one", peer_ip="10.77.0.2:151", as_number=64512)
        return bool(stanzas("two", ONE, TWO, *settings, peer))

    def everywhere(port: int | None) -> BGPConfiguration:
        return bgp_configuration(node_to_node_mesh_enabled=False, listen_port=port)

    own = bgp_configuration("node.two", listen_port=151)
    assert far_end(everywhere(None))
    assert far_end(everywhere(151))
    assert not far_end(everywhere(150))
    assert far_end(everywhere(None), own)
    assert not far_end(everywhere(None), bgp_configuration("node.two", listen_port=150))
    # Calico compares with the global port as well, although the node has its own.
    assert not far_end(everywhere(150), own)


def emitted(
    cluster: list[Node], settings: list[BGPConfiguration], peers: list[BGPPeer]
) -> dict[tuple[str, int], set[str]]:
    """A model in Calico's order of things: all peerings of all nodes and both families into one table, first come,
    first served.

    Node name and family to ``address:port as N`` with the kind before it.
    """
    by_name = {it.metadata.name: it for it in sorted(cluster, key=lambda it: it.metadata.name)}
    ports = {it.metadata.name: it.spec.listen_port for it in settings if it.spec.listen_port}
    table: dict[tuple[str, str, int | None], int] = {}  # ("" for global or node, address, port) to AS

    def addresses(it: Node) -> dict[int, str]:
        assert it.spec.bgp is not None
        written = {IPV4: it.spec.bgp.ipv4_address, IPV6: it.spec.bgp.ipv6_address}
        return {family: text.partition("/")[0] for family, text in written.items() if text}

    def as_number(it: Node) -> int:
        assert it.spec.bgp is not None
        return it.spec.bgp.as_number or GLOBAL_AS

    def port(it: Node) -> int | None:
        return ports.get(f"node.{it.metadata.name}", ports.get("default"))

    def matching(selector: str) -> list[str]:
        try:
            return [name for name, it in by_name.items() if parse(selector).matches(it.metadata.labels)]
        except SelectorError:
            return []

    def behind(spec: BGPPeerSpec) -> list[str]:
        host, wanted = split_peer_address(spec.peer_ip)
        found = []
        for name, it in by_name.items():
            listening = {ports.get(f"node.{name}"), ports.get("default")} - {None}
            here = str(host) in addresses(it).values() and as_number(it) == (spec.as_number or GLOBAL_AS)
            if here and (wanted is None or listening <= {wanted}):
                found.append(name)
        return found

    def local(spec: BGPPeerSpec) -> list[str]:
        if spec.node_selector:
            return matching(spec.node_selector)
        return [spec.node] if spec.node else list(by_name)

    def remote(spec: BGPPeerSpec) -> Iterator[tuple[str, int | None, int]]:
        if spec.peer_selector:
            for it in map(by_name.__getitem__, matching(spec.peer_selector)):
                for address in addresses(it).values():
                    yield address, port(it), as_number(it)
        else:
            host, wanted = split_peer_address(spec.peer_ip)
            nodes_there = behind(spec)
            if wanted is None and nodes_there:
                wanted = port(by_name[nodes_there[0]])
            yield str(host), wanted, spec.as_number or GLOBAL_AS

    def emit(who: str, host: str, at: int | None, number: int) -> None:
        if ("", host, at) not in table:
            table.setdefault((who, host, at), number)

    specs = [it.spec for it in sorted(peers, key=lambda it: it.metadata.name)]
    for global_pass in (True, False):
        for spec in specs:
            if global_pass == (not spec.node and not spec.node_selector):
                for far in remote(spec):
                    for who in [""] if global_pass else local(spec):
                        emit(who, *far)
    for spec in specs:
        if spec.reverse_peering != "Manual":
            for who in matching(spec.peer_selector) if spec.peer_selector else behind(spec):
                for it in (by_name[name] for name in local(spec) if name in by_name):
                    for family, address in addresses(it).items():
                        if spec.peer_selector or family == split_peer_address(spec.peer_ip)[0].version:
                            emit(who, address, port(it), as_number(it))

    return {
        (name, family): {
            f"{'Node' if who else 'Global'} {host}:{at} as {number}"
            for (who, host, at), number in table.items()
            if who in ("", name)
            and family in addresses(it)
            and host != addresses(it)[family]
            and (":" in host) == (family == IPV6)
        }
        for name, it in by_name.items()
        for family in (IPV4, IPV6)
    }


@given(nodes(), bgp_configurations(), bgp_peers())
def test_one_node_s_peerings_are_its_part_of_everybody_s(
    cluster: list[Node], settings: list[BGPConfiguration], peers: list[BGPPeer]
) -> None:
    confd = Confd(Writer(*cluster, *settings, *peers).view, Timers())
    for (name, family), expected in emitted(cluster, settings, peers).items():
        config = confd.derive(name, family)
        assert config is not None
        found = {
            f"{peer.kind.value} {format_address(peer.address)}:{peer.port} as {peer.peer_as}"
            for peer in config.peers
            if not peer.name.startswith("Mesh_")
        }
        assert found == expected


@given(nodes(), bgp_peers(reverse=(None, "Auto")))
def test_without_manual_peers_a_session_that_can_agree_has_two_ends(
    cluster: list[Node], peers: list[BGPPeer]
) -> None:
    configs = [config_of(it.metadata.name, *cluster, *peers, NO_MESH) for it in cluster]
    for here in configs:
        for there in configs:
            if any(peer.address == there.address and peer.peer_as == there.local_as for peer in here.peers):
                assert any(peer.address == here.address for peer in there.peers)


@given(nodes(), bgp_configurations(), bgp_peers())
def test_names_are_sorted_and_each_is_one_neighbour(
    cluster: list[Node], settings: list[BGPConfiguration], peers: list[BGPPeer]
) -> None:
    for it in cluster:
        config = config_of(it.metadata.name, *cluster, *settings, *peers)
        names = [peer.name for peer in config.peers]
        assert names == sorted(set(names))
        assert all(peer.address != config.address for peer in config.peers), list(map(stanza, config.peers))
