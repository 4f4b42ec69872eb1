"""What one change takes in a converged mesh of tortie: ``python -m bench.churn NODES``, started by ``bench.tortie``.

Owns a cluster in this process (the same coordinator and shards as ``up`` starts, without screen and API) and three
changes to it. Each is timed from before the change until the shards' counts show it in the last FIB; then the cluster
has to judge all tables exact before the next one, so that a count which happened to be right is found out.

    announce   a claimed block is written to the datastore for the first node
    withdraw   and deleted again
    kill       the last node, which has a shard of its own for this, is killed as by a power cut

The shards report their counts ten times as often as they would for a person who watches: a report every 20 ms could
not time what takes as long. What these reports cost is in the time.

Prints {"announce": seconds, "withdraw": seconds, "kill": seconds}.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable

import trio

from agents.ipam.blocks import new_block
from agents.speaker.config import Timers
from bench.rows import BenchError
from cluster.coordinator import Coordinator
from cluster.datastore.memory import MemoryStore
from cluster.launch import Prepared, Refused, prepare
from cluster.processes import Processes, ShardProcess
from cluster.shard import Job
from cluster.shard import serve as serve_shard
from cluster.spec import Spec
from protocol.prefix import IPV4, format_prefix, make_prefix, network_int, parse_prefix
from protocol.v3.codec import encode
from protocol.v3.ipam import BlockAffinity, BlockAffinitySpec, affinity_name, block_name
from protocol.v3.ippool import IPPool
from protocol.v3.metadata import Metadata

PORT = 17902  # not up's, so that neither is in the other's way
REPORT_INTERVAL = 0.002
PATIENCE = 60.0
"""Seconds for a change to arrive; what takes longer is broken, not slow."""


class Churn:
    """The changes, on a cluster whose coordinator runs."""

    def __init__(self, coordinator: Coordinator, store: MemoryStore, shards: list[ShardProcess]) -> None:
        self._coordinator = coordinator
        self._store = store
        self._shards = shards

    async def measure(self, node: str, cidr: str, nodes: int) -> dict[str, float]:
        survivors, victim = self._shards[:-1], self._shards[-1]
        programmed = self._routes(self._shards)
        left = self._routes(survivors) - (nodes - 1)  # everybody forgets the block of the one that is gone
        return {
            "announce": await self._time(lambda: self._claim(node, cidr), self._shards, programmed + nodes),
            "withdraw": await self._time(lambda: self._release(node, cidr), self._shards, programmed),
            "kill": await self._time(lambda: os.kill(victim.pid, signal.SIGKILL), survivors, left),
        }

    def _routes(self, shards: Iterable[ShardProcess]) -> int:
        return sum(self._coordinator.jury.progress_of(shard.number).routes for shard in shards)

    async def _time(self, change: Callable[[], None], shards: list[ShardProcess], routes: int) -> float:
        started = time.perf_counter()
        change()
        with trio.fail_after(PATIENCE):
            while self._routes(shards) != routes:  # noqa: ASYNC110  # reports have no event of their own
                await trio.sleep(0.001)
            taken = time.perf_counter() - started
            await trio.sleep(0.1)  # let a killed shard be noticed, or the old verdict would count
            while not self._coordinator.converged:  # noqa: ASYNC110  # it settles only once, this is later
                await trio.sleep(0.01)
        return taken

    def _claim(self, node: str, cidr: str) -> None:
        self._store.create(encode(new_block(parse_prefix(cidr), node, time.time())))
        self._store.create(
            encode(
                BlockAffinity(
                    Metadata(affinity_name(node, cidr)),
                    BlockAffinitySpec(state="confirmed", node=node, cidr=cidr),
                )
            )
        )

    def _release(self, node: str, cidr: str) -> None:
        self._store.delete("BlockAffinity", affinity_name(node, cidr))
        self._store.delete("IPAMBlock", block_name(cidr))


def churn(nodes: int) -> dict[str, float]:
    """Starts a mesh, changes it three times, ends it.

    Raises:
        Refused: it cannot be started.
        BenchError: it did not converge, or not again.
    """
    prepared = prepare(Spec(nodes=nodes, bgp_port=PORT))
    store = MemoryStore(wall=time.time)
    for resource in prepared.world.resources:
        store.create(encode(resource))
    names = [node.metadata.name for node in prepared.world.nodes]
    shards = [
        *filter(None, (tuple(name for name in shard if name != names[-1]) for shard in prepared.plan.shards)),
        (names[-1],),
    ]

    def serve(index: int, stream: socket.socket) -> None:
        job = Job(
            introduce=not prepared.endpoints.wide,
            nodes=shards[index],
            endpoints=prepared.endpoints.table,
            timers=Timers(hold=prepared.spec.hold_time),
            seed=prepared.spec.seed,
            progress_interval=REPORT_INTERVAL,
        )
        serve_shard(job, stream)

    gc.freeze()
    with Processes(shards, serve) as processes:
        return trio.run(_main, prepared, store, processes.shards, names[0])


async def _main(
    prepared: Prepared, store: MemoryStore, shards: list[ShardProcess], node: str
) -> dict[str, float]:
    coordinator = Coordinator(
        name="churn",
        pid=os.getpid(),
        topology=prepared.topology,
        store=store,
        shards=shards,
        endpoints=prepared.endpoints,
        pods_per_node=prepared.spec.pods_per_node,
        clock=time.monotonic,
        shard_lost=lambda shard: None,
    )
    pool = next(prepared.world.of_kind(IPPool))
    failure = None
    times: dict[str, float] = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(coordinator.run)
        try:
            with trio.fail_after(prepared.spec.timeout):
                await coordinator.settled.wait()
            if coordinator.failure is not None:
                failure = ": ".join(coordinator.failure)
            else:
                times = await Churn(coordinator, store, shards).measure(
                    node, free_block(pool, store), len(prepared.world.nodes)
                )
        except trio.TooSlowError:
            verdict = coordinator.jury.verdict
            failure = f"not converged: {verdict.missing} routes missing or wrong, {verdict.extra} too many"
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise BenchError(failure)
    return times


def free_block(pool: IPPool, store: MemoryStore) -> str:
    """The last block of the pool that nobody has."""
    taken = {document["spec"]["cidr"] for document in store.list("IPAMBlock")}
    cidr, length = parse_prefix(pool.spec.cidr), pool.spec.block_size
    step = 1 << (32 - length)
    first, beyond = network_int(cidr), network_int(cidr) + (1 << (32 - cidr[0]))
    blocks = (
        format_prefix(make_prefix(network, length, IPV4))
        for network in range(beyond - step, first - step, -step)
    )
    return next(block for block in blocks if block not in taken)


if __name__ == "__main__":
    try:
        print(json.dumps(churn(int(sys.argv[1]))))
    except (Refused, BenchError) as error:
        sys.exit(str(error))
