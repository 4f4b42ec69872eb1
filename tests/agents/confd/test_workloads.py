"""Workloads on a node as its BGP peers: localWorkloadSelector."""

from __future__ import annotations

from typing import Any

from agents.confd.derive import Confd
from agents.speaker.config import PeerKind, Timers
from protocol.prefix import IPV6, parse_address
from protocol.v3.bgp import BGPPeer, FilterRuleV4
from protocol.v3.metadata import Resource
from tests.strategies.confd import (
    GLOBAL_AS,
    Writer,
    bgp_configuration,
    bgp_filter,
    bgp_peer,
    config_of,
    node,
    password,
    stanzas,
    workload,
)

ONE = node("one", "10.77.0.1/16", ipv6="fd00:77::1/64", rack="a")
VM = workload("vm", "one", "192.168.4.7/32", "fd00:4::7/128", bgp="yes")
NAME = "Local_Workload_192_168_4_7"


def peer(name: str = "vms", **spec: Any) -> BGPPeer:
    return bgp_peer(name, **{"local_workload_selector": "bgp == 'yes'", "as_number": 65300, **spec})


def test_a_workload_is_a_passive_neighbour_on_its_own_node_only() -> None:
    two = node("two", "10.77.0.2/16")
    resources = (ONE, two, VM, workload("other", "one", "192.168.4.8/32"), peer())
    local = f"{NAME} as 65300 passive"
    assert stanzas("one", *resources) == [local, "Mesh_10_77_0_2 as 64512 passive"]
    assert stanzas("two", *resources) == ["Mesh_10_77_0_1 as 64512"]
    assert stanzas("one", *resources, family=IPV6) == ["Local_Workload_fd00_4__7 as 65300 passive"]


def test_what_of_the_bgp_peer_counts() -> None:
    accept = FilterRuleV4(action="Accept")
    (session,) = config_of(
        "one",
        ONE,
        VM,
        bgp_filter("in", import_v4=(accept,)),
        bgp_configuration(local_workload_peering_ipv4="169.254.1.1"),
        peer(
            filters=("in", "gone"),
            local_as_number=65301,
            password=password("bgp"),
            max_restart_time="5s",
            keepalive_time="5s",
            ttl_security=3,
            next_hop_mode="Keep",
        ),
    ).peers
    assert session.kind is PeerKind.LOCAL_WORKLOAD
    assert session.local_address == parse_address("169.254.1.1")
    assert (session.local_as, session.local_as_number) == (65301, 65301)
    assert not session.source_address
    assert [it.name for it in session.import_filters] == ["in"]
    ignored = (session.password, session.restart_time, session.keepalive_time, session.ttl_security)
    assert ignored == (None, None, None, None)


def test_the_bgp_peer_may_be_for_some_nodes() -> None:
    assert len(stanzas("one", ONE, VM, peer(node="one"))) == 1
    assert len(stanzas("one", ONE, VM, peer(node_selector="rack == 'a'"))) == 1
    assert stanzas("one", ONE, VM, peer(node="two")) == []
    assert stanzas("one", ONE, VM, peer(node_selector="rack == 'b'")) == []


def test_the_first_bgp_peer_by_name_that_matches_counts() -> None:
    resources = (
        ONE,
        VM,
        peer("b", as_number=65302),
        peer("a", as_number=65301),
        peer("0", as_number=1, node="two"),
    )
    assert stanzas("one", *resources) == [f"{NAME} as 65301 passive"]


def test_a_workload_in_the_node_s_as_is_a_reflector_s_client() -> None:
    reflector = node("one", "10.77.0.1/16", cluster_id="244.0.0.1")
    assert stanzas("one", reflector, VM, peer(as_number=GLOBAL_AS)) == [
        f"{NAME} as 64512 passive client of 244.0.0.1"
    ]


def test_a_neighbour_that_somebody_named_is_not_named_twice() -> None:
    named = bgp_peer("named", peer_ip="192.168.4.7", as_number=65300)
    assert stanzas("one", ONE, VM, peer(), named) == ["Global_192_168_4_7 as 65300"]


def test_a_workload_without_an_address_of_the_family_is_none() -> None:
    assert stanzas("one", ONE, workload("vm", "one", "fd00:4::7/128", bgp="yes"), peer()) == []


def test_workloads_come_and_go() -> None:
    writer = Writer(ONE, peer())
    confd = Confd(writer.view, Timers())

    def now() -> int:
        config = confd.derive("one")
        assert config is not None
        return len(config.peers)

    steps: list[tuple[Resource, int]] = [
        (VM, 1),
        (workload("vm", "one", "192.168.4.7/32", bgp="no"), 0),
        (VM, 1),
    ]
    assert now() == 0
    for resource, expected in steps:
        writer.write(resource)
        assert now() == expected
    before = confd.derive("one")
    writer.write(workload("another", "one", "192.168.4.9/32"))
    assert confd.derive("one") is before
    writer.delete(VM)
    assert now() == 0
