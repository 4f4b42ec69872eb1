"""The network as a speaker sees it: one story for real TCP, for TCP where all share 127.0.0.1, and for the twin in memory."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable

import attrs
import pytest
import trio

from agents.speaker.config import PeerConfig, PeerKind
from agents.speaker.links import (
    PLAIN,
    Link,
    LinkChange,
    LinkEvent,
    LinkOptions,
    Links,
    Network,
    options_of,
)
from agents.speaker.memory import MemoryNetwork
from agents.speaker.tcp import TcpNetwork
from agents.speaker.tcp_options import can_sign
from protocol.prefix import Address
from tests.strategies.network import loopback_endpoints
from tests.strategies.speaker import host

ONE, OTHER, THIRD, NOBODY = (host(number) for number in (1, 2, 3, 99))


@attrs.define
class World:
    """A network and its nodes; at the end everybody is gone."""

    network: Network
    nodes: list[Links] = attrs.field(factory=list)

    def attach(self, address: Address, port: int = 179) -> Links:
        links = self.network.attach(address, port)
        self.nodes.append(links)
        return links

    def shut(self, links: Links) -> None:
        self.nodes.remove(links)
        links.shut()


@pytest.fixture(params=["tcp", "tcp-one-address", "memory", "memory-fragments"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    network: Network
    if request.param.startswith("memory"):
        fragment = request.param == "memory-fragments"
        network = MemoryNetwork(random.Random(1), delay=0.0001, fragment=fragment, capacity=1 << 16)
    else:
        one_address = request.param == "tcp-one-address"
        endpoints = loopback_endpoints((ONE, OTHER, THIRD, NOBODY), one_address=one_address)
        network = TcpNetwork(endpoints, introduce=one_address)
    world = World(network)
    yield world
    for links in world.nodes:
        links.shut()


async def events(links: Links, enough: Callable[[list[LinkEvent]], bool]) -> list[LinkEvent]:
    """What happens until it is enough."""
    seen: list[LinkEvent] = []
    with trio.fail_after(10):
        while not enough(seen):
            seen += await links.wait(trio.current_time() + 10)
    return seen


async def change(links: Links, what: LinkChange) -> Link:
    """The next event is this one; its link."""
    [(link, happened)] = await events(links, bool)
    assert happened is what
    return link


async def nothing(links: Links) -> None:
    """Nothing happens for a while."""
    assert await links.wait(trio.current_time() + 0.02) == []


async def leftovers(links: Links) -> list[LinkEvent]:
    """All that still happens."""
    seen: list[LinkEvent] = []
    while more := await links.wait(trio.current_time() + 0.02):
        seen += more
    return seen


async def received(links: Links, link: Link, size: int) -> bytes:
    """So many bytes, and nothing else."""
    seen = await events(
        links, lambda seen: sum(len(data) for _, data in seen if isinstance(data, bytes)) >= size
    )
    assert {each for each, _ in seen} == {link}
    return b"".join(data for _, data in seen if isinstance(data, bytes))


async def connect(dialler: Links, acceptor: Links, to: Address = OTHER) -> tuple[Link, Link]:
    link = dialler.dial(to)
    assert await change(dialler, LinkChange.CONNECTED) is link
    return link, await change(acceptor, LinkChange.ACCEPTED)


async def test_a_dial_is_accepted_and_both_know_whom_they_talk_to(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    link, accepted = await connect(one, other)
    assert (link.remote, accepted.remote) == (OTHER, ONE)
    assert (link.session, accepted.session) == (None, None)
    assert (link.queued, link.error) == (0, "")


async def test_bytes_arrive_in_order_both_ways(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    link, accepted = await connect(one, other)
    for number in range(50):
        one.send(link, b"%d," % number)
        other.send(accepted, b"%d;" % number)
    assert await received(other, accepted, 140) == b"".join(b"%d," % number for number in range(50))
    assert await received(one, link, 140) == b"".join(b"%d;" % number for number in range(50))


async def test_who_is_dialled_hears_of_it_before_what_is_said(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    link = one.dial(OTHER)
    await change(one, LinkChange.CONNECTED)
    one.send(link, b"at once")
    seen = await events(
        other, lambda seen: b"".join(x for _, x in seen if isinstance(x, bytes)) == b"at once"
    )
    assert [what for _, what in seen if isinstance(what, LinkChange)] == [LinkChange.ACCEPTED]
    assert seen[0][1] is LinkChange.ACCEPTED


async def test_both_dial_at_once(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    dialled = {one.dial(OTHER), other.dial(ONE)}
    for links in (one, other):
        seen = await events(links, lambda seen: len(seen) >= 2)
        assert {what for _, what in seen} == {LinkChange.CONNECTED, LinkChange.ACCEPTED}
        assert {what for link, what in seen if link in dialled} == {LinkChange.CONNECTED}


async def test_nobody_listens(world: World) -> None:
    one = world.attach(ONE)
    link = one.dial(NOBODY)
    assert await change(one, LinkChange.FAILED) is link
    assert link.error == "Connection refused"
    one.close(link)
    await nothing(one)


async def test_nobody_has_that_address(world: World) -> None:
    one = world.attach(ONE)
    link = one.dial(host(200))
    assert await change(one, LinkChange.FAILED) is link
    assert link.error


async def test_what_was_sent_before_a_close_arrives(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    link, accepted = await connect(one, other)
    one.send(link, b"goodbye")
    one.close(link)
    seen = await events(other, lambda seen: (accepted, LinkChange.FAILED) in seen)
    assert b"".join(what for _, what in seen if isinstance(what, bytes)) == b"goodbye"
    assert seen[-1] == (accepted, LinkChange.FAILED)
    assert accepted.error == "Connection closed"
    # Neither hears more of it, and speaking to it is harmless.
    for links, end in ((one, link), (other, accepted)):
        links.send(end, b"anybody?")
        links.close(end)
        links.close(end)
    await nothing(one)
    await nothing(other)


async def test_no_event_follows_a_close(world: World) -> None:
    """Whatever was about to be told: that it is connected, that it is refused, that bytes came."""
    one, other = world.attach(ONE), world.attach(OTHER)
    for remote in (OTHER, NOBODY):
        link = one.dial(remote)
        one.close(link)
    await nothing(one)
    assert {what for _, what in await leftovers(other)} <= {LinkChange.ACCEPTED, LinkChange.FAILED}
    link, accepted = await connect(one, other)
    other.send(accepted, b"too late")
    await trio.sleep(0.01)
    one.close(link)
    await nothing(one)


async def test_a_slow_reader_makes_a_queue_and_then_drains_it(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    link, accepted = await connect(one, other)
    size = 16 << 20
    data = random.Random(2).randbytes(1 << 20)
    for _ in range(16):
        one.send(link, data)
    assert 0 < link.queued < size, "the network takes some, and not all"
    before = link.queued
    one.send(link, b"last")
    assert link.queued == before + 4, "what is queued is not overtaken"

    async with trio.open_nursery() as nursery:
        drained: list[LinkEvent] = []

        async def drain() -> None:
            drained.extend(await events(one, bool))

        nursery.start_soon(drain)
        assert await received(other, accepted, size + 4) == data * 16 + b"last"
    assert drained == [(link, LinkChange.DRAINED)]
    assert link.queued == 0
    await nothing(one)


async def test_a_queue_goes_with_its_connection(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    link, accepted = await connect(one, other)
    one.send(link, bytes(16 << 20))
    assert link.queued > 0
    other.close(accepted)
    assert await change(one, LinkChange.FAILED) is link
    one.send(link, b"more")
    await nothing(one)


async def test_power_off(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    _, accepted = await connect(one, other)
    one.dial(OTHER)
    world.shut(one)
    seen = await events(other, lambda seen: (accepted, LinkChange.FAILED) in seen)
    seen += await leftovers(other)
    assert {what for _, what in seen} <= {LinkChange.ACCEPTED, LinkChange.FAILED}
    dialled = other.dial(ONE)
    assert (await events(other, lambda seen: dialled in dict(seen)))[-1] == (dialled, LinkChange.FAILED)
    assert dialled.error == "Connection refused"
    # And on again, at the same address.
    again = world.attach(ONE)
    await connect(other, again, ONE)


async def test_an_address_is_taken_once(world: World) -> None:
    world.attach(ONE)
    with pytest.raises(OSError, match="in use"):
        world.attach(ONE)


async def test_waiting_ends_at_the_deadline(world: World) -> None:
    one = world.attach(ONE)
    before = trio.current_time()
    assert await one.wait(before + 0.01) == []
    assert before + 0.01 <= trio.current_time() < before + 5
    assert await one.wait(float("-inf")) == []


async def test_waiting_ends_when_woken(world: World) -> None:
    one = world.attach(ONE)
    one.wake()
    with trio.fail_after(5):
        assert await one.wait(float("inf")) == [], "before the wait"
        async with trio.open_nursery() as nursery:

            async def wake() -> None:
                await trio.testing.wait_all_tasks_blocked()
                one.wake()

            nursery.start_soon(wake)
            assert await one.wait(float("inf")) == [], "in the middle of it"
    await nothing(one)


async def test_three_talk_and_nothing_gets_mixed_up(world: World) -> None:
    nodes = {address: world.attach(address) for address in (ONE, OTHER, THIRD)}
    addresses = list(nodes)
    for address, links in nodes.items():
        for remote in addresses:
            if remote != address:
                links.dial(remote)
    heard: dict[tuple[Address, Address], bytes] = {}
    with trio.fail_after(10):
        while sum(map(len, heard.values())) < 2 * 6 * 9:
            for address, links in nodes.items():
                for link, what in await links.wait(trio.current_time() + 0.01):
                    if isinstance(what, bytes):
                        heard[address, link.remote] = heard.get((address, link.remote), b"") + what
                    else:
                        links.send(link, b"from " + address)
    assert heard == {(a, b): 2 * (b"from " + b) for a in addresses for b in addresses if a != b}


# --- ports ------------------------------------------------------------------------------------------------------


async def test_a_port_is_where_a_node_listens(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER, 1790)
    link = one.dial(OTHER, 1790)
    assert await change(one, LinkChange.CONNECTED) is link
    accepted = await change(other, LinkChange.ACCEPTED)
    assert accepted.remote == ONE
    back = other.dial(ONE)
    assert await change(other, LinkChange.CONNECTED) is back
    assert (await change(one, LinkChange.ACCEPTED)).remote == OTHER


async def test_at_another_port_nobody_listens(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER, 1790)
    link = one.dial(OTHER)
    for _ in range(3):  # where all share an address it takes a connection to find out
        await nothing(other)
    seen = await events(one, lambda seen: (link, LinkChange.FAILED) in seen)
    assert link.error in ("Connection refused", "Connection closed")
    assert len(seen) <= 2
    await nothing(other)


# --- signatures and TTLs ----------------------------------------------------------------------------------------

SECRET, OTHER_SECRET = LinkOptions(password="secret"), LinkOptions(password="sauce")
NEAR = LinkOptions(ttl=255, min_ttl=255)


def test_options_come_from_the_stanza() -> None:
    plain = PeerConfig(name="x", kind=PeerKind.NODE, address=ONE, local_address=OTHER, local_as=1, peer_as=1)
    assert options_of(plain) is PLAIN
    assert options_of(attrs.evolve(plain, ttl_security=1)) == NEAR
    assert options_of(attrs.evolve(plain, ttl_security=254)) == LinkOptions(ttl=255, min_ttl=2)
    assert options_of(attrs.evolve(plain, password="secret")) == SECRET
    assert "secret" not in repr(SECRET)


where_nodes_have_addresses = pytest.mark.parametrize(
    "world",
    [
        pytest.param(
            "tcp", marks=pytest.mark.skipif(not can_sign(), reason="this kernel has no TCP MD5 signatures")
        ),
        "memory",
        "memory-fragments",
    ],
    indirect=True,
)
"""A signature belongs to an address, so there is none where all nodes share one; ``test_tcp`` has how that is refused."""


@where_nodes_have_addresses
async def test_with_the_same_password_all_is_as_without(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    one.expect({OTHER: SECRET})
    other.expect({ONE: SECRET})
    link, accepted = await connect(one, other)
    one.send(link, b"hello")
    assert await received(other, accepted, 5) == b"hello"
    back, _ = await connect(other, one, ONE)
    other.close(back)


@where_nodes_have_addresses
@pytest.mark.parametrize(
    ("mine", "theirs"), [(SECRET, OTHER_SECRET), (SECRET, PLAIN), (PLAIN, SECRET)], ids=str
)
async def test_with_different_passwords_nobody_answers(
    world: World, mine: LinkOptions, theirs: LinkOptions
) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    one.expect({OTHER: mine})
    other.expect({ONE: theirs})
    link = one.dial(OTHER)
    back = other.dial(ONE)
    await nothing(one)
    await nothing(other)
    one.close(link)
    other.close(back)


@where_nodes_have_addresses
async def test_a_password_can_change_and_go(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    for options in (SECRET, OTHER_SECRET, PLAIN):
        for links, remote in ((one, OTHER), (other, ONE)):
            links.expect({remote: options} if options is not PLAIN else {})
        link, accepted = await connect(one, other)
        one.close(link)
        assert await change(other, LinkChange.FAILED) is accepted


@where_nodes_have_addresses
async def test_a_password_is_for_one_neighbour(world: World) -> None:
    one, other, third = world.attach(ONE), world.attach(OTHER), world.attach(THIRD)
    one.expect({OTHER: SECRET})
    link = third.dial(ONE)
    assert await change(third, LinkChange.CONNECTED) is link
    assert (await change(one, LinkChange.ACCEPTED)).remote == THIRD
    other.dial(ONE)
    await nothing(one)


async def test_near_neighbours_hear_each_other(world: World) -> None:
    one, other = world.attach(ONE), world.attach(OTHER)
    one.expect({OTHER: NEAR})
    other.expect({ONE: NEAR})
    link, accepted = await connect(one, other)
    one.send(link, b"hello")
    other.send(accepted, b"hello")
    assert await received(other, accepted, 5) == b"hello"
    assert await received(one, link, 5) == b"hello"


async def test_who_asks_for_a_ttl_does_not_hear_who_sends_less(world: World) -> None:
    """Whoever dials; the other one hears all."""
    one, other = world.attach(ONE), world.attach(OTHER)
    one.expect({OTHER: NEAR})
    for dialler, acceptor, to in ((one, other, OTHER), (other, one, ONE)):
        link = dialler.dial(to)
        assert await change(dialler, LinkChange.CONNECTED) is link
        accepted = await change(acceptor, LinkChange.ACCEPTED)
        mine, theirs = (link, accepted) if dialler is one else (accepted, link)
        one.send(mine, b"from one")
        assert await received(other, theirs, 8) == b"from one"
        other.send(theirs, b"from other")
        await nothing(one)
        one.close(mine)
        await leftovers(other)
        other.close(theirs)
