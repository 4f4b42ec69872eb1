"""Deletes, and what Calico takes along with them.

Owns ``Cleanup.delete``, which ends with the deletion of the resource itself:

    IPPool       disabled ──DRAIN──► the affinities of its blocks released ──► deleted
                 So its routes are withdrawn; addresses that pods have stay theirs, in blocks that are nobody's.
    Node         its WorkloadEndpoints and their addresses, its tunnel addresses, its blocks, the BGPPeers with
                 ``node: NAME``, its BGPConfiguration and FelixConfiguration ``node.NAME``
    Namespace    everything in it, and the addresses of its WorkloadEndpoints (Kubernetes' part, not Calico's)

A Node that is deleted runs until it has been evicted, and may have taken an address meanwhile: ``Cleanup.sweep`` is for
whoever evicts, and does what kube-controllers' garbage collector would.

Nothing here is one transaction, so each step may be the last: whoever deletes again goes on where it ended. IPAM's
data is changed by IPAM's own code, with compare-and-swap, beside nodes that assign and release meanwhile.

Left out: kinds that nothing hangs on, which are simply deleted, and whether a delete is allowed.
Follows libcalico-go/lib/clientv3/{ippool,node}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import attrs
import trio

from agents.ipam.allocator import Allocator
from agents.ipam.cni import handle_of
from agents.syncer import View
from cluster.datastore.local import LocalDatastore
from cluster.datastore.memory import MemoryStore
from protocol.prefix import contains, parse_prefix
from protocol.sync.errors import Conflict, NotFound
from protocol.sync.messages import Document, InSync, Snapshot
from protocol.v3.codec import KINDS, decode
from protocol.v3.ipam import BlockAffinity
from protocol.v3.ippool import IPPool
from protocol.v3.workload import WorkloadEndpoint

DRAIN: Final = 0.5
"""Seconds between a pool's disabling and the release of its blocks, for assignments that are under way: Calico's."""

RETRIES: Final = 100

_TUNNELS: Final = ("ipip", "vxlan", "vxlan-v6", "wireguard", "wireguard-v6")
_NODE_CONFIGURATIONS: Final = ("BGPConfiguration", "FelixConfiguration")


class Cleanup:
    """``wall`` gives the seconds since the epoch, for the timestamps in IPAM's blocks."""

    def __init__(self, store: MemoryStore, *, wall: Callable[[], float]) -> None:
        self._store = store
        self._datastore = LocalDatastore(store)
        self._wall = wall

    async def delete(self, kind: str, name: str, namespace: str = "", resource_version: str = "") -> Document:
        """The resource as it was. Raises NotFound, and Conflict when it is not, or is no longer, what was meant."""
        document = self._store.get(kind, name, namespace)
        if resource_version and resource_version != document["metadata"]["resourceVersion"]:
            raise Conflict.of((kind, namespace, name))
        if kind == "IPPool":
            return await self._delete_pool(name)
        if kind == "Node":
            await self._clear_node(name)
        elif kind == "Namespace":
            await self._clear_namespace(name)
        return self._store.delete(kind, name, namespace)

    async def sweep(self, node: str) -> None:
        """The node runs no more. If it was deleted, nothing is its own."""
        if self._store.find(("Node", "", node)) is None:
            await self._clear_addresses(node)

    async def _delete_pool(self, name: str) -> Document:
        pool = await self._disabled(name)
        await trio.sleep(DRAIN)
        cidr = parse_prefix(pool.spec.cidr)
        allocator = self._allocator()
        for affinity in await self._datastore.list("BlockAffinity"):
            if isinstance(affinity, BlockAffinity) and affinity.spec.type == "host":
                block = parse_prefix(affinity.spec.cidr)
                if contains(cidr, block):
                    await allocator.release_affinity(block, node=affinity.spec.node, must_be_empty=False)
        # Somebody who has changed it since it was disabled did not mean a pool that is going.
        return self._store.delete("IPPool", name, resource_version=pool.metadata.resource_version)

    async def _disabled(self, name: str) -> IPPool:
        for _ in range(RETRIES):
            pool = await self._datastore.get("IPPool", name)
            assert isinstance(pool, IPPool)
            if pool.spec.disabled:
                return pool
            try:
                disabled = await self._datastore.update(
                    attrs.evolve(pool, spec=attrs.evolve(pool.spec, disabled=True))
                )
            except Conflict:
                continue
            assert isinstance(disabled, IPPool)
            return disabled
        raise Conflict.of(("IPPool", "", name))

    async def _clear_node(self, name: str) -> None:
        await self._clear_addresses(name)
        for peer in self._store.list("BGPPeer"):
            if peer["spec"].get("node") == name:
                self._store.delete("BGPPeer", peer["metadata"]["name"])
        for kind in _NODE_CONFIGURATIONS:
            if self._store.find((kind, "", f"node.{name}")) is not None:
                self._store.delete(kind, f"node.{name}")

    async def _clear_addresses(self, node: str) -> None:
        allocator = self._allocator(node)
        endpoints = self._store.list(WorkloadEndpoint.kind)
        await self._delete_endpoints(allocator, [each for each in endpoints if each["spec"]["node"] == node])
        for tunnel in _TUNNELS:
            await _release(allocator, f"{tunnel}-tunnel-addr-{node}")
        await allocator.release_host(node)

    async def _clear_namespace(self, name: str) -> None:
        endpoints = self._store.list(WorkloadEndpoint.kind)
        mine = [each for each in endpoints if each["metadata"]["namespace"] == name]
        await self._delete_endpoints(self._allocator(), mine)
        for info in KINDS.values():
            for document in self._store.list(info.kind) if info.namespaced else ():
                if document["metadata"]["namespace"] == name:
                    self._store.delete(info.kind, document["metadata"]["name"], name)

    async def _delete_endpoints(self, allocator: Allocator, documents: Iterable[Document]) -> None:
        """As CNI does it: an address is released when no endpoint has it any more."""
        for document in documents:
            endpoint = decode(document)
            assert isinstance(endpoint, WorkloadEndpoint)
            if self._store.find(endpoint.key) is not None:
                self._store.delete(WorkloadEndpoint.kind, endpoint.metadata.name, endpoint.metadata.namespace)
            await _release(allocator, handle_of(endpoint.spec.container_id))

    def _allocator(self, node: str = "") -> Allocator:
        """One that knows what a release looks at: pools and IPAM's configuration, as they are now."""
        view = View()
        documents = [
            document for kind in ("IPPool", "IPAMConfiguration") for document in self._store.list(kind)
        ]
        view.apply(Snapshot(self._store.revision, tuple(documents)))
        view.apply(InSync(self._store.revision))
        return Allocator(node=node, view=view, datastore=self._datastore, wall=self._wall)


async def _release(allocator: Allocator, handle: str) -> None:
    try:
        await allocator.release_by_handle(handle)
    except NotFound:
        pass  # it has nothing
