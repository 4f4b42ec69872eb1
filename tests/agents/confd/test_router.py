"""Lab routers: their configuration, and that their sessions have two ends."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from agents.confd.derive import Confd
from agents.speaker.config import NextHop, PeerKind, SpeakerConfig, StaticRoute, Timers
from protocol.prefix import IPV4, IPV6, parse_address, parse_prefix
from protocol.v3.bgp import BGPConfiguration
from protocol.v3.lab import Router, RouterNeighbor
from protocol.v3.node import Node
from tests.strategies.confd import (
    GLOBAL_AS,
    Writer,
    bgp_configuration,
    bgp_configurations,
    bgp_peer,
    config_of,
    lab_router,
    node,
    nodes,
    password,
    routers,
    secret,
    stanza,
    stanzas,
)

ONE = node("one", "10.77.0.1/16", ipv6="fd00:77::1/64", rack="a")
TWO = node("two", "10.77.0.2/16", rack="b", as_number=64600)
TOR = ("10.77.1.1/16", "fd00:77::1:1/64")


def tor(*neighbors: RouterNeighbor, **spec: Any) -> Router:
    return lab_router("tor", *TOR, neighbors=neighbors, **spec)


def test_all_that_a_router_is_told() -> None:
    timers = Timers(hold=9)
    router = tor(announce=("10.9.0.0/16", "10.10.0.0/16", "fd00:9::/64"), listen_port=1790, add_path=True)
    confd = Confd(Writer(ONE, router).view, timers)
    assert confd.derive("tor") == SpeakerConfig(
        node="tor",
        address=parse_address("10.77.1.1"),
        router_id=parse_address("10.77.1.1"),
        local_as=65000,
        subnet=parse_prefix("10.77.0.0/16"),
        policy=None,
        kernel=None,
        statics=tuple(
            StaticRoute(prefix=parse_prefix(cidr), device="eth0") for cidr in ("10.10.0.0/16", "10.9.0.0/16")
        ),
        timers=timers,
        add_path=True,
        listen_port=1790,
    )
    six = confd.derive("tor", IPV6)
    assert six is not None
    assert (six.address, six.router_id) == (parse_address("fd00:77::1:1"), parse_address("10.77.1.1"))
    assert six.statics == (StaticRoute(prefix=parse_prefix("fd00:9::/64"), device="eth0"),)
    assert not six.peers


def test_a_router_without_an_address_of_the_family_does_nothing() -> None:
    config = config_of("tor", lab_router("tor", "10.77.1.1/16"), family=IPV6)
    assert not config.enabled
    assert not config.add_path


def test_a_node_goes_before_a_router_of_its_name() -> None:
    config = config_of("tor", node("tor", "10.77.0.9"), tor())
    assert config.policy is not None


def test_nodes_by_selector_have_their_as_their_port_and_their_family() -> None:
    router = tor(RouterNeighbor(node_selector="has(rack)"))
    settings = (
        bgp_configuration(as_number=64999, listen_port=150),
        bgp_configuration("node.two", listen_port=151),
    )
    assert stanzas("tor", ONE, TWO, node("three", "10.77.0.3"), router, *settings) == [
        "Lab_10_77_0_1 as 64999 port 150",
        "Lab_10_77_0_2 as 64600 port 151",
    ]
    assert stanzas("tor", ONE, TWO, router, family=IPV6) == ["Lab_fd00_77__1 as 64512"]


def test_other_routers_by_selector() -> None:
    spine = lab_router("spine", "10.77.1.2/16", as_number=65001, listen_port=152, labels={"tier": "spine"})
    router = tor(RouterNeighbor(router_selector="tier == 'spine'"), labels={"tier": "spine"})
    assert stanzas("tor", ONE, spine, router) == ["Lab_10_77_1_2 as 65001 port 152"]


def test_an_address_is_somebody_s_or_needs_an_as() -> None:
    def of(neighbor: RouterNeighbor) -> SpeakerConfig:
        return config_of("tor", TWO, tor(neighbor))

    assert list(map(stanza, of(RouterNeighbor(peer_ip="10.77.0.2")).peers)) == ["Lab_10_77_0_2 as 64600"]
    stranger = RouterNeighbor(peer_ip="10.99.0.1", as_number=1, port=180)
    assert list(map(stanza, of(stranger).peers)) == ["Lab_10_99_0_1 as 1 port 180"]
    nobody = of(RouterNeighbor(peer_ip="10.99.0.1"))
    assert not nobody.peers
    assert nobody.notes == ("Router/tor: neighbour 10.99.0.1 is nobody here and has no asNumber: skipped",)
    assert not of(RouterNeighbor(peer_ip="fd00::9", as_number=1)).peers


def test_an_exception_stands_before_the_rule() -> None:
    exception = RouterNeighbor(peer_ip="10.77.0.2", as_number=65100, port=190)
    rule = RouterNeighbor(node_selector="all()")
    assert stanzas("tor", ONE, TWO, tor(exception, rule)) == [
        "Lab_10_77_0_1 as 64512",
        "Lab_10_77_0_2 as 65100 port 190",
    ]
    assert stanzas("tor", ONE, TWO, tor(rule, exception))[1] == "Lab_10_77_0_2 as 64600"


def test_options_of_a_neighbour() -> None:
    wanted = RouterNeighbor(
        node_selector="rack == 'a'", next_hop_self=True, passive=True, password=password("tor"), as_number=65000,
        route_reflector_client=True,
    )  # fmt: skip
    (peer,) = config_of("tor", ONE, tor(wanted), secret("tor", word="sesame")).peers
    assert peer.kind is PeerKind.LAB
    assert (peer.passive, peer.password, peer.next_hop) == (True, "sesame", NextHop.SELF)
    assert (peer.rr_client, peer.cluster_id) == (True, parse_address("10.77.1.1"))
    assert (peer.local_address, peer.local_as) == (parse_address("10.77.1.1"), 65000)
    (peer,) = config_of("tor", ONE, tor(wanted, route_reflector_cluster_id="244.0.0.1")).peers
    assert peer.cluster_id == parse_address("244.0.0.1")
    config = config_of("tor", ONE, tor(wanted))
    assert config.notes == (
        "Router/tor: Secret 'tor' does not exist in calico-system or kube-system: sessions have no password",
    )


def test_an_external_neighbour_is_no_client() -> None:
    wanted = RouterNeighbor(node_selector="all()", route_reflector_client=True)
    (peer,) = config_of("tor", ONE, tor(wanted)).peers
    assert not peer.rr_client
    assert peer.cluster_id is None


def test_a_router_follows_the_nodes_and_is_the_same_object_while_they_change_nothing() -> None:
    writer = Writer(ONE, tor(RouterNeighbor(node_selector="has(rack)")))
    confd = Confd(writer.view, Timers())
    before = confd.derive("tor")
    writer.write(node("three", "10.77.0.3/16"))
    assert confd.derive("tor") is before
    writer.write(TWO)
    after = confd.derive("tor")
    assert after is not None
    assert len(after.peers) == 2
    writer.delete(tor())
    assert confd.derive("tor") is None


@given(nodes(), bgp_configurations(), routers())
def test_sessions_between_nodes_and_routers_have_two_ends_that_agree(
    cluster: list[Node], settings: list[BGPConfiguration], around: list[Router]
) -> None:
    """What one end expects the other has: the AS (unless the Router says otherwise), the port, somebody who dials."""
    to_routers = [
        bgp_peer(
            f"{router.metadata.name}-{number}",
            peer_ip=text.partition("/")[0],
            as_number=router.spec.as_number,
        )
        for router in around
        for number, text in enumerate(router.spec.addresses)
    ]
    confd = Confd(Writer(*cluster, *settings, *around, *to_routers).view, Timers())
    for family in (IPV4, IPV6):
        found = [confd.derive(it.metadata.name, family) for it in (*cluster, *around)]
        configs = {config.address: config for config in found if config is not None and config.enabled}
        for here in configs.values():
            for peer in here.peers:
                there = configs.get(peer.address)
                if peer.kind is not PeerKind.LAB or there is None:
                    continue
                assert peer.port == there.listen_port
                assert peer.peer_as in (there.local_as, GLOBAL_AS)
                back = [it for it in there.peers if it.address == here.address]
                if there.policy is None:
                    assert all(it.peer_as in (here.local_as, GLOBAL_AS) for it in back)
                else:
                    assert [(it.peer_as, it.port, it.passive) for it in back] == [
                        (here.local_as, None, False)
                    ]
