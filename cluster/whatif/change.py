"""What somebody wants to change: documents, one request after the other, as ``apply`` and ``delete`` send them.

Owns ``Change``, and ``carry_out``, which writes it to a store by the same way that the API goes (``cluster.writing``):
each document is admitted against what the ones before have left. What is refused is noted, and the others are written
all the same, as a running cluster does it.

Left out: reading manifests (``protocol.v3.loader``), the words of a refusal (``cluster.cli.words``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import trio

from cluster.cleanup import Cleanup
from cluster.datastore.memory import MemoryStore
from cluster.writing import Writing
from protocol.sync.errors import DatastoreError
from protocol.sync.messages import Document, key_of
from protocol.v3.metadata import Key
from protocol.v3.validate import InvalidResource

BETWEEN = 0.01
"""Seconds from one request to the next: what a client needs that sends one, waits for its answer and sends another."""

Did = Literal["created", "replaced", "unchanged", "deleted", "refused"]


@attrs.frozen(kw_only=True)
class Change:
    """``places`` says where each document stands: ``file:line``."""

    documents: tuple[Document, ...]
    places: tuple[str, ...]
    delete: bool = False


@attrs.frozen(kw_only=True)
class Written:
    """What became of one document. ``error``: why it was refused."""

    key: Key
    place: str
    did: Did
    error: Exception | None = None

    @property
    def subject(self) -> str:
        kind, namespace, name = self.key
        return f"{kind}/{namespace}/{name}" if namespace else f"{kind}/{name}"


async def carry_out(change: Change, store: MemoryStore, cleanup: Cleanup) -> Sequence[Written]:
    """In the order of the documents."""
    writing = Writing(store, cleanup)
    found = []
    for document, place in zip(change.documents, change.places, strict=True):
        key = key_of(document)
        error: Exception | None = None
        did: Did
        try:
            if change.delete:
                await writing.delete(key)
                did = "deleted"
            else:
                before = store.find(key)
                after = writing.apply(document)
                did = "created" if before is None else "unchanged" if after is before else "replaced"
        except (DatastoreError, InvalidResource) as refusal:
            did, error = "refused", refusal
        found.append(Written(key=key, place=place, did=did, error=error))
        await trio.sleep(BETWEEN)
    return found
