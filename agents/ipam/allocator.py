"""Addresses for one node: automatic assignment, fixed addresses, release.

Owns ``Allocator``, the loops that carry the pure functions of ``blocks`` into the datastore. Nobody locks anything
across nodes: whoever loses a compare-and-swap reads again and goes on. Within one node requests run one after the
other, as Calico's CNI plugin holds a lock on its host.

    auto_assign:  own blocks ──short──► claim a free block ──none──► reclaim a stale one ──none──► borrow
                  │                     (affinities.claim)           (affinities.release)          (not strict)
                  └── each: handle count up ──► block written ──► or read again, or handle count down

What a node's calls are when all goes well: to claim, affinity created, block created, affinity confirmed; per
address, handle created and block written. A free block is looked for by trying to claim it, as most are free; after
the first that was taken the next ones are looked at before, and after LOOKS of those all blocks are listed.

When a call raises, addresses that it had already assigned stay assigned to its handle: release by handle.

Left out: Calico's per-request block limit and its limit of addresses per handle (KubeVirt), blocks of
load balancers, and the collection of leaked addresses.
Follows libcalico-go/lib/ipam/ipam.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs
import trio

from agents.ipam.affinities import Affinities
from agents.ipam.blocks import (
    address_at,
    assign,
    assign_ordinal,
    check_release,
    free_count,
    held_by,
    is_empty,
    ordinal_of,
    parse_time,
    release,
    size_of,
)
from agents.ipam.errors import IPAMError
from agents.ipam.pools import Pool, Pools, Use
from agents.ipam.store import RETRIES, BlockStore, Handles, Pick, configuration
from agents.syncer import Datastore, View
from protocol.prefix import (
    Address,
    Prefix,
    contains,
    family_of,
    format_address,
    format_prefix,
    host_prefix,
    parse_prefix,
)
from protocol.sync.errors import Conflict, NotFound
from protocol.v3.ipam import BlockAffinity, IPAMBlock
from protocol.v3.ippool import IPPool, IPReservation

DEFAULT_BLOCK_LIMIT: Final = 20
"""Blocks per node when maxBlocksPerHost does not say."""

RECLAIM_AGE: Final = 60.0
"""An empty block is left to its node for this many seconds after its claim: it is about to be used."""

LOOKS: Final = 64
"""Blocks looked at one by one before all are listed: a listed block costs a fifth of one asked for, and in a pool that
is nearly full there are a thousand of them."""

NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""The label that Kubernetes puts on every namespace."""


@attrs.frozen
class Assignment:
    """What auto_assign found. ``reasons`` say why it is less than was asked for; empty when it is not."""

    addresses: tuple[Address, ...]
    requested: int
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = f"Assigned {len(self.addresses)} out of {self.requested} requested addresses"
        return "; ".join((counts, *self.reasons))


@attrs.frozen(kw_only=True)
class Release:
    """One address to give back, only if it is the given handle's and of the given allocation."""

    address: Address
    handle_id: str | None = None
    sequence_number: int | None = None


@attrs.frozen(kw_only=True)
class _Request:
    handle_id: str
    attributes: Mapping[str, str]


class Allocator:
    """``wall`` gives the seconds since the epoch, for the timestamps in blocks."""

    def __init__(self, *, node: str, view: View, datastore: Datastore, wall: Callable[[], float]) -> None:
        self._node = node
        self._view = view
        self._datastore = datastore
        self._wall = wall
        self._blocks = BlockStore(node=node, view=view, datastore=datastore, wall=wall)
        self._affinities = Affinities(node=node, view=view, datastore=datastore, blocks=self._blocks)
        self._handles = Handles(datastore)
        self._one_at_a_time = trio.Lock()
        self._pools = Pools((), ())
        self._pools_version = -1, -1

    async def auto_assign(
        self,
        family: int,
        count: int,
        *,
        handle_id: str,
        attributes: Mapping[str, str],
        use: Use = "Workload",
        namespace: str = "",
        pools: Sequence[str] = (),
    ) -> Assignment:
        """Up to ``count`` addresses; fewer is no error. ``namespace`` is a pod's. Raises NoPoolError, DatastoreError."""
        async with self._one_at_a_time:
            chosen = self.pools().select(
                family,
                use=use,
                node=self._node,
                node_labels=self._labels(),
                namespace_labels=self._namespace_labels(namespace),
                names=pools,
            )
            return await self._auto_assign(
                chosen, count, _Request(handle_id=handle_id, attributes=attributes)
            )

    async def assign_ip(self, address: Address, *, handle_id: str, attributes: Mapping[str, str]) -> None:
        """This address and no other. Reservations, selectors and the block limit do not count here.

        Raises AddressInUseError when somebody has it, IPAMError when no enabled pool has it or its block is
        another node's and affinity is strict.
        """
        async with self._one_at_a_time:
            pool = self.pools().containing(host_prefix(address))
            if pool is None or not pool.enabled:
                raise IPAMError(f"{format_address(address)} is not in a configured pool")
            prefix = pool.block_of(address)
            strict = configuration(self._view).strict_affinity

            def pick(block: IPAMBlock) -> tuple[IPAMBlock, tuple[int, ...]]:
                if strict and block.spec.affinity != self._blocks.affinity:
                    raise IPAMError(
                        f"{format_address(address)} is in {block.spec.cidr}, which is not {self._node}'s"
                    )
                ordinal = ordinal_of(prefix, address)
                return assign_ordinal(block, ordinal, handle_id=handle_id, attributes=attributes), (ordinal,)

            request = _Request(handle_id=handle_id, attributes=attributes)
            for _ in range(RETRIES):
                try:
                    await self._assign(prefix, request, pick)
                    return
                except NotFound:
                    await self._affinities.claim(
                        prefix
                    )  # None is all right: then the block is there, another's
            raise Conflict(f"the block of {format_address(address)} comes and goes")

    async def release_ips(self, releases: Iterable[Release]) -> list[Address]:
        """Give addresses back. Returns those that nobody had.

        Raises BadReleaseError when one belongs to another handle or allocation: nothing of its block is released.
        """
        nobodys: list[Address] = []
        by_block: dict[Prefix, dict[int, Release]] = {}
        for one in releases:
            prefix = self.pools().block_of(one.address)
            if prefix is None:
                nobodys.append(one.address)
            else:
                by_block.setdefault(prefix, {})[ordinal_of(prefix, one.address)] = one
        async with self._one_at_a_time:
            for prefix, wanted in by_block.items():

                def pick(
                    block: IPAMBlock, wanted: dict[int, Release] = wanted
                ) -> tuple[IPAMBlock, tuple[int, ...]]:
                    return block, tuple(
                        ordinal
                        for ordinal, one in wanted.items()
                        if check_release(block, ordinal, one.handle_id, one.sequence_number)
                    )

                released = await self._release(prefix, pick)
                nobodys += [one.address for ordinal, one in wanted.items() if ordinal not in released]
        return nobodys

    async def release_by_handle(self, handle_id: str) -> list[Address]:
        """Give back all that a handle has, wherever it is. Returns it. Raises NotFound for an unknown handle."""
        freed: list[Address] = []
        async with self._one_at_a_time:
            for prefix in await self._handles.blocks(handle_id):
                released = await self._release(prefix, lambda block: (block, held_by(block, handle_id)))
                freed += [address_at(prefix, ordinal) for ordinal in released]
        return freed

    async def release_affinity(self, prefix: Prefix, *, node: str = "", must_be_empty: bool = True) -> bool:
        """Take a block from this node, or from another. False when it has addresses and must not."""
        async with self._one_at_a_time:
            return await self._affinities.release(node or self._node, prefix, must_be_empty=must_be_empty)

    async def release_host(self, node: str) -> None:
        """Take all blocks from a node that is gone. Addresses in them stay until their handles are released."""
        async with self._one_at_a_time:
            for affinity in await self._datastore.list("BlockAffinity"):
                if isinstance(affinity, BlockAffinity) and affinity.spec.node == node:
                    prefix = parse_prefix(affinity.spec.cidr)
                    await self._affinities.release(node, prefix, must_be_empty=False)

    def pools(self) -> Pools:
        version = self._view.version("IPPool"), self._view.version("IPReservation")
        if version != self._pools_version:
            self._pools = Pools(
                (one for one in self._view.all("IPPool").values() if isinstance(one, IPPool)),
                (one for one in self._view.all("IPReservation").values() if isinstance(one, IPReservation)),
            )
            self._pools_version = version
        return self._pools

    async def _auto_assign(self, pools: list[Pool], count: int, request: _Request) -> Assignment:
        config = configuration(self._view)
        found: list[Address] = []
        own = await self._own_blocks(pools)
        tried: set[Prefix] = set()
        for prefix, affinity in own.items():
            if len(found) == count:
                break
            # A confirmed affinity whose block is remembered needs no look: if either is stale, the write will fail.
            known = affinity.spec.state == "confirmed" and self._blocks.remembers(prefix)
            if known or await self._affinities.secure(prefix) is not None:
                found += await self._take_from(prefix, count - len(found), request, affine=True)
            if self._blocks.remembers(prefix):
                tried.add(
                    prefix
                )  # still ours, so it is full; one that was lost may be claimed like any other
        limit = config.max_blocks_per_host or DEFAULT_BLOCK_LIMIT
        while len(found) < count:
            if len(tried) >= limit:
                reason = f"{self._node} has {len(tried)} blocks, its limit is {limit}"
                return Assignment(tuple(found), count, (reason,))
            if not config.auto_allocate_blocks:
                return Assignment(tuple(found), count, ("failed to find or claim a block",))
            claimed = await self._find_block(pools, tried)
            if claimed is None:
                break
            tried.add(claimed)
            found += await self._take_from(claimed, count - len(found), request, affine=True)
        if len(found) == count:
            return Assignment(tuple(found), count)
        if config.strict_affinity:
            reason = "No more free affine blocks and strict affinity enabled"
            return Assignment(tuple(found), count, (reason,))
        found += await self._borrow(pools, count - len(found), request)
        reasons = () if len(found) == count else ("no free address in any block",)
        return Assignment(tuple(found), count, reasons)

    async def _own_blocks(self, pools: list[Pool]) -> dict[Prefix, BlockAffinity]:
        """The affinities in these pools. Those in pools that no longer select this node are let go of when empty."""
        own = {}
        labels = self._labels()
        for prefix, affinity in self._affinities.own().items():
            if any(contains(pool.prefix, prefix) for pool in pools):
                own[prefix] = affinity
            elif family_of(prefix) == family_of(pools[0].prefix):
                other = self.pools().containing(prefix)
                if other is not None and not other.node_selector.matches(labels):
                    await self._affinities.release(self._node, prefix, must_be_empty=True)
        return own

    async def _find_block(self, pools: list[Pool], tried: set[Prefix]) -> Prefix | None:
        """A block that is this node's now and has an address to give; None when there is none to be had."""
        now = self._wall()
        every: dict[Prefix, IPAMBlock] | None = None
        looks = 0
        for pool in pools:
            for prefix in self.pools().walk(pool, self._node, now):
                if prefix in tried:
                    continue
                if looks:
                    if every is None and looks > LOOKS:
                        every = await self._blocks.read_all()
                    block = every.get(prefix) if every is not None else await self._look(prefix)
                    if block is not None and not self._usable(prefix, block):
                        looks += 1
                        continue
                if await self._affinities.claim(prefix) is not None:
                    return prefix
                looks += 1
        if every is None:
            every = await self._blocks.read_all()
        return await self._reclaim(pools, every, now)

    async def _look(self, prefix: Prefix) -> IPAMBlock | None:
        try:
            return await self._blocks.read(prefix)
        except NotFound:
            return None

    def _usable(self, prefix: Prefix, block: IPAMBlock) -> bool:
        """Ours, though the View does not show it yet, and with something left."""
        return block.spec.affinity == self._blocks.affinity and bool(
            free_count(block, self.pools().reserved(prefix))
        )

    async def _reclaim(self, pools: list[Pool], every: dict[Prefix, IPAMBlock], now: float) -> Prefix | None:
        """Take over another node's block that has been empty for a while."""
        for pool in pools:
            for prefix in self._in_walk_order(pool, every, now):
                block = every[prefix]
                kind, _, owner = (block.spec.affinity or "").partition(":")
                if (
                    kind != "host"
                    or owner == self._node
                    or not is_empty(block)
                    or (
                        block.spec.affinity_claim_time
                        and parse_time(block.spec.affinity_claim_time) > now - RECLAIM_AGE
                    )
                    or len(self.pools().reserved(prefix)) == size_of(prefix)
                ):
                    continue
                if await self._affinities.release(
                    owner, prefix, must_be_empty=True, sequence_number=block.spec.sequence_number
                ) and await self._affinities.claim(prefix):
                    return prefix
        return None

    async def _borrow(self, pools: list[Pool], count: int, request: _Request) -> list[Address]:
        """Addresses of whatever blocks there are, in the order of this node's walk."""
        now = self._wall()
        every = await self._blocks.read_all()
        found: list[Address] = []
        for pool in pools:
            for prefix in self._in_walk_order(pool, every, now):
                if free_count(every[prefix], self.pools().reserved(prefix)):
                    found += await self._take_from(prefix, count - len(found), request, affine=False)
                    if len(found) == count:
                        return found
        return found

    def _in_walk_order(self, pool: Pool, every: Iterable[Prefix], now: float) -> list[Prefix]:
        inside = [prefix for prefix in every if pool.owns(prefix)]
        return sorted(inside, key=lambda prefix: pool.distance(prefix, self._node, now))

    async def _take_from(
        self, prefix: Prefix, count: int, request: _Request, *, affine: bool
    ) -> tuple[Address, ...]:
        """Up to ``count`` addresses of one block; none when it is gone or, with ``affine``, no longer ours."""
        reserved = self.pools().reserved(prefix)

        def pick(block: IPAMBlock) -> tuple[IPAMBlock, tuple[int, ...]]:
            if affine and block.spec.affinity != self._blocks.affinity:
                return block, ()
            return assign(
                block, count, handle_id=request.handle_id, attributes=request.attributes, reserved=reserved
            )

        try:
            ordinals = await self._assign(prefix, request, pick)
        except NotFound:
            return ()
        return tuple([address_at(prefix, ordinal) for ordinal in ordinals])

    async def _assign(self, prefix: Prefix, request: _Request, pick: Pick) -> tuple[int, ...]:
        """Write what ``pick`` makes of the block, its handle counted. Raises NotFound when there is no block."""
        counted = given = 0
        try:
            for _ in range(RETRIES):
                changed, ordinals = await self._blocks.choose(prefix, pick)
                if not ordinals:
                    return ()
                if len(ordinals) > counted:
                    await self._handles.add(request.handle_id, prefix, len(ordinals) - counted)
                    counted = len(ordinals)
                try:
                    await self._blocks.write(prefix, changed)
                except (Conflict, NotFound):
                    continue
                given = len(ordinals)
                return ordinals
            raise Conflict(f"{format_prefix(prefix)} is written by too many at once")
        finally:
            if counted > given:
                await self._handles.subtract(request.handle_id, prefix, counted - given)

    async def _release(self, prefix: Prefix, pick: Pick) -> tuple[int, ...]:
        """Free what ``pick`` names of the block and lower the handles' counts; nothing when there is no block."""
        for _ in range(RETRIES):
            try:
                block, ordinals = await self._blocks.choose(prefix, pick)
            except NotFound:
                return ()
            if not ordinals:
                return ()
            cooldown = configuration(self._view).ip_cooldown_seconds
            changed, lost = release(block, ordinals, now=self._wall(), cooldown=cooldown)
            try:
                await self._blocks.write(prefix, changed)
            except (Conflict, NotFound):
                continue
            for handle_id, count in lost.items():
                await self._handles.subtract(handle_id, prefix, count)
            if is_empty(changed):
                await self._let_go(prefix, changed)
            return ordinals
        raise Conflict(f"{format_prefix(prefix)} is written by too many at once")

    async def _let_go(self, prefix: Prefix, block: IPAMBlock) -> None:
        """An empty block in a pool that no longer selects its node is taken from the node."""
        kind, _, owner = (block.spec.affinity or "").partition(":")
        pool = self.pools().containing(prefix)
        resource = self._view.get("Node", owner) if kind == "host" else None
        if pool and resource and not pool.node_selector.matches(resource.metadata.labels):
            await self._affinities.release(owner, prefix, must_be_empty=True)

    def _labels(self) -> Mapping[str, str]:
        resource = self._view.get("Node", self._node)
        if resource is None:
            raise IPAMError(f"there is no Node resource {self._node}")
        return resource.metadata.labels

    def _namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """Nobody has to write down a namespace that is nothing but a name. Tunnels have none, and no labels."""
        if not namespace:
            return {}
        resource = self._view.get("Namespace", namespace)
        return {NAMESPACE_NAME: namespace, **(resource.metadata.labels if resource is not None else {})}
