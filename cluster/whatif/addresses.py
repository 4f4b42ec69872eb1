"""What becomes of addresses: pools, blocks and who has them, pods and what they are called by.

Owns ``ipam_of`` (the documents of one moment as values) and ``compare_ipam``. What a reader wants to know of IPAM is
which blocks change owner, which pods get or lose an address, and which go on with one that is no pool's any more: those
work until their routes go, and no new pod is put beside them.

Left out: whether the bookkeeping is sound. IPAM's own code wrote it, there as here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from cluster.whatif.words import counted, listed
from protocol.prefix import Prefix, contains, parse_prefix, sort_key
from protocol.sync.messages import Document
from protocol.v3.codec import decode
from protocol.v3.ippool import IPPool

T = TypeVar("T")


COUNTLESS = 1_000_000
"""A pool of IPv6 has more blocks than anybody counts."""


@attrs.frozen(kw_only=True)
class Pool:
    cidr: str
    disabled: bool
    blocks: int  # that fit into it
    claimed: int  # of them, by whomever


@attrs.frozen(kw_only=True)
class Block:
    owner: str  # a node, or ""
    used: int  # addresses


@attrs.frozen(kw_only=True)
class Pod:
    node: str
    addresses: tuple[str, ...]
    stray: bool
    """It has an address of no pool, or of one that is disabled."""


@attrs.frozen(kw_only=True)
class Ipam:
    pools: Mapping[str, Pool]
    blocks: Mapping[str, Block]
    pods: Mapping[str, Pod]


def ipam_of(every: Callable[[str], Sequence[Document]]) -> Ipam:
    """``every``: all documents of a kind."""
    blocks = {}
    for document in every("IPAMBlock"):
        spec = document["spec"]
        kind, _, owner = (spec.get("affinity") or "").partition(":")
        used = sum(index is not None for index in spec["allocations"])
        blocks[spec["cidr"]] = Block(owner=owner if kind == "host" else "", used=used)
    prefixes = [parse_prefix(cidr) for cidr in blocks]
    pools, live = {}, []
    for document in every("IPPool"):
        pool = decode(document)
        assert isinstance(pool, IPPool)
        cidr = parse_prefix(pool.spec.cidr)
        pools[pool.metadata.name] = Pool(
            cidr=pool.spec.cidr,
            disabled=pool.spec.disabled,
            blocks=1 << max(0, pool.spec.block_size - cidr[0]),
            claimed=sum(contains(cidr, prefix) for prefix in prefixes),
        )
        if not pool.spec.disabled:
            live.append(cidr)
    pods = {}
    for document in every("WorkloadEndpoint"):
        metadata, spec = document["metadata"], document["spec"]
        addresses = tuple(spec.get("ipNetworks") or ())
        name = f"{metadata.get('namespace', '')}/{spec.get('pod') or metadata['name']}"
        pods[name] = Pod(
            node=spec.get("node", ""),
            addresses=addresses,
            stray=_stray([*map(parse_prefix, addresses)], live),
        )
    return Ipam(pools=pools, blocks=blocks, pods=pods)


def _stray(addresses: Sequence[Prefix], live: Sequence[Prefix]) -> bool:
    return any(not any(contains(cidr, each) for cidr in live) for each in addresses)


@attrs.frozen(kw_only=True)
class IpamChange:
    """Names of pools and pods, CIDRs of blocks; each with what it was and is."""

    pools: Mapping[str, tuple[Pool | None, Pool | None]] = attrs.field(factory=dict)
    blocks: Mapping[str, tuple[Block | None, Block | None]] = attrs.field(factory=dict)
    """Those whose owner is another; None: there is no such block."""
    pods: Mapping[str, tuple[Pod | None, Pod | None]] = attrs.field(factory=dict)
    """Those that come or go, or have other addresses, or whose address is no pool's any more (or is again)."""

    def __bool__(self) -> bool:
        return bool(self.pools or self.blocks or self.pods)

    def to_json(self) -> dict[str, Any]:
        def rows(name: str, changes: Mapping[str, tuple[Any, Any]]) -> list[dict[str, Any]]:
            return [
                {name: what, "from": old and attrs.asdict(old), "to": new and attrs.asdict(new)}
                for what, (old, new) in changes.items()
            ]

        return {
            "pools": rows("pool", self.pools),
            "blocks": rows("block", self.blocks),
            "pods": rows("pod", self.pods),
        }


def compare_ipam(before: Ipam, after: Ipam) -> IpamChange:
    blocks = {
        cidr: (old, new)
        for cidr, (old, new) in _both(before.blocks, after.blocks)
        if old is None or new is None or old.owner != new.owner
    }
    return IpamChange(
        pools={name: pair for name, pair in _both(before.pools, after.pools) if pair[0] != pair[1]},
        blocks=dict(sorted(blocks.items(), key=lambda item: sort_key(parse_prefix(item[0])))),
        pods={name: pair for name, pair in _both(before.pods, after.pods) if pair[0] != pair[1]},
    )


def _both(before: Mapping[str, T], after: Mapping[str, T]) -> Iterator[tuple[str, tuple[T | None, T | None]]]:
    for name in sorted({**before, **after}):
        yield name, (before.get(name), after.get(name))


def ipam_lines(change: IpamChange) -> Iterator[str]:
    for name, (old, new) in change.pools.items():
        yield f"IPPool {name} {_pool_words(old, new)}"
    yield from _block_lines(change.blocks)
    yield from _pod_lines(change.pods)


def _pool_words(old: Pool | None, new: Pool | None) -> str:
    if new is None:
        assert old is not None
        return f"({old.cidr}) is gone"
    many = f" of {new.blocks:,}" if new.blocks < COUNTLESS else ""
    taken = f"{counted(new.claimed, 'block')}{many} claimed"
    if old is None:
        return f"({new.cidr}) is new: {taken}"
    if old.disabled != new.disabled:
        return f"({new.cidr}) is {'disabled: no pod gets an address of it' if new.disabled else 'enabled'}"
    return f"({new.cidr}): {taken}, before {old.claimed:,}"


def _block_lines(changes: Mapping[str, tuple[Block | None, Block | None]]) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for cidr, (old, new) in changes.items():
        if new is None:
            words = "deleted"
        elif not new.owner:
            words = "nobody's any more, with addresses in use" if new.used else "nobody's any more"
        elif old is None or not old.owner:
            words = "claimed"
        else:
            words = f"{new.owner}'s now, before {old.owner}'s"
        groups.setdefault(words, []).append(cidr)
    for words, cidrs in groups.items():
        yield f"{counted(len(cidrs), 'block')} {words}: {listed(cidrs)}"


def _pod_lines(changes: Mapping[str, tuple[Pod | None, Pod | None]]) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for name, (old, new) in changes.items():
        if old is None:
            words = "new"
        elif new is None:
            words = "gone"
        elif old.addresses != new.addresses:
            words = "of another address"
        elif new.stray and not old.stray:
            words = "left with an address that no enabled pool has"
        elif old.stray and not new.stray:
            words = "with an address that an enabled pool has again"
        else:
            words = f"on {new.node}"
        groups.setdefault(words, []).append(name)
    for words, names in groups.items():
        yield f"{counted(len(names), 'pod')} {words}: {listed(names)}"
