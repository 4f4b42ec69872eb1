"""Nodes and routers that come, move and go: who is told what, and in which order."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from cluster.addressing import Endpoints
from cluster.datastore.memory import MemoryStore
from cluster.hosting import Hosting
from cluster.processes import ShardProcess
from protocol.prefix import parse_address
from protocol.sync.errors import Unreachable
from tests.strategies.clusters import document, node, workload

Story = Callable[["World"], Awaitable[None]]


class World:
    """Two shards that note what they are asked: one node on the first, none on the second."""

    def __init__(self, pods_per_node: int = 2) -> None:
        self.asked: list[tuple[int, str, Any]] = []
        self.dead: set[int] = set()
        self.changes = 0
        self.evictions: list[str] = []
        self.store = MemoryStore(wall=lambda: 0.0)
        self.store.create(node("node-001", "10.77.0.1/16"))
        self.shards = {
            number: ShardProcess(number, nodes, os.getpid(), socket.socket())
            for number, nodes in ((1, ("node-001",)), (2, ()))
        }
        endpoints = Endpoints(1790, wide=True)
        endpoints.add([parse_address("10.77.0.1")])
        self.hosting = Hosting(
            store=self.store,
            shards=self.shards,
            endpoints=endpoints,
            pods_per_node=pods_per_node,
            ask=self.ask,
            changed=self.changed,
            evicted=self.evicted,
        )
        self.store.watch(self.hosting.written)

    async def ask(self, number: int, method: str, params: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if number in self.dead:
            raise Unreachable("gone")
        self.asked.append((number, method, params))
        return None

    def changed(self) -> None:
        self.changes += 1

    async def evicted(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.evictions.append(name)

    async def settled(self) -> list[tuple[int, str, Any]]:
        """What was asked meanwhile."""
        await trio.testing.wait_all_tasks_blocked()
        asked, self.asked = self.asked, []
        return asked


def told(tell: Story) -> Callable[[], Awaitable[None]]:
    async def test_() -> None:
        async with trio.open_nursery() as nursery:
            world = World()
            nursery.start_soon(world.hosting.run)
            try:
                await tell(world)
            finally:
                nursery.cancel_scope.cancel()
        for shard in world.shards.values():
            shard.socket.close()

    return test_


def late(address: str = "10.99.0.7") -> tuple[bytes, str, int]:
    return parse_address(address), "127.77.0.2", 1790


@told
async def test_a_new_node_is_known_everywhere_before_it_starts_where_there_is_room(world: World) -> None:
    world.store.create(node("node-002", "10.99.0.7/16"))
    assert await world.settled() == [
        (1, "endpoints", [late()]),
        (2, "endpoints", [late()]),
        (2, "host", ["node-002"]),
        (2, "add_pods", [2, ["node-002"]]),
    ]
    assert world.hosting.host_of == {"node-001": 1, "node-002": 2}
    assert world.shards[2].nodes == ("node-002",)
    assert (world.hosting.version, world.changes) == (1, 1)
    world.store.create(node("node-003", "10.77.0.3/16"))
    assert (1, "host", ["node-003"]) in await world.settled()


@told
async def test_a_node_that_is_written_and_stays_is_nobodys_business(world: World) -> None:
    known = world.store.get("Node", "node-001")
    world.store.update({**known, "metadata": {**known["metadata"], "labels": {"a": "b"}}})
    assert await world.settled() == []
    assert world.hosting.version == 0


@told
async def test_a_node_that_moves_gets_an_endpoint_and_stays_where_it_is(world: World) -> None:
    known = world.store.get("Node", "node-001")
    world.store.update({**known, "spec": {"bgp": {"ipv4Address": "10.99.0.7/16"}}})
    assert await world.settled() == [(1, "endpoints", [late()]), (2, "endpoints", [late()])]
    world.store.update({**world.store.get("Node", "node-001"), "spec": known["spec"]})
    assert await world.settled() == [], "it has been there before"


@told
async def test_a_router_is_hosted_like_a_node_and_has_no_pods(world: World) -> None:
    tor = document("Router", "tor", {"addresses": ["10.99.0.7/24"], "asNumber": 65001})
    world.store.create({**tor, "apiVersion": "lab.tortie/v1"})
    assert [method for _, method, _ in await world.settled()] == ["endpoints", "endpoints", "host"]
    assert world.hosting.routers == {"tor"}
    world.store.delete("Router", "tor")
    assert await world.settled() == [(2, "evict", ["tor"])]
    assert world.hosting.routers == set()


@told
async def test_a_deleted_node_is_evicted_and_what_was_said_of_it_forgotten(world: World) -> None:
    world.hosting.health("node-001", "in use")
    assert world.hosting.down == {"node-001": "in use"}
    world.store.delete("Node", "node-001")
    assert await world.settled() == [(1, "evict", ["node-001"])]
    assert (world.hosting.host_of, world.hosting.down, world.shards[1].nodes) == ({}, {}, ())
    assert world.evictions == ["node-001"]
    world.hosting.health("node-001", "last words")
    assert world.hosting.down == {}


@told
async def test_a_node_that_comes_back_has_its_pods_already(world: World) -> None:
    world.store.create(workload("node-002", "192.168.1.1/32", "cali1"))
    world.store.create(node("node-002", "10.99.0.7/16"))
    assert [method for _, method, _ in await world.settled()] == ["endpoints", "endpoints", "host"]


@told
async def test_a_dead_shard_hosts_nobody_and_nobody_waits_for_it(world: World) -> None:
    world.dead.add(2)
    world.shards[2].ended = "was killed by SIGKILL"
    world.store.create(node("node-002", "10.99.0.7/16"))
    assert [number for number, _, _ in await world.settled()] == [1, 1, 1]
    world.dead.add(1)
    world.store.create(node("node-003", "10.99.0.8/16"))
    assert await world.settled() == []
    world.dead.clear()
    world.store.delete("Node", "node-002")
    assert await world.settled() == [(1, "evict", ["node-002"])], "it still listens"


@told
async def test_without_an_endpoint_a_node_is_started_all_the_same_and_says_why_it_is_down(
    world: World,
) -> None:
    world.hosting.endpoints = Endpoints(65535, wide=False)
    world.store.create(
        document("Node", "x", {"bgp": {"ipv4Address": "10.99.0.7/16", "ipv6Address": "fd00::7/64"}})
    )
    assert [method for _, method, _ in await world.settled()] == ["host", "add_pods"]
    assert "the last port is 65535" in world.hosting.down["x"]
    world.store.update({**world.store.get("Node", "x"), "spec": {}})
    await world.settled()
    assert world.hosting.down == {}
