"""What the network in memory has and TCP has not: delays, virtual time. The rest is in test_links."""

from __future__ import annotations

import random

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.speaker.links import Link, LinkChange, LinkEvent
from agents.speaker.memory import MemoryLinks, MemoryNetwork
from tests.strategies.speaker import host

ONE, OTHER = host(1), host(2)


def network(seed: int = 1, *, delay: float = 0.5, fragment: bool = False) -> MemoryNetwork:
    return MemoryNetwork(random.Random(seed), delay=delay, fragment=fragment)


async def connected(net: MemoryNetwork) -> tuple[MemoryLinks, MemoryLinks, Link, Link]:
    one, other = net.attach(ONE), net.attach(OTHER)
    link = one.dial(OTHER)
    assert await one.wait(float("inf")) == [(link, LinkChange.CONNECTED)]
    [(accepted, what)] = await other.wait(float("inf"))
    assert what is LinkChange.ACCEPTED
    return one, other, link, accepted


async def test_everything_takes_the_delay(autojump_clock: trio.testing.MockClock) -> None:
    one, other, link, accepted = await connected(network(delay=0.5))
    assert trio.current_time() == 0.5
    one.send(link, b"a")
    await trio.sleep(0.3)
    one.send(link, b"b")
    assert await other.wait(float("inf")) == [(accepted, b"a")]
    assert trio.current_time() == 1.0
    assert await other.wait(float("inf")) == [(accepted, b"b")]
    assert trio.current_time() == 1.3
    one.close(link)
    assert await other.wait(float("inf")) == [(accepted, LinkChange.FAILED)]
    assert trio.current_time() == 1.8


async def test_what_comes_in_while_one_waits_ends_the_wait_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one, other, link, accepted = await connected(network(delay=0.5))

    async def later() -> None:
        await trio.sleep(2)
        one.send(link, b"x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later)
        assert await other.wait(trio.current_time() + 100) == [(accepted, b"x")]
        assert trio.current_time() == 3.0


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    script=st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.binary(min_size=1, max_size=20)),
            st.tuples(st.just("wait"), st.just(b"")),
        )
    ),
)
def test_bytes_come_in_order_however_they_are_cut(seed: int, script: list[tuple[str, bytes]]) -> None:
    async def main() -> tuple[list[bytes], bytes]:
        net = network(seed, fragment=True)
        one, other, link, _ = await connected(net)
        sent, got = b"", list[LinkEvent]()
        for verb, data in script:
            if verb == "send":
                one.send(link, data)
                sent += data
            else:
                got += await other.wait(trio.current_time() + 0.2)
        while more := await other.wait(trio.current_time() + 10):
            got += more
        return [what for _, what in got if isinstance(what, bytes)], sent

    def run() -> tuple[list[bytes], bytes]:
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    pieces, sent = run()
    assert b"".join(pieces) == sent
    assert run() == (pieces, sent), "the same seed is the same run"
