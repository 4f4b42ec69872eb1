"""Pods come and go: an address from IPAM, a WorkloadEndpoint in the datastore.

Owns ``Cni``, what Calico's CNI plugin is on a node.

    add      address by handle k8s-pod-network.<containerID> ──► WorkloadEndpoint created
    delete   WorkloadEndpoint deleted ──► all addresses of the handle released

In this order a released address is on no endpoint any more, so it can be assigned again at once. An add that fails
releases what it got. An add that is cancelled does not: a cancel is the node's power cut, and what a power cut leaves
behind is a garbage collector's business.

Left out: the veth pair, the pod's own routes, annotations that ask for pools or addresses.
Follows cni-plugin/pkg/{k8s,ipamplugin}.
"""

from __future__ import annotations

import random

from agents.ipam.allocator import Allocator
from agents.ipam.errors import IPAMError
from agents.syncer import Datastore
from protocol.prefix import IPV4, Address, format_prefix, host_prefix
from protocol.sync.errors import NotFound
from protocol.v3.metadata import Metadata
from protocol.v3.workload import WorkloadEndpoint, WorkloadEndpointSpec, endpoint_name, interface_name

_NETWORK = "k8s-pod-network"
_ORCHESTRATOR = "k8s"
_ENDPOINT = "eth0"


def handle_of(container_id: str) -> str:
    """The handle by which a pod's addresses are assigned and released."""
    return f"{_NETWORK}.{container_id}"


class Cni:
    """``families`` are those a pod gets an address of, in order (CNI's assign_ipv4 and assign_ipv6)."""

    def __init__(
        self,
        *,
        node: str,
        allocator: Allocator,
        datastore: Datastore,
        rng: random.Random,
        families: tuple[int, ...] = (IPV4,),
    ) -> None:
        self._node = node
        self._allocator = allocator
        self._datastore = datastore
        self._rng = rng
        self._families = families

    async def add(self, pod: str, namespace: str = "default") -> WorkloadEndpoint:
        """Raises IPAMError when there is no address, AlreadyExists when there is such a pod, DatastoreError."""
        container_id = f"{self._rng.getrandbits(256):064x}"
        handle_id = handle_of(container_id)
        try:
            addresses = await self._addresses(handle_id, pod, namespace)
            created = await self._datastore.create(self._endpoint(pod, namespace, container_id, addresses))
        except Exception:
            await self._release(handle_id)
            raise
        assert isinstance(created, WorkloadEndpoint)
        return created

    async def delete(self, pod: str, namespace: str = "default") -> None:
        """Raises NotFound when there is no such pod on this node."""
        name = endpoint_name(self._node, _ORCHESTRATOR, pod, _ENDPOINT)
        endpoint = await self._datastore.get("WorkloadEndpoint", name, namespace)
        assert isinstance(endpoint, WorkloadEndpoint)
        await self._datastore.delete(endpoint)
        await self._release(handle_of(endpoint.spec.container_id))

    async def _addresses(self, handle_id: str, pod: str, namespace: str) -> list[Address]:
        owner = {"pod": pod, "namespace": namespace, "node": self._node}
        addresses: list[Address] = []
        for family in self._families:
            got = await self._allocator.auto_assign(
                family, 1, handle_id=handle_id, attributes=owner, namespace=namespace
            )
            if not got.addresses:
                raise IPAMError(str(got))
            addresses += got.addresses
        return addresses

    async def _release(self, handle_id: str) -> None:
        try:
            await self._allocator.release_by_handle(handle_id)
        except NotFound:
            pass  # it has nothing

    def _endpoint(
        self, pod: str, namespace: str, container_id: str, addresses: list[Address]
    ) -> WorkloadEndpoint:
        return WorkloadEndpoint(
            Metadata(
                endpoint_name(self._node, _ORCHESTRATOR, pod, _ENDPOINT),
                namespace,
                labels={
                    "projectcalico.org/namespace": namespace,
                    "projectcalico.org/orchestrator": _ORCHESTRATOR,
                },
            ),
            WorkloadEndpointSpec(
                orchestrator=_ORCHESTRATOR,
                node=self._node,
                container_id=container_id,
                pod=pod,
                endpoint=_ENDPOINT,
                ip_networks=tuple([format_prefix(host_prefix(address)) for address in addresses]),
                profiles=(f"kns.{namespace}",),
                interface_name=interface_name(namespace, pod),
            ),
        )
