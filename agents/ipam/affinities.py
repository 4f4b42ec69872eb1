"""Which block is whose: the claim and the release of blocks.

Owns the protocol between a BlockAffinity (a node's word about a block) and the block (the truth). Two records cannot
be written at once, so each step leaves a state from which anybody can see what was meant and go on:

    claim     affinity pending ──► block created with its affinity ──► affinity confirmed
    release   affinity pendingDeletion ──► block deleted (or disowned, with addresses in it) ──► affinity deleted

What makes it safe when many do it at once: a block's name is its CIDR, so one creation wins and the others delete
their own pending affinity; every write compares and swaps, so a release that read an empty block fails when an
address was assigned meanwhile; and who confirms an affinity has written the block since it was last pending, so a
release under way fails, too. A confirmed affinity therefore always has its block, and no two have the same.

Left out: which block to claim (``allocator``). confd announces confirmed affinities only.
Follows libcalico-go/lib/ipam/ipam_block_reader_writer.go.
"""

from __future__ import annotations

import attrs

from agents.ipam.blocks import disown, host_affinity, is_empty, touch
from agents.ipam.store import RETRIES, BlockStore
from agents.syncer import Datastore, View
from protocol.prefix import Prefix, format_prefix, parse_prefix
from protocol.sync.errors import AlreadyExists, Conflict, NotFound
from protocol.v3.ipam import AffinityState, BlockAffinity, BlockAffinitySpec, IPAMBlock, affinity_name
from protocol.v3.metadata import Metadata

_CONFIRMED = ("confirmed", "")  # "" is how releases before 3.0 wrote it


class Affinities:
    """The affinities of one node; ``release`` works on those of any."""

    def __init__(self, *, node: str, view: View, datastore: Datastore, blocks: BlockStore) -> None:
        self._node = node
        self._view = view
        self._datastore = datastore
        self._blocks = blocks

    def own(self) -> dict[Prefix, BlockAffinity]:
        """What the View shows of this node, in key order; a hint, as it may be late."""
        resources = self._view.of_node("BlockAffinity", self._node)
        return {
            parse_prefix(affinity.spec.cidr): affinity
            for _, affinity in sorted(resources.items())
            if isinstance(affinity, BlockAffinity)
            and affinity.spec.type == "host"
            and not affinity.spec.deleted
        }

    async def claim(self, prefix: Prefix) -> IPAMBlock | None:
        """Make a block this node's. None when it is somebody else's or nobody's: then no affinity of ours is left."""
        return await self._settle(prefix, claiming=True)

    async def secure(self, prefix: Prefix) -> IPAMBlock | None:
        """The block behind an affinity of ours, completing a claim that was cut short. None when it is not ours."""
        return await self._settle(prefix, claiming=False)

    async def _settle(self, prefix: Prefix, *, claiming: bool) -> IPAMBlock | None:
        """Write until affinity and block agree. Who has begun must not stop half-way: a release may have taken the
        affinity after we made its block, and a block whose owner has no affinity would be nobody's to release."""
        new = claiming
        for _ in range(RETRIES):
            try:
                affinity = await (self._create(prefix) if new else self._get(self._node, prefix))
            except AlreadyExists:
                new = False
                continue
            except NotFound:
                if not claiming:
                    self._blocks.forget(prefix)
                    return None
                new = True
                continue
            new = False
            try:
                if affinity.spec.state in _CONFIRMED:
                    try:
                        block = await self._blocks.read(prefix)
                    except NotFound:
                        pass  # the affinity is all there is: make the block
                    else:
                        if block.spec.affinity == self._blocks.affinity:
                            return block
                        await self._drop(affinity)
                        return None
                claiming = True
                if affinity.spec.state != "pending":
                    affinity = await self._set(affinity, "pending")
                return await self._take(prefix, affinity)
            except (Conflict, NotFound):
                continue  # somebody releases what we claim: see what is left of it
        raise Conflict(f"{format_prefix(prefix)} is claimed and released by too many at once")

    async def release(
        self, node: str, prefix: Prefix, *, must_be_empty: bool, sequence_number: int | None = None
    ) -> bool:
        """Take a block from a node. False when ``must_be_empty`` and it is not, or it has another sequence number.

        Then the node keeps it as it was.
        """
        for _ in range(RETRIES):
            try:
                affinity = await self._get(node, prefix)
            except NotFound:
                return True
            try:
                block = await self._blocks.read(prefix)
            except NotFound:
                block = None
            try:
                if block is not None and block.spec.affinity == host_affinity(node):
                    empty = is_empty(block)
                    if (must_be_empty and not empty) or sequence_number not in (
                        None,
                        block.spec.sequence_number,
                    ):
                        if affinity.spec.state == "pendingDeletion":
                            await self._blocks.write(prefix, touch(block))
                            await self._set(affinity, "confirmed")
                        return False
                    # Written even when it says so already: it must still be the affinity that was read, before the
                    # block that was read goes, or a node confirms an affinity whose block is being deleted.
                    affinity = await self._set(affinity, "pendingDeletion")
                    if empty:
                        await self._blocks.delete(prefix, block)
                    else:
                        await self._blocks.write(prefix, disown(block))
            except (Conflict, NotFound):
                continue
            # A conflict here is the node claiming anew what it has just lost: that is its right.
            await self._drop(affinity)
            return True
        raise Conflict.of(affinity.key)

    async def _take(self, prefix: Prefix, affinity: BlockAffinity) -> IPAMBlock | None:
        """From pending to confirmed. Raises Conflict or NotFound when somebody released it under way."""
        try:
            block = await self._blocks.create(prefix)
        except AlreadyExists:
            block = await self._blocks.read(prefix)
            if block.spec.affinity != self._blocks.affinity:
                await self._drop(affinity)
                return None
            # Ours from a claim that was cut short. Writing it makes a release fail that has read it.
            block = await self._blocks.write(prefix, touch(block))
        await self._set(affinity, "confirmed")
        return block

    async def _create(self, prefix: Prefix) -> BlockAffinity:
        cidr = format_prefix(prefix)
        affinity = await self._datastore.create(
            BlockAffinity(
                Metadata(affinity_name(self._node, cidr)),
                BlockAffinitySpec(state="pending", node=self._node, cidr=cidr),
            )
        )
        assert isinstance(affinity, BlockAffinity)
        return affinity

    async def _get(self, node: str, prefix: Prefix) -> BlockAffinity:
        affinity = await self._datastore.get("BlockAffinity", affinity_name(node, format_prefix(prefix)))
        assert isinstance(affinity, BlockAffinity)
        return affinity

    async def _set(self, affinity: BlockAffinity, state: AffinityState) -> BlockAffinity:
        written = await self._datastore.update(
            BlockAffinity(affinity.metadata, attrs.evolve(affinity.spec, state=state))
        )
        assert isinstance(written, BlockAffinity)
        return written

    async def _drop(self, affinity: BlockAffinity) -> None:
        try:
            await self._datastore.delete(affinity)
        except (Conflict, NotFound):
            pass  # gone, or written since by somebody who meant it
