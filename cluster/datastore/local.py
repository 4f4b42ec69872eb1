"""The datastore without a stream: the in-process twin of ``agents.syncer``'s client.

Owns ``LocalDatastore``, an ``agents.syncer.Datastore`` right on a MemoryStore, and ``follow``, which keeps a View
true. For tests and for whole clusters in virtual time: the same documents, the same refusals, a checkpoint where the
stream would have waited; but a View hears of a change inside the write, and not a moment later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import trio

from agents.felix.pools import ROUTING_KINDS, clusterwide
from agents.syncer import Datastore, Resources, View
from cluster.datastore.memory import Change, MemoryStore
from protocol.sync.messages import NODE_KINDS, SHARED_KINDS, Deltas, InSync, Snapshot, Watch
from protocol.v3.codec import decode, encode
from protocol.v3.metadata import Key, Resource


class LocalDatastore(Datastore):
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        await trio.lowlevel.checkpoint()
        return decode(self._store.get(kind, name, namespace))

    async def list(self, kind: str) -> Resources:
        await trio.lowlevel.checkpoint()
        return [decode(document) for document in self._store.list(kind)]

    async def create(self, resource: Resource) -> Resource:
        await trio.lowlevel.checkpoint()
        return decode(self._store.create(encode(resource)))

    async def update(self, resource: Resource) -> Resource:
        await trio.lowlevel.checkpoint()
        return decode(self._store.update(encode(resource)))

    async def delete(self, resource: Resource) -> None:
        await trio.lowlevel.checkpoint()
        metadata = resource.metadata
        self._store.delete(resource.kind, metadata.name, metadata.namespace, metadata.resource_version)


def follow(
    store: MemoryStore, view: View, nodes: Iterable[str] | None, changed: Callable[[list[Key]], None]
) -> Callable[[], None]:
    """Bring ``view`` to what a shard hosting ``nodes`` watches, and keep it there. Returns what ends it.

    None is all there will ever be: what nodes have is watched of everybody.
    """
    watch = Watch(frozenset(nodes or ()), every_node=nodes is None)

    def look() -> list[Key]:
        """All there is; and all of every node, if that turns out to be wanted."""
        nonlocal watch
        documents = [document for kind in sorted(SHARED_KINDS | NODE_KINDS) for document in store.list(kind)]
        view.apply(Snapshot(store.revision, tuple(filter(watch.wants, documents))))
        keys = view.apply(InSync(store.revision))
        every_node = clusterwide(view)
        if nodes is None or every_node is watch.every_node:
            return keys
        watch = attrs.evolve(watch, every_node=every_node)
        return keys + look()

    def apply(change: Change) -> None:
        if change.new is not None and watch.wants(change.new):
            keys = view.apply(Deltas(change.revision, (change.new,), ()))
        elif change.old is not None and watch.wants(change.old):
            keys = view.apply(Deltas(change.revision, (), (change.key,)))
        else:
            return
        if change.key[0] in ROUTING_KINDS and nodes is not None and clusterwide(view) is not watch.every_node:
            keys += look()
        if keys:
            changed(keys)

    keys = look()
    if keys:
        changed(keys)
    return store.watch(apply)
