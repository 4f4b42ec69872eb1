"""A node's tunnel addresses: one for each encapsulation that its pools use, from IPAM, written to its Node resource.

Owns ``Tunnel``, what there is; ``plan``, which of them a node wants and from which pools (pure); and ``Tunnels``, the loop that
brings a node there:

    Node, IPPools ─► plan ─► missing, or of a pool that is no more its tunnel's ─► release ─► assign ─► Node written
                         └─► not wanted ─► Node written ─► release

A pool counts when it is enabled, selects the node, allows the use Tunnel and has the mode set. An address that a node has and
IPAM does not know (a manifest brought it along) is replaced. What is wrong today is tried again when pools or the Node change,
or after a while.

Left out: WireGuard's addresses. Follows node/pkg/allocateip/allocateip.go.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import attrs
import trio

from agents.ipam.allocator import Allocator
from agents.ipam.errors import IPAMError
from agents.ipam.store import RETRIES
from agents.syncer import Datastore, View
from protocol.prefix import IPV4, IPV6, contains, family_of, format_address, parse_prefix
from protocol.sync.errors import Conflict, DatastoreError, NotFound
from protocol.v3.ipam import IPAMHandle, handle_name
from protocol.v3.ippool import IPPool
from protocol.v3.node import Node, NodeBGPSpec
from protocol.v3.selector import parse

RETRY = 10.0
"""Seconds until an assignment that failed is tried again."""


class Tunnel(enum.Enum):
    """The value is the prefix of its handle's ID."""

    IPIP = "ipip-tunnel-addr-"
    VXLAN = "vxlan-tunnel-addr-"
    VXLAN_V6 = "vxlan-v6-tunnel-addr-"

    @property
    def family(self) -> int:
        return IPV6 if self is Tunnel.VXLAN_V6 else IPV4

    @property
    def address_type(self) -> str:
        """The attribute ``type`` of its address in the block."""
        return {"IPIP": "ipipTunnelAddress", "VXLAN": "vxlanTunnelAddress"}.get(
            self.name, "vxlanV6TunnelAddress"
        )

    def address(self, node: Node) -> str:
        match self:
            case Tunnel.IPIP:
                return node.spec.bgp.ipv4_ipip_tunnel_addr if node.spec.bgp is not None else ""
            case Tunnel.VXLAN:
                return node.spec.ipv4_vxlan_tunnel_addr
            case Tunnel.VXLAN_V6:
                return node.spec.ipv6_vxlan_tunnel_addr

    def written(self, node: Node, address: str) -> Node:
        """The resource with this address."""
        match self:
            case Tunnel.IPIP:
                bgp = attrs.evolve(node.spec.bgp or NodeBGPSpec(), ipv4_ipip_tunnel_addr=address)
                spec = attrs.evolve(node.spec, bgp=bgp)
            case Tunnel.VXLAN:
                spec = attrs.evolve(node.spec, ipv4_vxlan_tunnel_addr=address)
            case Tunnel.VXLAN_V6:
                spec = attrs.evolve(node.spec, ipv6_vxlan_tunnel_addr=address)
        return attrs.evolve(node, spec=spec)

    def uses(self, pool: IPPool) -> bool:
        mode = pool.spec.ipip_mode if self is Tunnel.IPIP else pool.spec.vxlan_mode
        return mode != "Never" and family_of(parse_prefix(pool.spec.cidr)) == self.family


def plan(node: Node, pools: Iterable[IPPool]) -> dict[Tunnel, tuple[IPPool, ...]]:
    """The pools that each tunnel's address may come from, by name; empty for a tunnel that the node does not have."""
    usable = [
        pool
        for pool in sorted(pools, key=lambda pool: pool.metadata.name)
        if not pool.spec.disabled
        and "Tunnel" in pool.spec.allowed_uses
        and parse(pool.spec.node_selector).matches(node.metadata.labels)
    ]
    return {tunnel: tuple(pool for pool in usable if tunnel.uses(pool)) for tunnel in Tunnel}


class Tunnels:
    """One node's. ``complain`` is told why an address is missing."""

    def __init__(
        self,
        *,
        node: str,
        view: View,
        allocator: Allocator,
        datastore: Datastore,
        complain: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._node = node
        self._view = view
        self._allocator = allocator
        self._datastore = datastore
        self._complain = complain
        self._looked_at: tuple[object, int] = (None, -1)
        self._known: dict[Tunnel, str] = {}  # addresses that IPAM has for this node
        self._due = trio.Event()

    def look(self) -> None:
        """The View is different. Cheap: nothing is done unless the Node or a pool has changed."""
        if self._now() != self._looked_at:
            self._due.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._due = trio.Event()
            self._looked_at = self._now()
            again = float("inf")
            try:
                await self.reconcile()
            except (IPAMError, DatastoreError) as error:
                self._complain(str(error))
                again = RETRY
            with trio.move_on_after(again):
                await self._due.wait()

    async def reconcile(self) -> None:
        """Bring the node's addresses to what its pools ask for. Raises IPAMError, DatastoreError."""
        node = self._view.get(Node.kind, self._node)
        if not isinstance(node, Node):
            return
        pools = cast("Iterable[IPPool]", self._view.all(IPPool.kind).values())
        for tunnel, usable in plan(node, pools).items():
            address = tunnel.address(node)
            if usable and not await self._is_ours(tunnel, address, usable):
                await self._assign(tunnel, usable)
            elif address and not usable:
                await self._write(tunnel, "")
                await self._release(tunnel)

    def _now(self) -> tuple[object, int]:
        return self._view.get(Node.kind, self._node), self._view.version(IPPool.kind)

    async def _is_ours(self, tunnel: Tunnel, address: str, usable: Iterable[IPPool]) -> bool:
        if not address:
            return False
        prefix = parse_prefix(address)
        if not any(contains(parse_prefix(pool.spec.cidr), prefix) for pool in usable):
            return False
        if self._known.get(tunnel) == address:
            return True
        for block in await self._blocks(tunnel):
            if contains(parse_prefix(block), prefix):
                self._known[tunnel] = address
                return True
        return False

    async def _blocks(self, tunnel: Tunnel) -> Mapping[str, int]:
        try:
            handle = await self._datastore.get(IPAMHandle.kind, handle_name(self._handle(tunnel)))
        except NotFound:
            return {}
        assert isinstance(handle, IPAMHandle)
        return handle.spec.block

    async def _assign(self, tunnel: Tunnel, usable: Iterable[IPPool]) -> None:
        await self._release(tunnel)  # of a pool that is gone, or left over from a write that failed
        got = await self._allocator.auto_assign(
            tunnel.family,
            1,
            handle_id=self._handle(tunnel),
            attributes={"node": self._node, "type": tunnel.address_type},
            use="Tunnel",
            pools=[pool.metadata.name for pool in usable],
        )
        if not got.addresses:
            raise IPAMError(f"no tunnel address for {self._node}: {got}")
        address = format_address(got.addresses[0])
        await self._write(tunnel, address)
        self._known[tunnel] = address

    async def _release(self, tunnel: Tunnel) -> None:
        self._known.pop(tunnel, None)
        try:
            await self._allocator.release_by_handle(self._handle(tunnel))
        except NotFound:
            pass  # it has nothing

    async def _write(self, tunnel: Tunnel, address: str) -> None:
        """Others write Nodes too: only the one field is ours."""
        for _ in range(RETRIES):
            node = await self._datastore.get(Node.kind, self._node)
            assert isinstance(node, Node)
            if tunnel.address(node) == address:
                return
            try:
                await self._datastore.update(tunnel.written(node, address))
            except Conflict:
                continue
            return
        raise Conflict(f"Node({self._node}) is written by too many at once")

    def _handle(self, tunnel: Tunnel) -> str:
        return f"{tunnel.value}{self._node}"
