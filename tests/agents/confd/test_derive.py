"""The whole configuration, and that it depends on what exists and on nothing else."""

from __future__ import annotations

from typing import Literal

import attrs
from hypothesis import given
from hypothesis import strategies as st

from agents.confd.derive import Confd, derive
from agents.speaker.config import (
    Block,
    ExportPolicy,
    KernelPolicy,
    KernelPool,
    PoolRoutes,
    SpeakerConfig,
    StaticRoute,
    Timers,
)
from protocol.prefix import IPV4, IPV6, parse_address, parse_prefix
from protocol.v3.bgp import BGPFilter, FilterRuleV4
from protocol.v3.metadata import Resource
from protocol.v3.node import Node, NodeStatus
from tests.strategies.confd import (
    Writer,
    affinity,
    bgp_configuration,
    bgp_filter,
    bgp_peer,
    cidrs,
    clusters,
    config_of,
    endpoints,
    lab_router,
    node,
    password,
    pool,
    secret,
    service,
    workload,
)

TIMERS = Timers(hold=30)
ONE = node("one", "10.77.0.1/16")
TWO = node("two", "10.77.0.2/16")
NAMES = [*(f"node-{host:03}" for host in range(8, 14)), "router-14", "router-15"]
EVERYTHING = [(name, family) for name in NAMES for family in (IPV4, IPV6)]


def test_all_that_a_speaker_is_told() -> None:
    writer = Writer(
        ONE,
        pool("plain", "192.168.0.0/16"),
        pool("kept", "10.2.0.0/16", disable_bgp_export=True),
        affinity("one", "192.168.4.64/26"),
        affinity("one", "192.168.4.128/26", "pendingDeletion"),
        affinity("two", "192.168.5.0/26"),
        bgp_configuration(as_number=64999, ipv4_normal_route_priority=2000),
    )
    address = parse_address("10.77.0.1")
    assert derive(writer.view, "one", TIMERS) == SpeakerConfig(
        node="one",
        address=address,
        router_id=address,
        local_as=64999,
        subnet=parse_prefix("10.77.0.0/16"),
        policy=ExportPolicy(
            blocks=(
                Block(cidr=parse_prefix("192.168.4.128/26"), state="pendingDeletion"),
                Block(cidr=parse_prefix("192.168.4.64/26"), state="confirmed"),
            ),
            export_disabled=(parse_prefix("10.2.0.0/16"),),
            pools=(parse_prefix("192.168.0.0/16"),),
            normal_priority=2000,
        ),
        kernel=KernelPolicy(
            normal_priority=2000,
            pools=(
                KernelPool(cidr=parse_prefix("10.2.0.0/16"), routes=PoolRoutes.DIRECT),
                KernelPool(cidr=parse_prefix("192.168.0.0/16"), routes=PoolRoutes.DIRECT),
            ),
            subnet=parse_prefix("10.77.0.0/16"),
        ),
        statics=tuple(
            StaticRoute(prefix=parse_prefix(cidr)) for cidr in ("192.168.4.128/26", "192.168.4.64/26")
        ),
        timers=TIMERS,
    )


def test_the_as_of_the_node_wins_over_the_global_one() -> None:
    assert config_of("own", node("own", "10.77.0.1", as_number=64600), bgp_configuration()).local_as == 64600


def test_without_an_address_there_is_a_configuration_that_does_nothing() -> None:
    writer = Writer(node("six", ""), Node(ONE.metadata), TWO, affinity("six", "192.168.4.64/26"))
    for name in ("six", "one"):
        config = derive(writer.view, name, TIMERS)
        assert config is not None
        assert not config.enabled
        assert config.peers == ()
    six = derive(writer.view, "six", TIMERS)
    assert six is not None
    assert six.statics == (StaticRoute(prefix=parse_prefix("192.168.4.64/26")),)
    assert derive(writer.view, "two", TIMERS) != six
    assert derive(writer.view, "nobody", TIMERS) is None


def test_a_change_of_any_kind_is_seen() -> None:
    writer = Writer(
        ONE,
        service("web", cluster_ip="10.96.0.7", external_traffic_policy="Local"),
        bgp_peer("vms", local_workload_selector="all()", as_number=65300),
    )
    confd = Confd(writer.view, TIMERS)
    seen = [confd.derive("one")]
    for resource in (
        TWO,
        bgp_configuration(listen_port=150),
        bgp_peer("tor", peer_ip="10.99.0.1", as_number=65000),
        pool("plain", "192.168.0.0/16"),
        affinity("one", "192.168.4.64/26"),
        affinity("one", "192.168.4.64/26", "pendingDeletion"),
        bgp_filter("in", import_v4=(FilterRuleV4(action="Reject"),)),
        bgp_peer("pair", node="one", peer_selector="all()", password=password("bgp"), filters=("in",)),
        secret("bgp", word="sesame"),
        bgp_configuration(listen_port=150, service_cluster_ips=cidrs("10.96.0.0/12")),
        endpoints("web", "one"),
        workload("vm", "one", "192.168.4.65/32"),
    ):
        writer.write(resource)
        seen.append(confd.derive("one"))
        assert seen[-1] != seen[-2], resource.kind
        assert seen[-1] == derive(writer.view, "one", TIMERS)
    writer.delete(ONE)
    assert confd.derive("one") is None
    writer.write(ONE)
    assert confd.derive("one") == seen[-1]


def test_a_node_s_own_as_and_cluster_id_are_seen_where_nobody_else_has_to_know() -> None:
    tor = bgp_peer("tor", peer_ip="10.99.0.1", as_number=65000)
    writer = Writer(ONE, tor, bgp_configuration(node_to_node_mesh_enabled=False))
    confd = Confd(writer.view, TIMERS)
    confd.derive("one")
    writer.write(node("one", "10.77.0.1/16", as_number=65000))
    config = confd.derive("one")
    assert config is not None
    assert config.peers[0].internal
    writer.write(node("one", "10.77.0.1/16", as_number=65000, cluster_id="244.0.0.1"))
    config = confd.derive("one")
    assert config is not None
    assert config.peers[0].rr_client


def test_a_change_that_changes_nothing_gives_the_same_object() -> None:
    writer = Writer(ONE, TWO, pool("plain", "192.168.0.0/16"))
    confd = Confd(writer.view, TIMERS)
    config = confd.derive("one")
    assert confd.derive("one") is config
    writer.write(attrs.evolve(TWO, status=NodeStatus(wireguard_public_key="k")))
    assert confd.derive("one") is config
    writer.write(node("two", "10.77.0.2/16", rack="a"))
    assert confd.derive("one") is config
    writer.write(affinity("two", "192.168.5.0/26"))
    assert confd.derive("one") is config
    writer.write(bgp_peer("elsewhere", node="two", peer_ip="10.99.0.1", as_number=65000))
    assert confd.derive("one") is config
    writer.write(
        secret("unused", word="sesame"), service("web", cluster_ip="10.96.0.7"), endpoints("web", "one")
    )
    assert confd.derive("one") is config
    writer.write(lab_router("tor", "10.77.1.1/16"))
    assert confd.derive("one") is config


def test_a_service_that_changes_alone_is_seen() -> None:
    """Resources of the other kinds are where peers, pools and secrets are tested."""
    configuration = bgp_configuration(service_cluster_ips=cidrs("10.96.0.0/12"))
    writer = Writer(ONE, configuration, endpoints("web", "one"))
    confd = Confd(writer.view, TIMERS)
    confd.derive("one")
    writer.write(service("web", cluster_ip="10.96.0.7", external_traffic_policy="Local"))
    config = confd.derive("one")
    assert config is not None
    assert config.policy is not None
    assert parse_prefix("10.96.0.7/32") in config.policy.services


def test_a_changed_filter_leaves_the_other_filters_and_the_sessions_without_it_as_they_are() -> None:
    def named(name: str, *, action: Literal["Accept", "Reject"]) -> BGPFilter:
        return bgp_filter(name, import_v4=(FilterRuleV4(action=action),))

    writer = Writer(
        ONE,
        TWO,
        named("a", action="Accept"),
        named("b", action="Accept"),
        bgp_peer("tor", peer_ip="10.99.0.1", as_number=65000, filters=("a", "b")),
    )
    confd = Confd(writer.view, TIMERS)
    before = confd.derive("one")
    writer.write(named("b", action="Reject"))
    after = confd.derive("one")
    assert before is not None
    assert after is not None
    assert after.peers[0].session == before.peers[0].session
    assert after.peers[0].import_filters[0] is before.peers[0].import_filters[0]
    assert after.peers[0].import_filters[1] != before.peers[0].import_filters[1]
    assert after.peers[1] == before.peers[1]


def test_a_change_of_blocks_keeps_the_peers() -> None:
    writer = Writer(ONE, TWO)
    confd = Confd(writer.view, TIMERS)
    before = confd.derive("one")
    writer.write(affinity("one", "192.168.4.64/26"))
    after = confd.derive("one")
    assert before is not None
    assert after is not None
    assert after.peers is before.peers


@given(st.data(), clusters())
def test_the_order_of_resources_does_not_matter(data: st.DataObject, cluster: list[Resource]) -> None:
    one = Confd(Writer(*cluster).view, TIMERS)
    other = Confd(Writer(*data.draw(st.permutations(cluster))).view, TIMERS)
    for name, family in EVERYTHING:
        assert one.derive(name, family) == other.derive(name, family)


@given(clusters(), clusters(), st.data())
def test_what_was_there_before_does_not_matter(
    past: list[Resource], now: list[Resource], data: st.DataObject
) -> None:
    writer = Writer(*past)
    confd = Confd(writer.view, TIMERS)
    steps = [(writer.write, resource) for resource in now]
    kept = {resource.key for resource in now}
    steps += [(writer.delete, resource) for resource in past if resource.key not in kept]
    for step, resource in data.draw(st.permutations(steps)):
        confd.derive(*data.draw(st.sampled_from(EVERYTHING)))
        step(resource)
    fresh = Confd(Writer(*now).view, TIMERS)
    for name, family in EVERYTHING:
        assert confd.derive(name, family) == fresh.derive(name, family)
