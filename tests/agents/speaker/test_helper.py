"""A neighbour that restarts: which of its routes stay, and when they go (RFC 4724 4.2)."""

from __future__ import annotations

import attrs
import pytest

from agents.dataplane.fib import BLACKHOLE, FibRoute, via
from agents.journal import Event
from agents.speaker.config import SpeakerConfig, Timers
from agents.speaker.inspect import Inspector
from agents.speaker.links import LinkChange
from agents.speaker.speaker import Speaker
from protocol.bgp.attributes import LLGR_STALE
from protocol.bgp.messages import GracefulRestart, Open, Update
from protocol.prefix import Prefix
from tests.strategies.speaker import (
    SpeakerNet,
    WireLink,
    block,
    host,
    peer_config,
    speaker_config,
)

QUIET = Timers(hold=0.0)
"""No timer but those of a restart."""


def config(
    number: int, *others: int, blocks: tuple[int, ...] | None = None, restart_time: int | None = None
) -> SpeakerConfig:
    peers = [attrs.evolve(peer_config(number, other), restart_time=restart_time) for other in others]
    own = (number,) if blocks is None else blocks
    return speaker_config(number, peers, blocks=map(block, own), timers=QUIET)


def pair(restart_time: int | None = None) -> SpeakerNet:
    """1 watches, 2 restarts."""
    net = SpeakerNet()
    net.add(config(1, 2))
    net.add(config(2, 1, blocks=(2, 3), restart_time=restart_time))
    net.settle(2)
    return net


def kill(net: SpeakerNet, number: int) -> None:
    """Its daemon is gone, and says nothing."""
    del net.speakers[host(number)]
    for link in [end for end in net.ends if end.owner == host(number)]:
        net.ends.remove(link)
        link.closed = True
        if link.other is not None and not link.other.gone:
            link.other.error = "Connection reset by peer"
            link.other.pending.append(LinkChange.FAILED)
    net.deliver_all()


def start_preserved(net: SpeakerNet, config: SpeakerConfig, *, preserved: bool = True) -> Speaker:
    """It comes with the F bit, and tells nothing until ``configure``."""
    return start_offering(net, config, GracefulRestart(restarting=True, families=((4, preserved),)))


def start_offering(net: SpeakerNet, config: SpeakerConfig, offered: GracefulRestart | None) -> Speaker:
    speaker = net.add(config, start=False)
    for peer in speaker.peers.values():
        opened = net.codec.decode(peer.session.wire_open)
        assert isinstance(opened, Open)
        capabilities = attrs.evolve(opened.capabilities, graceful_restart=offered)
        peer.session.wire_open = net.codec.encode(attrs.evolve(opened, capabilities=capabilities))
    net.start(config.address)
    return speaker


def learned(net: SpeakerNet) -> dict[Prefix, FibRoute]:
    """What 1 has of others."""
    return {prefix: route for prefix, route in net.fibs[host(1)].routes.items() if route is not BLACKHOLE}


def shown(net: SpeakerNet) -> tuple[bool, float]:
    """What 1 tells of 2: whether it restarts, and for how long that is believed."""
    [status] = Inspector(net.speakers[host(1)], now=net.now, wall=0).status().peers
    return status.restarting, status.restart_left


BOTH = dict.fromkeys((block(2), block(3)), via((host(2),)))


def test_routes_outlive_the_connection_for_as_long_as_the_neighbour_asked_for() -> None:
    net = pair(restart_time=40)
    began = net.now
    kill(net, 2)
    assert net.established() == 0
    assert learned(net) == BOTH
    assert shown(net) == (True, 40)
    while learned(net):
        assert learned(net) == BOTH
        net.now = net.speakers[host(1)].next_timer()
        net.handle(host(1))
        net.deliver_all()
    assert net.now - began == 40
    assert shown(net) == (False, 0)


@pytest.mark.parametrize(
    "offered",
    [None, GracefulRestart(), GracefulRestart(families=((6, True),))],
    ids=["none", "aware", "other"],
)
def test_without_the_capability_for_the_family_nothing_outlives_it(offered: GracefulRestart | None) -> None:
    net = SpeakerNet()
    net.add(config(1, 2))
    start_offering(net, config(2, 1, blocks=(2, 3)), offered)
    net.settle(2)
    assert learned(net) == BOTH
    kill(net, 2)
    assert learned(net) == {}


@pytest.mark.parametrize("how", ["notification", "hold timer", "disabled", "reconfigured", "removed"])
def test_whatever_ends_with_a_word_ends_at_once(how: str) -> None:
    net = pair()
    if how == "notification":
        net.speakers[host(2)].disable("Node_10_77_0_1", net.now)
        net.act(host(2))
    elif how == "hold timer":
        session = net.peer(1, 2).session
        session._hold_at = net.now
        session.handle_timer(net.now)
        net.speakers[host(1)]._after(session, net.now)
    elif how == "disabled":
        net.speakers[host(1)].disable("Node_10_77_0_2", net.now)
    elif how == "reconfigured":
        net.configure(attrs.evolve(config(1, 2), peers=(peer_config(1, 2, port=1790),)))
    else:
        net.configure(config(1))
    net.handle(host(1))
    net.deliver_all()
    assert learned(net) == {}


@pytest.mark.parametrize("how", ["disabled", "reconfigured", "removed", "wrong AS"])
def test_what_is_kept_goes_when_the_session_is_given_up(how: str) -> None:
    net = pair()
    kill(net, 2)
    assert learned(net) == BOTH
    if how == "disabled":
        net.speakers[host(1)].disable("Node_10_77_0_2", net.now)
        net.handle(host(1))
    elif how == "reconfigured":
        net.configure(attrs.evolve(config(1, 2), peers=(peer_config(1, 2, port=1790),)))
    elif how == "removed":
        net.configure(config(1))
    else:
        stranger = attrs.evolve(peer_config(2, 1), local_as=7)
        net.add(attrs.evolve(config(2), local_as=7, peers=(stranger,)))
        net.deliver_all()
    assert learned(net) == {}
    assert net.peer(1, 2).restart is None if how != "removed" else not net.speakers[host(1)].peers


def test_back_with_its_forwarding_state_it_tells_anew_and_what_it_lacks_goes_at_the_end() -> None:
    net = pair()
    kill(net, 2)
    start_preserved(net, config(2, 1, blocks=(2,)))
    two = net.speakers[host(2)]
    held = two._exports.came_up
    two._exports.came_up = lambda peer: None  # type: ignore[method-assign] # it is up, and tells nothing yet
    net.settle(2)
    net.advance(net.now + 500)
    assert learned(net) == BOTH
    assert shown(net) == (True, 0)
    held(net.peer(2, 1))
    net.handle(host(2))
    net.deliver_all()
    assert learned(net) == {block(2): via((host(2),))}
    assert net.peer(1, 2).restart is None


def test_back_without_it_everything_stale_goes_at_once() -> None:
    net = pair()
    kill(net, 2)
    start_preserved(net, config(2, 1), preserved=False)
    net.speakers[host(2)]._exports.came_up = lambda peer: None  # type: ignore[method-assign] # as above
    net.settle(2)
    assert learned(net) == {}


def test_back_under_another_identifier_it_is_somebody_else() -> None:
    net = pair()
    kill(net, 2)
    start_preserved(net, attrs.evolve(config(2, 1), router_id=host(77)))
    net.speakers[host(2)]._exports.came_up = lambda peer: None  # type: ignore[method-assign] # as above
    net.settle(2)
    assert learned(net) == {}


def test_of_two_restarts_in_a_row_the_second_keeps_what_came_since_the_first() -> None:
    net = pair()
    kill(net, 2)
    start_preserved(net, config(2, 1, blocks=(2,)))
    end_of_rib = net.codec.encode(Update())
    while True:
        link = net.waiting()[0]
        arrives = link.pending[0]
        if link.owner == host(1) and isinstance(arrives, bytes) and arrives.endswith(end_of_rib):
            net.deliver(link, len(arrives) - len(end_of_rib))
            break
        net.deliver(link)
    assert learned(net) == BOTH
    kill(net, 2)
    assert learned(net) == {block(2): via((host(2),))}


def test_a_neighbour_that_dials_over_a_session_that_seems_to_stand_has_restarted() -> None:
    """Its machine was off: nobody told 1 that the old connection has no other end."""
    net = pair()
    old = net.peer(1, 2).link
    assert isinstance(old, WireLink)
    del net.speakers[host(2)]
    assert old.other is not None
    net.ends.remove(old.other)
    old.other.closed = True
    start_preserved(net, config(2, 1, blocks=(2,)))
    net.settle(2)
    assert old.closed
    assert net.peer(1, 2).up
    assert net.peer(1, 2).link is not old
    assert learned(net) == {block(2): via((host(2),))}


def test_a_connection_that_goes_no_further_ends_nothing() -> None:
    """What a lost collision leaves: it was accepted after the other had come up."""
    net = pair()
    session = net.peer(1, 2).session
    for _ in range(3):
        link = WireLink(host(1), host(2))
        net.ends.append(link)
        net.handle(host(1), [(link, LinkChange.ACCEPTED)])
        assert not link.closed
    link.error = "Connection closed"
    link.pending.append(LinkChange.FAILED)
    net.deliver_all()
    assert net.peer(1, 2).session is session
    assert net.peer(1, 2).rival is None
    assert net.peer(1, 2).up
    assert len(net.ends) == 2
    assert learned(net) == BOTH


def test_it_is_told() -> None:
    net = pair(restart_time=40)
    events: list[Event] = []
    for link in [end for end in net.ends if end.owner == host(1)]:
        link.error = "Connection closed"
        link.pending.append(LinkChange.FAILED)
        net.speakers[host(1)].handle([net.take(link)], net.now)
    net.speakers[host(1)].handle([], net.now + 40)
    events += net.speakers[host(1)].take_effects().events
    assert events == [
        Event("SessionDown", "Node_10_77_0_2: Socket: Connection closed", warning=True),
        Event("GracefulRestart", "Node_10_77_0_2: routes kept for 40 s at most: 2"),
        Event("GracefulRestartOver", "Node_10_77_0_2: has not come back; stale routes flushed: 2"),
    ]


def test_a_neighbour_that_knows_nothing_of_llgr_is_not_told_what_is_stale_for_long() -> None:
    """A reflector has such a route of one client; the other clients have OPENs with and without the capability."""
    net = SpeakerNet()
    others = (2, 3, 4)
    clients = tuple(peer_config(1, other, cluster_id=host(1)) for other in others)
    net.add(attrs.evolve(config(1), peers=clients))
    for number in others:
        net.add(config(number, 1), start=False)
    opened = net.codec.decode(net.peer(4, 1).session.wire_open)
    assert isinstance(opened, Open)
    unaware = attrs.evolve(opened.capabilities, long_lived=None)
    net.peer(4, 1).session.wire_open = net.codec.encode(attrs.evolve(opened, capabilities=unaware))
    net.start(*map(host, others))
    net.settle(6)
    told = attrs.evolve(net.peer(1, 2).adj_rib_in[block(2)], communities=(LLGR_STALE,))
    link = net.peer(2, 1).link
    assert link is not None
    net.speakers[host(2)]._effects.send(link, net.codec.encode(Update(nlri=(block(20),), attributes=told)))
    net.act(host(2))
    net.deliver_all()
    assert [block(20) in net.peer(number, 1).adj_rib_in for number in (3, 4)] == [True, False]
    assert [block(2) in net.peer(number, 1).adj_rib_in for number in (3, 4)] == [True, True]


@pytest.mark.parametrize(("configured", "heard"), [(None, 120), (0, 0), (4095, 4095), (4112, 16)])
def test_a_restart_time_is_what_of_it_fits_into_an_open(configured: int | None, heard: int) -> None:
    assert pair(configured).peer(1, 2).restart_time == heard


def test_what_is_kept_is_told_to_who_comes_meanwhile_and_withdrawn_when_it_goes() -> None:
    """By a reflector, to one that hears all paths; the neighbour that restarts tells its best ones alone."""
    net = SpeakerNet()
    clients = tuple(peer_config(1, other, cluster_id=host(1)) for other in (2, 3))
    net.add(attrs.evolve(config(1), peers=clients, add_path=True))
    net.add(attrs.evolve(config(2, 1), add_path=False))
    net.settle(2)
    kill(net, 2)
    net.add(attrs.evolve(config(3, 1), add_path=True))
    net.settle(2)
    assert block(2) in net.peer(3, 1).adj_rib_in
    net.advance(net.now + 120)
    assert block(2) not in net.peer(3, 1).adj_rib_in
