"""What a node hears of cuts, power cuts and standstill: over memory, whose links are vouched for, and over real sockets."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from agents.speaker.links import Link, LinkChange, LinkEvent, Network
from agents.speaker.memory import MemoryNetwork
from agents.speaker.tcp import TcpNetwork
from cluster.addressing import Endpoints
from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.weather import Weather, WeatherLinks
from protocol.prefix import Address, parse_address
from tests.real.clusters import free_port

NAMES = ("ant", "bee", "cat")
ANT, BEE, CAT = (parse_address(f"10.77.0.{number}") for number in (1, 2, 3))
QUIET = 0.05
"""Seconds after which nothing comes any more."""
FOREVER = math.inf
ACCEPTED, CONNECTED, FAILED = LinkChange.ACCEPTED, LinkChange.CONNECTED, LinkChange.FAILED
TRUSTED, DOUBTED = LinkChange.TRUSTED, LinkChange.DOUBTED


def memory(*, vouches: bool = False, fragment: bool = False, seed: int = 1) -> MemoryNetwork:
    return MemoryNetwork(random.Random(seed), vouches=vouches, fragment=fragment)


def tcp() -> TcpNetwork:
    return TcpNetwork(Endpoints(free_port(), wide=True).add((ANT, BEE, CAT)))


@attrs.define
class Country:
    """Three nodes that listen, and how they are told apart."""

    network: Network
    homes: dict[str, tuple[Address, ...]] = attrs.field(
        factory=lambda: {"ant": (ANT,), "bee": (BEE,), "cat": (CAT,)}
    )
    weather: Weather = attrs.field(init=False)
    ant: WeatherLinks = attrs.field(init=False)
    bee: WeatherLinks = attrs.field(init=False)
    cat: WeatherLinks = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.weather = Weather(self.network, lambda name: self.homes.get(name, ()))
        self.ant, self.bee, self.cat = map(self.weather.attach, (ANT, BEE, CAT))

    async def connect(self) -> tuple[Link, Link]:
        """Ant dials bee."""
        link = self.ant.dial(BEE)
        assert await heard(self.ant) == [(link, CONNECTED)]
        [(accepted, what)] = await heard(self.bee)
        assert what is ACCEPTED
        return link, accepted

    def shut(self) -> None:
        for links in (self.ant, self.bee, self.cat):
            links.shut()


async def heard(links: WeatherLinks, within: float = QUIET) -> list[LinkEvent]:
    """Everything until it is quiet, bytes of a link in one piece."""
    deadline = trio.current_time() + within
    found: list[LinkEvent] = []
    while trio.current_time() < deadline:
        with trio.move_on_at(deadline):
            for link, what in await links.wait(deadline):
                if found and found[-1][0] is link and isinstance(what, bytes) and type(found[-1][1]) is bytes:
                    found[-1] = link, found[-1][1] + what
                else:
                    found.append((link, what))
            if found:
                deadline = min(deadline, trio.current_time() + 0.02)
    return found


@asynccontextmanager
async def country(make: Callable[[], Network]) -> AsyncIterator[Country]:
    found = Country(make())
    try:
        yield found
    finally:
        found.shut()


@pytest.fixture
def clock() -> MockClock:
    """It jumps when nobody has anything to do, and the kernel has nothing more to bring: loopback takes microseconds."""
    return MockClock(autojump_threshold=0.005)


@pytest.fixture(params=[memory, tcp])
async def land(request: pytest.FixtureRequest) -> AsyncIterator[Country]:
    async with country(request.param) as found:
        yield found


async def test_a_cut_holds_back_and_loses_nothing(land: Country, clock: MockClock) -> None:
    link, accepted = await land.connect()
    land.weather.cut("bee", "ant")
    for said in (b"1", b"2"):
        land.ant.send(link, said)
    land.bee.send(accepted, b"back")
    assert await heard(land.bee) == await heard(land.ant) == []
    land.ant.send(link, b"3")
    land.weather.heal("ant", "bee")
    assert await heard(land.bee) == [(accepted, b"123")]
    assert await heard(land.ant) == [(link, b"back")]


async def test_a_dial_over_a_cut_is_never_answered(land: Country, clock: MockClock) -> None:
    land.weather.cut("ant", "bee")
    link = land.ant.dial(BEE)
    assert await heard(land.ant) == []
    land.weather.heal("ant", "bee")
    assert await heard(land.ant) == []
    land.ant.close(link)
    await land.connect()


async def test_a_cut_is_between_two(land: Country, clock: MockClock) -> None:
    link, accepted = await land.connect()
    land.weather.cut("ant", "cat")
    land.ant.send(link, b"through")
    assert await heard(land.bee) == [(accepted, b"through")]


async def test_a_restart_behind_a_cut_is_seen_when_it_heals(land: Country, clock: MockClock) -> None:
    _, accepted = await land.connect()
    land.weather.cut("ant", "bee")
    land.ant.shut()
    land.ant = land.weather.attach(ANT)
    assert await heard(land.bee) == []
    land.weather.heal("ant", "bee")
    assert await heard(land.bee) == [(accepted, FAILED)]
    assert accepted.error in ("Connection reset by peer", "Connection closed")


async def test_who_has_given_up_behind_a_cut_hears_no_more(land: Country, clock: MockClock) -> None:
    link, accepted = await land.connect()
    land.weather.cut("ant", "bee")
    land.ant.send(link, b"held back")
    assert await heard(land.bee) == []
    land.bee.close(accepted)
    land.weather.heal("ant", "bee")
    assert await heard(land.bee) == []
    assert await heard(land.ant) == [(link, FAILED)]


async def test_a_power_cut_is_heard_by_who_speaks_when_it_is_over(land: Country, clock: MockClock) -> None:
    link, accepted = await land.connect()
    land.ant.send(link, b"last words")
    land.weather.power_off("ant")
    land.ant.shut()
    land.bee.send(accepted, b"are you there?")
    assert await heard(land.bee) == []
    land.weather.power_on("ant")
    land.ant = land.weather.attach(ANT)
    assert await heard(land.bee) == []
    land.bee.send(accepted, b"and now?")
    assert await heard(land.bee) == [(accepted, FAILED)]
    assert accepted.error == "Connection reset by peer"
    land.bee.close(accepted)
    link, accepted = await land.connect()
    land.bee.send(accepted, b"a new life")
    assert await heard(land.ant) == [(link, b"a new life")]


async def test_nobody_answers_a_dial_without_power(land: Country, clock: MockClock) -> None:
    land.weather.power_off("bee")
    land.bee.shut()
    link = land.ant.dial(BEE)
    assert await heard(land.ant) == []
    land.ant.close(link)
    land.weather.power_on("bee")
    land.bee = land.weather.attach(BEE)
    await land.connect()


async def test_who_is_frozen_finds_everything_when_it_thaws(land: Country, clock: MockClock) -> None:
    link, accepted = await land.connect()
    land.weather.freeze("bee")
    land.ant.send(link, b"one")
    dialled = land.cat.dial(BEE)
    assert await heard(land.cat) == [(dialled, CONNECTED)], "its kernel answers"
    assert await heard(land.bee) == []
    land.ant.send(link, b"two")
    land.ant.close(link)
    land.weather.thaw("bee")
    events = await heard(land.bee)
    assert [what for link, what in events if link is accepted] == [b"one", b"two", FAILED]
    assert [what for link, what in events if link is not accepted] == [ACCEPTED]


async def test_fair_weather_is_the_networks_own(land: Country, clock: MockClock) -> None:
    """When everything is over nothing of it is left."""

    def own() -> list[bool]:
        return [getattr(links.send, "__self__", links) is links for links in (land.ant, land.bee, land.cat)]

    assert own() == [False, False, False]
    link, _ = await land.connect()
    land.weather.cut("ant", "bee")
    land.weather.freeze("cat")
    land.ant.send(link, b"x")
    await heard(land.bee)
    assert own() == [True, True, True]
    land.weather.heal("ant", "bee")
    land.weather.thaw("cat")
    for links in (land.ant, land.bee, land.cat):
        await heard(links, 0.05)
    assert own() == [False, False, False]
    assert land.weather.is_fair


def test_a_node_that_moves_takes_its_weather_along() -> None:
    async def main() -> None:
        async with country(memory) as land:
            land.weather.cut("ant", "bee")
            there = parse_address("10.77.5.5")
            land.homes["bee"] = (there,)
            land.weather.moved("bee")
            moved = land.weather.attach(there)
            link = land.ant.dial(there)
            assert await heard(land.ant) == []
            await land.connect()  # whoever is at the old address now
            land.weather.heal("ant", "bee")
            land.ant.close(link)
            land.ant.dial(there)
            assert [what for _, what in await heard(moved)] == [ACCEPTED]
            moved.shut()

    run_virtual(main, 1)


def test_a_node_that_is_gone_takes_its_weather_along() -> None:
    async def main() -> None:
        async with country(memory) as land:
            land.weather.cut("ant", "bee")
            land.weather.freeze("bee")
            home, land.homes["bee"] = land.homes["bee"], ()
            land.weather.moved("bee")  # it is no more, and still runs
            land.ant.close(land.ant.dial(home[0]))
            assert await heard(land.ant) == []
            land.weather.removed("bee")
            land.weather.power_off("cat")
            land.weather.removed("cat")
            assert land.weather.is_fair
            await land.connect()

    run_virtual(main, 1)


def test_a_network_that_vouches_says_when_it_does_not() -> None:
    async def main() -> None:
        async with country(lambda: memory(vouches=True)) as land:
            link, accepted = await land.connect()
            assert link.vouched
            assert accepted.vouched
            weather = land.weather
            faults: list[tuple[Callable[[], None], Callable[[], None]]] = [
                (lambda: weather.cut("ant", "bee"), lambda: weather.heal("ant", "bee")),
                (lambda: weather.freeze("ant"), lambda: weather.thaw("ant")),
            ]
            for begin, end in faults:
                begin()
                assert await heard(land.bee) == [(accepted, DOUBTED)]
                assert await heard(land.ant) == [(link, DOUBTED)], "it takes note before it stands still"
                land.bee.send(accepted, b"hello")
                await trio.sleep(0.1)
                assert not link.vouched
                end()
                assert await heard(land.ant) == [(link, b"hello"), (link, TRUSTED)]
                assert await heard(land.bee) == [(accepted, TRUSTED)]
                assert link.vouched
            weather.power_off("ant")
            land.ant.shut()
            assert await heard(land.bee) == [(accepted, DOUBTED)]
            assert not accepted.vouched
            weather.power_on("ant")
            land.ant = weather.attach(ANT)

    run_virtual(main, 1)


def test_a_dial_in_bad_weather_is_not_vouched_for() -> None:
    async def main() -> None:
        async with country(lambda: memory(vouches=True)) as land:
            land.weather.freeze("bee")
            link = land.ant.dial(BEE)
            assert await heard(land.ant) == [(link, CONNECTED)]
            assert not link.vouched
            land.weather.thaw("bee")
            [(accepted, what)] = await heard(land.bee)
            assert (what, accepted.vouched) == (ACCEPTED, True)
            assert await heard(land.ant) == [(link, TRUSTED)]

    run_virtual(main, 1)


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    script=st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.binary(min_size=1, max_size=20)),
            st.tuples(st.sampled_from(("cut", "heal", "freeze", "thaw", "wait")), st.just(b"")),
        )
    ),
)
def test_bytes_come_in_order_whatever_the_weather(seed: int, script: list[tuple[str, bytes]]) -> None:
    async def main() -> tuple[list[bytes], bytes]:
        async with country(lambda: memory(fragment=True, vouches=True, seed=seed)) as land:
            link, _ = await land.connect()
            sent, got = b"", list[LinkEvent]()
            for verb, data in script:
                if verb == "send":
                    land.ant.send(link, data)
                    sent += data
                elif verb == "wait":
                    got += await heard(land.bee, 0.2)
                elif verb in ("cut", "heal"):
                    (land.weather.cut if verb == "cut" else land.weather.heal)("ant", "bee")
                else:
                    (land.weather.freeze if verb == "freeze" else land.weather.thaw)("bee")
            land.weather.heal("ant", "bee")
            land.weather.thaw("bee")
            got += await heard(land.bee, 10)
            return [what for _, what in got if isinstance(what, bytes)], sent

    pieces, sent = run_virtual(main, seed)
    assert b"".join(pieces) == sent
    assert run_virtual(main, seed) == (pieces, sent), "the same seed is the same run"
