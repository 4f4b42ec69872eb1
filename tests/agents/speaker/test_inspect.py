"""What a speaker tells of itself."""

from __future__ import annotations

import attrs
import pytest

from agents.dataplane.fib import device
from agents.speaker.config import StaticRoute
from agents.speaker.decision import RouteSource
from agents.speaker.inspect import Inspector
from agents.speaker.links import HIGH_WATER
from agents.speaker.status import BgpStatus, RouteStatus
from protocol.prefix import Prefix, format_prefix, parse_prefix
from tests.strategies.speaker import SpeakerNet, block, host, local_blocks, peer_config, speaker_config

WALL = 1_700_000_000.0
BORROWED = parse_prefix("192.168.2.7/32")


@pytest.fixture
def net() -> SpeakerNet:
    """Three in a mesh, all up since second 10; it is second 20, and node 1 has borrowed an address from node 2."""
    net = SpeakerNet(now=10.0)
    for number in (1, 2, 3):
        peers = [peer_config(number, other, passive=other > number) for other in (1, 2, 3) if other != number]
        net.add(speaker_config(number, peers, blocks=[block(number)]), start=False)
    net.start(*map(host, (1, 2, 3)))
    net.settle(6, within=0)
    net.fibs[host(1)].set_felix({BORROWED: device("cali7")})
    net.set_workloads(host(1), [BORROWED])
    net.deliver_all()
    net.now = 20.0
    return net


def inspector(net: SpeakerNet, number: int) -> Inspector:
    return Inspector(net.speakers[host(number)], now=net.now, wall=WALL)


def peer(net: SpeakerNet, at: int, other: int) -> BgpStatus:
    return next(each for each in inspector(net, at).status().peers if each.address == host(other))


def brief(routes: list[RouteStatus]) -> list[tuple[str, str, bool]]:
    return [(format_prefix(route.prefix), route.protocol, route.best) for route in routes]


def test_the_speaker_itself(net: SpeakerNet) -> None:
    status = inspector(net, 1).status()
    assert (status.node, status.router_id) == ("node-001", host(1))
    assert (status.started, status.reconfigured, status.now) == (WALL - 10, WALL - 10, WALL)
    assert [each.name for each in status.peers] == ["Node_10_77_0_2", "Node_10_77_0_3"]


def test_an_established_neighbour(net: SpeakerNet) -> None:
    of_two = peer(net, 1, 2)
    assert 0 < of_two.keepalive_left <= of_two.keepalive_time
    assert 67.5 - 10 <= of_two.hold_left <= 90 - 10
    assert of_two == BgpStatus(
        name="Node_10_77_0_2",
        kind="Node",
        address=host(2),
        local_address=host(1),
        peer_as=64512,
        local_as=64512,
        peer_id=host(2),
        protocol_state="up",
        bgp_state="Established",
        since=WALL - 10,
        last_error="",
        capabilities=("refresh", "restart-able", "llgr-aware", "AS4", "add-path-rx", "add-path-tx"),
        add_path=("add-path-rx", "add-path-tx"),
        internal=True,
        rr_client=False,
        hold_time=90.0,
        hold_left=of_two.hold_left,
        keepalive_time=30.0,
        keepalive_left=of_two.keepalive_left,
        imported=1,
        exported=2,
        preferred=1,
        updates_received=1,
        updates_filtered=0,
        updates_sent=2,
        withdraws_received=0,
        withdraws_sent=0,
    )


def test_a_neighbour_that_is_not_there(net: SpeakerNet) -> None:
    net.add(speaker_config(4, [peer_config(4, 9), peer_config(4, 8, passive=True)]))
    net.deliver_all()
    one, other = peer(net, 4, 9), peer(net, 4, 8)
    assert (one.protocol_state, one.bgp_state, one.last_error) == (
        "start",
        "Active",
        "Socket: Connection refused",
    )
    assert (one.peer_id, one.capabilities, one.hold_time, one.imported, one.exported) == (None, (), 0, 0, 0)
    assert (other.bgp_state, other.last_error) == ("Passive", "")


def test_all_routes(net: SpeakerNet) -> None:
    assert brief(inspector(net, 1).routes()) == [
        ("192.168.1.0/26", "static1", True),
        ("192.168.2.0/26", "Node_10_77_0_2", True),
        ("192.168.2.7/32", "kernel1", True),
        ("192.168.3.0/26", "Node_10_77_0_3", True),
    ]


def test_a_route_of_each_kind(net: SpeakerNet) -> None:
    [static], [kernel], [bgp] = (
        inspector(net, 1).routes(prefix=each) for each in (block(1), BORROWED, block(2))
    )
    assert (static.source, static.preference, static.gateways, static.device) == (
        RouteSource.STATIC,
        200,
        (),
        "",
    )
    assert (kernel.source, kernel.preference, kernel.gateways, kernel.device) == (
        RouteSource.KERNEL, 10, (), "cali7",
    )  # fmt: skip
    assert (bgp.source, bgp.preference, bgp.gateways, bgp.neighbour) == (
        RouteSource.BGP,
        100,
        (host(2),),
        host(2),
    )
    assert (bgp.internal, bgp.reason, bgp.since) == (True, "the only route", WALL - 10)
    assert bgp.attributes is not None
    assert bgp.attributes.next_hop == host(2)


def test_the_best_route_first_and_why(net: SpeakerNet) -> None:
    for number in (2, 3):
        config = net.speakers[host(number)].config
        statics = (*config.statics, StaticRoute(prefix=block(50)))
        assert config.policy is not None
        policy = attrs.evolve(config.policy, blocks=(*config.policy.blocks, *local_blocks((block(50),))))
        net.configure(attrs.evolve(config, statics=statics, policy=policy))
    net.deliver_all()
    found = inspector(net, 1).routes(prefix=block(50))
    assert [(route.protocol, route.best, route.reason) for route in found] == [
        ("Node_10_77_0_2", True, "lower router ID"),
        ("Node_10_77_0_3", False, "lower router ID"),
    ]
    assert (peer(net, 1, 2).preferred, peer(net, 1, 3).preferred) == (2, 1)
    assert (peer(net, 1, 2).imported, peer(net, 1, 3).imported) == (2, 2)
    by_protocol = inspector(net, 1).routes(protocol="Node_10_77_0_3")
    assert brief(by_protocol) == [
        ("192.168.3.0/26", "Node_10_77_0_3", True),
        ("192.168.50.0/26", "Node_10_77_0_3", False),
    ]


def test_what_a_neighbour_has_been_told(net: SpeakerNet) -> None:
    told = inspector(net, 1).routes(export_to="Node_10_77_0_2")
    assert brief(told) == [("192.168.1.0/26", "static1", True), ("192.168.2.7/32", "kernel1", True)]
    assert brief(inspector(net, 1).routes(export_to="Node_10_77_0_2", prefix=BORROWED)) == brief(told)[1:]
    assert inspector(net, 1).routes(export_to="Node_10_77_0_2", prefix=block(3)) == []
    assert inspector(net, 1).routes(export_to="Node_10_77_0_77") == []
    net.break_connection(net.peer(1, 2).link)  # type: ignore[arg-type]  # it is connected
    net.deliver_all()
    assert inspector(net, 1).routes(export_to="Node_10_77_0_2") == []


def test_a_client_is_not_shown_its_own_route_as_exported() -> None:
    net = SpeakerNet()
    clients = [peer_config(1, client, cluster_id=host(1)) for client in (2, 3)]
    net.add(speaker_config(1, clients, blocks=[block(1)]))
    for client in (2, 3):
        net.add(speaker_config(client, [peer_config(client, 1)], blocks=[block(client)]))
    net.settle(4)
    for client, other in ((2, 3), (3, 2)):
        told = inspector(net, 1).routes(export_to=f"Node_10_77_0_{client}")
        assert [route.prefix for route in told] == sorted([block(1), block(other)])
        assert peer(net, 1, client).exported == 2


def test_what_a_slow_neighbour_has_not_been_told_yet(net: SpeakerNet) -> None:
    link = net.peer(1, 2).link
    assert link is not None
    link.queued = HIGH_WATER + 1

    def told() -> list[Prefix]:
        return [route.prefix for route in inspector(net, 1).routes(export_to="Node_10_77_0_2")]

    later = parse_prefix("192.168.3.9/32")
    net.set_workloads(host(1), [BORROWED, later])
    assert told() == [block(1), BORROWED]
    net.set_workloads(host(1), [later])
    assert told() == [block(1)], "what is gone is not shown as exported, though it may not know"
    link.queued = 0
    net.deliver_all()
    assert told() == [block(1), later]


def test_looking_changes_nothing(net: SpeakerNet) -> None:
    before = net.next_timer(), net.waiting(), inspector(net, 1).routes(), inspector(net, 1).status()
    assert (net.next_timer(), net.waiting(), inspector(net, 1).routes(), inspector(net, 1).status()) == before


def test_nothing_known_of_a_prefix(net: SpeakerNet) -> None:
    assert inspector(net, 1).routes(prefix=block(77)) == []


def test_every_path_that_a_neighbour_was_told() -> None:
    """A reflector with add-path: three clients announce the same, each is told the others' paths; kernel1 has all three."""
    net = SpeakerNet()
    clients = [peer_config(1, client, cluster_id=host(1)) for client in (2, 3, 4)]
    net.add(speaker_config(1, clients))
    for client in (2, 3, 4):
        net.add(speaker_config(client, [peer_config(client, 1)], blocks=[block(50)]))
    net.settle(6)
    told = inspector(net, 1).routes(export_to="Node_10_77_0_3")
    assert brief(told) == [
        ("192.168.50.0/26", "Node_10_77_0_2", True), ("192.168.50.0/26", "Node_10_77_0_4", False),
    ]  # fmt: skip
    assert peer(net, 1, 3).exported == 2
    [programmed] = inspector(net, 1).routes(export_to="kernel1")
    assert programmed.gateways == (host(2), host(3), host(4))
    assert peer(net, 3, 1).imported == 2
    assert [route.protocol for route in inspector(net, 3).routes()] == [
        "static1",
        "Node_10_77_0_1",
        "Node_10_77_0_1",
    ]


@pytest.mark.parametrize("order", [(2, 3, 4), (4, 3, 2), (3, 4, 2)])
def test_paths_that_lose_stand_in_the_order_of_their_neighbours_whoever_spoke_first(
    order: tuple[int, ...],
) -> None:
    net = SpeakerNet()
    anycast = block(9)
    for number in (1, *order):
        others = [1] if number > 1 else [*order]
        peers = [peer_config(number, other, passive=other > number) for other in others]
        net.add(speaker_config(number, peers, blocks=[anycast] if number > 1 else []), start=False)
    net.start(*map(host, (1, *order)))
    net.settle(6, within=0)
    told = inspector(net, 1).routes(prefix=anycast)
    assert [route.protocol for route in told] == ["Node_10_77_0_2", "Node_10_77_0_3", "Node_10_77_0_4"]
