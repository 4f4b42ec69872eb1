"""A speaker that is told something else while it runs: the shortest way there, and nothing that need not be."""

from __future__ import annotations

from typing import Any, Literal

import attrs
import pytest

from agents.dataplane.fib import BLACKHOLE, UNREACHABLE, device, via
from agents.speaker.config import (
    UPLINK,
    Filter,
    KernelPolicy,
    KernelPool,
    NextHop,
    PeerConfig,
    PoolRoutes,
    SpeakerConfig,
    StaticRoute,
    Timers,
)
from agents.speaker.decision import UNKNOWN_METRIC, RouteSource
from agents.speaker.links import LinkOptions
from protocol.bgp.errors import Cease, Code
from protocol.bgp.messages import Notification, Open, RouteRefresh, Update
from protocol.bgp.wire import split
from protocol.prefix import IPV4, IPV6, Prefix, format_prefix, parse_address, parse_prefix
from protocol.v3.bgp import FilterRuleV4
from tests.strategies.speaker import POOL, SpeakerNet, WireLink, block, host, peer_config, speaker_config

SUBNET = parse_prefix("10.77.0.0/24")


def without(*prefixes: Prefix, direction: Literal["import", "export"] = "import") -> tuple[Filter, ...]:
    rules = tuple(
        FilterRuleV4(action="Reject", cidr=format_prefix(prefix), match_operator="Equal")
        for prefix in prefixes
    )
    return (Filter(name="f", direction=direction, family=IPV4, rules=rules),)


def config(number: int, numbers: tuple[int, ...], **facts: Any) -> SpeakerConfig:
    """A member of a mesh with the block of its number; ``facts`` are of its peerings, or say which blocks."""
    blocks = facts.pop("blocks", (number,))
    peers = [attrs.evolve(peer_config(number, other), **facts) for other in numbers if other != number]
    return speaker_config(number, peers, blocks=map(block, blocks))


def mesh(*numbers: int) -> SpeakerNet:
    net = SpeakerNet()
    for number in numbers:
        net.add(config(number, numbers))
    net.settle(len(numbers) * (len(numbers) - 1))
    return net


def fib(net: SpeakerNet, number: int) -> dict[Prefix, object]:
    return dict(net.fibs[host(number)].routes)


def on_the_way(net: SpeakerNet, number: int) -> list[object]:
    """What is being sent to a node, decoded."""
    found: list[object] = []
    for link in net.ends:
        if link.owner == host(number):
            data = b"".join(what for what in link.pending if isinstance(what, bytes))
            frames, _ = split(data)
            found += map(net.codec.decode, frames)
    return found


def with_peer(whole: SpeakerConfig, other: int, **facts: Any) -> SpeakerConfig:
    peers = tuple(
        attrs.evolve(peer, **facts) if peer.address == host(other) else peer for peer in whole.peers
    )
    return attrs.evolve(whole, peers=peers)


# --- filters ------------------------------------------------------------------------------------------------------


def test_new_import_filters_ask_for_the_routes_again() -> None:
    net = mesh(1, 2, 3)
    sessions = [peer.session for peer in net.speakers[host(1)].peers.values()]
    whole = net.speakers[host(1)].config
    net.configure(with_peer(whole, 2, import_filters=without(block(2))))
    assert (on_the_way(net, 2), on_the_way(net, 3)) == ([RouteRefresh()], []), "of him whom they are for"
    assert block(2) in fib(net, 1), "until it comes again"
    net.deliver_all()
    assert fib(net, 1).keys() == {block(1), block(3)}
    net.configure(whole)
    net.deliver_all()
    assert fib(net, 1).keys() == {block(1), block(2), block(3)}
    assert [peer.session for peer in net.speakers[host(1)].peers.values()] == sessions
    assert net.established() == 6


def test_new_export_filters_for_all_tell_only_what_differs() -> None:
    net = mesh(1, 2, 3)
    net.configure(config(1, (1, 2, 3), blocks=(1, 11)))
    net.deliver_all()
    net.configure(config(1, (1, 2, 3), blocks=(1, 11), export_filters=without(block(11), direction="export")))
    for other in (2, 3):
        assert on_the_way(net, other) == [Update(withdrawn=(block(11),))]
    net.deliver_all()
    assert fib(net, 2).keys() == {block(1), block(2), block(3)}
    net.configure(config(1, (1, 2, 3), blocks=(1, 11)))
    [[announced], [_]] = [
        [each for each in on_the_way(net, other) if isinstance(each, Update)] for other in (2, 3)
    ]
    assert announced.nlri == (block(11),)


def test_new_export_filters_for_one_tell_him_alone() -> None:
    net = mesh(1, 2, 3)
    whole = config(1, (1, 2, 3), blocks=(1, 11, 12))
    net.configure(whole)
    net.deliver_all()
    net.configure(with_peer(whole, 2, export_filters=without(block(11), direction="export")))
    assert on_the_way(net, 3) == []
    net.deliver_all()
    assert fib(net, 2).keys() == {block(number) for number in (1, 2, 3, 12)}
    assert fib(net, 3).keys() == {block(number) for number in (1, 2, 3, 11, 12)}
    net.configure(whole)
    net.deliver_all()
    assert fib(net, 2).keys() == fib(net, 3).keys()
    assert net.established() == 6


def test_a_filter_that_changes_nothing_says_nothing() -> None:
    net = mesh(1, 2)
    net.configure(config(1, (1, 2), export_filters=without(block(99), direction="export")))
    assert on_the_way(net, 2) == []


# --- a session's options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "facts",
    [
        {"password": "secret"},
        {"keepalive_time": 7},
        {"restart_time": 30},
        {"ttl_security": 1},
        {"next_hop": NextHop.SELF},
    ],
)
def test_another_option_restarts_just_that_session(facts: dict[str, Any]) -> None:
    net = mesh(1, 2, 3)
    before = net.peer(1, 3).session
    net.configure(with_peer(net.speakers[host(1)].config, 2, **facts))
    assert net.established() == 5
    net.settle(6)
    assert net.peer(1, 3).session is before


def test_times_are_told_and_kept() -> None:
    net = SpeakerNet()
    net.add(config(1, (1, 2), keepalive_time=7, restart_time=33))
    net.add(config(2, (1, 2)))
    net.settle(2)
    assert (net.peer(1, 2).session.keepalive_time, net.peer(2, 1).session.keepalive_time) == (7, 30)
    opens = net.peer(1, 2).session.peer_open, net.peer(2, 1).session.peer_open
    restarts = [each.capabilities.graceful_restart for each in opens if isinstance(each, Open)]
    assert [each.time for each in restarts if each is not None] == [120, 33]


def test_what_the_network_must_know_of_a_neighbour() -> None:
    net = mesh(1, 2)
    speaker = net.speakers[host(1)]
    speaker.configure(with_peer(speaker.config, 2, password="secret", ttl_security=3, port=1790), 0.0)
    effects = speaker.take_effects()
    assert effects.expect == {host(2): LinkOptions(password="secret", ttl=255, min_ttl=253)}
    assert [(address, port) for _, address, port in effects.dials] == [(host(2), 1790)]
    speaker.configure(attrs.evolve(speaker.config, debug=speaker.config.debug, notes=("x",)), 0.0)
    assert speaker.take_effects().expect is None, "nothing new to expect"
    speaker.configure(attrs.evolve(speaker.config, peers=()), 0.0)
    assert speaker.take_effects().expect == {}


# --- routes of its own, and where next hops lead -------------------------------------------------------------------


def told_by(net: SpeakerNet, number: int, prefix: Prefix, next_hop: str) -> None:
    """Node 2 tells node ``number`` a route of somebody else's."""
    link = net.peer(number, 2).link
    assert isinstance(link, WireLink)
    said = attrs.evolve(next(iter(net.peer(number, 2).adj_rib_in.values())), next_hop=parse_address(next_hop))
    [frame] = net.codec.update_frames(IPV4, nlri=[prefix], attributes=said)
    net.handle(host(number), [(link, frame)])


def test_next_hops_lead_where_the_nodes_own_routes_do() -> None:
    net = mesh(1, 2)
    far, near, nowhere = block(21), block(22), block(23)
    for prefix, next_hop in ((far, "10.99.0.1"), (near, "10.77.0.7"), (nowhere, "192.168.1.9")):
        told_by(net, 1, prefix, next_hop)
    assert [fib(net, 1)[prefix] for prefix in (far, near, nowhere)] == [
        via((parse_address("10.99.0.1"),)), via((host(7),)), UNREACHABLE,
    ]  # fmt: skip
    whole = attrs.evolve(net.speakers[host(1)].config, subnet=SUBNET)
    reachable_by = StaticRoute(prefix=parse_prefix("10.99.0.1/32"), via=host(254))
    net.configure(attrs.evolve(whole, statics=(*whole.statics, reachable_by)))
    assert fib(net, 1)[far] == via((host(254),))
    assert fib(net, 1)[parse_prefix("10.99.0.1/32")] == via((host(254),))
    net.configure(whole)
    assert fib(net, 1)[far] == via((parse_address("10.99.0.1"),))
    everywhere = parse_prefix("0.0.0.0/0")
    net.configure(attrs.evolve(whole, statics=(*whole.statics, StaticRoute(prefix=everywhere))))
    assert fib(net, 1)[far] == UNREACHABLE, "behind a blackhole"
    uplink = StaticRoute(prefix=everywhere, device=UPLINK)
    net.configure(attrs.evolve(whole, statics=(*whole.statics, uplink)))
    assert (fib(net, 1)[far], fib(net, 1)[everywhere]) == (via((parse_address("10.99.0.1"),)), device(UPLINK))
    net.configure(whole)
    net.set_kernel(host(1), {parse_prefix("10.99.0.0/16"): via((host(253),), "tunl0")})
    assert fib(net, 1)[far] == via((host(253),))


def test_a_static_route_needs_its_gateway_on_the_nodes_network() -> None:
    whole = attrs.evolve(
        speaker_config(1), statics=(StaticRoute(prefix=block(1), via=host(5)), StaticRoute(prefix=block(2)))
    )
    net = SpeakerNet()
    net.add(attrs.evolve(whole, subnet=SUBNET))
    net.configure(attrs.evolve(whole, subnet=SUBNET, notes=("x",)))
    assert fib(net, 1) == {block(1): via((host(5),)), block(2): BLACKHOLE}
    net.configure(attrs.evolve(whole, subnet=parse_prefix("10.88.0.0/24")))
    assert fib(net, 1) == {block(2): BLACKHOLE}


def test_the_connected_network_is_known_and_not_programmed() -> None:
    net = SpeakerNet()
    net.add(attrs.evolve(speaker_config(1), subnet=SUBNET, statics=(StaticRoute(prefix=SUBNET),)))
    net.handle(host(1))
    assert SUBNET not in fib(net, 1)
    found = net.speakers[host(1)].rib.explain(SUBNET)
    assert [path.source for path, _ in found] == [RouteSource.DIRECT, RouteSource.STATIC]


def test_a_network_behind_an_ignored_interface_is_not_known() -> None:
    net = mesh(1, 2)
    whole = attrs.evolve(net.speakers[host(1)].config, subnet=SUBNET)
    net.configure(whole)
    rib = net.speakers[host(1)].rib
    assert (SUBNET in rib.best, rib.best[block(2)].metric) == (True, 0)
    for pattern in ("eth0", "eth*"):
        net.configure(attrs.evolve(whole, ignored_interfaces=("ens?", pattern)))
        assert (SUBNET in rib.best, rib.best[block(2)].metric) == (False, UNKNOWN_METRIC)
        assert fib(net, 1)[block(2)] == via((host(2),))
        net.configure(whole)
        assert SUBNET in rib.best


def test_what_the_kernel_gets_follows_the_kernel_policy() -> None:
    net = mesh(1, 2)
    whole = net.speakers[host(1)].config
    felix = KernelPolicy(pools=(KernelPool(cidr=POOL, routes=PoolRoutes.FELIX),))
    net.configure(attrs.evolve(whole, kernel=felix))
    assert fib(net, 1) == {}
    net.configure(attrs.evolve(whole, kernel=None))
    assert fib(net, 1) == {block(1): BLACKHOLE, block(2): via((host(2),))}
    assert net.waiting() == [], "neighbours hear nothing of it"


def test_routes_that_felix_programmed_come_and_go() -> None:
    net = mesh(1, 2)
    pod, remote = parse_prefix("192.168.9.9/32"), parse_prefix("192.168.7.0/26")
    net.set_kernel(host(1), {pod: device("cali1"), remote: via((host(2),), "vxlan.calico")})
    net.deliver_all()
    assert fib(net, 2).keys() == {block(1), block(2), pod}, "what goes through a tunnel is not told by iBGP"
    paths = {prefix: net.speakers[host(1)].rib.best[prefix] for prefix in (pod, remote)}
    assert [(path.ifname, path.hops, path.preference) for path in paths.values()] == [
        ("cali1", (), 10), ("vxlan.calico", (host(2),), 10),
    ]  # fmt: skip
    net.set_kernel(host(1), {pod: device("cali2")})
    net.deliver_all()
    assert remote not in net.speakers[host(1)].rib.best
    assert fib(net, 2).keys() == {block(1), block(2), pod}


# --- what an operator says ----------------------------------------------------------------------------------------


def test_disabled_until_enabled() -> None:
    net = mesh(1, 2)
    speaker, name = net.speakers[host(1)], net.peer(1, 2).config.name
    assert speaker.disable(name, net.now)
    assert not speaker.disable(name, net.now)
    net.act(host(1))
    assert on_the_way(net, 2) == [Notification(Code.CEASE, Cease.ADMINISTRATIVE_SHUTDOWN)]
    net.advance(net.now + 300)
    assert net.established() == 0
    assert net.peer(2, 1).session.last_error == "Socket: Connection closed"
    assert fib(net, 1) == {block(1): BLACKHOLE}
    assert speaker.enable(name, net.now)
    assert not speaker.enable(name, net.now)
    net.act(host(1))
    net.settle(2)


def test_restart_begins_anew() -> None:
    net = mesh(1, 2)
    speaker, peer = net.speakers[host(1)], net.peer(1, 2)
    speaker.restart(peer.config.name, net.now)
    net.act(host(1))
    assert not peer.up
    net.settle(2)
    assert fib(net, 1).keys() == {block(1), block(2)}


def test_reload_asks_and_tells() -> None:
    net = mesh(1, 2)
    speaker, name = net.speakers[host(1)], net.peer(1, 2).config.name
    assert speaker.reload(name, net.now, out=False)
    net.act(host(1))
    assert on_the_way(net, 2) == [RouteRefresh()]
    net.deliver_all()
    assert speaker.reload(name, net.now, into=False)
    net.act(host(1))
    [update] = on_the_way(net, 2)
    assert isinstance(update, Update)
    assert update.nlri == (block(1),)
    speaker.disable(name, net.now)
    assert not speaker.reload(name, net.now)


# --- families and neighbours without add-path ----------------------------------------------------------------------


def v6(number: int) -> PeerConfig:
    other = 3 - number
    return attrs.evolve(
        peer_config(number, other),
        address=parse_address(f"fd00::{other}"),
        local_address=parse_address(f"fd00::{number}"),
    )


def test_a_speaker_of_ipv6() -> None:
    net = SpeakerNet()
    for number in (1, 2):
        prefix = parse_prefix(f"fd00:{number}::/122")
        whole = speaker_config(number, [v6(number)], blocks=[prefix], pools=[parse_prefix("fd00::/16")])
        net.add(attrs.evolve(whole, family=IPV6, address=parse_address(f"fd00::{number}")))
    net.settle(2)
    assert net.fibs[parse_address("fd00::1")].routes == {
        parse_prefix("fd00:1::/122"): BLACKHOLE,
        parse_prefix("fd00:2::/122"): via((parse_address("fd00::2"),)),
    }


def test_a_neighbour_without_add_path_is_told_the_best_alone() -> None:
    """1 reflects for 2, 3 and 4, of which 4 has no add-path; 2 and 3 announce the same."""
    cluster = host(1)
    net = SpeakerNet()
    net.add(speaker_config(1, [peer_config(1, other, cluster_id=cluster) for other in (2, 3, 4, 5)]))
    for number, blocks in ((2, (2, 50)), (3, (3, 50)), (4, ()), (5, ())):
        whole = speaker_config(number, [peer_config(number, 1)], blocks=map(block, blocks))
        net.add(attrs.evolve(whole, add_path=number != 4))
    net.settle(8)
    assert fib(net, 5)[block(50)] == via((host(2), host(3)))
    assert fib(net, 4)[block(50)] == via((host(2),))
    assert net.peer(4, 1).imported == 3
    assert net.peer(5, 1).imported == 4
    net.configure(attrs.evolve(net.speakers[host(2)].config, statics=()))
    policy = net.speakers[host(2)].config.policy
    assert policy is not None
    net.configure(attrs.evolve(net.speakers[host(2)].config, policy=attrs.evolve(policy, blocks=())))
    net.deliver_all()
    assert fib(net, 5)[block(50)] == fib(net, 4)[block(50)] == via((host(3),))


def test_reflectors_of_one_cluster_do_not_pass_on_each_others_clients() -> None:
    """1 and 2 have one cluster ID and no client in common; as BIRD, they hear each other's routes, and keep them."""
    net = SpeakerNet()
    for number, client in ((1, 3), (2, 4)):
        to_client = peer_config(number, client, cluster_id=host(99))
        net.add(speaker_config(number, [to_client, peer_config(number, 3 - number)], blocks=[block(number)]))
        net.add(speaker_config(client, [peer_config(client, number)], blocks=[block(client)]))
    net.settle(6)
    assert fib(net, 2).keys() == {block(number) for number in (1, 2, 3, 4)}
    assert fib(net, 4).keys() == {block(number) for number in (1, 2, 4)}


def test_a_path_id_where_none_was_agreed_ends_the_session() -> None:
    net = SpeakerNet()
    for number in (1, 2):
        net.add(attrs.evolve(config(number, (1, 2)), add_path=number == 1, timers=Timers()))
    net.settle(2)
    said = next(iter(net.peer(1, 2).adj_rib_in.values()))
    [frame] = net.codec.update_frames(IPV4, nlri=[block(7)], attributes=said, path_id=1)
    link = net.peer(1, 2).link
    assert isinstance(link, WireLink)
    net.handle(host(1), [(link, frame)])
    assert net.peer(1, 2).session.last_error == "BGP Error: Invalid network"
