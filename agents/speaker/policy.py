"""Import and export policy: which routes pass, and what becomes of their attributes on the way.

Owns the rules of Calico's generated filters (``bird_ipam.cfg``, ``bird_aggr.cfg``) and of BGP itself (RFC 4271 5.1,
RFC 4456 section 8) as functions of a route and a session:

- ``admit``: neighbour's UPDATE -> Adj-RIB-In: loop checks; Calico's import filter accepts everything else;
- ``may_tell``: whether routes of one source are told to one kind of session at all (iBGP is not re-told but by reflectors);
- ``PrefixFilter``: which prefixes leave: the local blocks whole, what is inside them not, what is in a pool yes;
- ``rewrite``: the attributes as the neighbour gets them.

Left out: BGPFilter.
"""

from __future__ import annotations

import attrs

from agents.speaker.config import MAX_PRIORITY, ExportPolicy
from agents.speaker.peer import Peer
from protocol.bgp.attributes import DEFAULT_LOCAL_PREF, Attributes, prepend
from protocol.prefix import Address, Prefix, contains

MAX_MEMO = 1 << 17
"""Verdicts remembered by a PrefixFilter before it starts anew: two per route of a table of 50,000."""


@attrs.frozen(kw_only=True, cache_hash=True)
class ExportClass:
    """What makes two sessions one update group: everything that export policy looks at."""

    internal: bool
    local_as: int
    local_address: Address
    rr_client: bool
    cluster_id: Address | None


def admit(attributes: Attributes, peer: Peer, router_id: Address) -> bool:
    """Whether a route may enter the Adj-RIB-In, by the loop checks.

    RFC 4271 9.1.2 (our AS in AS_PATH), RFC 4456 8 (our identifier as ORIGINATOR_ID; our cluster in CLUSTER_LIST,
    which BIRD looks at on sessions with clients only).
    """
    config = peer.config
    if attributes.as_path and attributes.as_count(config.local_as):
        return False
    if not peer.internal:
        return True
    if attributes.originator_id == router_id:
        return False
    return not (config.rr_client and config.cluster_id in attributes.cluster_list)


def may_tell(source: Peer | None, to: ExportClass) -> bool:
    """RFC 4271 9.2.1 and RFC 4456 6: what was learned by iBGP goes on by iBGP only from or to a client."""
    if source is None or not source.internal or not to.internal:
        return True
    return to.rr_client or source.config.rr_client


class PrefixFilter:
    """calico_export_to_bgp_peers(), for prefixes, with a memory."""

    def __init__(self, policy: ExportPolicy) -> None:
        self._policy = policy
        self._blocks = tuple(block.cidr for block in policy.blocks if block.confirmed)
        self._memo: dict[Prefix, bool] = {}

    def accepts(self, prefix: Prefix) -> bool:
        verdict = self._memo.get(prefix)
        if verdict is None:
            if len(self._memo) >= MAX_MEMO:
                self._memo.clear()
            verdict = self._memo[prefix] = self._decide(prefix)
        return verdict

    def _decide(self, prefix: Prefix) -> bool:
        policy = self._policy
        if any(contains(pool, prefix) for pool in policy.export_disabled):
            return False
        if prefix in self._blocks:
            return True
        if any(contains(block, prefix) for block in self._blocks):
            return False
        return any(contains(pool, prefix) for pool in policy.pools)


def rewrite(
    attributes: Attributes, source: Peer | None, to: ExportClass, *, router_id: Address, priority: int
) -> Attributes:
    """The attributes that a neighbour of this class is told.

    A route of our own gets our address as NEXT_HOP and, by iBGP, Calico's LOCAL_PREF (INTMAX - priority). By eBGP
    the AS is prepended, LOCAL_PREF and MED are dropped and the NEXT_HOP is ours, because every Calico session is
    multihop. By iBGP the NEXT_HOP stays; a reflected route gets ORIGINATOR_ID and our cluster in CLUSTER_LIST.
    """
    if source is None:
        if to.internal:
            return attrs.evolve(attributes, next_hop=to.local_address, local_pref=MAX_PRIORITY - priority)
        return attrs.evolve(
            attributes, next_hop=to.local_address, as_path=prepend(attributes.as_path, to.local_as)
        )
    if not to.internal:
        return attrs.evolve(
            attributes, next_hop=to.local_address, as_path=prepend(attributes.as_path, to.local_as),
            local_pref=None, med=None, originator_id=None, cluster_list=(),
        )  # fmt: skip
    if not source.internal:
        preference = DEFAULT_LOCAL_PREF if attributes.local_pref is None else attributes.local_pref
        return attrs.evolve(attributes, local_pref=preference)
    cluster = to.cluster_id or source.config.cluster_id or router_id
    return attrs.evolve(
        attributes,
        originator_id=attributes.originator_id or source.identifier,
        cluster_list=(cluster, *attributes.cluster_list),
    )
