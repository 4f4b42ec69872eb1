"""IPAM's records in the datastore, each changed by compare-and-swap only.

Owns ``BlockStore`` and ``Handles``: how a block and a handle are read and written, so that the rest of IPAM speaks of
prefixes and counts.

A node remembers the blocks that are affine to it as it last wrote or read them. It is nearly always the only one who
writes them, so an assignment is one write and no read; when somebody else wrote (a borrower, a reclaim) the write
conflicts, the memory is dropped and the next read asks the datastore. Nothing is ever decided by memory alone.

A handle's count is what a release by handle goes by. It is raised before the block is written and lowered after, so
that at every moment it is at least what the blocks hold: an address without its handle would never be released.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agents.ipam.blocks import host_affinity, is_empty, new_block, prefix_of, sweep
from agents.ipam.errors import IPAMError
from agents.syncer import Datastore, View
from protocol.prefix import Prefix, format_prefix, parse_prefix
from protocol.sync.errors import AlreadyExists, Conflict, NotFound
from protocol.v3.ipam import (
    IPAMBlock,
    IPAMConfiguration,
    IPAMConfigurationSpec,
    IPAMHandle,
    IPAMHandleSpec,
    block_name,
    handle_name,
)
from protocol.v3.metadata import Metadata

RETRIES: Final = 100
"""Calico's datastoreRetries: how often a write that somebody else came before is tried again."""

Pick = Callable[[IPAMBlock], tuple[IPAMBlock, tuple[int, ...]]]
"""A decision about a block: it, changed or not, and the ordinals that the decision is about."""

_DEFAULT_CONFIGURATION: Final = IPAMConfigurationSpec()


def configuration(view: View) -> IPAMConfigurationSpec:
    resource = view.get("IPAMConfiguration", "default")
    return resource.spec if isinstance(resource, IPAMConfiguration) else _DEFAULT_CONFIGURATION


class BlockStore:
    """The blocks as one node reads and writes them."""

    def __init__(self, *, node: str, view: View, datastore: Datastore, wall: Callable[[], float]) -> None:
        self.affinity = host_affinity(node)
        self._node = node
        self._view = view
        self._datastore = datastore
        self._wall = wall
        self._remembered: dict[Prefix, IPAMBlock] = {}

    def remembers(self, prefix: Prefix) -> bool:
        return prefix in self._remembered

    def forget(self, prefix: Prefix) -> None:
        self._remembered.pop(prefix, None)

    async def choose(self, prefix: Prefix, pick: Pick) -> tuple[IPAMBlock, tuple[int, ...]]:
        """What ``pick`` makes of the block. Raises NotFound, and what ``pick`` raises.

        An answer from memory is good if it will be written, as then it is checked; a refusal or an empty answer is
        asked for again with the block as it is.
        """
        remembered = self._remembered.get(prefix)
        if remembered is not None:
            try:
                answer = pick(self._swept(remembered))
            except IPAMError:
                pass
            else:
                if answer[1]:
                    return answer
        return pick(await self.read(prefix))

    async def read(self, prefix: Prefix) -> IPAMBlock:
        """Raises NotFound."""
        self.forget(prefix)
        block = await self._datastore.get("IPAMBlock", block_name(format_prefix(prefix)))
        assert isinstance(block, IPAMBlock)
        return self._swept(self._remember(prefix, block))

    async def read_all(self) -> dict[Prefix, IPAMBlock]:
        blocks = await self._datastore.list("IPAMBlock")
        return {prefix_of(block): self._swept(block) for block in blocks if isinstance(block, IPAMBlock)}

    async def create(self, prefix: Prefix) -> IPAMBlock:
        """A new block of this node. Raises AlreadyExists."""
        block = await self._datastore.create(new_block(prefix, self._node, self._wall()))
        assert isinstance(block, IPAMBlock)
        return self._remember(prefix, block)

    async def write(self, prefix: Prefix, block: IPAMBlock) -> IPAMBlock:
        """Update it, or delete it when it is nobody's and empty. Raises Conflict, NotFound."""
        self.forget(prefix)  # whatever happens, what was remembered is no longer it
        if block.spec.affinity is None and is_empty(block):
            await self._datastore.delete(block)
            return block
        written = await self._datastore.update(block)
        assert isinstance(written, IPAMBlock)
        return self._remember(prefix, written)

    async def delete(self, prefix: Prefix, block: IPAMBlock) -> None:
        """Raises Conflict, NotFound."""
        self.forget(prefix)
        await self._datastore.delete(block)

    def _remember(self, prefix: Prefix, block: IPAMBlock) -> IPAMBlock:
        if block.spec.affinity == self.affinity:
            self._remembered[prefix] = block
        return block

    def _swept(self, block: IPAMBlock) -> IPAMBlock:
        return sweep(block, now=self._wall(), cooldown=configuration(self._view).ip_cooldown_seconds)


class Handles:
    """How many addresses each handle has in which block."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore

    async def blocks(self, handle_id: str) -> list[Prefix]:
        """Where a handle has addresses. Raises NotFound."""
        return [parse_prefix(cidr) for cidr in (await self._get(handle_id)).spec.block]

    async def add(self, handle_id: str, prefix: Prefix, count: int) -> None:
        """``count`` addresses more. Most handles are new, so creation is tried first. Raises Conflict at last."""
        cidr = format_prefix(prefix)
        new = IPAMHandle(
            Metadata(handle_name(handle_id)), IPAMHandleSpec(handle_id=handle_id, block={cidr: count})
        )
        for _ in range(RETRIES):
            try:
                await self._datastore.create(new)
                return
            except AlreadyExists:
                pass
            try:
                old = await self._get(handle_id)
                await self._put(old, {**old.spec.block, cidr: old.spec.block.get(cidr, 0) + count})
                return
            except (Conflict, NotFound):
                continue
        raise Conflict.of(new.key)

    async def subtract(self, handle_id: str, prefix: Prefix, count: int) -> None:
        """``count`` addresses fewer; a handle without any is deleted. Raises Conflict at last."""
        cidr = format_prefix(prefix)
        for _ in range(RETRIES):
            try:
                old = await self._get(handle_id)
            except NotFound:
                return
            block = dict(old.spec.block)
            left = block.pop(cidr, 0) - count
            if left > 0:
                block[cidr] = left
            try:
                if block:
                    await self._put(old, block)
                else:
                    await self._datastore.delete(old)
                return
            except (Conflict, NotFound):
                continue
        raise Conflict.of(old.key)

    async def _get(self, handle_id: str) -> IPAMHandle:
        handle = await self._datastore.get("IPAMHandle", handle_name(handle_id))
        assert isinstance(handle, IPAMHandle)
        return handle

    async def _put(self, old: IPAMHandle, block: dict[str, int]) -> None:
        await self._datastore.update(
            IPAMHandle(old.metadata, IPAMHandleSpec(handle_id=old.spec.handle_id, block=block))
        )
