"""What a node originates, and what it lets out.

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

A block of one address has no blackhole: the workload's own /32 is the block.

A pool's ``disabled`` stops IPAM only; its routes are announced like any other pool's. Encapsulation does not matter
for the export either.

Left out: service routes, reachableBy, communities.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from protocol.prefix import IPV4, Prefix, family_of, format_prefix, parse_prefix
from protocol.v3.ipam import BlockAffinity
from protocol.v3.ippool import IPPool

_HOST_LENGTH = 32


@attrs.frozen(kw_only=True)
class LocalBlocks:
    announced: tuple[Prefix, ...]
    blackholes: tuple[Prefix, ...]


@attrs.frozen(kw_only=True)
class PoolRules:
    export_disabled: tuple[Prefix, ...]
    exported: tuple[Prefix, ...]


def local_blocks(affinities: Iterable[BlockAffinity]) -> LocalBlocks:
    """The IPv4 blocks of the node that these affinities belong to."""
    announced: set[Prefix] = set()
    blackholes: set[Prefix] = set()
    for affinity in affinities:
        spec = affinity.spec
        if spec.deleted or spec.type != "host" or spec.state == "pending":
            continue
        block = parse_prefix(spec.cidr)
        if family_of(block) != IPV4:
            continue
        if block[0] != _HOST_LENGTH:
            blackholes.add(block)
        if spec.state != "pendingDeletion":
            announced.add(block)
    return LocalBlocks(announced=_in_text_order(announced), blackholes=_in_text_order(blackholes))


def pool_rules(pools: Iterable[IPPool]) -> PoolRules:
    """The IPv4 pools, by whether BGP may export what is in them."""
    rules: dict[bool, set[Prefix]] = {True: set(), False: set()}
    for pool in pools:
        cidr = parse_prefix(pool.spec.cidr)
        if family_of(cidr) == IPV4:
            rules[pool.spec.disable_bgp_export].add(cidr)
    return PoolRules(export_disabled=_in_text_order(rules[True]), exported=_in_text_order(rules[False]))


def _in_text_order(prefixes: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """The order in which confd's files list them."""
    return tuple(sorted(prefixes, key=format_prefix))
