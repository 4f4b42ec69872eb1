"""A speaker that starts on a kernel that outlived the one before it: what it says, whom it waits for, when it is over."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, FibRoute, Routes, device, via
from agents.speaker.config import Filter, KernelPolicy, SpeakerConfig
from agents.speaker.recovery import WAIT
from agents.speaker.speaker import Speaker
from protocol.bgp.messages import GracefulRestart, Open
from protocol.prefix import IPV4, Address, Prefix, parse_prefix
from protocol.v3.bgp import FilterRuleV4
from tests.agents.speaker.test_helper import config, kill
from tests.strategies.histories import History, Judge, histories, untidy
from tests.strategies.speaker import POOL, SpeakerNet, block, host, peer_config

STALE = parse_prefix("192.168.99.0/26")
"""Was right when the daemon went."""
POD = parse_prefix("192.168.2.7/32")
FELIX = device("cali7")


def mesh(*numbers: int) -> SpeakerNet:
    net = SpeakerNet()
    for number in numbers:
        net.add(config(number, *(other for other in numbers if other != number)))
    net.settle(len(numbers) * (len(numbers) - 1))
    return net


def restart(net: SpeakerNet, config: SpeakerConfig) -> Speaker:
    """Its daemon is gone; another one starts on the same kernel."""
    address = config.address
    if address in net.speakers:
        kill(net, address[3])
    speaker = net.speakers[address] = Speaker(
        config, fib=net.fibs[address], routes=Routes(), codec=net.codec, rng=random.Random(net.seed),
        now=net.now, recovering=True,
    )  # fmt: skip
    net.start(address)
    return speaker


def fib(net: SpeakerNet, number: int) -> dict[Prefix, FibRoute]:
    return dict(net.fibs[host(number)].routes)


def offered(net: SpeakerNet, at: int, source: int) -> GracefulRestart | None:
    """What ``source`` said of restarts to ``at``."""
    opened = net.peer(at, source).session.peer_open
    return opened.capabilities.graceful_restart if opened is not None else None


def wire_open(net: SpeakerNet, at: int, to: int) -> GracefulRestart | None:
    message = net.codec.decode(net.peer(at, to).session.wire_open)
    assert isinstance(message, Open)
    return message.capabilities.graceful_restart


def test_nobody_notices_and_what_is_stale_goes_at_the_end() -> None:
    net = mesh(1, 2, 3)
    net.fibs[host(2)].set_felix({POD: FELIX})
    before = [fib(net, number) for number in (1, 2, 3)]
    net.fibs[host(2)].program((STALE,), via((host(1),)))
    two = restart(net, config(2, 1, 3))
    watched: list[bool] = []
    for number in (1, 2, 3):
        net.fibs[host(number)].watcher = lambda prefixes: watched.extend(
            prefix != STALE for prefix in prefixes
        )
    assert STALE in fib(net, 2)
    net.settle(6, within=30)
    assert offered(net, 1, 2) == GracefulRestart(restarting=True, families=((4, True),))
    assert [fib(net, number) for number in (1, 2, 3)] == before
    assert not any(watched), "a table had another entry for a while"
    assert two.recovery is None
    assert net.peer(1, 2).restart is None
    assert wire_open(net, 2, 1) == GracefulRestart(families=((4, False),))


def test_it_tells_nothing_until_everybody_has_told_everything() -> None:
    net = mesh(1, 2, 3)
    kill(net, 3)
    two = restart(net, config(2, 1, 3, blocks=(2, 20)))
    net.settle(2, within=30)
    began = net.now
    assert two.recovery is not None
    assert [peer.address for peer in two.recovery.locks] == [host(3)]
    assert net.peer(2, 1).group is None
    assert block(2) in fib(net, 1)  # it is stale there
    net.advance(began + 100)
    assert block(20) not in fib(net, 1)
    assert block(20) not in fib(net, 2)
    net.add(config(3, 1, 2))
    net.settle(6, within=30)
    assert two.recovery is None
    assert fib(net, 1)[block(20)] == via((host(2),))
    assert fib(net, 2)[block(20)] == BLACKHOLE


def test_a_neighbour_that_does_not_come_holds_everybody_up_for_as_long_as_bird_waits() -> None:
    net = mesh(1, 2, 3)
    kill(net, 3)
    began = net.now
    two = restart(net, config(2, 1, 3, blocks=(2, 20)))
    net.advance(began + WAIT - 0.1)
    assert block(20) not in fib(net, 1)
    assert block(3) in fib(net, 2), "nobody has looked after the kernel"
    net.advance(began + WAIT)
    assert fib(net, 1)[block(20)] == via((host(2),))
    assert block(3) not in fib(net, 2)
    assert two.recovery is None


def test_those_that_recover_together_do_not_wait_for_each_other() -> None:
    net = mesh(1, 2, 3)
    kill(net, 2)
    kill(net, 3)
    for number, other in ((2, 3), (3, 2)):
        restart(net, config(number, 1, other))
    net.settle(6, within=30)
    assert all(speaker.recovery is None for speaker in net.speakers.values())
    assert all(block(number) in fib(net, at) for number in (1, 2, 3) for at in (1, 2, 3))


def test_without_neighbours_there_is_nothing_to_wait_for() -> None:
    net = SpeakerNet()
    net.add(config(2))
    net.fibs[host(2)].program((STALE,), via((host(1),)))
    restart(net, config(2))
    net.handle(host(2))
    assert fib(net, 2) == {block(2): BLACKHOLE}


def test_who_waits_for_the_session_of_another_stanza_is_not_waited_for() -> None:
    net = mesh(1, 2)
    both = (peer_config(2, 1), attrs.evolve(peer_config(2, 1), name="Mesh_10_77_0_1"))
    two = restart(net, attrs.evolve(config(2, 1), peers=both))
    net.settle(2, within=30)
    assert two.recovery is None


def test_of_two_connections_that_collide_both_say_that_it_has_restarted() -> None:
    net = mesh(1, 2)
    kill(net, 1)
    net.now = net.speakers[host(2)].next_timer()
    one = restart(net, config(1, 2))
    net.handle(host(2))
    dialled = [link for link in net.waiting() if link.owner == host(1)]
    assert len(dialled) == 2, "both have dialled"
    net.deliver(dialled[1])
    assert net.peer(1, 2).rival is not None
    net.settle(2, within=30)
    assert offered(net, 2, 1) == GracefulRestart(restarting=True, families=((4, True),))
    assert one.recovery is None
    assert net.peer(2, 1).restart is None


def test_a_neighbour_that_knows_no_restarts_is_told_at_once() -> None:
    net = mesh(1, 2, 3)
    kill(net, 3)
    peer = net.peer(1, 2)
    opened = net.codec.decode(peer.session.wire_open)
    assert isinstance(opened, Open)
    plain = attrs.evolve(opened, capabilities=attrs.evolve(opened.capabilities, graceful_restart=None))
    peer.session.wire_open = net.codec.encode(plain)
    two = restart(net, config(2, 1, 3, blocks=(2, 20)))
    net.settle(2, within=30)
    assert two.recovery is not None
    assert block(20) in fib(net, 1)
    assert block(20) not in fib(net, 2)


@pytest.mark.parametrize("how", ["removed", "wrong AS", "disabled"])
def test_whose_session_is_given_up_is_not_waited_for(how: str) -> None:
    net = mesh(1, 2, 3)
    kill(net, 3)
    if how == "wrong AS":
        stranger = attrs.evolve(peer_config(3, 2), local_as=7)
        net.add(attrs.evolve(config(3), local_as=7, peers=(stranger,)), start=False)
    two = restart(net, config(2, 1, 3))
    net.settle(2, within=30)
    assert two.recovery is not None
    if how == "removed":
        net.configure(config(2, 1))
    elif how == "disabled":
        two.disable("Node_10_77_0_3", net.now)
        net.act(host(2))
    else:
        net.start(host(3))
        net.advance(net.now + 20)
    assert two.recovery is None
    assert block(3) not in fib(net, 2)


def test_who_comes_again_after_a_word_is_told_at_once_and_hears_of_no_restart() -> None:
    net = mesh(1, 2, 3)
    kill(net, 3)
    two = restart(net, config(2, 1, 3, blocks=(2, 20)))
    net.settle(2, within=30)
    one = net.speakers[host(1)]
    for switch in (one.disable, one.enable):
        switch("Node_10_77_0_2", net.now)
        net.act(host(1))
        net.deliver_all()
    net.settle(2, within=30)
    assert offered(net, 1, 2) == GracefulRestart(families=((4, False),))
    assert two.recovery is not None
    assert block(20) in fib(net, 1)
    assert block(20) not in fib(net, 2)


def test_a_connection_that_breaks_meanwhile_is_waited_for_again() -> None:
    net = mesh(1, 2, 3)
    kill(net, 3)
    two = restart(net, config(2, 1, 3, blocks=(2, 20)))
    net.settle(2, within=30)
    net.break_some(0)
    net.deliver_all()
    assert net.established() == 0
    net.settle(2, within=30)
    assert offered(net, 1, 2) == GracefulRestart(restarting=True, families=((4, True),))
    assert two.recovery is not None
    assert block(20) not in fib(net, 1)
    assert block(2) not in fib(net, 1), "the second loss in a row, and nothing was told since the first"
    net.advance(net.now + WAIT)
    assert {block(2), block(20)} <= fib(net, 1).keys()


def test_a_neighbour_that_is_configured_meanwhile_hears_of_no_restart() -> None:
    net = mesh(1, 2, 3)
    kill(net, 3)
    two = restart(net, config(2, 1, 3))
    net.settle(2, within=30)
    net.add(attrs.evolve(config(4, 2), peers=(peer_config(4, 2, passive=True),)))
    net.configure(config(2, 1, 3, 4))
    net.settle(4, within=30)
    assert two.recovery is not None
    assert offered(net, 4, 2) == GracefulRestart(families=((4, False),))
    assert block(2) in fib(net, 4)


def test_what_is_configured_meanwhile_reaches_the_kernel_at_the_end() -> None:
    net = mesh(1, 2, 3)
    kill(net, 3)
    two = restart(net, config(2, 1, 3))
    net.settle(2, within=30)
    before = fib(net, 2)
    net.configure(attrs.evolve(config(2, 1, 3, blocks=(2, 20)), kernel=KernelPolicy(rejected=(block(1),))))
    assert fib(net, 2) == before
    net.advance(net.now + WAIT)
    assert two.recovery is None
    assert fib(net, 2) == {block(2): BLACKHOLE, block(20): BLACKHOLE}


def test_who_is_told_nothing_yet_is_asked_again_when_other_filters_are_configured_meanwhile() -> None:
    net = mesh(1, 2, 3)
    kill(net, 3)
    restart(net, config(2, 1, 3))
    net.settle(2, within=30)
    reject = FilterRuleV4(action="Reject", cidr="192.168.1.0/24", match_operator="In")
    filters = (Filter(name="reject", direction="import", family=IPV4, rules=(reject,)),)
    plain = config(2, 1, 3)
    net.configure(
        attrs.evolve(plain, peers=tuple(attrs.evolve(peer, import_filters=filters) for peer in plain.peers))
    )
    net.deliver_all()
    assert block(1) in fib(net, 2)
    net.advance(net.now + WAIT)
    assert block(1) not in fib(net, 2)


def test_what_a_silent_neighbour_told_is_told_on_when_there_is_somebody_to_tell() -> None:
    """A reflector recovers; one client comes, and tells; another recovers too, and is told at once; the third is missing."""
    net = SpeakerNet()
    clients = [peer_config(1, other, cluster_id=host(1)) for other in (2, 3, 4)]
    reflector = attrs.evolve(config(1), peers=tuple(clients))
    net.add(reflector)
    for number in (2, 3, 4):
        net.add(config(number, 1))
    net.settle(6)
    kill(net, 4)
    kill(net, 3)
    restart(net, reflector)
    net.settle(2, within=30)
    restart(net, config(3, 1))
    net.settle(4, within=30)
    assert net.peer(1, 2).group is None
    assert block(2) in net.peer(3, 1).adj_rib_in
    net.configure(config(2, 1, blocks=(2, 20)))
    net.deliver_all()
    assert block(20) in net.peer(3, 1).adj_rib_in
    net.advance(net.now + WAIT)
    assert block(3) in net.peer(2, 1).adj_rib_in
    assert POOL not in fib(net, 1)


@pytest.mark.parametrize("silent_first", [True, False])
def test_what_a_silent_neighbour_tells_later_is_told_on_too(silent_first: bool) -> None:
    """As above; the one that is told nothing had nothing to tell when it came, or came when the other was told already."""
    net = SpeakerNet()
    reflector = attrs.evolve(
        config(1), peers=tuple(peer_config(1, other, cluster_id=host(1)) for other in (2, 3, 4))
    )
    net.add(reflector, start=False)
    net.fibs[host(1)].program((STALE,), via((host(2),)))
    restart(net, reflector)
    net.add(config(3, 1), start=False)
    starts: list[Callable[[], object]] = [
        partial(net.add, config(2, 1, blocks=())),
        partial(restart, net, config(3, 1)),
    ]
    for number, start in enumerate(starts if silent_first else starts[::-1], 1):
        start()
        net.settle(2 * number, within=30)
    assert net.speakers[host(1)].recovery is not None
    assert net.peer(1, 2).group is None
    net.configure(config(2, 1))
    net.deliver_all()
    assert block(2) in net.peer(3, 1).adj_rib_in


def test_who_was_silent_and_is_gone_again_at_the_end_is_told_nothing() -> None:
    net = mesh(1, 2, 3)
    kill(net, 3)
    two = restart(net, config(2, 1, 3, blocks=(2, 20)))
    net.settle(2, within=30)
    kill(net, 1)
    net.advance(net.now + WAIT)
    assert two.recovery is None
    assert net.peer(2, 1).group is None
    net.add(config(1, 2, 3))
    net.settle(2, within=30)
    assert block(20) in fib(net, 1)


def _tables(net: SpeakerNet) -> dict[Address, dict[Prefix, FibRoute]]:
    return {address: dict(fib.routes) for address, fib in net.fibs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["internal", "reflectors", "external", "mixed"])
def test_whoever_restarts_in_a_quiet_network_no_kernel_has_another_entry_for_a_moment(
    shape: str, depth: int
) -> None:
    @settings(max_examples=50 * depth)
    @given(history=histories(shape=shape), who=st.integers(0, 100), seed=st.integers(0, 1000))
    def law(history: History, who: int, seed: int) -> None:
        plan, _ = history[0]
        assume(not Judge(plan).endless)
        net = SpeakerNet(seed=seed)
        for number in plan.numbers:
            net.add(plan.configuration(number))
            net.set_kernel(host(number), plan.workloads(number))
        sessions = 2 * len(plan.edges)
        net.settle(sessions)
        before = _tables(net)
        changed: list[object] = []

        def look(address: Address, prefixes: Iterable[Prefix]) -> None:
            table = net.fibs[address].routes
            changed.extend(
                (address[3], prefix, table.get(prefix))
                for prefix in prefixes
                if table.get(prefix) != before[address].get(prefix)
            )

        for address, fib in net.fibs.items():
            fib.watcher = partial(look, address)
        net.restart(host(plan.numbers[who % len(plan.numbers)]), kernel_lives=True)
        net.settle(sessions)
        net.advance(net.now + 500)
        assert changed == []
        assert _tables(net) == before
        assert all(speaker.recovery is None for speaker in net.speakers.values())
        assert [*untidy(net, sessions)] == []

    law()
