"""Counting in a cluster of shards: what they tell, in whatever order, becomes seconds that were lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from agents.dataplane.fib import Fib, device, via
from cluster.datastore.memory import MemoryStore
from cluster.faults import Faults, State
from cluster.fibfeed import FibFeed
from cluster.loss.late import PATIENCE
from cluster.losswatch import LossWatch
from protocol.prefix import parse_address, parse_prefix
from protocol.sync.errors import Conflict, NotFound
from tests.strategies.clusters import node, workload

POD = parse_prefix("192.168.2.1/32")
BLOCK = parse_prefix("192.168.2.0/26")
TO_N2 = via((parse_address("10.0.0.2"),))


class World:
    """n1 is on shard 1; n2 and its pod on shard 2. Time goes by when somebody says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lost: list[str] = []
        self.store = MemoryStore(wall=lambda: 0.0)
        for number in (1, 2):
            self.store.create(node(f"n{number}", f"10.0.0.{number}/24"))
        self.store.create(workload("n2", "192.168.2.1/32", "cali1"))
        self.hosts = {"n1": 1, "n2": 2}
        self.fibs = {name: Fib() for name in self.hosts}
        self.feeds = {shard: FibFeed(lambda: self.now) for shard in (1, 2)}
        self.faults = Faults(hosts=self.hosts, ask=self.ask, ask_all=self.ask_all, changed=lambda: None)
        self.losses = LossWatch(
            store=self.store,
            faults=self.faults,
            ask_all=self.ask_all,
            shards=lambda: self.feeds,
            dead=lambda: self.lost,
            clock=lambda: self.now,
        )
        self.fibs["n1"].program([BLOCK], TO_N2)
        self.fibs["n2"].program([POD], device("cali1"))

    async def ask(self, shard: int, method: str, params: Any) -> Any:
        await trio.lowlevel.checkpoint()

    async def ask_all(self, method: str, params: Any = None) -> Sequence[Any]:
        await trio.lowlevel.checkpoint()
        for shard, feed in self.feeds.items():
            own = {name: fib for name, fib in self.fibs.items() if self.hosts[name] == shard}
            if method == "watch_fibs":
                (feed.begin if params == [True] else feed.end)(own)
            elif method == "report_fibs":
                self.losses.reported(shard, [self.now, feed.take()])
        return []

    async def total(self) -> float:
        return round((await self.losses.report()).total, 6)


async def test_a_route_that_is_gone_for_a_while_is_so_many_seconds() -> None:
    world = World()
    await world.losses.begin()
    world.now += 5
    world.fibs["n1"].program([BLOCK], None)
    world.now += 2
    assert await world.total() == 2.0
    world.fibs["n1"].program([BLOCK], TO_N2)
    world.now += 5
    report = await world.losses.report()
    assert (report.total, report.start, report.end) == (2.0, 0.0, 12.0)
    assert [(each.source, each.destination) for each in report.pairs] == [("n1", "n2")]


async def test_what_was_so_at_the_beginning_is_told_as_of_the_beginning() -> None:
    world = World()
    world.faults.states["n2"] = State.OFF
    del world.fibs["n2"]
    await world.losses.begin()
    world.now += 3
    report = await world.losses.report()
    assert (report.total, report.off) == (0.0, 3.0)
    world = World()
    world.faults.cuts["n1", "n2"] = None
    await world.losses.begin()
    world.now += 3
    report = await world.losses.report()
    assert report.total == 3.0
    assert report.pairs[0].intervals[0].reason == "cut link"


async def test_power_links_and_shards() -> None:
    world = World()
    await world.losses.begin(origin=50.0)
    assert world.losses.now() == 50.0
    world.feeds[2].gone("n2")
    world.now += 3
    assert (await world.losses.report()).off == 3.0
    world.feeds[2].made("n2", world.fibs["n2"])
    world.now += 1
    assert (await world.losses.report()).off == 3.0
    await world.faults.cut("n1", "n2")
    world.now += 4
    await world.faults.heal("n1", "n2")
    world.now += 4
    assert await world.total() == 4.0
    world.lost.append("n2")
    del world.feeds[2]
    world.losses.shard_lost(2, ["n2"])
    world.now += 7
    report = await world.losses.report()
    assert (report.total, report.off) == (4.0, 10.0)


async def test_a_node_that_is_deleted_is_not_one_without_power() -> None:
    world = World()
    await world.losses.begin()
    world.feeds[2].gone("n2")
    world.now += 3
    await world.losses.report()
    world.store.delete("Node", "n2")
    for number in (1, 2):
        world.feeds[number].gone(f"n{number}")  # evicted; n1 has a Node, and so it is the machine that went
    world.now += 4
    report = await world.losses.report()
    assert report.powerless == {"n1": ((3.0, 7.0),), "n2": ((0.0, 3.0),)}


async def test_a_process_that_stands_still_holds_nobody_up(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    await world.losses.begin()

    async def ask_all(method: str, params: Any = None) -> Sequence[Any]:
        world.losses.reported(1, [world.now, world.feeds[1].take()])
        await trio.sleep_forever()
        return []

    world.losses._ask_all = ask_all
    world.fibs["n1"].program([BLOCK], None)
    world.now += 9
    began = trio.current_time()
    report = await world.losses.report()
    assert trio.current_time() - began == PATIENCE
    assert (report.end, report.total) == (9.0 - PATIENCE, 9.0 - PATIENCE), (
        "what the other has told until then"
    )
    await world.losses.end()


async def test_one_count_at_a_time_and_nothing_is_left_of_it() -> None:
    world = World()
    with pytest.raises(NotFound):
        await world.losses.report()
    await world.losses.begin()
    with pytest.raises(Conflict):
        await world.losses.begin()
    await world.losses.end()
    await world.losses.end()
    assert world.losses.account is None
    assert [fib.watcher for fib in world.fibs.values()] == [None, None]
    assert not any(feed.listening for feed in world.feeds.values())
    world.losses.reported(1, [world.now, []])  # what was on its way
    await world.losses.begin()
    world.now += 1
    assert await world.total() == 0.0


async def test_a_count_that_nobody_asks_for_ends(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    world.losses._clock = trio.current_time
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.losses.run)
        await trio.testing.wait_all_tasks_blocked()
        await world.losses.begin(lease=30.0)
        await trio.sleep(29)
        await world.losses.report()
        await trio.sleep(29)
        assert world.losses.account is not None
        await trio.sleep(2)
        assert world.losses.account is None
        await world.losses.begin()
        await trio.sleep(1000)
        assert world.losses.account is not None, "who is in this process need not ask"
        nursery.cancel_scope.cancel()
