"""The sum before the start: sockets, descriptors, cores, memory -> how many shards, and which node goes where.

Owns the arithmetic and its refusals. Both ends of every session are on this computer, so a cluster needs two
sockets a session; a process may have RLIMIT_NOFILE descriptors, which even root cannot always raise; a full mesh
of 200 nodes therefore does not fit into one process or two. Beyond what must be, a shard more is only worth its
start (a fork, about 20 ms, some megabytes) when there is a core to run it and work to fill it.

Flow: ``cluster.topology`` counts sessions, ``cluster.memory`` reads the machine, ``make_plan`` answers with a
``Plan`` or refuses with the sum in one line. Nothing is started here.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

PROCESS_RESERVE = 512
"""Descriptors of a shard that are no established session: the datastore's stream, trio's own poller and wake-up
pair, standard streams, files of an import (about 20), and up to 256 dials in flight that collide with the
neighbour's own (RFC 4271 6.8) and are closed a moment later."""
FAMILY_DESCRIPTORS = 2
"""A node's listener and its poller, for each family that it has an address of."""
SOCKETS_WORTH_A_SHARD = 2_000
"""About 0.1 s of work: less than that is sooner done than a second process is started and told of it."""

BASE_BYTES = 60 << 20  # the coordinator with its imports, and the datastore of a small cluster
SHARD_BYTES = 12 << 20  # what a forked process has for itself
NODE_BYTES = 60 << 10  # tables, configuration and documents of one node
SOCKET_BYTES = 8 << 10  # 5 KB of the kernel, 3 KB of the session
ROUTE_BYTES = 250  # one entry of an Adj-RIB-In with its share of the other tables


class PlanError(Exception):
    """What is asked does not fit this computer; the text is the arithmetic in one line."""


@attrs.frozen(kw_only=True)
class Machine:
    """What this computer offers."""

    descriptors: int  # a process
    cores: int
    memory: int | None  # bytes available; None: unknown


@attrs.frozen(kw_only=True)
class NodeLoad:
    """What one node asks for."""

    name: str
    sessions: int
    routes: int  # what its neighbours will send it, all of them together
    families: int = 1  # of addresses
    router: bool = False  # of the lab, outside of the cluster


@attrs.frozen(kw_only=True)
class Plan:
    topology: str  # "full mesh"
    sessions: int
    sockets: int
    descriptors: int  # the limit of a process
    memory: int  # bytes, estimated
    shards: tuple[tuple[str, ...], ...]  # names of nodes and routers
    routers: int  # how many of them are

    @property
    def nodes(self) -> int:
        return sum(map(len, self.shards)) - self.routers


def make_plan(loads: Sequence[NodeLoad], *, topology: str, machine: Machine, shards: int | None) -> Plan:
    """Chooses the number of shards (or takes ``shards``) and places the nodes.

    Raises:
        PlanError: a node, the asked number of shards, or the memory does not suffice.
    """
    sockets = sum(load.sessions for load in loads)
    nodes = sum(not load.router for load in loads)
    what = f"{topology} of {nodes:,} nodes needs ~{sockets:,} sockets"
    capacity = machine.descriptors - PROCESS_RESERVE
    _check_biggest(loads, capacity, what, machine)
    needed = _shards_needed(loads, capacity)
    if shards is None:
        count = max(needed, min(machine.cores, -(-sockets // SOCKETS_WORTH_A_SHARD)))
    elif shards < needed:
        raise PlanError(
            f"{what}, the limit is {machine.descriptors:,} descriptors a process: "
            f"at least {needed} shards, {shards} asked for (leave --shards out)"
        )
    else:
        count = shards
    count = max(1, min(count, len(loads)))
    if count > capacity:
        raise PlanError(
            f"{what} in {count:,} shards, and this process a descriptor for each of them; the limit is "
            f"{machine.descriptors:,} a process, {PROCESS_RESERVE} of them kept back: "
            f"raise it (ulimit -n), or fewer shards"
        )
    memory = _memory_needed(loads, count)
    if machine.memory is not None and memory > machine.memory:
        raise PlanError(
            f"{what} and ~{memory / 1e9:,.1f} GB of memory ({sockets:,} sockets of {SOCKET_BYTES >> 10} KB, "
            f"{sum(load.routes for load in loads):,} received routes of {ROUTE_BYTES} bytes, {count:,} processes), "
            f"{machine.memory / 1e9:,.1f} GB are available: fewer nodes, or --route-reflectors"
        )
    return Plan(
        topology=topology,
        sessions=sockets // 2,
        sockets=sockets,
        descriptors=machine.descriptors,
        memory=memory,
        shards=_place(loads, count, capacity),
        routers=sum(load.router for load in loads),
    )


def _check_biggest(loads: Sequence[NodeLoad], capacity: int, what: str, machine: Machine) -> None:
    biggest = max(loads, key=_descriptors, default=None)
    if biggest is not None and _descriptors(biggest) > capacity:
        raise PlanError(
            f"{what}, and {biggest.name} alone {_descriptors(biggest):,} descriptors; the limit is "
            f"{machine.descriptors:,} a process, {PROCESS_RESERVE} of them kept back: "
            f"raise it (ulimit -n), or fewer nodes, or --route-reflectors"
        )


def _descriptors(load: NodeLoad) -> int:
    return load.sessions + load.families * FAMILY_DESCRIPTORS


def _shards_needed(loads: Sequence[NodeLoad], capacity: int) -> int:
    """The fewest shards into which the nodes fit: found by placing them, since a node cannot be cut in two."""
    count = max(1, -(-sum(map(_descriptors, loads)) // capacity))
    while True:
        try:
            _place(loads, count, capacity)
        except _DoesNotFitError:
            count += 1
        else:
            return count


def _memory_needed(loads: Sequence[NodeLoad], shards: int) -> int:
    return (
        BASE_BYTES
        + shards * SHARD_BYTES
        + len(loads) * NODE_BYTES
        + sum(load.sessions * SOCKET_BYTES + load.routes * ROUTE_BYTES for load in loads)
    )


class _DoesNotFitError(Exception):
    """Not a message for anybody: one more shard is tried."""


@attrs.define
class _Shard:
    capacity: int
    nodes: list[str] = attrs.field(factory=list)
    filled: int = 0

    def put(self, name: str, weight: int) -> None:
        if self.filled + weight > self.capacity:
            raise _DoesNotFitError
        self.nodes.append(name)
        self.filled += weight


def _place(loads: Sequence[NodeLoad], count: int, capacity: int) -> tuple[tuple[str, ...], ...]:
    """The nodes in their order, cut into ``count`` runs of about equal weight.

    Runs, so that a person who hears that shard 2 died knows which nodes are meant. The few nodes that are much
    heavier than the rest (route reflectors) are first spread over the shards, or one core would do all the work.
    """
    weights = {load.name: _descriptors(load) for load in loads}
    usual = sorted(weights.values())[len(weights) // 2] if weights else 0
    heavy = [name for name, weight in weights.items() if weight > 4 * usual]
    light = [name for name, weight in weights.items() if weight <= 4 * usual]
    shards = [_Shard(capacity) for _ in range(count)]
    for name in sorted(heavy, key=lambda name: (-weights[name], name)):
        min(shards, key=lambda shard: shard.filled).put(name, weights[name])
    left = sum(weights[name] for name in light)
    position = 0
    for index, shard in enumerate(shards):
        # An equal share of all that the shards from here on will hold.
        share = (left + sum(other.filled for other in shards[index:])) / (count - index)
        while position < len(light):
            weight = weights[light[position]]
            over = shard.filled + weight - share
            if index < count - 1 and (over > weight / 2 or shard.filled + weight > capacity):
                break
            shard.put(light[position], weight)
            left -= weight
            position += 1
    order = {name: rank for rank, name in enumerate(weights)}
    return tuple(tuple(sorted(shard.nodes, key=order.__getitem__)) for shard in shards if shard.nodes)
