"""Create, replace, apply, patch and delete: what may be written, in one breath with writing it.

Owns ``Writing``, the one way to change a cluster's resources: the document is admitted (``cluster.admission``) against
what is there now, and the store's compare-and-swap has the last word. Nothing comes between. What has not changed is
not written: no new revision, nobody is told. A delete ends when its consequences (``cluster.cleanup``) are written.

A replace that names a ``resourceVersion`` (or a uid) means that one; else what is there. What only a server writes
(uid, creationTimestamp) is taken from what is there.

Left out: requests and answers (``cluster.api.writes``).
"""

from __future__ import annotations

from typing import Any, Final

from cluster.admission import admit
from cluster.api import patches
from cluster.cleanup import Cleanup
from cluster.datastore.memory import MemoryStore
from protocol.sync.errors import AlreadyExists, Conflict
from protocol.sync.messages import Document, key_of
from protocol.v3.metadata import Key

_SERVERS: Final = ("uid", "resourceVersion", "creationTimestamp")


class Writing:
    """Documents are whole: apiVersion, kind, metadata.name, and a namespace where the kind has one."""

    def __init__(self, store: MemoryStore, cleanup: Cleanup) -> None:
        self._store = store
        self._cleanup = cleanup

    def create(self, document: Document) -> Document:
        """Raises AlreadyExists, InvalidResource."""
        key = key_of(document)
        if self._store.find(key) is not None:  # which says more than what else is wrong with it
            raise AlreadyExists.of(key)
        admitted = admit(document, old=None, every=self._store.list)
        metadata = {field: value for field, value in admitted["metadata"].items() if field not in _SERVERS}
        return self._store.create({**admitted, "metadata": metadata})

    def replace(self, old: Document, document: Document) -> Document:
        """Raises Conflict, InvalidResource."""
        current, said = old["metadata"], document["metadata"]
        for field in ("resourceVersion", "uid"):
            if said.get(field) and said[field] != current[field]:
                raise Conflict.of(key_of(old))
        stamps = {field: current[field] for field in _SERVERS}
        document = {**document, "metadata": {**said, **stamps}}
        admitted = admit(document, old=old, every=self._store.list)
        return old if admitted == old else self._store.update(admitted)

    def apply(self, document: Document) -> Document:
        """Create what is not there, and replace what is. Raises Conflict, InvalidResource."""
        old = self._store.find(key_of(document))
        return self.create(document) if old is None else self.replace(old, document)

    def patch(self, key: Key, content_type: str, patch: Any) -> Document:
        """``content_type`` is one of ``patches.CONTENT_TYPES``. Raises NotFound, BadPatch, Conflict, InvalidResource."""
        old = self._store.get(key[0], key[2], key[1])
        patched = patches.apply(content_type, old, patch)
        metadata = patched.get("metadata")
        said = metadata if isinstance(metadata, dict) else {}
        if (patched.get("kind"), said.get("namespace") or "", said.get("name")) != key:
            raise patches.BadPatch("a patch changes no kind, namespace or name")
        return self.replace(old, patched)

    async def delete(self, key: Key, resource_version: str = "") -> Document:
        """Raises NotFound, Conflict."""
        kind, namespace, name = key
        return await self._cleanup.delete(kind, name, namespace, resource_version)
