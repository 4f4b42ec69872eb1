"""What a node originates of its IPAM blocks, and what of the pools it lets out.

Owns two derivations: from the node's BlockAffinities to its local blocks (``local_blocks``: the statics of
bird_aggr.cfg and the blocks of calico_aggr()), and from the cluster's IPPools to the pools of
calico_export_to_bgp_peers() (``pool_rules``).

How the state of an affinity counts:

=================  ==========  ======================================================
state              blackhole   announced whole, what is inside it not
=================  ==========  ======================================================
pending            no          no: the block may still be lost to another node
confirmed, ""      yes         yes ("" is data older than states)
pendingDeletion    yes         no: block and /32s go out by the pool's rule meanwhile
=================  ==========  ======================================================

A block of one address has no blackhole: the workload's own /32 or /128 is the block.

A pool's ``disabled`` stops IPAM only; its routes are announced like any other pool's. Encapsulation does not matter
for the export either.

Left out: Services (``services``), what the kernel gets (``kernel``).
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from agents.confd.prefixes import in_text_order
from agents.speaker.config import Block, StaticRoute
from protocol.prefix import IPV4, Prefix, family_of, parse_prefix
from protocol.v3.ipam import BlockAffinity
from protocol.v3.ippool import IPPool


@attrs.frozen(kw_only=True)
class LocalBlocks:
    blocks: tuple[Block, ...]
    blackholes: tuple[StaticRoute, ...]


@attrs.frozen(kw_only=True)
class PoolRules:
    export_disabled: tuple[Prefix, ...]
    exported: tuple[Prefix, ...]


def local_blocks(affinities: Iterable[BlockAffinity], family: int) -> LocalBlocks:
    """The blocks of the node that these affinities belong to, in the order of their text.

    IPAM's affinities are one for a block; of those that somebody wrote the first by name counts.
    """
    states: dict[Prefix, str] = {}
    for affinity in sorted(affinities, key=lambda affinity: affinity.metadata.name):
        spec = affinity.spec
        if spec.deleted or spec.type != "host" or spec.state == "pending":
            continue
        cidr = parse_prefix(spec.cidr)
        if family_of(cidr) == family:
            states.setdefault(cidr, spec.state)
    host_length = 32 if family == IPV4 else 128
    cidrs = in_text_order(states)
    return LocalBlocks(
        blocks=tuple(Block(cidr=cidr, state=states[cidr]) for cidr in cidrs),
        blackholes=tuple(StaticRoute(prefix=cidr) for cidr in cidrs if cidr[0] != host_length),
    )


def pool_rules(pools: Iterable[IPPool], family: int) -> PoolRules:
    """The pools of a family, by whether BGP may export what is in them."""
    rules: dict[bool, set[Prefix]] = {True: set(), False: set()}
    for pool in pools:
        cidr = parse_prefix(pool.spec.cidr)
        if family_of(cidr) == family:
            rules[pool.spec.disable_bgp_export].add(cidr)
    return PoolRules(export_disabled=in_text_order(rules[True]), exported=in_text_order(rules[False]))
