"""What a shard knows of the datastore, and how it asks for more.

Owns ``View``, the watched resources as typed values, shared read-only by all nodes of a shard; ``Datastore``, what
IPAM and CNI need of a datastore; and ``Syncer``, which keeps a View true and is a Datastore, over one stream to
``cluster.typha``.

    stream ─► Channel ─► Snapshot, Deltas, InSync ─► View.apply ─► changed(keys)
                      ─► Call (the coordinator's) ─► handle(method, params), a task each ─► Return
    node tasks ─► get, list, create, update, delete ─► Channel ─► stream

The blocks and workloads of other nodes are watched only while some Felix here routes to them (tunnels): the Syncer asks
anew when pools say so.

A snapshot replaces what the View holds when it is whole, and counts as the changes that make the difference: after a
gap of any length a node sees states, never what happened in between. What a write changed is in the View, and
``changed`` has been told, when the write returns.

Left out: what is done with a change. ``changed`` is called inside the reader: it takes note and returns.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType

import attrs
import trio

from agents.channel import Channel
from agents.felix.pools import ROUTING_KINDS, clusterwide
from protocol.sync.errors import DatastoreError, RemoteProtocolError, to_fault
from protocol.sync.messages import (
    NODE_KINDS,
    Call,
    Deltas,
    Document,
    InSync,
    Message,
    Report,
    Return,
    Snapshot,
    Watch,
    key_of,
)
from protocol.sync.wire import Encoder
from protocol.v3.codec import decode, encode
from protocol.v3.metadata import Key, Resource

Resources = list[Resource]  # inside the classes `list` is the method

_NOTHING: Mapping[Key, Resource] = MappingProxyType({})


class View:
    """The watched resources. Pure: messages in, the keys of what changed out.

    ``revision`` is the datastore's at the last message, ``in_sync`` says whether a first snapshot was whole.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.in_sync = False
        self._kinds: dict[str, dict[Key, Resource]] = {}
        self._nodes: dict[tuple[str, str], dict[Key, Resource]] = {}  # (kind, node), for NODE_KINDS
        self._versions: dict[str, int] = {}
        self._touched: dict[str, None] = {}
        self._snapshot: dict[Key, Resource] | None = None  # what has come of a snapshot that is not whole

    def get(self, kind: str, name: str, namespace: str = "") -> Resource | None:
        return self.all(kind).get((kind, namespace, name))

    def all(self, kind: str) -> Mapping[Key, Resource]:
        """All of a kind, in no particular order. Not a copy."""
        return self._kinds.get(kind, _NOTHING)

    def of_node(self, kind: str, node: str) -> Mapping[Key, Resource]:
        """The BlockAffinities or WorkloadEndpoints of one node. Not a copy."""
        return self._nodes.get((kind, node), _NOTHING)

    def version(self, kind: str) -> int:
        """Grows with every change of the kind: the revision at which it was seen (or a little more, when a new
        filter brought changes without a new revision)."""
        return self._versions.get(kind, 0)

    def take_touched(self) -> Iterable[str]:
        """The nodes whose own resources (NODE_KINDS) have changed since the last time somebody asked, first come first.

        Not of the last message only: several may arrive at once.
        """
        touched, self._touched = self._touched, {}
        return touched

    def apply(self, message: Snapshot | InSync | Deltas) -> list[Key]:
        """The keys of what is different now. Raises RemoteProtocolError for a message that cannot come now."""
        if type(message) is Deltas:
            if self._snapshot is not None or not self.in_sync:
                raise RemoteProtocolError("deltas before the snapshot was whole")
            return self._update(message.revision, map(self._read, message.updated), message.deleted)
        if type(message) is Snapshot:
            if self._snapshot is None:
                self._snapshot = {}
            # Read as they come: documents are several times as large as resources, and there may be many.
            self._snapshot.update((key_of(document), self._read(document)) for document in message.documents)
            return []
        arrived = self._snapshot
        if arrived is None:
            raise RemoteProtocolError("in sync without a snapshot")
        self._snapshot = None
        self.in_sync = True
        gone = [key for resources in self._kinds.values() for key in resources if key not in arrived]
        return self._update(message.revision, arrived.values(), gone)

    def _read(self, document: Document) -> Resource:
        """The resource that a document is; the one that is known when it has not changed."""
        known = self._kinds.get(document["kind"], _NOTHING).get(key_of(document))
        # Revisions are never used twice: same revision, same resource.
        if (
            known is not None
            and document["metadata"].get("resourceVersion") == known.metadata.resource_version
        ):
            return known
        return decode(document)

    def _update(self, revision: int, updated: Iterable[Resource], deleted: Iterable[Key]) -> list[Key]:
        self.revision = revision
        changed = [key for key in deleted if self._replace(key, None)]
        changed += [resource.key for resource in updated if self._replace(resource.key, resource)]
        for kind in {key[0] for key in changed}:
            self._versions[kind] = max(revision, self.version(kind) + 1)
        return changed

    def _replace(self, key: Key, new: Resource | None) -> bool:
        """Whether that makes a difference."""
        kind = key[0]
        resources = self._kinds.setdefault(kind, {})
        old = resources.get(key)
        if old is new:
            return False
        if new is None:
            del resources[key]
        else:
            resources[key] = new
        if kind in NODE_KINDS:
            if old is not None:
                where = kind, _node(old)
                self._touched[where[1]] = None
                of_node = self._nodes[where]
                del of_node[key]
                if not of_node:
                    del self._nodes[where]
            if new is not None:
                self._touched[_node(new)] = None
                self._nodes.setdefault((kind, _node(new)), {})[key] = new
        return True


def _node(resource: Resource) -> str:
    node: str = resource.spec.node  # type: ignore[attr-defined]  # both NODE_KINDS have it
    return node


class Datastore(typing.Protocol):
    """Resources by name, with compare-and-swap. All raise DatastoreErrors; nothing is cached."""

    async def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        """Raises NotFound."""

    async def list(self, kind: str) -> Resources:
        """All of a kind, in key order."""

    async def create(self, resource: Resource) -> Resource:
        """Returns it with its revision. Raises AlreadyExists, Invalid."""

    async def update(self, resource: Resource) -> Resource:
        """Returns it with its new revision. Raises Conflict when it is not the current one, NotFound, Invalid."""

    async def delete(self, resource: Resource) -> None:
        """Raises NotFound, and Conflict when the resource has a revision which is not the current one."""


class Syncer:
    """One shard's end of its stream: keeps ``view`` true, is a Datastore, and answers the coordinator.

    ``handle`` answers the coordinator's calls; a DatastoreError that it raises is the answer, too.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        view: View,
        *,
        changed: Callable[[list[Key]], None],
        handle: Callable[[str, typing.Any], Awaitable[object]],
    ) -> None:
        self.in_sync = trio.Event()
        self._view = view
        self._changed = changed
        self._handle = handle
        self._channel = Channel(stream, Encoder(), self._received)
        self._watched = Watch(frozenset())
        self._nursery: trio.Nursery

    async def run(self) -> str:
        """Until the coordinator is gone. Returns why; calls that wait for an answer get Unreachable."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            reason = await self._channel.run()
            nursery.cancel_scope.cancel()
        return reason

    def watch(self, nodes: Iterable[str]) -> None:
        """Ask for all that a shard hosting these nodes needs. Asked again, it replaces what was asked before."""
        self._watched = Watch(frozenset(nodes), self._watched.every_node)
        self._channel.send(self._watched)

    async def report(self, subject: str, params: typing.Any = None) -> None:
        """Tell the coordinator, one way. Waits while too much is unsent."""
        await self._channel.drained()
        self._channel.send(Report(subject, params))

    async def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        return decode(await self._channel.call("get", (kind, name, namespace)))

    async def list(self, kind: str) -> Resources:
        return [decode(document) for document in await self._channel.call("list", (kind,))]

    async def create(self, resource: Resource) -> Resource:
        return _stamped(resource, await self._channel.call("create", (encode(resource),)))

    async def update(self, resource: Resource) -> Resource:
        return _stamped(resource, await self._channel.call("update", (encode(resource),)))

    async def delete(self, resource: Resource) -> None:
        metadata = resource.metadata
        params = resource.kind, metadata.name, metadata.namespace, metadata.resource_version
        await self._channel.call("delete", params)

    def _received(self, messages: Iterable[Message]) -> None:
        changed: dict[Key, None] = {}
        for message in messages:
            match message:
                case Deltas() | Snapshot() | InSync():
                    changed.update(dict.fromkeys(self._view.apply(message)))
                case Call():
                    self._nursery.start_soon(self._answer, message)
                case _:
                    raise RemoteProtocolError(f"{type(message).__name__} from the datastore")
        if changed:
            self._look_around(changed)
            self._changed([*changed])
        if self._view.in_sync:
            self.in_sync.set()

    def _look_around(self, changed: Iterable[Key]) -> None:
        """Watch every node from when Felix routes to them until it does not."""
        if any(key[0] in ROUTING_KINDS for key in changed):
            every_node = clusterwide(self._view)
            if every_node is not self._watched.every_node:
                self._watched = attrs.evolve(self._watched, every_node=every_node)
                self._channel.send(self._watched)

    async def _answer(self, call: Call) -> None:
        try:
            answer = Return(call.id, await self._handle(call.method, call.params))
        except DatastoreError as error:
            answer = Return(call.id, fault=to_fault(error))
        self._channel.send(answer)


def _stamped(resource: Resource, stamps: tuple[str, str, str]) -> Resource:
    """A resource as it was written: all that a write returns is what the datastore put on it."""
    version, uid, created = stamps
    metadata = attrs.evolve(resource.metadata, resource_version=version, uid=uid, creation_timestamp=created)
    return attrs.evolve(resource, metadata=metadata)
