"""The tables: calicoctl's, the kernel's and the cluster's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, UNREACHABLE, FibRoute, device, via
from agents.journal import Event
from agents.speaker.status import BgpStatus, SpeakerStatus
from cluster import views
from protocol.prefix import IPV4, IPV6, Address, Prefix, parse_address, parse_prefix

Golden = Callable[[str, str], None]

NOON = 1_795_521_600.0  # 2026-11-24 12:00:00 UTC


def peer(kind: str, address: str, **changes: Any) -> BgpStatus:
    status = BgpStatus(
        name=f"{kind}_{address.replace('.', '_')}", kind=kind, address=parse_address(address),
        local_address=parse_address("10.77.0.9"), peer_as=64512, local_as=64512, peer_id=None, protocol_state="up",
        bgp_state="Established", since=NOON, last_error="", capabilities=(), internal=True, rr_client=False,
        hold_time=90, hold_left=90, keepalive_time=30, keepalive_left=30, imported=0, exported=0, preferred=0,
        updates_received=0, updates_sent=0, withdraws_received=0, withdraws_sent=0, updates_filtered=0, add_path=(),
    )  # fmt: skip
    return attrs.evolve(status, **changes)


def speaker(*peers: BgpStatus) -> SpeakerStatus:
    return SpeakerStatus(
        node="node-009",
        router_id=parse_address("10.77.0.9"),
        started=NOON,
        reconfigured=NOON,
        now=NOON + 60,
        peers=peers,
    )


def test_node_status(golden: Golden) -> None:
    status = speaker(
        peer("Mesh", "10.77.0.17"),
        peer(
            "Mesh",
            "10.77.0.3",
            protocol_state="start",
            bgp_state="Active",
            last_error="Socket: Connection refused",
        ),
        peer("Global", "10.77.0.1", since=NOON - 2 * 86400),
        peer("Node", "10.77.0.200", protocol_state="start", bgp_state="Passive"),
    )
    golden("node_status", views.node_status(views.peer_rows(status)))


def test_node_status_of_a_lonely_node() -> None:
    assert views.node_status(views.peer_rows(speaker())) == (
        "Calico process is running.\n\n"
        "IPv4 BGP status\nNo IPv4 peers found.\n\n"
        "IPv6 BGP status\nNo IPv6 peers found.\n\n"
    )


def test_node_status_leaves_workloads_out_as_calicoctl_does() -> None:
    text = views.node_status(views.peer_rows(speaker(peer("Local_Workload", "10.244.0.7"))))
    assert "No IPv4 peers found." in text


def test_node_status_puts_each_family_in_its_table() -> None:
    text = views.node_status(views.peer_rows(speaker(peer("Mesh", "fd00::17"), peer("Mesh", "10.77.0.3"))))
    four, six = text.split("IPv6 BGP status\n")
    assert "| 10.77.0.3 " in four
    assert "fd00" not in four
    assert "| fd00::17 " in six
    assert "10.77" not in six


def addresses(*texts: str) -> tuple[Address, ...]:
    return tuple(map(parse_address, texts))


FIB: dict[Prefix, FibRoute] = {
    parse_prefix("192.168.9.3"): device("cali12345abcdef"),
    parse_prefix("192.168.9.0/26"): BLACKHOLE,
    parse_prefix("192.168.4.64/26"): via(addresses("10.77.0.17")),
    parse_prefix("10.96.0.10"): via(addresses("10.77.0.2", "10.77.0.3")),
    parse_prefix("192.168.9.0"): via(addresses("10.77.0.5")),
    parse_prefix("0.0.0.0/0"): via(addresses("10.77.0.1")),
    parse_prefix("fd00:1::/122"): BLACKHOLE,
}
FELIX = {parse_prefix("192.168.9.3")}


def test_ip_route(golden: Golden) -> None:
    golden("ip_route", views.ip_route(views.route_rows(FIB, IPV4, FELIX)))


def test_ip_route_of_tunnels_and_of_another_family() -> None:
    fib = {
        parse_prefix("192.168.4.64/26"): via(addresses("10.77.0.17"), "tunl0"),
        parse_prefix("192.168.4.128/26"): via(addresses("192.168.7.0"), "vxlan.calico"),
        parse_prefix("192.168.5.0/26"): UNREACHABLE,
        parse_prefix("192.168.9.0/26"): BLACKHOLE,
        parse_prefix("10.96.0.10"): via(addresses("10.77.0.2", "10.77.0.3"), "tunl0"),
        parse_prefix("0.0.0.0/0"): device("eth0"),  # what a lab Router announces
    }
    felix = {parse_prefix("192.168.4.128/26"), parse_prefix("192.168.9.0/26")}
    assert views.ip_route(views.route_rows(fib, IPV4, felix)) == (
        "default dev eth0 proto bird scope link\n"
        "10.96.0.10 proto bird\n"
        "\tnexthop via 10.77.0.2 dev tunl0 weight 1 onlink\n"
        "\tnexthop via 10.77.0.3 dev tunl0 weight 1 onlink\n"
        "192.168.4.64/26 via 10.77.0.17 dev tunl0 proto bird onlink\n"
        "192.168.4.128/26 via 192.168.7.0 dev vxlan.calico proto 80 onlink\n"
        "unreachable 192.168.5.0/26 proto bird\n"
        "blackhole 192.168.9.0/26 proto 80\n"
    )
    assert views.ip_route(views.route_rows(FIB, IPV6)) == "blackhole fd00:1::/122 proto bird\n"


def test_route_rows_are_those_of_ip_json() -> None:
    rows = {row["dst"]: row for row in json.loads(json.dumps(views.route_rows(FIB, IPV4, FELIX)))}
    assert rows["192.168.4.64/26"] == {
        "dst": "192.168.4.64/26", "gateway": "10.77.0.17", "protocol": "bird", "flags": [],
    }  # fmt: skip
    assert rows["192.168.9.0/26"] == {
        "type": "blackhole",
        "dst": "192.168.9.0/26",
        "protocol": "bird",
        "flags": [],
    }
    assert rows["192.168.9.3"] == {
        "dst": "192.168.9.3",
        "dev": "cali12345abcdef",
        "scope": "link",
        "flags": [],
    }
    assert [hop["gateway"] for hop in rows["10.96.0.10"]["nexthops"]] == ["10.77.0.2", "10.77.0.3"]


@given(st.permutations(list(FIB)))
def test_the_order_of_programming_does_not_show(prefixes: list[Prefix]) -> None:
    assert views.route_rows({prefix: FIB[prefix] for prefix in prefixes}, IPV4) == views.route_rows(FIB, IPV4)


STATUS = views.ClusterStatus(
    name="default",
    pid=4711,
    topology="full mesh",
    uptime=192.4,
    nodes=200,
    routers=0,
    nodes_down=[],
    routers_down=[],
    faults=[],
    notes={},
    shards=[
        views.ShardRow(index=0, pid=4712, up=True, nodes=100, sockets=19_900, memory_mb=60.4),
        views.ShardRow(index=1, pid=4713, up=True, nodes=100, sockets=19_900, memory_mb=158.6),
    ],
    sessions_expected=19_900,
    sessions_established=19_900,
    routes_expected=40_400,
    routes_programmed=40_400,
    convergence="converged in 2.0 s: all 200 FIBs are exactly what the datastore asks for",
)


def test_cluster_status(golden: Golden) -> None:
    golden("status", views.cluster_status(STATUS))


def test_cluster_status_names_nodes_that_are_down() -> None:
    shards = [
        STATUS["shards"][0],
        views.ShardRow(index=1, pid=4713, up=False, nodes=100, sockets=0, memory_mb=0),
    ]
    down = [f"node-{index:03}" for index in range(101, 201)]
    text = views.cluster_status({**STATUS, "nodes_down": down, "shards": shards, "uptime": 7325})
    assert "100/200 up; down: node-101, node-102, node-103, node-104, node-105 and 95 more\n" in text
    assert "4713  dead" in text
    assert "up 2 h 02 min" in text
    one = views.cluster_status({**STATUS, "nodes_down": ["node-007"], "uptime": 9.9})
    assert "199/200 up; down: node-007\n" in one
    assert "up 9 s" in one


def test_cluster_status_counts_routers_apart() -> None:
    text = views.cluster_status({**STATUS, "routers": 3, "routers_down": ["tor"]})
    assert "nodes     200/200 up\nrouters   2/3 up; down: tor\n" in text


def test_cluster_status_says_what_is_wrong_with_whom() -> None:
    notes = {f"BGPPeer/p{number}: no": ["node-001"] for number in range(6)}
    notes["BGPPeer/p0: no"] = ["node-001", "node-002", "node-003"]
    notes["BGPPeer/p1: no"] = ["node-001", "node-002", "node-003", "node-004"]
    text = views.cluster_status({**STATUS, "notes": notes})
    assert "note      BGPPeer/p0: no (node-001, node-002, node-003)\n" in text
    assert "note      BGPPeer/p1: no (4 nodes)\nnote      BGPPeer/p2: no (node-001)\n" in text
    assert "p4" in text
    assert "p5" not in text
    assert "          and 1 more\n" in text


def test_events_are_in_their_order_whichever_node_they_are_of() -> None:
    one = views.event_rows("a", [(NOON, Event("SessionUp", "Mesh_10_77_0_3")), (NOON + 90, Event("x", "y"))])
    other = views.event_rows("b", [(NOON + 30, Event("NodeDown", "in use", warning=True))])
    assert views.events([*one, *other], NOON + 100).splitlines() == [
        "LAST SEEN       NODE  TYPE     REASON     MESSAGE",
        "1 min 40 s ago  a     Normal   SessionUp  Mesh_10_77_0_3",
        "1 min 10 s ago  b     Warning  NodeDown   in use",
        "10 s ago        a     Normal   x          y",
    ]
    assert views.events([], NOON) == "No events.\n"
