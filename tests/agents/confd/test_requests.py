"""What a BGPPeer says of its sessions, field by field, and on which of its three ways it counts."""

from __future__ import annotations

from typing import Any

import pytest

from agents.speaker.config import NextHop, PeerConfig, SpeakerConfig, StaticRoute
from protocol.prefix import IPV4, IPV6, parse_address, parse_prefix
from protocol.v3.bgp import FilterRuleV4, FilterRuleV6
from protocol.v3.metadata import Resource
from tests.strategies.confd import (
    GLOBAL_AS,
    bgp_configuration,
    bgp_filter,
    bgp_peer,
    config_of,
    node,
    password,
    secret,
)

ONE = node("one", "10.77.0.1/16", ipv6="fd00:77::1/64")
TWO = node("two", "10.77.0.2/16", ipv6="fd00:77::2/64", role="rr")
NO_MESH = bgp_configuration(node_to_node_mesh_enabled=False)
CLUSTER = (ONE, TWO, NO_MESH)

BY_IP: dict[str, Any] = {"node": "one", "peer_ip": "10.77.0.2", "as_number": GLOBAL_AS}
BY_SELECTOR: dict[str, Any] = {"node": "one", "peer_selector": "role == 'rr'"}


def only(config: SpeakerConfig) -> PeerConfig:
    (peer,) = config.peers
    return peer


def ways(**spec: Any) -> tuple[PeerConfig, PeerConfig, PeerConfig]:
    """The session that such a BGPPeer makes by address, by selector, and the one that is made in reverse."""
    by_ip, by_selector = bgp_peer("p", **BY_IP, **spec), bgp_peer("p", **BY_SELECTOR, **spec)
    return (
        only(config_of("one", *CLUSTER, by_ip)),
        only(config_of("one", *CLUSTER, by_selector)),
        only(config_of("two", *CLUSTER, by_ip)),
    )


@pytest.mark.parametrize(
    ("spec", "field", "value"),
    [
        ({}, "source_address", True),
        ({"source_address": "UseNodeIP"}, "source_address", True),
        ({"source_address": "None"}, "source_address", False),
        ({}, "ttl_security", None),
        ({"ttl_security": 0}, "ttl_security", None),
        ({"ttl_security": 1}, "ttl_security", 1),
        ({"ttl_security": 255}, "ttl_security", 255),
        ({}, "next_hop", NextHop.AUTO),
        ({"next_hop_mode": "Auto"}, "next_hop", NextHop.AUTO),
        ({"next_hop_mode": "Self"}, "next_hop", NextHop.SELF),
        ({"next_hop_mode": "Keep"}, "next_hop", NextHop.KEEP),
        ({}, "restart_time", None),
        ({"max_restart_time": "2m"}, "restart_time", 120),
        ({}, "keepalive_time", None),
        ({"keepalive_time": "10s"}, "keepalive_time", 10),
    ],
)
def test_fields_that_count_on_every_way(spec: dict[str, Any], field: str, value: object) -> None:
    assert [getattr(peer, field) for peer in ways(**spec)] == [value] * 3


@pytest.mark.parametrize(
    ("spec", "field", "value", "otherwise"),
    [
        ({"local_as_number": 65100}, "local_as_number", 65100, None),
        ({"local_as_number": 65100}, "local_as", 65100, GLOBAL_AS),
        ({"num_allowed_local_as_numbers": 2}, "allow_local_as", 2, 0),
        ({"num_allowed_local_as_numbers": -1}, "allow_local_as", 0, 0),
    ],
)
def test_fields_that_count_for_addresses_only(
    spec: dict[str, Any], field: str, value: object, otherwise: object
) -> None:
    assert [getattr(peer, field) for peer in ways(**spec)] == [value, otherwise, otherwise]


def test_keep_original_next_hop_is_for_external_neighbours_by_address() -> None:
    external = {"peer_ip": "10.99.0.1", "as_number": 65000, "node": "one"}

    def next_hop(**spec: Any) -> NextHop:
        return only(config_of("one", *CLUSTER, bgp_peer("p", **spec))).next_hop

    assert next_hop(**external, keep_original_next_hop=True) is NextHop.KEEP
    assert next_hop(**external, keep_original_next_hop=True, next_hop_mode="Auto") is NextHop.AUTO
    assert next_hop(**BY_IP, keep_original_next_hop=True) is NextHop.AUTO
    other = node("other", "10.77.0.3/16", as_number=65000, role="other")
    peer = bgp_peer("p", node="one", peer_selector="role == 'other'", keep_original_next_hop=True)
    assert only(config_of("one", ONE, other, NO_MESH, peer)).next_hop is NextHop.AUTO


def test_what_is_external_is_asked_of_the_local_as_number() -> None:
    peer = bgp_peer(
        "p", peer_ip="10.99.0.1", as_number=65000, local_as_number=65000, keep_original_next_hop=True
    )
    session = only(config_of("one", *CLUSTER, peer))
    assert session.internal
    assert session.next_hop is NextHop.AUTO
    reflector = node("rr", "10.77.0.3/16", cluster_id="244.0.0.1")
    assert only(config_of("rr", reflector, NO_MESH, peer)).rr_client
    plain = bgp_peer("p", peer_ip="10.99.0.1", as_number=GLOBAL_AS, local_as_number=65000)
    session = only(config_of("rr", reflector, NO_MESH, plain))
    assert not session.internal
    assert not session.rr_client


def test_filters_come_in_their_order_and_by_direction_and_family() -> None:
    accept, reject = FilterRuleV4(action="Accept"), FilterRuleV4(action="Reject")
    resources: tuple[Resource, ...] = (
        *CLUSTER,
        bgp_filter("b", import_v4=(reject,), export_v4=(accept,)),
        bgp_filter("a", import_v4=(accept,), export_v6=(FilterRuleV6(action="Reject"),)),
        bgp_filter("unused", export_v4=(accept, reject)),
        bgp_peer("p", **BY_SELECTOR, filters=("b", "a")),
    )

    def names(family: int) -> tuple[list[str], list[str]]:
        peer = only(config_of("one", *resources, family=family))
        return [it.name for it in peer.import_filters], [it.name for it in peer.export_filters]

    assert names(IPV4) == (["b", "a"], ["b"])
    assert names(IPV6) == ([], ["a"])
    config = config_of("one", *resources)
    assert [(it.name, it.direction) for it in config.filters] == [
        ("a", "import"), ("b", "import"), ("b", "export"), ("unused", "export"),
    ]  # fmt: skip
    assert only(config).import_filters[0].rules == (reject,)
    assert config.notes == ()


def test_a_filter_that_does_not_exist_is_skipped_and_said_at_both_ends() -> None:
    accept = FilterRuleV4(action="Accept")
    resources = (
        *CLUSTER,
        bgp_filter("a", import_v4=(accept,)),
        bgp_peer("p", **BY_IP, filters=("gone", "a")),
    )
    for name in ("one", "two"):
        config = config_of(name, *resources)
        assert [it.name for it in only(config).import_filters] == ["a"]
        assert config.notes == ("BGPPeer/p: BGPFilter/gone does not exist: skipped",)
    assert config_of("three", node("three", "10.77.0.3"), *resources).notes == ()


def test_reachable_by_is_a_static_route_to_the_neighbour_global_ones_first() -> None:
    resources = (
        *CLUSTER,
        bgp_peer("z", peer_ip="10.99.0.9", as_number=65000, reachable_by="10.77.0.254"),
        bgp_peer("a", node="one", peer_ip="10.99.0.1:180", as_number=65000, reachable_by="10.77.0.253"),
        bgp_peer("six", peer_ip="fd00:99::1", as_number=65000, reachable_by="fd00:77::fe"),
        bgp_peer("self", peer_ip="10.77.0.1", as_number=65000, reachable_by="10.77.0.254"),
    )

    assert config_of("one", *resources).statics == (
        StaticRoute(prefix=parse_prefix("10.99.0.9/32"), via=parse_address("10.77.0.254")),
        StaticRoute(prefix=parse_prefix("10.99.0.1/32"), via=parse_address("10.77.0.253")),
    )
    assert config_of("one", *resources, family=IPV6).statics == (
        StaticRoute(prefix=parse_prefix("fd00:99::1/128"), via=parse_address("fd00:77::fe")),
    )


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, "no peerIP, peerSelector or localWorkloadSelector"),
        ({"peer_ip": "10.99.0"}, "peerIP: '10.99.0' is not an IP address"),
        ({"peer_ip": "10.99.0.1", "reachable_by": "gate"}, "reachableBy: 'gate' is not an IP address"),
        (
            {"peer_ip": "10.77.0.2", "reachable_by": "fd00::1"},
            "reachableBy fd00::1 is not of the family of peerIP 10.77.0.2",
        ),
        ({"local_workload_selector": "all()"}, "localWorkloadSelector needs asNumber"),
    ],
)
def test_a_bgp_peer_that_cannot_be_followed_is_skipped_and_said(spec: dict[str, Any], reason: str) -> None:
    peer = bgp_peer("p", **spec)
    for family in (IPV4, IPV6):
        config = config_of("one", *CLUSTER, peer, family=family)
        assert not config.peers
        assert not config.statics
        assert config.notes == (f"BGPPeer/p: {reason}: skipped",)
    assert config_of("two", *CLUSTER, bgp_peer("p", node="one", **spec)).notes == ()


def test_a_password_is_the_value_of_a_secret_s_key() -> None:
    resources = (*CLUSTER, bgp_peer("p", **BY_SELECTOR, password=password("bgp", "rr")))
    for name in ("one", "two"):
        assert only(config_of(name, *resources, secret("bgp", rr="sesame"))).password == "sesame"
    assert "sesame" not in repr(config_of("one", *resources, secret("bgp", rr="sesame")))


@pytest.mark.parametrize(
    ("there", "word", "note"),
    [
        ([secret("bgp", word="a"), secret("bgp", "kube-system", word="b")], "a", None),
        ([secret("bgp", "kube-system", word="b")], "b", None),
        (
            [secret("bgp", "default", word="c")],
            None,
            "Secret 'bgp' does not exist in calico-system or kube-system",
        ),
        ([secret("bgp", other="a")], None, "Secret calico-system/bgp has nothing under 'word'"),
        ([secret("bgp", word="")], None, "Secret calico-system/bgp has nothing under 'word'"),
    ],
)
def test_where_a_secret_is_looked_for_and_what_is_said_when_it_is_not_there(
    there: list[Resource], word: str | None, note: str | None
) -> None:
    config = config_of("one", *CLUSTER, *there, bgp_peer("p", **BY_IP, password=password("bgp")))
    assert only(config).password == word
    assert config.notes == (() if note is None else (f"BGPPeer/p: {note}: sessions have no password",))


def test_the_namespace_of_secrets_can_be_given() -> None:
    resources = (
        *CLUSTER,
        secret("bgp", "net", word="n"),
        secret("bgp", word="c"),
        bgp_peer("p", **BY_IP, password=password("bgp")),
    )
    assert only(config_of("one", *resources, env={"NAMESPACE": "net"})).password == "n"


def test_of_two_bgp_peers_for_one_neighbour_all_is_said_by_the_first() -> None:
    first = bgp_peer("a", **BY_IP, keepalive_time="10s")
    second = bgp_peer("b", **BY_IP, ttl_security=3, max_restart_time="5s")
    peer = only(config_of("one", *CLUSTER, second, first))
    assert (peer.keepalive_time, peer.ttl_security, peer.restart_time) == (10, None, None)
