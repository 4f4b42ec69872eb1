"""calico-node restarts, on a kernel that lives and on one that does not: the story as everybody's events tell it, and what it costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from agents.dataplane.fib import FibRoute, RouteKind
from agents.node import FAMILIES
from agents.speaker.recovery import WAIT
from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.eventlog import EventLog
from cluster.rehearsal.virtual import Virtual
from protocol.prefix import IPV4, IPV6, Prefix, family_of
from tests.conftest import Golden
from tests.strategies.clusters import Document, bgp_configuration, node, pool

ONE, TWO, THREE = NAMES = ("node-1", "node-2", "node-3")


class Story:
    """A mesh of three nodes with a pod each, and what happens there after it is up."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.text = ""
        self._lines: list[str] = []
        self.log = EventLog(self._lines.append)
        self.cluster = Virtual(nursery, 3, log=self.log)
        self.cluster.apply(pool("default", "192.168.0.0/16", blockSize=26))
        self._restart_time("30s")
        for index, name in enumerate(NAMES, 1):
            self.cluster.apply(node(name, f"10.77.0.{index}/24"))

    async def begin(self) -> None:
        await self.cluster.boot(1)
        await self.settle()
        self._forget()
        self._account = await self.cluster.watch_loss()
        self._began = self.cluster.now()

    def _restart_time(self, time: str) -> None:
        self.cluster.apply(
            bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=True, nodeMeshMaxRestartTime=time)
        )

    async def set_restart_time(self, time: str) -> None:
        """Sessions start again, which is no part of the story."""
        self._restart_time(time)
        await self.settle()
        await self._pass()

    async def settle(self, within: float = 60) -> None:
        settled = await self.cluster.settle(within)
        assert not settled.differences

    def _forget(self) -> list[str]:
        self.log.flush()
        lines = "".join(self._lines).splitlines(keepends=True)
        self._lines.clear()
        return lines

    async def chapter(self, title: str) -> None:
        """What happened since the one before, in seconds since its first line."""
        await self.settle(400)
        lines = [line.split(" ", 1) for line in self._forget()]
        start = float(lines[0][0])
        self.text += f"# {title}\n" + "".join(f"{float(at) - start:7.3f} {what}" for at, what in lines)
        pairs = self._account.report(self.cluster.now(), since=self._began).pairs
        lost = [f"{pair.source} to {pair.destination} {pair.seconds:.3f} s" for pair in pairs]
        self.text += f"   lost {', '.join(lost) or 'nothing'}\n\n"
        await self._pass()

    async def _pass(self) -> None:
        """Long enough for an error to be forgotten."""
        await trio.sleep(300)
        self._forget()
        self._began = self.cluster.now()

    def gateways(self, name: str) -> dict[Prefix, FibRoute]:
        """Ways to others."""
        routes = self.cluster.node(name).fib.routes
        return {prefix: route for prefix, route in routes.items() if route.kind is RouteKind.VIA}


def test_restarts(golden: Golden) -> None:
    text = ""

    async def main() -> None:
        nonlocal text
        async with trio.open_nursery() as nursery:
            story = Story(nursery)
            cluster = story.cluster
            await story.begin()

            before = story.gateways(ONE)
            await cluster.stop(TWO)
            await trio.sleep(5)
            assert story.gateways(ONE) == before
            await cluster.start(TWO)
            assert len(story.gateways(TWO)) == 2, "the kernel's, as they were"
            await story.chapter("calico-node of node-2 restarts within its restart time: no table changes")
            assert story.gateways(ONE) == before

            await story.set_restart_time("0s")
            await cluster.stop(TWO)
            await trio.sleep(5)
            assert len(story.gateways(ONE)) == 1
            await cluster.start(TWO)
            await story.chapter("the same with a restart time of 0 s, which is without graceful restart")
            await story.set_restart_time("30s")

            await cluster.stop(TWO)
            await trio.sleep(40)
            assert len(story.gateways(ONE)) == 1
            await cluster.start(TWO)
            await story.chapter("and takes longer than that")

            await cluster.power_off(TWO)
            await trio.sleep(20)
            await cluster.start(TWO)
            await story.chapter("its machine loses power, and is back before anybody has noticed")

            await cluster.power_off(THREE)
            await trio.sleep(100)
            await cluster.stop(TWO)
            await cluster.start(TWO)
            await trio.sleep(WAIT + 1)
            await story.chapter(
                f"it restarts while node-3 is off, for which it waits {WAIT:.0f} s before it tells anybody anything"
            )
            await cluster.start(THREE)
            await story.chapter("node-3 is back, and tells at once: nobody is missing")

            await cluster.power_off(THREE)
            await cluster.power_off(TWO)
            await trio.sleep(100)
            await cluster.start(TWO)
            await trio.sleep(WAIT - 1)
            assert not story.gateways(TWO), "and has no way to anybody itself"
            await trio.sleep(2)
            assert story.gateways(TWO)
            await story.chapter("a machine boots while node-3 is off: calico-node knows no difference")
            text = story.text
            nursery.cancel_scope.cancel()

    run_virtual(main, 3)
    golden("restarts", text)


def tell(story: Callable[[Virtual], Awaitable[None]]) -> None:
    """Of a mesh of two with both families, a pod and a block of each."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            cluster = Virtual(nursery, 1)
            cluster.apply(pool("four", "192.168.0.0/16", blockSize=26))
            cluster.apply(pool("six", "fd00:10::/64", blockSize=122))
            cluster.apply(bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=True))
            for index, name in enumerate((ONE, TWO), 1):
                cluster.apply(both(name, index))
            await cluster.boot(1)
            assert not (await cluster.settle(60)).differences
            await story(cluster)
            nursery.cancel_scope.cancel()

    run_virtual(main, 1)


def both(name: str, number: int, *, six: bool = True) -> Document:
    found = node(name, f"10.77.0.{number}/24")
    if six:
        found["spec"]["bgp"]["ipv6Address"] = f"fd77::{number}/64"
    return found


def recoveries(cluster: Virtual, name: str) -> int:
    return sum(event.reason == "Recovery" for _, event in cluster.node(name).journal)


def of_family(cluster: Virtual, name: str, family: int) -> dict[Prefix, FibRoute]:
    routes = cluster.node(name).fib.routes
    return {
        prefix: route
        for prefix, route in routes.items()
        if family_of(prefix) == family and route.kind is not RouteKind.DEVICE
    }


def test_a_family_that_went_meanwhile_leaves_nothing_in_the_kernel_and_the_other_everything() -> None:
    async def story(cluster: Virtual) -> None:
        four, six = (of_family(cluster, TWO, family) for family in (IPV4, IPV6))
        assert len(four) == len(six) == 2
        await cluster.stop(TWO)
        cluster.apply(both(TWO, 2, six=False))
        await trio.sleep(1)
        await cluster.start(TWO)
        assert of_family(cluster, TWO, IPV4) == four
        assert of_family(cluster, TWO, IPV6) == {}
        assert not (await cluster.settle(60)).differences
        assert of_family(cluster, TWO, IPV4) == four

    tell(story)


def test_a_bird_that_only_moves_recovers_nothing() -> None:
    async def story(cluster: Virtual) -> None:
        await cluster.stop(TWO)
        await cluster.start(TWO)
        assert not (await cluster.settle(60)).differences
        assert recoveries(cluster, TWO) == len(FAMILIES)
        cluster.apply(both(TWO, 7))
        await trio.sleep(1)
        assert not (await cluster.settle(60)).differences
        assert recoveries(cluster, TWO) == len(FAMILIES)

    tell(story)
