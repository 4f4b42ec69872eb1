"""What every Felix programs, from resources.

Owns ``Felix``: the routes of a node that BIRD does not make. A workload of its own is a device route. The pools decide about
the rest: VXLAN is always Felix's, IPIP and pools without a tunnel as its programClusterRoutes says (EnabledIPIPOnly unless
set). Of such a pool a node has a route to every block of other nodes, and to each address that is used elsewhere than its
block is, and a blackhole for each block of its own. A tunnel that cannot be (an end without an address) is no route.

These routes come from the datastore alone: whether a node is up plays no part. Where two claim a prefix the first by
name has it.

Follows felix/calc/l3_route_resolver.go and felix/dataplane/linux.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import TypeVar, cast

import attrs

from agents.dataplane.fib import BLACKHOLE, TUNL0, VXLAN, FibRoute, device, via
from agents.syncer import View
from cluster.oracle.solver import Table
from protocol.prefix import IPV4, IPV6, Address, Prefix, contains, format_prefix, parse_prefix
from protocol.v3.felix import FelixConfiguration
from protocol.v3.ipam import BlockAffinity
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.metadata import Resource
from protocol.v3.node import Node
from protocol.v3.workload import WorkloadEndpoint

R = TypeVar("R", bound=Resource)
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_PROGRAMS = {
    "Enabled": {"ipip", "plain"},
    "Disabled": set[str](),
    "EnabledIPIPOnly": {"ipip"},
    "EnabledNoEncapOnly": {"plain"},
}


@attrs.frozen
class _Host:
    addresses: dict[int, Interface]
    vxlan: dict[int, Address]
    tunnels: list[Prefix]


class Felix:
    def __init__(self, view: View) -> None:
        self._view = view
        self._hosts = {node.metadata.name: _host(node) for node in self._all(Node)}
        self._configurations = {each.metadata.name: each.spec for each in self._all(FelixConfiguration)}
        # Felix takes the first of overlapping pools by their text.
        self._pools = sorted(
            ((parse_prefix(pool.spec.cidr), pool.spec) for pool in self._all(IPPool)),
            key=lambda each: format_prefix(each[0]),
        )
        claimed = sorted(self._claimed().items()) if any(map(self._kinds, self._hosts)) else []
        self._claims = [(prefix, owner, pool) for prefix, owner in claimed if (pool := self._pool_of(prefix))]

    def routes(self, name: str) -> Table:
        """All of one node, both families."""
        table = dict(self._elsewhere(name))
        table.update(self._workloads(name))
        return table

    def _workloads(self, name: str) -> Table:
        """Of two workloads with one address the first by name has it."""
        table: Table = {}
        endpoints = self._view.of_node(WorkloadEndpoint.kind, name).values()
        for endpoint in sorted(
            cast("Iterable[WorkloadEndpoint]", endpoints),
            key=lambda each: (each.metadata.namespace, each.metadata.name),
        ):
            if endpoint.spec.interface_name:
                for network in endpoint.spec.ip_networks:
                    table.setdefault(parse_prefix(network), device(endpoint.spec.interface_name))
        return table

    def _elsewhere(self, name: str) -> Iterator[tuple[Prefix, FibRoute]]:
        own = self._hosts.get(name)
        kinds = self._kinds(name)
        if own is None or not kinds:
            return
        ways: dict[tuple[str, str], FibRoute | None] = {}
        for prefix, owner, pool in self._claims:
            if _kind(pool) not in kinds:
                continue
            if owner != name:
                key = owner, pool.cidr
                if key not in ways:
                    ways[key] = _way(own, self._hosts.get(owner), pool)
                route = ways[key]
                if route is not None:
                    yield prefix, route
            elif prefix[0] < _bits(prefix):
                yield prefix, BLACKHOLE

    def _pool_of(self, prefix: Prefix) -> IPPoolSpec | None:
        return next((spec for cidr, spec in self._pools if contains(cidr, prefix)), None)

    def _kinds(self, name: str) -> set[str]:
        """Of the pools there are, the kinds whose routes the Felix of a node programs."""
        specs = [
            spec for spec in map(self._configurations.get, (f"node.{name}", "default")) if spec is not None
        ]
        said = (spec.program_cluster_routes for spec in specs if spec.program_cluster_routes is not None)
        kinds = {"vxlan"} | _PROGRAMS[next(said, "EnabledIPIPOnly")]
        for tunnel in ("vxlan", "ipip"):
            switches = (getattr(spec, f"{tunnel}_enabled") for spec in specs)
            if next((switch for switch in switches if switch is not None), True) is False:
                kinds.discard(tunnel)
        return kinds & {_kind(pool) for _, pool in self._pools}

    def _claimed(self) -> dict[Prefix, str]:
        """Blocks, and addresses that are used where their block is not."""
        blocks: dict[Prefix, str] = {}
        for affinity in sorted(self._all(BlockAffinity), key=lambda each: each.spec.node):
            if affinity.spec.state != "pending" and affinity.spec.type == "host":
                blocks.setdefault(parse_prefix(affinity.spec.cidr), affinity.spec.node)
        used = [(address, name) for name, host in self._hosts.items() for address in host.tunnels]
        used += [
            (parse_prefix(network), endpoint.spec.node)
            for endpoint in self._all(WorkloadEndpoint)
            for network in endpoint.spec.ip_networks
        ]
        lengths = {(len(block), block[0]) for block in blocks}
        borrowed: dict[Prefix, str] = {}
        for address, name in sorted(used):
            around = (_shortened(address, length) for size, length in lengths if size == len(address))
            if next((blocks[block] for block in around if block in blocks), None) != name:
                borrowed.setdefault(address, name)
        return {**blocks, **borrowed}

    def _all(self, kind: type[R]) -> Iterable[R]:
        return cast("Iterable[R]", self._view.all(kind.kind).values())


def _host(node: Node) -> _Host:
    bgp, spec = node.spec.bgp, node.spec
    written = {IPV4: bgp.ipv4_address, IPV6: bgp.ipv6_address} if bgp else {}
    vxlan = {IPV4: spec.ipv4_vxlan_tunnel_addr, IPV6: spec.ipv6_vxlan_tunnel_addr}
    tunnels = [*vxlan.values(), bgp.ipv4_ipip_tunnel_addr if bgp else ""]
    return _Host(
        {family: ipaddress.ip_interface(text) for family, text in written.items() if text},
        {family: Address(ipaddress.ip_address(text).packed) for family, text in vxlan.items() if text},
        [parse_prefix(text) for text in tunnels if text],
    )


def _kind(pool: IPPoolSpec) -> str:
    if pool.vxlan_mode != "Never":
        return "vxlan"
    return "ipip" if pool.ipip_mode != "Never" else "plain"


def _way(own: _Host, other: _Host | None, pool: IPPoolSpec) -> FibRoute | None:
    """How a node gets to what another has in a pool; None where it cannot."""
    family = IPV6 if ":" in pool.cidr else IPV4
    here = own.addresses.get(family)
    there = other.addresses.get(family) if other is not None else None
    if here is None or other is None or there is None:
        return None
    kind = _kind(pool)
    mode = pool.vxlan_mode if kind == "vxlan" else pool.ipip_mode
    address = Address(there.ip.packed)
    if kind == "plain" or (mode == "CrossSubnet" and there.ip in here.network):
        return via((address,))
    if kind == "ipip":
        return via((address,), TUNL0)
    if family not in own.vxlan or family not in other.vxlan:
        return None
    return via((other.vxlan[family],), VXLAN[family])


def _bits(prefix: Prefix) -> int:
    return (len(prefix) - 1) << 3


def _shortened(address: Prefix, length: int) -> Prefix:
    """The prefix of this length that an address lies in."""
    bits = _bits(address)
    network = int.from_bytes(address[1:], "big") >> (bits - length) << (bits - length)
    return Prefix(bytes((length,)) + network.to_bytes(len(address) - 1, "big"))
