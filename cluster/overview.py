"""What people are told of a running cluster as a whole: lines and rows of what the coordinator knows.

Owns the words of ``status`` that are not plain counts. Left out: how they are laid out (``views``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

from cluster.convergence import Jury
from cluster.datastore.memory import MemoryStore
from cluster.memory import pss_bytes
from cluster.processes import ShardProcess
from cluster.topology import Topology, derive
from cluster.views import ShardRow
from protocol.prefix import Prefix, format_prefix
from protocol.v3.bgp import BGPConfiguration, BGPPeer
from protocol.v3.codec import decode
from protocol.v3.lab import Router
from protocol.v3.metadata import Resource
from protocol.v3.node import Node

R = TypeVar("R", bound=Resource)


def topology_of(store: MemoryStore) -> Topology:
    def all_of(kind: type[R]) -> list[R]:
        return [cast("R", decode(document)) for document in store.list(kind.kind)]

    default = store.find((BGPConfiguration.kind, "", "default"))
    return derive(
        all_of(Node),
        cast("BGPConfiguration", decode(default)) if default is not None else None,
        all_of(BGPPeer),
        all_of(Router),
    )


def shard_row(shard: ShardProcess, jury: Jury) -> ShardRow:
    up = shard.ended is None
    return ShardRow(
        index=shard.number,
        pid=shard.pid,
        up=up,
        nodes=len(shard.nodes),
        sockets=jury.progress_of(shard.number).session_ends,
        memory_mb=(pss_bytes([shard.pid]) or 0) / 1e6 if up else 0.0,
    )


def converged_line(living: int, unsettled: Mapping[Prefix, str]) -> str:
    but = "".join(f"; but {format_prefix(prefix)}: {why}" for prefix, why in [*unsettled.items()][:1])
    return f"converged: all {living:,} FIBs are exactly what the datastore asks for{but}"


def converging_line(jury: Jury) -> str:
    verdict = jury.verdict
    if verdict.equal:
        return "converging"
    first = f"; first: {verdict.differences[0]}" if verdict.differences else ""
    return f"not converged: {verdict.missing:,} routes missing or wrong, {verdict.extra:,} too many{first}"
