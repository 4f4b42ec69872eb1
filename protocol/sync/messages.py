"""What a shard and the datastore say to each other.

Owns the messages of one stream as values, and what a shard watches. Both ends may call: a shard reads and writes
the datastore, the coordinator asks a shard to judge, to answer a query, to stop.

==========  ===================  ===================================================================================
Watch       to the datastore     "I host these nodes": answered by a snapshot, then deltas; a new Watch starts anew
Snapshot    from the datastore   part of everything watched, at one revision; parts follow each other up to InSync
InSync      from the datastore   the snapshot is whole
Deltas      from the datastore   the state at ``revision`` of all that changed since the message before
Call        both ways            a request; any number may be under way
Return      both ways            its answer, in any order: a result or a fault
Report      to the coordinator   one way: what a shard has to tell
==========  ===================  ===================================================================================

A resource is a *document* here: its plain dict. Deltas carry states and not events, so a watcher that was slow gets
each resource once, however often it changed (Typha coalesces the same way).

Left out: the bytes (``wire``), who answers what (``cluster.typha``, ``agents.syncer``).
"""

from __future__ import annotations

from typing import Any

import attrs

from protocol.sync.errors import Fault
from protocol.v3.metadata import Key

Document = dict[str, Any]
"""``{"apiVersion": …, "kind": …, "metadata": {…}, "spec": {…}}``. Never changed once it was passed on."""

SHARED_KINDS = frozenset(
    {
        "BGPConfiguration", "BGPFilter", "BGPPeer", "EndpointSlice", "FelixConfiguration", "IPAMConfiguration", "IPPool",
        "IPReservation", "Namespace", "Node", "Router", "Secret", "Service",
    }
)  # fmt: skip
"""Watched by every shard."""

NODE_KINDS = frozenset({"BlockAffinity", "WorkloadEndpoint"})
"""Watched by the shard that hosts the node in ``spec.node``, and by one whose Felixes route to all. IPAM's blocks and
handles are not watched: they are read when they are needed, by whoever is going to write them."""


def key_of(document: Document) -> Key:
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace") or "", metadata["name"]


def node_of(document: Document) -> str:
    """The node that a document of NODE_KINDS is about; "" when it does not say."""
    spec = document.get("spec")
    node = spec.get("node") if type(spec) is dict else None
    return node if type(node) is str else ""


@attrs.frozen
class Watch:
    """``every_node``: NODE_KINDS of all nodes, hosted or not, because routes to their workloads are made here."""

    nodes: frozenset[str]
    every_node: bool = False

    def wants(self, document: Document) -> bool:
        kind = document["kind"]
        if kind in SHARED_KINDS:
            return True
        return kind in NODE_KINDS and (self.every_node or node_of(document) in self.nodes)


@attrs.frozen
class Snapshot:
    revision: int
    documents: tuple[Document, ...]


@attrs.frozen
class InSync:
    revision: int


@attrs.frozen
class Deltas:
    revision: int
    updated: tuple[Document, ...]
    deleted: tuple[Key, ...]


@attrs.frozen
class Call:
    """``id`` is the caller's; ids of the two directions have nothing to do with each other."""

    id: int
    method: str
    params: Any = None


@attrs.frozen
class Return:
    id: int
    result: Any = None
    fault: Fault | None = None


@attrs.frozen
class Report:
    subject: str
    params: Any = None


Message = Watch | Snapshot | InSync | Deltas | Call | Return | Report
