"""Several stanzas for one neighbour: one session, and whose it is."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, via
from agents.speaker.birdc import answer
from agents.speaker.config import PeerConfig, PeerKind, SpeakerConfig, Timers
from agents.speaker.inspect import Inspector
from agents.speaker.links import LinkOptions
from agents.speaker.peer import Peer
from agents.speaker.turns import Turns
from protocol.bgp.errors import Cease, Code
from protocol.bgp.messages import Notification
from protocol.bgp.wire import split
from tests.strategies.speaker import (
    SpeakerNet,
    block,
    host,
    neighbour,
    peer_config,
    speaker_config,
    step,
    steps,
)

MESH, NODE, GLOBAL = PeerKind.MESH, PeerKind.NODE, PeerKind.GLOBAL
DELAY = Timers().connect_delay


def stanza(local: int, remote: int, kind: PeerKind, **facts: Any) -> PeerConfig:
    """In the mesh the larger address dials."""
    whole = peer_config(local, remote, passive=kind is MESH and remote > local)
    return attrs.evolve(whole, name=f"{kind.value}_10_77_0_{remote}", kind=kind, **facts)


def member(number: int, *kinds: PeerKind, others: tuple[int, ...] = (1, 2), **facts: Any) -> SpeakerConfig:
    peers = [stanza(number, other, kind, **facts) for other in others if other != number for kind in kinds]
    return speaker_config(number, peers, blocks=[block(number)])


def two(*kinds: PeerKind) -> SpeakerNet:
    net = SpeakerNet()
    for number in (1, 2):
        net.add(member(number, *kinds))
    net.settle(2, within=0)
    net.advance(100.0)
    return net


def up(net: SpeakerNet, number: int) -> list[str]:
    return [peer.config.name for peer in net.speakers[host(number)].peers.values() if peer.up]


def waits(net: SpeakerNet, number: int) -> dict[str, str]:
    """Of the stanzas that do: for whom."""
    status = Inspector(net.speakers[host(number)], now=net.now, wall=0.0).status()
    return {
        peer.name: peer.last_error
        for peer in status.peers
        if (peer.protocol_state, peer.bgp_state) == ("start", "Idle")
    }


def assert_one_connection(net: SpeakerNet, name: str) -> None:
    """``name`` is a kind."""
    for number, other in ((1, 2), (2, 1)):
        assert up(net, number) == [f"{name}_10_77_0_{other}"]
        assert net.fibs[host(number)].routes == {block(number): BLACKHOLE, block(other): via((host(other),))}
    assert len(net.ends) == 2


def test_the_first_by_name_has_a_session_and_the_other_waits() -> None:
    net = two(NODE, MESH)
    assert_one_connection(net, "Mesh")
    assert net.dials == 1
    net.advance(300)
    assert_one_connection(net, "Mesh")
    assert net.dials == 1, "whoever waits does nothing"
    assert waits(net, 1) == {"Node_10_77_0_2": "Waits for Mesh_10_77_0_2"}


def test_when_the_first_goes_at_both_ends_the_next_comes_after_a_connect_delay() -> None:
    net = two(MESH, NODE)
    for number in (1, 2):
        net.configure(member(number, NODE))
    net.deliver_all()
    assert net.established() == 0
    assert net.fibs[host(1)].routes == {block(1): BLACKHOLE}
    assert waits(net, 1) == {}
    net.advance(100 + 0.74 * DELAY)
    assert net.established() == 0
    net.advance(100 + DELAY)
    assert_one_connection(net, "Node")


def test_a_stanza_that_comes_earlier_takes_the_session_at_once() -> None:
    net = two(NODE)
    net.configure(member(1, NODE, MESH))
    [heard] = [
        b"".join(x for x in link.pending if isinstance(x, bytes))
        for link in net.ends
        if link.owner == host(2)
    ]
    frames, _ = split(heard)
    assert [net.codec.decode(frame) for frame in frames] == [
        Notification(Code.CEASE, Cease.OTHER_CONFIGURATION_CHANGE)
    ]
    net.configure(member(2, NODE, MESH))
    net.deliver_all()
    assert_one_connection(net, "Mesh")
    assert waits(net, 2) == {"Node_10_77_0_1": "Waits for Mesh_10_77_0_1"}


def test_a_stanza_that_comes_later_disturbs_nobody() -> None:
    net = two(MESH)
    session = net.peer(1, 2).session
    for number in (1, 2):
        net.configure(member(number, MESH, NODE))
    net.advance(200)
    assert_one_connection(net, "Mesh")
    assert net.speakers[host(1)].peers["Mesh_10_77_0_2"].session is session
    for number in (1, 2):
        net.configure(member(number, MESH))
    net.advance(300)
    assert net.speakers[host(1)].peers["Mesh_10_77_0_2"].session is session


def test_the_first_begins_anew_when_it_changes_and_does_not_lose_its_turn() -> None:
    net = two(MESH, NODE)
    for number in (1, 2):
        net.configure(member(number, MESH, NODE, restart_time=7))
    net.deliver_all()
    assert_one_connection(net, "Mesh")
    assert net.now == 100


def test_the_next_is_no_faster_when_it_changes_as_the_first_goes() -> None:
    """A node that becomes a reflector: no mesh any more, and clients."""
    net = two(MESH, NODE)
    for number in (1, 2):
        net.configure(member(number, NODE, restart_time=7))
    net.advance(net.now + 0.74 * DELAY)
    assert net.established() == 0
    net.advance(net.now + 0.26 * DELAY)
    assert_one_connection(net, "Node")


def test_a_new_identity_takes_no_turns() -> None:
    net = two(MESH, NODE)
    for number in (1, 2):
        net.configure(attrs.evolve(member(number, MESH, NODE), timers=Timers(hold=30)))
    net.deliver_all()
    assert_one_connection(net, "Mesh")


def test_whoever_is_disabled_gives_way_and_takes_it_back() -> None:
    net = two(MESH, NODE)
    for number, other in ((1, 2), (2, 1)):
        assert net.speakers[host(number)].disable(f"Mesh_10_77_0_{other}", net.now)
        net.act(host(number))
    net.advance(100 + DELAY)
    assert_one_connection(net, "Node")
    assert waits(net, 1) == {}
    for number, other in ((1, 2), (2, 1)):
        assert net.speakers[host(number)].enable(f"Mesh_10_77_0_{other}", net.now)
        net.act(host(number))
    net.deliver_all()
    assert_one_connection(net, "Mesh")


def test_when_all_are_disabled_there_is_none() -> None:
    net = two(MESH, NODE)
    speaker = net.speakers[host(1)]
    for name in ("Node_10_77_0_2", "Mesh_10_77_0_2"):
        assert speaker.disable(name, net.now)
        net.act(host(1))
    net.advance(200)
    assert net.established() == 0
    assert speaker.strangers == 0
    assert speaker.enable("Node_10_77_0_2", net.now)
    net.act(host(1))
    net.settle(2)
    assert (up(net, 1), up(net, 2)) == (["Node_10_77_0_2"], ["Mesh_10_77_0_1"])


def test_each_side_goes_by_its_own_stanzas() -> None:
    net = SpeakerNet()
    net.add(member(1, NODE, MESH))
    net.add(member(2, GLOBAL, MESH))
    net.settle(2)
    net.advance(200)
    assert (up(net, 1), up(net, 2)) == (["Mesh_10_77_0_2"], ["Global_10_77_0_1"])
    assert len(net.ends) == 2


def test_who_comes_first_stands_in_the_way_though_it_never_comes_up() -> None:
    net = SpeakerNet()
    net.add(member(1, MESH))
    wrong = stanza(2, 1, GLOBAL, peer_as=65001)
    whole = member(2, MESH)
    net.add(attrs.evolve(whole, peers=(wrong, *whole.peers)))
    net.advance(300)
    assert net.established() == 0
    net.configure(whole)
    net.settle(2)


def test_a_password_is_that_of_who_has_the_session() -> None:
    net = SpeakerNet()
    speaker = net.add(member(1, MESH), start=False)
    assert speaker.take_effects().expect is None
    guarded = stanza(1, 2, NODE, password="word")
    whole = member(1, MESH)
    speaker.configure(attrs.evolve(whole, peers=(*whole.peers, guarded)), 0.0)
    assert speaker.take_effects().expect is None
    speaker.disable("Mesh_10_77_0_2", 0.0)
    assert speaker.take_effects().expect == {host(2): LinkOptions(password="word")}
    speaker.enable("Mesh_10_77_0_2", 0.0)
    assert speaker.take_effects().expect == {}


def test_what_people_see() -> None:
    net = two(MESH, NODE)
    status = Inspector(net.speakers[host(1)], now=net.now, wall=1_700_000_000.0).status()
    rows = [row.split() for row in answer("show protocols", status, lambda **_: []).splitlines()]
    [row] = [row for row in rows if row[0].endswith("Node_10_77_0_2")]
    assert (row[1:4], row[5:]) == (["BGP", "master", "start"], ["Idle", "Waits", "for", "Mesh_10_77_0_2"])
    assert status.peers[1].protocol_state == "start"


kinds = st.sets(st.sampled_from((GLOBAL, MESH, NODE)))
changes = st.tuples(st.just("set"), st.sampled_from((1, 2)), kinds)
switches = st.tuples(st.just("switch"), st.sampled_from((1, 2)), st.sampled_from((GLOBAL, MESH, NODE)))
waves = st.tuples(st.just("wire"), st.just(0), st.lists(steps, max_size=8))


@pytest.mark.slow
@settings(max_examples=150)
@given(script=st.lists(st.one_of(changes, switches, waves), max_size=20), seed=st.integers(0, 1000))
def test_any_history_ends_with_a_session_between_those_whose_turn_it_is(
    script: list[tuple[str, int, Any]], seed: int
) -> None:
    net = SpeakerNet(seed=seed)
    for number in (1, 2):
        net.add(member(number, MESH))
    for verb, number, what in script:
        if verb == "wire":
            for each in what:
                step(net, *each)
        elif verb == "set":
            net.configure(member(number, *sorted(what, key=lambda kind: kind.value)))
        else:
            speaker = net.speakers[host(number)]
            name = f"{what.value}_10_77_0_{3 - number}"
            if name in speaker.peers and not speaker.enable(name, net.now):
                speaker.disable(name, net.now)
            net.act(host(number))
    on = {
        number: sorted(
            peer.config.name for peer in net.speakers[host(number)].peers.values() if not peer.disabled
        )
        for number in (1, 2)
    }
    stands = all(on.values())
    net.settle(2 * stands)
    net.advance(net.now + 200)
    for number, names in on.items():
        assert up(net, number) == names[:1] * stands
        waiting = {name: why for name, why in waits(net, number).items() if name not in names[:1]}
        assert waiting == dict.fromkeys(names[1:], f"Waits for {names[0]}" if names else "")
    assert len(net.ends) == 2 * stands


# --- the order by itself ------------------------------------------------------------------------------------------


NAMES = "Global", "Mesh", "Node"


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from((1, 2))), max_size=30), st.data())
def test_the_leader_is_the_first_that_is_not_disabled(
    history: list[tuple[str, int]], data: st.DataObject
) -> None:
    turns = Turns()
    there: dict[tuple[str, int], Peer] = {}
    for name, number in history:
        before = turns.leader(host(number))
        if (name, number) in there:
            follower = turns.remove(there.pop((name, number)))
            assert follower in (None, turns.leader(host(number)))
            assert (follower is None) == (turns.leader(host(number)) in (None, before))
        else:
            peer = there[name, number] = neighbour(number)
            peer.config = attrs.evolve(peer.config, name=f"{name}_{number}")
            peer.disabled = data.draw(st.booleans())
            displaced = turns.add(peer)
            assert displaced is (before if turns.leader(host(number)) is peer else None)
        for at in (1, 2):
            peers = [peer for peer in there.values() if peer.address == host(at)]
            first = min(peers, key=lambda peer: (peer.disabled, peer.config.name), default=None)
            assert turns.leader(host(at)) is first
    leaders = turns.leaders()
    assert {peer.address for peer in leaders} == {peer.address for peer in there.values()}
    assert turns.waiting() == {peer.config.name for peer in there.values() if peer not in leaders}
