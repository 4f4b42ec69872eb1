"""What one change takes in a converged mesh of tortie: ``python -m bench.churn NODES``, started by ``bench.tortie``.

Owns three changes to a cluster (``bench.live``), each timed until the last FIB shows it:

    announce   a claimed block is written to the datastore for the first node
    withdraw   and deleted again
    kill       the last node, which has a shard of its own for this, is killed as by a power cut

Prints {"announce": seconds, "withdraw": seconds, "kill": seconds}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from agents.ipam.blocks import new_block
from bench.live import PORT, Live, run
from bench.rows import BenchError
from cluster.datastore.memory import MemoryStore
from cluster.launch import Refused, prepare_with
from cluster.spec import Spec
from protocol.prefix import IPV4, format_prefix, make_prefix, network_int, parse_prefix
from protocol.v3.bgp import DEFAULT_AS_NUMBER, BGPConfiguration, BGPConfigurationSpec
from protocol.v3.codec import encode
from protocol.v3.ipam import BlockAffinity, BlockAffinitySpec, affinity_name, block_name
from protocol.v3.ippool import IPPool
from protocol.v3.metadata import Metadata

_AT_ONCE = BGPConfiguration(
    Metadata("default"), BGPConfigurationSpec(as_number=DEFAULT_AS_NUMBER, node_mesh_max_restart_time="0s")
)
"""Who waits for a node to restart (RFC 4724) keeps its routes: by Calico's default for two minutes."""


def churn(nodes: int) -> dict[str, float]:
    """Starts a mesh, changes it three times, ends it.

    Raises:
        Refused: it cannot be started.
        BenchError: it did not converge, or not again.
    """
    prepared = prepare_with(Spec(nodes=nodes, bgp_port=PORT), [_AT_ONCE])
    names = [node.metadata.name for node in prepared.world.nodes]
    pool = next(prepared.world.of_kind(IPPool))
    shards = [
        *filter(None, (tuple(name for name in shard if name != names[-1]) for shard in prepared.plan.shards)),
        (names[-1],),
    ]

    async def measure(live: Live) -> dict[str, float]:
        store, node, cidr = live.store, names[0], free_block(pool, live.store)
        survivors, victim = live.shards[:-1], live.shards[-1]
        programmed = live.routes()
        left = live.routes(survivors) - (nodes - 1)  # everybody forgets the block of the one that is gone
        announced = await live.time(lambda: claim(store, node, cidr), programmed + nodes)
        withdrawn = await live.time(lambda: release(store, node, cidr), programmed)
        killed = await live.time(lambda: os.kill(victim.pid, signal.SIGKILL), left, survivors)
        return {"announce": announced.shown, "withdraw": withdrawn.shown, "kill": killed.shown}

    return run(prepared, shards, measure)


def claim(store: MemoryStore, node: str, cidr: str) -> None:
    store.create(encode(new_block(parse_prefix(cidr), node, time.time())))
    spec = BlockAffinitySpec(state="confirmed", node=node, cidr=cidr)
    store.create(encode(BlockAffinity(Metadata(affinity_name(node, cidr)), spec)))


def release(store: MemoryStore, node: str, cidr: str) -> None:
    store.delete("BlockAffinity", affinity_name(node, cidr))
    store.delete("IPAMBlock", block_name(cidr))


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
