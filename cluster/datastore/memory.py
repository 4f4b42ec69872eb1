"""The datastore: resources with revisions, in memory.

Owns every document and the one counter that orders their changes. A write makes a new revision, stamps it on the
document as ``metadata.resourceVersion`` and tells the watchers, all before it returns; a write that is refused
changes nothing. Update and delete compare-and-swap: of all who read one revision, one succeeds, the others get
``Conflict``. The last changes are remembered, so that a watch can begin at a revision of the past; when that is too
long ago it is refused with ``Compacted`` and whoever wants to watch lists first.

A document belongs to the store once it was given, and to nobody once it was taken: it is never changed in place, on
either side, and so it is never copied.

Pure and synchronous: no clock but the ``wall`` it is given, no lock. Watchers are called inside the write; they take
note and return, and never write themselves.

Left out: what a kind's spec must look like (``protocol.v3`` checks before, ``cluster.api`` at the door), who may see
what (``cluster.typha``).

Follows libcalico-go/lib/clientv3/resources.go for what a create and an update must and must not carry.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

import attrs

from protocol.sync.errors import AlreadyExists, Compacted, Conflict, Invalid, NotFound
from protocol.sync.messages import Document, key_of
from protocol.v3.metadata import Key

HISTORY = 2048
"""Changes remembered for watches that begin in the past: about what 200 nodes write while they start, 4 MB."""


@attrs.frozen
class Change:
    """One write: ``old`` is None for a create, ``new`` for a delete."""

    revision: int
    key: Key
    old: Document | None
    new: Document | None


Watcher = Callable[[Change], None]
Documents = list[Document]  # inside the class `list` is the method
Changes = list[Change]


class MemoryStore:
    """``wall`` gives the seconds since the epoch for ``metadata.creationTimestamp``."""

    def __init__(self, *, wall: Callable[[], float], history: int = HISTORY) -> None:
        self._wall = wall
        self._kinds: dict[str, dict[Key, Document]] = {}
        self._history: deque[Change] = deque(maxlen=history)
        self._watchers: tuple[Watcher, ...] = ()
        self.revision = 0

    def get(self, kind: str, name: str, namespace: str = "") -> Document:
        """Raises NotFound."""
        key = kind, namespace, name
        document = self.find(key)
        if document is None:
            raise NotFound.of(key)
        return document

    def find(self, key: Key) -> Document | None:
        documents = self._kinds.get(key[0])
        return documents.get(key) if documents else None

    def list(self, kind: str) -> Documents:
        """All of a kind, in key order."""
        documents = self._kinds.get(kind)
        return [documents[key] for key in sorted(documents)] if documents else []

    def documents(self) -> Documents:
        """All there are, kind by kind, each in key order."""
        return [document for kind in sorted(self._kinds) for document in self.list(kind)]

    def restore(self, revision: int, documents: Iterable[Document]) -> None:
        """Become what another store was at ``revision``: documents with all their stamps. Only for a store that was never
        written to and that nobody watches; a watch from before ``revision`` is refused, as after a long time.
        """
        assert not self.revision
        assert not self._watchers
        for document in documents:
            key = key_of(document)
            self._kinds.setdefault(key[0], {})[key] = document
        self.revision = revision

    def create(self, document: Document) -> Document:
        """Raises AlreadyExists, Invalid. Returns the document as stored, with uid, time and revision."""
        key = _checked_key(document)
        metadata = document["metadata"]
        if metadata.get("resourceVersion") or metadata.get("uid"):
            raise Invalid.fields(
                (f"Metadata.{field}", metadata[name], "field must not be set for a Create request")
                for field, name in (("ResourceVersion", "resourceVersion"), ("UID", "uid"))
                if metadata.get(name)
            )
        if key in self._kinds.get(key[0], ()):
            raise AlreadyExists.of(key)
        revision = self.revision + 1
        # The revision is what makes the uid unique: one store, one counter, and the same run has the same uids.
        stamps = {
            "uid": f"00000000-0000-4000-8000-{revision:012x}",
            "creationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._wall())),
            "resourceVersion": str(revision),
        }
        stored = {**document, "metadata": {**metadata, **stamps}}
        self._commit(key, None, stored)
        return stored

    def update(self, document: Document) -> Document:
        """Raises NotFound, Conflict, Invalid. Returns the document as stored, with its new revision."""
        key = _checked_key(document)
        metadata = document["metadata"]
        if not (
            metadata.get("resourceVersion") and metadata.get("uid") and metadata.get("creationTimestamp")
        ):
            raise Invalid.fields(
                (f"Metadata.{field}", "", "field must be set for an Update request")
                for field, name in (
                    ("ResourceVersion", "resourceVersion"),
                    ("CreationTimestamp", "creationTimestamp"),
                    ("UID", "uid"),
                )
                if not metadata.get(name)
            )
        old = self.get(key[0], key[2], key[1])
        current = old["metadata"]
        # The uid too: a resource that was deleted and made again is another one.
        if metadata["resourceVersion"] != current["resourceVersion"] or metadata["uid"] != current["uid"]:
            raise Conflict.of(key)
        stored = {**document, "metadata": {**metadata, "resourceVersion": str(self.revision + 1)}}
        self._commit(key, old, stored)
        return stored

    def delete(self, kind: str, name: str, namespace: str = "", resource_version: str = "") -> Document:
        """Raises NotFound, and Conflict when a ``resource_version`` is given and another is there. Returns what was."""
        old = self.get(kind, name, namespace)
        key = kind, namespace, name
        if resource_version and resource_version != old["metadata"]["resourceVersion"]:
            raise Conflict.of(key)
        self._commit(key, old, None)
        return old

    def changes_since(self, revision: int) -> Changes:
        """All changes after ``revision``, oldest first. Raises Compacted, Invalid."""
        missing = self.revision - revision
        if missing < 0:
            raise Invalid(f"revision {revision} is ahead of the datastore, which is at {self.revision}")
        if missing > len(self._history):
            raise Compacted(
                f"revision {revision} has been compacted; the oldest is {self.revision - len(self._history)}"
            )
        return [*islice(self._history, len(self._history) - missing, None)]

    def watch(self, watcher: Watcher, revision: int | None = None) -> Callable[[], None]:
        """Calls ``watcher`` with every change after ``revision`` (None: from now on), at once or as it happens.

        Returns what ends the watch. Raises Compacted or Invalid, and then does not watch.
        """
        if revision is not None:
            for change in self.changes_since(revision):
                watcher(change)
        self._watchers = (*self._watchers, watcher)

        def cancel() -> None:
            self._watchers = tuple(other for other in self._watchers if other is not watcher)

        return cancel

    def _commit(self, key: Key, old: Document | None, new: Document | None) -> None:
        documents = self._kinds.setdefault(key[0], {})
        if new is None:
            del documents[key]
        else:
            documents[key] = new
        self.revision += 1
        change = Change(self.revision, key, old, new)
        self._history.append(change)
        for watcher in self._watchers:
            watcher(change)


def _checked_key(document: Document) -> Key:
    """The key of a document from outside. Raises Invalid when it has none."""
    try:
        key = kind, namespace, name = key_of(document)
    except (KeyError, TypeError, AttributeError):
        raise Invalid("not a resource: kind and metadata.name are required") from None
    if not (type(kind) is type(namespace) is type(name) is str and kind and name):
        raise Invalid.fields(
            [("Metadata.Name", str(name), "name, namespace and kind are texts, the first is required")]
        )
    return key
