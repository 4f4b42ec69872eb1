"""Stores, and shards at the other end of in-memory streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import memory_stream_pair

from agents.syncer import Datastore, Syncer, View
from cluster.datastore.memory import MemoryStore
from cluster.typha import Connection, Typha
from protocol.sync.errors import AlreadyExists, Conflict, Invalid, NotFound
from protocol.v3.codec import KINDS, decode, encode
from protocol.v3.ipam import BlockAffinity
from protocol.v3.metadata import Key, Resource
from tests.strategies.sync import affinity, endpoint


async def unasked(method: str, params: Any) -> object:
    """For a shard that is not called."""
    raise AssertionError(method)


def make_store(*some: Resource) -> MemoryStore:
    store = MemoryStore(wall=lambda: 1_800_000_000.0)
    for resource in some:
        store.create(encode(resource))
    return store


def put(store: MemoryStore, resource: Resource) -> None:
    document = encode(resource)
    old = store.find(resource.key)
    if old is None:
        store.create(document)
    else:
        store.update({**document, "metadata": {**old["metadata"], **document["metadata"]}})


def contents(view: View) -> dict[Key, Resource]:
    return {key: resource for kind in KINDS for key, resource in view.all(kind).items()}


def expected(store: MemoryStore, nodes: Iterable[str], *, every_node: bool = False) -> dict[Key, Resource]:
    """The contract's filter, said again."""
    shared = "Node", "IPPool", "IPReservation", "IPAMConfiguration", "BGPConfiguration", "BGPPeer"
    everything = [decode(document) for kind in shared for document in store.list(kind)]
    for kind in "BlockAffinity", "WorkloadEndpoint":
        everything += [decode(doc) for doc in store.list(kind) if every_node or doc["spec"]["node"] in nodes]
    return {resource.key: resource for resource in everything}


class Dripping(trio.abc.Stream):
    """Whatever is sent arrives octet by octet."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self._inner = inner

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(1)

    async def aclose(self) -> None:
        await self._inner.aclose()


def dripping_pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
    one, other = memory_stream_pair()
    return Dripping(one), Dripping(other)


@attrs.define(eq=False)
class Shard:
    connection: Connection
    syncer: Syncer
    view: View
    reports: list[tuple[str, Any]]
    ends: list[str]  # what the coordinator's end reports
    process: trio.CancelScope


class Cluster:
    """Shards at the other end of in-memory streams."""

    def __init__(self, store: MemoryStore, nursery: trio.Nursery) -> None:
        self.store = store
        self.typha = Typha(store)
        self._nursery = nursery

    def shard(
        self,
        nodes: Iterable[str],
        pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = memory_stream_pair,
    ) -> Shard:
        async def echo(method: str, params: Any) -> object:
            if method == "refuse":
                raise NotFound("no such node")
            if method == "wait":
                await trio.sleep_forever()
            return [method, params]

        theirs, mine = pair()
        view = View()
        reports: list[tuple[str, Any]] = []
        connection = self.typha.connect(theirs, lambda subject, params: reports.append((subject, params)))
        syncer = Syncer(mine, view, changed=lambda keys: None, handle=echo)
        shard = Shard(connection, syncer, view, reports, [], trio.CancelScope())

        async def coordinator() -> None:
            shard.ends.append(await connection.run())

        async def process() -> None:
            with shard.process:
                await syncer.run()

        self._nursery.start_soon(coordinator)
        self._nursery.start_soon(process)
        syncer.watch(nodes)
        return shard

    def raw(
        self, pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = memory_stream_pair
    ) -> tuple[trio.abc.Stream, list[str]]:
        """A shard by hand: its stream, and where the end of its connection will be reported."""
        theirs, mine = pair()
        connection = self.typha.connect(theirs, lambda subject, params: None)
        ends: list[str] = []

        async def run() -> None:
            ends.append(await connection.run())

        self._nursery.start_soon(run)
        return mine, ends


@asynccontextmanager
async def serving(*some: Resource) -> AsyncIterator[Cluster]:
    async with trio.open_nursery() as nursery:
        cluster = Cluster(make_store(*some), nursery)
        yield cluster
        nursery.cancel_scope.cancel()
    cluster.typha.close()


async def check_datastore(datastore: Datastore) -> None:
    """What every Datastore does; with the texts, which are the same from afar."""
    made = await datastore.create(affinity("b", "ant"))
    assert isinstance(made, BlockAffinity)
    assert made.metadata.uid
    assert made == await datastore.get("BlockAffinity", "b")
    with pytest.raises(AlreadyExists, match=r"^resource already exists: BlockAffinity\(b\)$"):
        await datastore.create(affinity("b", "ant"))
    moved = await datastore.update(attrs.evolve(made, spec=attrs.evolve(made.spec, node="bee")))
    assert moved.metadata.resource_version != made.metadata.resource_version
    assert moved == await datastore.get("BlockAffinity", "b")
    with pytest.raises(Conflict, match=r"^update conflict: BlockAffinity\(b\)$"):
        await datastore.update(made)
    with pytest.raises(Conflict):
        await datastore.delete(made)
    with pytest.raises(Invalid, match=r"Metadata.UID = '' \(field must be set for an Update request\)"):
        await datastore.update(affinity("b", "ant"))
    first = await datastore.create(affinity("a", "ant"))
    assert await datastore.list("BlockAffinity") == [first, moved]
    await datastore.delete(moved)
    await datastore.delete(affinity("a", "ant"))  # no revision: whatever is there
    assert await datastore.list("BlockAffinity") == []
    with pytest.raises(NotFound):
        await datastore.delete(moved)
    with pytest.raises(NotFound):
        await datastore.get("WorkloadEndpoint", "b", "default")
    space = endpoint("p", "ant", "space")
    written = await datastore.create(space)
    assert written.metadata.namespace == "space"
    assert await datastore.get("WorkloadEndpoint", "p", "space") == written
