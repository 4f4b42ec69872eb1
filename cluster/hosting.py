"""Who hosts what: nodes and routers come, move and go while the cluster runs.

Owns ``Hosting``: the shard of every node and router, the endpoints of their addresses, and who of them cannot listen.

    datastore ─ a Node or Router was written ─► run: ─┬─ new addresses ─► all shards "endpoints"
                                                      ├─ a new name ────► the shard with the fewest "host", pods
                                                      └─ gone ──────────► its shard "evict"

What a node does with a new address is the node's own business; here it only gets an endpoint, of which all are told
before anybody is started. What the coordinator hosts from the start has all that already.

Left out: starting the first nodes, and what the death of a shard means (``coordinator``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

from cluster.addressing import AddressingError, Endpoints
from cluster.datastore.memory import Change, MemoryStore
from cluster.processes import ShardProcess
from cluster.spec import HOSTED, addresses_of
from protocol.prefix import Address
from protocol.sync.errors import Unreachable
from protocol.v3.codec import decode
from protocol.v3.lab import Router
from protocol.v3.node import Node
from protocol.v3.workload import WorkloadEndpoint

Ask = Callable[[int, str, Any], Awaitable[Any]]
"""A shard, a method, parameters; raises Unreachable when the shard is dead."""


@attrs.define(kw_only=True)
class Hosting:
    """``changed`` is called when who is where, or down, is different; ``evicted`` when somebody is gone."""

    store: MemoryStore
    shards: Mapping[int, ShardProcess]
    endpoints: Endpoints
    pods_per_node: int
    ask: Ask
    changed: Callable[[], None]
    evicted: Callable[[str], Awaitable[None]]
    host_of: dict[str, int] = attrs.field(init=False)
    version: int = 0
    """Grows with every change of ``host_of``."""
    down: dict[str, str] = attrs.field(factory=dict)
    """Who cannot work, and why."""
    _homeless: set[str] = attrs.field(factory=set)
    """Those of them that have an address without an endpoint."""
    _pending: dict[str, None] = attrs.field(factory=dict)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.host_of = {name: shard.number for shard in self.shards.values() for name in shard.nodes}

    @property
    def routers(self) -> set[str]:
        return {
            document["metadata"]["name"] for document in self.store.list(Router.kind)
        } & self.host_of.keys()

    def written(self, change: Change) -> None:
        if change.key[0] in HOSTED:
            self._pending[change.key[2]] = None
            self._news.set()

    def health(self, name: str, reason: str) -> None:
        """What a shard says of a node: why it is down, or "" when it is up again."""
        self.down.pop(name, None)
        if reason and name in self.host_of:
            self.down[name] = reason
        self.changed()

    async def run(self) -> None:
        """From the moment on when all that was there from the start has been started."""
        while True:
            while self._pending:
                name = next(iter(self._pending))
                del self._pending[name]
                try:
                    await self._follow(name)
                except Unreachable:
                    pass  # the shard has died, and all that it hosts with it
                self.changed()
            self._news = trio.Event()
            await self._news.wait()

    async def _follow(self, name: str) -> None:
        document = self.store.find((Node.kind, "", name)) or self.store.find((Router.kind, "", name))
        if document is None:
            await self._evict(name)
            return
        try:
            await self._tell([*addresses_of(decode(document)).values()])
        except AddressingError as error:
            self._homeless.add(name)
            self.down[name] = str(error)
        else:
            if name in self._homeless:
                self._homeless.discard(name)
                self.down.pop(name, None)
        if name not in self.host_of:
            await self._host(name, document["kind"] == Node.kind)

    async def _tell(self, addresses: list[Address]) -> None:
        fresh = [address for address in addresses if address not in self.endpoints.table]
        if fresh:
            added = [(address, *endpoint) for address, endpoint in self.endpoints.add(fresh).items()]
            for number in self._living():
                try:
                    await self.ask(number, "endpoints", added)
                except Unreachable:
                    pass

    async def _host(self, name: str, is_node: bool) -> None:
        living = self._living()
        if not living:
            return
        shard = min(living.values(), key=lambda shard: len(shard.nodes))
        self.host_of[name] = shard.number
        shard.nodes += (name,)
        self.version += 1
        await self.ask(shard.number, "host", [name])
        if is_node and self.pods_per_node and not self._has_pods(name):
            await self.ask(shard.number, "add_pods", [self.pods_per_node, [name]])

    def _has_pods(self, name: str) -> bool:
        return any(document["spec"]["node"] == name for document in self.store.list(WorkloadEndpoint.kind))

    async def _evict(self, name: str) -> None:
        number = self.host_of.pop(name, None)
        if number is None:
            return
        self.version += 1
        self.down.pop(name, None)
        self._homeless.discard(name)
        shard = self.shards[number]
        shard.nodes = tuple(each for each in shard.nodes if each != name)
        try:
            await self.ask(number, "evict", [name])
        finally:
            await self.evicted(name)

    def _living(self) -> dict[int, ShardProcess]:
        return {number: shard for number, shard in self.shards.items() if shard.ended is None}
