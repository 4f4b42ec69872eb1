"""What the nodes carry: pods, and blocks beyond those that their pods need.

Owns the names of generated pods, ``claimed_blocks`` and ``first_documents``. Pods are added on their nodes, through CNI and IPAM, as a
kubelet would (``pods`` calls ``Node.add_pod``). Extra blocks are what a node has claimed over a long life; nobody
waits for a life, so they are written to the datastore as IPAM would have left them, before the nodes start: one
confirmed BlockAffinity and one empty IPAMBlock each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.ipam.blocks import host_affinity, new_block
from cluster.spec import World, serves_workloads
from protocol.prefix import IPV4, Prefix, format_prefix, make_prefix, network_int, parse_prefix
from protocol.sync.messages import Document
from protocol.v3.codec import encode
from protocol.v3.ipam import BlockAffinity, BlockAffinitySpec, affinity_name, block_name
from protocol.v3.ippool import IPPool
from protocol.v3.metadata import Metadata
from protocol.v3.node import Node
from protocol.v3.selector import parse


def pod_names(node: str, count: int) -> list[str]:
    """Unique in the cluster, since all generated pods are in one namespace."""
    return [f"{node}-pod-{number}" for number in range(1, count + 1)]


def first_documents(world: World, blocks_per_node: int, *, now: float) -> Iterator[Document]:
    """All that is in the datastore before the first node starts."""
    yield from map(encode, world.resources)
    if blocks_per_node > 1:
        pools = [pool for pool in world.of_kind(IPPool) if serves_workloads(pool)]
        yield from claimed_blocks(world.nodes, pools, blocks_per_node, now=now)


def claimed_blocks(
    nodes: Sequence[Node], pools: Sequence[IPPool], per_node: int, *, now: float
) -> Iterator[Document]:
    """``per_node`` claimed, empty blocks for every node, of the first pools (by name) that select it."""
    supplies = [_Supply(pool, now) for pool in sorted(pools, key=lambda pool: pool.metadata.name)]
    for node in nodes:
        mine = [supply for supply in supplies if supply.selects(node.metadata.labels)]
        name = node.metadata.name
        for _ in range(per_node):
            supply = next((supply for supply in mine if supply.left), None)
            if supply is None:
                return  # the spec's checks let no such cluster pass
            yield from supply.claim(name)


class _Supply:
    """The blocks of one pool, given out from the front.

    A hundred thousand documents that differ in two fields are copied from one that was encoded: in a fifth of the
    time, and all empty blocks share one list of free ordinals. Documents are never changed in place.
    """

    def __init__(self, pool: IPPool, now: float) -> None:
        cidr = parse_prefix(pool.spec.cidr)
        self._length = pool.spec.block_size
        self._next = network_int(cidr)
        self.left = 1 << (self._length - cidr[0])
        self.selects = parse(pool.spec.node_selector or "all()").matches
        text = format_prefix(self._first())
        self._block = encode(new_block(self._first(), "", now))
        self._affinity = encode(
            BlockAffinity(Metadata(""), BlockAffinitySpec(state="confirmed", node="", cidr=text))
        )

    def _first(self) -> Prefix:
        return make_prefix(self._next, self._length, IPV4)

    def claim(self, node: str) -> Iterator[Document]:
        cidr = format_prefix(self._first())
        self._next += 1 << (32 - self._length)
        self.left -= 1
        block, affinity = self._block, self._affinity
        yield {
            **block,
            "metadata": {"name": block_name(cidr)},
            "spec": {**block["spec"], "cidr": cidr, "affinity": host_affinity(node)},
        }
        yield {
            **affinity,
            "metadata": {"name": affinity_name(node, cidr)},
            "spec": {**affinity["spec"], "node": node, "cidr": cidr},
        }
