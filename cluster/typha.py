"""One watch of the datastore, fanned out to the shards; and the datastore's door for their reads and writes.

Owns ``Fanout``, which knows what each shard still has to be told (pure), ``Typha``, and a ``Connection`` a shard.

    MemoryStore ── one watch ──► Fanout ──► Feed of shard 0: keys that changed ─┐
        ▲                          └──────► Feed of shard k: ...                │ when its stream has room:
        │                                                                       ▼
        └── get, list, create, update, delete ◄── Connection (reader, writer) ◄─┴─► stream ◄─► the shard's Syncer

A Feed holds keys and not messages: what it sends is the state at the moment of sending, so a resource that changed
ten times while the shard was busy goes out once. A feed with more than ``limit`` keys drops them and owes a fresh
snapshot instead. So a shard that is slow, stopped or dead costs the others nothing, and itself a bounded amount.

Encode once: a document of a shared kind is packed for the first shard that needs it, the others get the same bytes;
a document that belongs to one node goes to the one shard that hosts it, and to those that watch every node.

A shard's writes are answered in the order they came, each after the changes that it made.

Left out: starting shards and what the end of one means (``cluster.coordinator``), what a shard is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import trio

from agents.channel import Channel
from cluster.datastore.memory import Change, MemoryStore
from protocol.sync.errors import DatastoreError, Invalid, RemoteProtocolError, to_fault
from protocol.sync.messages import (
    NODE_KINDS,
    SHARED_KINDS,
    Call,
    Document,
    InSync,
    Message,
    Report,
    Return,
    Watch,
    key_of,
    node_of,
)
from protocol.sync.wire import Encoder
from protocol.v3.metadata import Key

FEED_LIMIT = 4096
"""Keys that a feed holds before a snapshot is the cheaper way to catch up."""

PART = 1 << 20
"""Bytes of documents in one frame, roughly: small against the wire's MAX_FRAME, large against a frame's own cost."""


class Fanout:
    """Which feed has to hear of which change. One for a store."""

    def __init__(self, store: MemoryStore, encoder: Encoder, limit: int = FEED_LIMIT) -> None:
        self.store = store
        self.encoder = encoder
        self.limit = limit
        self._feeds: list[Feed] = []
        self._hosts: dict[str, list[Feed]] = {}  # node -> the feeds that watch it
        self._everywhere: list[Feed] = []  # the feeds that watch every node
        self._packed: dict[Key, bytes] = {}  # documents of SHARED_KINDS as they are now
        self._stop = store.watch(self._changed)

    def open(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """``wake`` is called when the feed has something to send, which it has at once."""
        feed = Feed(self, watch, wake)
        self._feeds.append(feed)
        if watch.every_node:
            self._everywhere.append(feed)
        else:
            for node in sorted(watch.nodes):
                self._hosts.setdefault(node, []).append(feed)
        wake()
        return feed

    def close(self, feed: Feed) -> None:
        self._feeds.remove(feed)
        if feed.watch.every_node:
            self._everywhere.remove(feed)
            return
        for node in feed.watch.nodes:
            hosts = self._hosts[node]
            hosts.remove(feed)
            if not hosts:
                del self._hosts[node]

    def stop(self) -> None:
        self._stop()

    def packed(self, document: Document) -> bytes:
        if document["kind"] not in SHARED_KINDS:
            return self.encoder.document(document)
        key = key_of(document)
        piece = self._packed.get(key)
        if piece is None:
            piece = self._packed[key] = self.encoder.document(document)
        return piece

    def wanted(self, watch: Watch) -> Iterable[Document]:
        """All documents that match, now."""
        for kind in sorted(SHARED_KINDS):
            yield from self.store.list(kind)
        for kind in sorted(NODE_KINDS):
            yield from filter(watch.wants, self.store.list(kind))

    def _changed(self, change: Change) -> None:
        kind = change.key[0]
        if kind in SHARED_KINDS:
            self._packed.pop(change.key, None)
            for feed in self._feeds:
                feed.add(change.key)
        elif kind in NODE_KINDS:
            # Both sides: the host of the node that it was about has to hear that it is gone.
            nodes = {node_of(document): None for document in (change.old, change.new) if document is not None}
            for node in nodes:
                for feed in self._hosts.get(node, ()):
                    feed.add(change.key)
            for feed in self._everywhere:
                feed.add(change.key)


class Feed:
    """What one shard has not been told yet."""

    def __init__(self, fanout: Fanout, watch: Watch, wake: Callable[[], None]) -> None:
        self.watch = watch
        self._fanout = fanout
        self._wake = wake
        self._stale = True  # owes a snapshot; then keys are not collected
        self._keys: dict[Key, None] = {}

    def add(self, key: Key) -> None:
        if self._stale:
            return
        if not self._keys:
            self._wake()
        self._keys[key] = None
        if len(self._keys) > self._fanout.limit:
            self._keys.clear()
            self._stale = True

    def take(self) -> list[bytes]:
        """The frames that bring the shard up to the store's revision; none when it is there."""
        fanout = self._fanout
        if self._stale:
            return self._snapshot()
        if not self._keys:
            return []
        updated: list[bytes] = []
        deleted: list[Key] = []
        for key in self._keys:
            document = fanout.store.find(key)
            if document is not None and self.watch.wants(document):
                updated.append(fanout.packed(document))
            else:
                deleted.append(key)
        self._keys.clear()
        if sum(map(len, updated)) > PART:
            return self._snapshot()  # which comes in parts
        return [fanout.encoder.deltas(fanout.store.revision, updated, deleted)]

    def _snapshot(self) -> list[bytes]:
        self._stale = False
        encoder, revision = self._fanout.encoder, self._fanout.store.revision
        frames: list[bytes] = []
        pieces: list[bytes] = []
        size = 0
        for document in self._fanout.wanted(self.watch):
            piece = self._fanout.packed(document)
            pieces.append(piece)
            size += len(piece)
            if size > PART:
                frames.append(encoder.snapshot(revision, pieces))
                pieces, size = [], 0
        frames.append(encoder.snapshot(revision, pieces))
        frames.append(encoder.encode(InSync(revision)))
        return frames


class Typha:
    """Serves one store to any number of shards, in one trio task tree."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._encoder = Encoder()
        self._fanout = Fanout(store, self._encoder)

    def connect(self, stream: trio.abc.Stream, reported: Callable[[str, Any], None]) -> Connection:
        """A shard at the other end of ``stream``; ``reported`` gets the subject and parameters of its reports."""
        return Connection(self._store, self._fanout, self._encoder, stream, reported)

    def close(self) -> None:
        """Watch no more."""
        self._fanout.stop()


class Connection:
    """The coordinator's end of one shard's stream. Works while ``run`` runs."""

    def __init__(
        self,
        store: MemoryStore,
        fanout: Fanout,
        encoder: Encoder,
        stream: trio.abc.Stream,
        reported: Callable[[str, Any], None],
    ) -> None:
        self._store = store
        self._fanout = fanout
        self._reported = reported
        self._feed: Feed | None = None
        self._channel = Channel(stream, encoder, self._received, self._due)

    async def run(self) -> str:
        """Until the shard is gone, which is no error: returns why."""
        try:
            return await self._channel.run()
        finally:
            self._watch(None)

    async def call(self, method: str, params: Any = None) -> Any:
        """Ask the shard. Raises what it answers with, Unreachable when it is gone."""
        return await self._channel.call(method, params)

    def _due(self) -> Iterable[bytes]:
        return self._feed.take() if self._feed is not None else ()

    def _received(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Call():
                    self._channel.send(self._answer(message))
                case Report():
                    self._reported(message.subject, message.params)
                case Watch():
                    self._watch(message)
                case _:
                    raise RemoteProtocolError(f"{type(message).__name__} from a shard")

    def _watch(self, watch: Watch | None) -> None:
        if self._feed is not None:
            self._fanout.close(self._feed)
            self._feed = None
        if watch is not None:
            self._feed = self._fanout.open(watch, self._channel.wake)

    def _answer(self, call: Call) -> Return:
        try:
            return Return(call.id, answer(self._store, call.method, call.params))
        except DatastoreError as error:
            return Return(call.id, fault=to_fault(error))


def answer(store: MemoryStore, method: str, params: Any) -> object:
    """A shard's request, carried out. Raises DatastoreErrors; what is no request is Invalid."""
    match method, params:
        case "get", [str(kind), str(name), str(namespace)]:
            return store.get(kind, name, namespace)
        case "update", [document]:
            return _stamps(store.update(document))
        case "create", [document]:
            return _stamps(store.create(document))
        case "delete", [str(kind), str(name), str(namespace), str(resource_version)]:
            store.delete(kind, name, namespace, resource_version)
            return None
        case "list", [str(kind)]:
            return store.list(kind)
    raise Invalid(f"no such call: {method[:40]} with these parameters")


def _stamps(document: Document) -> tuple[str, str, str]:
    """All that a write adds to what the writer knows."""
    metadata = document["metadata"]
    return metadata["resourceVersion"], metadata["uid"], metadata["creationTimestamp"]
