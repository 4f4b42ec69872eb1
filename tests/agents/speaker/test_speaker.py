"""Speakers among themselves: rules one by one, and laws over anything that can happen on the wires between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, FibRoute, via
from agents.speaker.config import MAX_PRIORITY, SpeakerConfig, Timers
from agents.speaker.links import HIGH_WATER, LinkChange
from protocol.bgp.attributes import Attributes
from protocol.bgp.errors import Cease, Code
from protocol.bgp.fsm import State
from protocol.bgp.messages import Notification, RouteRefresh, Update
from protocol.bgp.wire import KEEPALIVE, split
from protocol.prefix import IPV6, Address, Prefix, parse_address, parse_prefix
from tests.strategies.speaker import (
    POOL,
    SpeakerNet,
    WireLink,
    as_path,
    block,
    host,
    peer_config,
    speaker_config,
    step,
    steps,
)

CLUSTER = Address(b"\1\1\1\1")


def mesh(*numbers: int, net: SpeakerNet | None = None, **facts: Any) -> SpeakerNet:
    """Every node peers with every other, both dial, each has the block of its number; settled."""
    net = SpeakerNet() if net is None else net
    for number in numbers:
        net.add(member(number, numbers, **facts))
    net.settle(len(numbers) * (len(numbers) - 1))
    return net


def member(
    number: int, numbers: Iterable[int], blocks: Iterable[int] | None = None, **facts: Any
) -> SpeakerConfig:
    peers = [peer_config(number, other) for other in numbers if other != number]
    own = [number] if blocks is None else blocks
    return speaker_config(number, peers, blocks=map(block, own), **facts)


def fib(net: SpeakerNet, number: int) -> dict[Prefix, FibRoute]:
    return net.fibs[host(number)].routes


def learned(net: SpeakerNet, at: int, source: int) -> dict[Prefix, Attributes]:
    return net.peer(at, source).adj_rib_in


def received(net: SpeakerNet, link: WireLink) -> list[object]:
    """What is on its way to an end, decoded."""
    data = b"".join(what for what in link.pending if isinstance(what, bytes))
    frames, tail = split(data)
    assert not tail
    return [net.codec.decode(frame) for frame in frames]


# --- sessions -----------------------------------------------------------------------------------------------------


def assert_one_session_each(net: SpeakerNet, number_of_pairs: int) -> None:
    """Every pair has one connection, both ends use that one, and nothing else is open."""
    assert len(net.ends) == 2 * number_of_pairs
    for link in net.ends:
        peer = net.peer(link.owner[3], link.remote[3])
        assert peer.rival is None
        assert peer.session.state is State.ESTABLISHED
        assert peer.up
        assert peer.link is link


@pytest.mark.slow
@settings(max_examples=200)
@given(
    script=st.lists(steps, max_size=60),
    identifiers=st.permutations((1, 2)),
    passive=st.sampled_from((False, False, True)),
    seed=st.integers(0, 1000),
)
def test_two_that_both_dial_end_with_one_session(
    script: list[tuple[str, int, int]], identifiers: list[int], *, passive: bool, seed: int
) -> None:
    net = SpeakerNet(seed=seed)
    for number, other, identifier in ((1, 2, identifiers[0]), (2, 1, identifiers[1])):
        net.add(
            speaker_config(
                number,
                [peer_config(number, other, passive=passive and number == 1)],
                blocks=[block(number)],
                router_id=host(100 + identifier),
            )
        )
    for verb, index, size in script:
        step(net, verb, index, size)
    net.settle(2)
    net.advance(net.now + 200)
    assert net.established() == 2
    assert_one_session_each(net, 1)
    assert fib(net, 1) == {block(1): BLACKHOLE, block(2): via((host(2),))}


@pytest.mark.parametrize("winner", [1, 2])
def test_the_higher_identifiers_connection_survives(winner: int) -> None:
    """RFC 4271 6.8, everything in step: both dial, both accept, both hear both OPENs."""
    net = SpeakerNet()
    for number, other in ((1, 2), (2, 1)):
        router_id = host(200 if number == winner else 100)
        net.add(speaker_config(number, [peer_config(number, other)], router_id=router_id), start=False)
    net.start(host(1), host(2))
    dialled = {link.owner: link for link in net.ends if link.pending[0] is LinkChange.CONNECTED}
    for link in net.waiting():
        net.deliver(link)
    net.settle(2, within=0)
    assert net.dials == 2
    assert net.peer(winner, 3 - winner).link is dialled[host(winner)]
    assert_one_session_each(net, 1)


@pytest.mark.parametrize("identifier", [host(0), host(200)])
def test_of_two_connections_from_one_neighbour_the_later_lives(identifier: Address) -> None:
    """It has one at a time, so it has given up the first, however late we hear of that."""
    net = SpeakerNet()
    net.add(speaker_config(1, [peer_config(1, 2, passive=True)], router_id=identifier))
    net.add(speaker_config(2, [peer_config(2, 1)]))
    net.deliver_batch(host(1))
    first = net.ends[0]
    assert (first.owner, net.peer(1, 2).session.state) == (host(2), State.OPEN_SENT)
    net.break_connection(first)
    net.deliver_batch(host(2))
    net.now += 5
    net.handle(host(2))  # dials again
    late, second = (link for link in net.ends if link.owner == host(1))
    while waiting := [link for link in net.waiting() if link is not late]:
        net.deliver(waiting[0])
    assert net.peer(1, 2).session.link is second
    net.settle(2, within=0)
    assert net.dials == 2
    assert_one_session_each(net, 1)


def test_a_passive_neighbour_never_dials() -> None:
    net = SpeakerNet()
    net.add(speaker_config(1, [peer_config(1, 2, passive=True)]))
    net.advance(100)
    assert (net.ends, net.dials) == ([], 0)
    net.add(speaker_config(2, [peer_config(2, 1)]))
    net.settle(2, within=0)
    assert net.dials == 1


def test_a_stranger_is_refused() -> None:
    net = SpeakerNet()
    one = net.add(speaker_config(1))
    net.add(speaker_config(2, [peer_config(2, 1)]))
    net.deliver_all()
    assert one.strangers == 1
    assert net.ends == []
    assert net.established() == 0


def test_an_established_neighbour_that_cannot_restart_is_not_accepted_twice() -> None:
    net = mesh(1, 2)
    net.peer(1, 2).restart_time = None
    session = net.peer(1, 2).session
    link = WireLink(host(1), host(2))
    net.ends.append(link)
    net.handle(host(1), [(link, LinkChange.ACCEPTED)])
    assert link.closed
    assert net.peer(1, 2).session is session
    assert_one_session_each(net, 1)


def test_a_wrong_as_is_told_so() -> None:
    net = SpeakerNet()
    net.add(speaker_config(2, [peer_config(2, 1, passive=True)]))
    one = net.add(speaker_config(1, [peer_config(1, 2, peer_as=64600)]))
    net.advance(1)
    assert net.peer(1, 2).session.last_error == "BGP Error: Bad peer AS"
    assert net.peer(2, 1).session.last_error == "Received: Bad peer AS"
    assert (one.established, net.ends) == (0, [])


def test_garbage_ends_its_session_alone() -> None:
    net = mesh(1, 2, 3)
    link = net.peer(2, 1).link
    assert isinstance(link, WireLink)
    net.handle(host(1), [(link.other, b"GET / HTTP/1.0\r\n\r\n")])  # type: ignore[list-item]  # it is connected
    assert received(net, link) == [Notification(Code.HEADER, 1)]
    assert [net.peer(1, other).up for other in (2, 3)] == [False, True]
    assert fib(net, 1).keys() == {block(1), block(3)}
    net.settle(6)
    assert fib(net, 1).keys() == {block(1), block(2), block(3)}


def test_up_and_down_in_one_piece_is_never_up() -> None:
    """One read can bring the KEEPALIVE that establishes a session, UPDATEs, and its end: it was never up."""
    net = SpeakerNet()
    for number, other in ((1, 2), (2, 1)):
        net.add(speaker_config(number, [peer_config(number, other, passive=number == 1)]))
    link = next(link for link in net.ends if link.owner == host(1))
    net.deliver(link)  # accepted
    net.deliver_batch(host(2))
    net.deliver(link)  # their OPEN
    cease = net.codec.encode(Notification(Code.CEASE, Cease.ADMINISTRATIVE_SHUTDOWN))
    [update] = net.codec.update_frames(
        4, nlri=[block(2)], attributes=Attributes(next_hop=host(2), local_pref=1)
    )
    net.handle(host(1), [(link, KEEPALIVE + update + cease)])
    peer = net.peer(1, 2)
    assert (peer.up, peer.link, peer.adj_rib_in) == (False, None, {})
    assert net.speakers[host(1)].established == 0
    assert link.closed
    assert fib(net, 1) == {}
    net.settle(2)


def test_a_silent_neighbour_is_given_up_after_its_hold_time() -> None:
    net = mesh(1, 2)
    silent = net.peer(1, 2).link
    assert isinstance(silent, WireLink)
    began = net.now
    while net.peer(1, 2).up:
        # Node 2 hears and answers nobody.
        net.now = net.speakers[host(1)].next_timer()
        net.handle(host(1))
    assert 37.5 <= net.now - began <= 90
    assert fib(net, 1) == {block(1): BLACKHOLE}
    assert net.peer(1, 2).session.last_error == "BGP Error: Hold timer expired"


def test_a_broken_connection_is_dialled_again() -> None:
    net = mesh(1, 2)
    net.break_some(0)
    net.deliver_all()
    assert net.established() == 0
    assert fib(net, 1) == {block(1): BLACKHOLE, block(2): via((host(2),))}  # for the restart time
    net.settle(2, within=10)
    assert_one_session_each(net, 1)


def test_who_started_first_is_heard_by_who_starts_later() -> None:
    """A speaker that listens but was not started keeps what came, and goes on from there."""
    net = SpeakerNet()
    late = net.add(speaker_config(1, [peer_config(1, 2)]), start=False)
    net.add(speaker_config(2, [peer_config(2, 1)]))
    net.deliver_all()
    assert net.established() == 0
    assert late.established == 0
    net.start(host(1))
    net.settle(2)
    assert_one_session_each(net, 1)


def test_timers_early_or_late_are_harmless() -> None:
    net = mesh(1, 2)
    for _ in range(5):
        net.handle(host(1))
    assert net.waiting() == []
    net.now += 29.9 * 0.75  # nothing of 30 s, jittered by a quarter at most, is due
    net.handle(host(1))
    assert net.waiting() == []
    net.now += 10
    net.handle(host(1))
    assert [received(net, link) for link in net.waiting()] == [[net.codec.decode(KEEPALIVE)]]


# --- what goes on and what does not -------------------------------------------------------------------------------


def test_ibgp_is_not_told_on() -> None:
    net = SpeakerNet()
    for number, others in ((1, [2]), (2, [1, 3]), (3, [2])):
        net.add(
            speaker_config(number, [peer_config(number, other) for other in others], blocks=[block(number)])
        )
    net.settle(4)
    assert fib(net, 2).keys() == {block(1), block(2), block(3)}
    assert fib(net, 1).keys() == {block(1), block(2)}
    assert fib(net, 3).keys() == {block(2), block(3)}


def test_own_routes_as_ibgp_hears_them() -> None:
    net = mesh(1, 2)
    assert learned(net, 1, 2) == {block(2): Attributes(next_hop=host(2), local_pref=MAX_PRIORITY - 1024)}


def reflection(*, second: Address = CLUSTER) -> SpeakerNet:
    """1 and 2 reflect for 3 and 4 and mesh with each other."""
    net = SpeakerNet()
    clusters = {1: CLUSTER, 2: second}
    for reflector, other in ((1, 2), (2, 1)):
        clients = [peer_config(reflector, client, cluster_id=clusters[reflector]) for client in (3, 4)]
        net.add(
            speaker_config(reflector, [peer_config(reflector, other), *clients], blocks=[block(reflector)])
        )
    for client in (3, 4):
        net.add(
            speaker_config(client, [peer_config(client, each) for each in (1, 2)], blocks=[block(client)])
        )
    net.settle(10)
    return net


def test_reflection() -> None:
    net = reflection()
    for number in (1, 2, 3, 4):
        expected = {block(other): via((host(other),)) for other in (1, 2, 3, 4)} | {block(number): BLACKHOLE}
        assert fib(net, number) == expected
    reflected = learned(net, 4, 1)[block(3)]
    assert (reflected.next_hop, reflected.originator_id, reflected.cluster_list) == (
        host(3),
        host(3),
        (CLUSTER,),
    )
    # Nobody hears of its own route: not from whom it told, nor from the other reflector.
    assert block(3) not in learned(net, 3, 1)
    assert block(3) not in learned(net, 3, 2)


def test_reflectors_of_two_clusters_hear_each_other() -> None:
    """To a non-client goes what clients said; the direct route, with the shorter CLUSTER_LIST, stays the best."""
    net = reflection(second=Address(b"\2\2\2\2"))
    assert learned(net, 2, 1)[block(3)].cluster_list == (CLUSTER,)
    assert net.speakers[host(2)].rib.best[block(3)].peer is net.peer(2, 3)


def test_what_comes_round_is_not_let_in() -> None:
    """A client's route with our cluster in it, and anybody's with our own identifier."""
    net = reflection()
    link = net.peer(1, 3).link
    for number, changes in ((10, {"cluster_list": (CLUSTER,)}), (11, {"originator_id": host(1)}), (12, {})):
        said = Attributes(next_hop=host(3), local_pref=100, **changes)
        [frame] = net.codec.update_frames(4, nlri=[block(number)], attributes=said)
        net.handle(host(1), [(link, frame)])  # type: ignore[list-item]  # it is connected
    assert {block(10), block(11), block(12)} & learned(net, 1, 3).keys() == {block(12)}
    # A loop replaces what was said before: the neighbour no longer has that route.
    [frame] = net.codec.update_frames(
        4, nlri=[block(12)], attributes=Attributes(next_hop=host(3), local_pref=100, originator_id=host(1))
    )
    net.handle(host(1), [(link, frame)])  # type: ignore[list-item]  # as above
    assert block(12) not in learned(net, 1, 3)


def chain(*ases: int) -> SpeakerNet:
    """1 - 2 - 3 - …, each in the AS given."""
    net = SpeakerNet()
    numbers = range(1, len(ases) + 1)
    for number in numbers:
        peers = [
            peer_config(number, other, local_as=ases[number - 1], peer_as=ases[other - 1])
            for other in (number - 1, number + 1)
            if other in numbers
        ]
        net.add(speaker_config(number, peers, blocks=[block(number)], local_as=ases[number - 1]))
    net.settle(2 * len(ases) - 2)
    return net


def test_ebgp() -> None:
    net = chain(64601, 64602, 64603)
    assert learned(net, 2, 1)[block(1)] == Attributes(
        next_hop=host(1), as_path=as_path(64601), local_pref=100
    )
    # AS_PATH grows, the next hop is the speaker itself, LOCAL_PREF stays in its AS.
    assert learned(net, 3, 2)[block(1)] == Attributes(
        next_hop=host(2), as_path=as_path(64602, 64601), local_pref=100
    )
    assert fib(net, 3) == {block(3): BLACKHOLE, block(1): via((host(2),)), block(2): via((host(2),))}


def test_local_pref_of_an_external_neighbour_is_ignored() -> None:
    net = chain(64601, 64602)
    link = net.peer(1, 2).link
    said = Attributes(next_hop=host(2), as_path=as_path(64602), local_pref=500)
    [frame] = net.codec.update_frames(4, nlri=[block(9)], attributes=said)
    net.handle(host(1), [(link, frame)])  # type: ignore[list-item]  # it is connected
    assert learned(net, 1, 2)[block(9)].local_pref == 100


def test_a_family_that_was_not_offered_is_not_heard() -> None:
    net = mesh(1, 2)
    before = dict(fib(net, 1)), net.peer(1, 2).updates_sent
    said = Attributes(next_hop=parse_address("fd00::2"), local_pref=100)
    [announced] = net.codec.update_frames(IPV6, nlri=[parse_prefix("fd00:9::/64")], attributes=said)
    for frame in (announced, net.codec.encode(RouteRefresh(IPV6))):
        net.handle(host(1), [(net.peer(1, 2).link, frame)])  # type: ignore[list-item]  # it is connected
    assert (fib(net, 1), net.peer(1, 2).updates_sent) == before
    assert net.peer(1, 2).up


def test_our_own_as_in_the_path_is_a_loop() -> None:
    net = chain(64601, 64602, 64601)
    assert block(1) not in fib(net, 3)
    assert learned(net, 3, 2).keys() == {block(2)}


def test_ebgp_then_ibgp_keeps_the_next_hop_of_the_border() -> None:
    net = chain(64601, 64602, 64602)
    assert learned(net, 3, 2)[block(1)] == Attributes(
        next_hop=host(1), as_path=as_path(64601), local_pref=100
    )


# --- what is exported ---------------------------------------------------------------------------------------------


def test_a_borrowed_address_goes_out_as_itself_and_an_own_one_does_not() -> None:
    net = mesh(1, 2)
    own, borrowed, foreign = (
        parse_prefix(text) for text in ("192.168.1.5/32", "192.168.2.7/32", "10.9.9.9/32")
    )
    net.set_workloads(host(1), [own, borrowed, foreign])
    net.deliver_all()
    assert fib(net, 2) == {block(1): via((host(1),)), block(2): BLACKHOLE, borrowed: via((host(1),))}
    # Its device route is Felix's, not the speaker's.
    assert fib(net, 1) == {block(1): BLACKHOLE, block(2): via((host(2),))}
    net.set_workloads(host(1), [])
    net.deliver_all()
    assert borrowed not in fib(net, 2)


def test_a_block_that_goes_is_withdrawn_and_its_addresses_come_out() -> None:
    net = mesh(1, 2)
    workload = parse_prefix("192.168.1.5/32")
    net.set_workloads(host(1), [workload])
    net.configure(member(1, (1, 2), blocks=[]))
    net.deliver_all()
    assert fib(net, 2) == {block(2): BLACKHOLE, workload: via((host(1),))}
    net.configure(member(1, (1, 2), blocks=[1, 7]))
    net.deliver_all()
    assert fib(net, 2) == {block(2): BLACKHOLE, block(1): via((host(1),)), block(7): via((host(1),))}
    assert net.peer(1, 2).withdraws_sent == 2


def test_a_pool_that_is_not_exported_any_more() -> None:
    net = mesh(1, 2)
    config = net.speakers[host(1)].config
    assert config.policy is not None
    policy = attrs.evolve(config.policy, pools=(), export_disabled=(POOL,))
    net.configure(attrs.evolve(config, policy=policy))
    net.deliver_all()
    assert fib(net, 2) == {block(2): BLACKHOLE}
    net.configure(config)
    net.deliver_all()
    assert fib(net, 2).keys() == {block(1), block(2)}


def test_another_normal_priority_is_told_to_everybody() -> None:
    net = mesh(1, 2)
    sessions = [net.peer(1, 2).session, net.peer(2, 1).session]
    config = net.speakers[host(1)].config
    assert config.policy is not None
    policy = attrs.evolve(config.policy, normal_priority=2000)
    net.configure(attrs.evolve(config, policy=policy))
    net.deliver_all()
    assert learned(net, 2, 1)[block(1)].local_pref == MAX_PRIORITY - 2000
    assert [net.peer(1, 2).session, net.peer(2, 1).session] == sessions


def test_what_counts_as_elevated_follows_the_normal_priority() -> None:
    """A route told with 1024 is elevated to who thinks that 2000 is normal: it beats the static routes."""
    net = mesh(1, 2)
    config = net.speakers[host(2)].config
    assert config.policy is not None
    policy = attrs.evolve(config.policy, normal_priority=2000)
    net.configure(attrs.evolve(config, policy=policy))
    assert net.speakers[host(2)].rib.best[block(1)].preference == 200
    net.configure(config)
    assert net.speakers[host(2)].rib.best[block(1)].preference == 100


def test_route_refresh_is_answered_with_everything() -> None:
    net = mesh(1, 2, 3)
    link = net.peer(1, 2).link
    assert isinstance(link, WireLink)
    net.handle(host(1), [(link, net.codec.encode(RouteRefresh()))])
    assert link.other is not None
    updates = [each for each in received(net, link.other) if isinstance(each, Update)]
    assert [(each.nlri, each.withdrawn) for each in updates] == [((block(1),), ())]


def test_equal_ways_are_used_together() -> None:
    """1 and 2 announce the same prefix: a third node gets both gateways, and one when one goes."""
    net = mesh(1, 2, 3)
    for number in (1, 2):
        net.configure(member(number, (1, 2, 3), blocks=[number, 50]))
    net.deliver_all()
    assert fib(net, 3)[block(50)] == via((host(1), host(2)))
    assert fib(net, 1)[block(50)] == BLACKHOLE, "its own beats the other's"
    net.configure(member(1, (1, 2, 3)))
    net.deliver_all()
    assert fib(net, 3)[block(50)] == fib(net, 1)[block(50)] == via((host(2),))


def test_what_bgp_says_beats_a_workloads_route() -> None:
    """Preference 100 to 10, in BIRD too; and with add-path both go on telling what they have, used or not."""
    net = mesh(1, 2, 3)
    address = parse_prefix("192.168.99.9/32")
    for number in (1, 2):
        net.set_workloads(host(number), [address])
        net.deliver_all()
    assert fib(net, 3)[address] == via((host(1), host(2)))
    assert (fib(net, 1)[address], fib(net, 2)[address]) == (via((host(2),)), via((host(1),)))
    net.set_workloads(host(1), [])
    net.deliver_all()
    assert fib(net, 3)[address] == fib(net, 1)[address] == via((host(2),))
    assert address not in fib(net, 2)


# --- configuration ------------------------------------------------------------------------------------------------


def test_only_the_peer_that_changed_restarts() -> None:
    net = mesh(1, 2, 3)
    before = {other: net.peer(1, other).session for other in (2, 3)}
    config = net.speakers[host(1)].config
    changed = [attrs.evolve(peer, port=1179) if peer.address == host(2) else peer for peer in config.peers]
    net.configure(attrs.evolve(config, peers=tuple(changed)))
    assert [net.peer(1, other).up for other in (2, 3)] == [False, True]
    heard = [received(net, link) for link in net.waiting() if link.owner == host(2)]
    assert heard == [
        [Notification(Code.CEASE, Cease.OTHER_CONFIGURATION_CHANGE)],
        [],
    ]  # the second is the new dial
    net.settle(6)
    assert net.peer(1, 3).session is before[3]
    assert net.peer(1, 2).session is not before[2]
    assert_one_session_each(net, 3)
    assert fib(net, 1).keys() == {block(1), block(2), block(3)}


def test_a_peer_that_is_taken_out() -> None:
    net = mesh(1, 2, 3)
    net.configure(member(1, (1, 3)))
    heard = [received(net, link) for link in net.waiting() if link.owner == host(2)]
    assert heard == [[Notification(Code.CEASE, Cease.PEER_DECONFIGURED)]]
    net.deliver_all()
    assert fib(net, 1).keys() == {block(1), block(3)}
    assert fib(net, 3).keys() == {block(1), block(2), block(3)}
    net.configure(member(1, (1, 2, 3)))
    net.settle(6)
    assert fib(net, 1).keys() == {block(1), block(2), block(3)}


def test_the_same_configuration_is_no_reconfiguration() -> None:
    net = mesh(1, 2)
    net.now += 1
    net.configure(member(1, (1, 2)))
    assert net.speakers[host(1)].reconfigured == 0
    assert net.waiting() == []


@pytest.mark.parametrize("change", ["router_id", "timers"])
def test_another_identity_restarts_everything(change: str) -> None:
    net = mesh(1, 2, 3)
    facts = {"router_id": host(99)} if change == "router_id" else {"timers": Timers(hold=30)}
    net.configure(member(1, (1, 2, 3), **facts))
    assert net.speakers[host(1)].established == 0
    net.settle(6)
    session = net.peer(2, 1).session
    assert session.peer_open is not None
    expected = (host(99), 90) if change == "router_id" else (host(1), 30)
    assert (session.peer_open.identifier, session.hold_time) == expected
    assert fib(net, 1) == {block(1): BLACKHOLE, block(2): via((host(2),)), block(3): via((host(3),))}
    assert_one_session_each(net, 3)


# --- laws ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_run() -> None:
    def run() -> list[tuple[Address, bytes, int]]:
        net = mesh(1, 2, 3, net=SpeakerNet(seed=5))
        net.break_some(1)
        net.advance(300)
        return [
            (link.owner, link.remote, net.peer(link.owner[3], link.remote[3]).updates_sent)
            for link in net.ends
        ]

    assert run() == run()


def test_a_slow_neighbour_costs_no_more_than_the_table_and_catches_up() -> None:
    """Node 2 does not read while node 1's blocks come and go a hundred times."""
    net = mesh(1, 2, 3, net=SpeakerNet(clog=200))
    slow = net.peer(2, 1).link
    assert isinstance(slow, WireLink)
    most = 0
    for turn in range(100):
        net.configure(member(1, (1, 2, 3), blocks=[1, *range(20 + turn % 7, 40 + turn % 5)]))
        for link in net.waiting():
            if link.owner == host(3):
                net.deliver(link)
        most = max(most, slow.pending_bytes())
    assert most < 1000, "a full link is sent no more, however much happens"
    assert net.peer(1, 2).owed is not None
    net.deliver_all()
    assert net.peer(1, 2).owed is None
    expected = {block(number) for number in (1, 2, 3, *range(20 + 99 % 7, 40 + 99 % 5))}
    assert fib(net, 2).keys() == fib(net, 3).keys() == expected
    assert net.peer(1, 3).owed is None


def test_a_full_link_is_not_asked_about_until_it_drains() -> None:
    """A lagging neighbour whose link takes more is served at once; one whose link does not costs no turn."""
    net = mesh(1, 2)
    peer = net.peer(1, 2)
    assert peer.link is not None
    peer.link.queued = HIGH_WATER + 1
    net.configure(member(1, (1, 2), blocks=[1, 20]))
    speaker = net.speakers[host(1)]
    assert peer.owed == {0: {block(20): False}}
    assert speaker.next_timer() > net.now
    peer.link.queued = 0
    assert speaker.next_timer() < net.now
    net.deliver_all()
    assert fib(net, 2).keys() == {block(1), block(2), block(20)}
