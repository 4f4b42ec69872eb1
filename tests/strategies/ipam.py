"""A datastore with nodes in it, as IPAM sees it, and its audit."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

import trio

from agents.ipam.allocator import Allocator
from agents.ipam.blocks import address_at, prefix_of
from agents.ipam.cni import Cni
from agents.syncer import Datastore, Resources, View
from cluster.datastore.local import LocalDatastore
from cluster.datastore.memory import Change, MemoryStore
from cluster.soundness import bookkeeping
from protocol.prefix import IPV4, Address, Prefix
from protocol.sync.messages import NODE_KINDS, Deltas, InSync, Snapshot
from protocol.v3.codec import decode, encode
from protocol.v3.ipam import BlockAffinity, IPAMBlock, IPAMConfiguration, IPAMConfigurationSpec, IPAMHandle
from protocol.v3.ippool import IPPool, IPPoolSpec, IPReservation, IPReservationSpec
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node, NodeSpec


class World:
    """A store and one View of all of it. ``now`` stands still until a test moves it."""

    def __init__(self, *resources: Resource, store: MemoryStore | None = None) -> None:
        self.now = 1_795_521_600.0
        self.store = store or MemoryStore(wall=lambda: self.now)
        self.view = View()
        self.view.apply(Snapshot(0, ()))
        self.view.apply(InSync(0))
        self.late: list[Change] | None = None
        self.store.watch(self._changed)
        self.calls = Calls(LocalDatastore(self.store))
        for resource in resources:
            self.store.create(encode(resource))

    def _changed(self, change: Change) -> None:
        if self.late is not None and change.key[0] in NODE_KINDS:
            self.late.append(change)
        else:
            self._show(change)

    def _show(self, change: Change) -> None:
        updated, deleted = ((change.new,), ()) if change.new is not None else ((), (change.key,))
        self.view.apply(Deltas(change.revision, updated, deleted))

    def lag(self) -> None:
        """From here on the View does not see what happens to affinities and endpoints, ..."""
        self.late = self.late or []

    def catch_up(self, count: int) -> None:
        """... or sees only the first ``count`` changes of it."""
        if self.late is None:
            return
        for change in self.late[:count]:
            self._show(change)
        del self.late[:count]

    def allocator(self, node: str, datastore: Datastore | None = None) -> Allocator:
        return Allocator(node=node, view=self.view, datastore=datastore or self.calls, wall=lambda: self.now)

    def cni(
        self,
        node: str,
        *,
        datastore: Datastore | None = None,
        seed: int = 0,
        families: tuple[int, ...] = (IPV4,),
    ) -> Cni:
        return Cni(
            node=node,
            allocator=self.allocator(node, datastore),
            datastore=datastore or self.calls,
            rng=random.Random(f"{node} {seed}"),
            families=families,
        )

    def all(self, kind: str) -> list[Resource]:
        return [decode(document) for document in self.store.list(kind)]

    def blocks(self) -> dict[Prefix, IPAMBlock]:
        return {prefix_of(block): block for block in self.all("IPAMBlock") if isinstance(block, IPAMBlock)}

    def affinities(self) -> dict[str, tuple[str, str]]:
        """Name to (node, state)."""
        return {
            one.metadata.name: (one.spec.node, one.spec.state)
            for one in self.all("BlockAffinity")
            if isinstance(one, BlockAffinity)
        }

    def handles(self) -> dict[str, dict[str, int]]:
        return {
            one.spec.handle_id: dict(one.spec.block)
            for one in self.all("IPAMHandle")
            if isinstance(one, IPAMHandle)
        }

    def owners(self) -> dict[Address, str | None]:
        """Who has which address, by the blocks."""
        found = {}
        for prefix, block in self.blocks().items():
            for ordinal, index in enumerate(block.spec.allocations):
                if index is not None and not block.spec.attributes[index].released_at:
                    found[address_at(prefix, ordinal)] = block.spec.attributes[index].handle_id
        return found

    def audit(self) -> list[str]:
        """What is wrong in the datastore when nobody is in the middle of anything."""
        return [
            *bookkeeping(
                self.blocks().values(),
                [one for one in self.all("BlockAffinity") if isinstance(one, BlockAffinity)],
                [one for one in self.all("IPAMHandle") if isinstance(one, IPAMHandle)],
            )
        ]


class Calls(Datastore):
    """Counts what goes to a datastore."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore
        self.made: list[tuple[str, str]] = []

    async def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        self.made.append(("get", kind))
        return await self._datastore.get(kind, name, namespace)

    async def list(self, kind: str) -> Resources:
        self.made.append(("list", kind))
        return await self._datastore.list(kind)

    async def create(self, resource: Resource) -> Resource:
        self.made.append(("create", resource.kind))
        return await self._datastore.create(resource)

    async def update(self, resource: Resource) -> Resource:
        self.made.append(("update", resource.kind))
        return await self._datastore.update(resource)

    async def delete(self, resource: Resource) -> None:
        self.made.append(("delete", resource.kind))
        await self._datastore.delete(resource)


class Dawdling(Datastore):
    """Every call takes its time before and after it is carried out: a seed is an interleaving."""

    def __init__(self, datastore: Datastore, rng: random.Random, most: int = 3) -> None:
        self._datastore = datastore
        self._rng = rng
        self._most = most

    async def _dawdle(self) -> None:
        for _ in range(self._rng.randint(0, self._most)):
            await trio.lowlevel.checkpoint()

    async def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        await self._dawdle()
        answer = await self._datastore.get(kind, name, namespace)
        await self._dawdle()
        return answer

    async def list(self, kind: str) -> Resources:
        await self._dawdle()
        answer = await self._datastore.list(kind)
        await self._dawdle()
        return answer

    async def create(self, resource: Resource) -> Resource:
        await self._dawdle()
        answer = await self._datastore.create(resource)
        await self._dawdle()
        return answer

    async def update(self, resource: Resource) -> Resource:
        await self._dawdle()
        answer = await self._datastore.update(resource)
        await self._dawdle()
        return answer

    async def delete(self, resource: Resource) -> None:
        await self._dawdle()
        await self._datastore.delete(resource)
        await self._dawdle()


def pool(cidr: str = "192.168.0.0/16", name: str = "default-ipv4-ippool", **spec: object) -> IPPool:
    return IPPool(Metadata(name), IPPoolSpec(cidr=cidr, **spec))  # type: ignore[arg-type]  # fields of the spec


def reservation(*cidrs: str, name: str = "kept") -> IPReservation:
    return IPReservation(Metadata(name), IPReservationSpec(reserved_cidrs=cidrs))


def node(name: str, labels: Mapping[str, str] | None = None) -> Node:
    return Node(Metadata(name, labels=labels or {}), NodeSpec())


def nodes(names: Iterable[str]) -> list[Node]:
    return [node(name) for name in names]


def names(count: int) -> list[str]:
    return [f"node-{number:03d}" for number in range(1, count + 1)]


def ipam(**spec: object) -> IPAMConfiguration:
    return IPAMConfiguration(Metadata("default"), IPAMConfigurationSpec(**spec))  # type: ignore[arg-type]  # its fields
