"""Felix's routes to other nodes: blocks and borrowed addresses of pools whose routes are Felix's.

Owns ``L3Routes``, one for the nodes of a process. What is the same for all nodes is made once, when the resources have
changed, and at a pace (``refresh``); what one node makes of it is a walk over that:

    BlockAffinities ───► blocks ───┬─► claims: (prefix, node, class of its pool) ─► of(node) ─► FibRoutes
    WorkloadEndpoints ─► borrowed ─┘                                                  ▲
    Nodes ─────────────► addresses, tunnel addresses, subnets ───────────────────────┘

=======================  =========================================================================
a claim of               is, on this node
=======================  =========================================================================
this node                ``blackhole`` for a block (a /32 is its workload's); an address is a device route already
another, VXLAN           ``via`` its tunnel address, over vxlan.calico, once both ends have one
another, IPIP            ``via`` its node address, over tunl0
another, same subnet     ``via`` its node address, for CrossSubnet
another, no tunnel       ``via`` its node address
=======================  =========================================================================

A borrowed address is one that a workload (or a tunnel) has on another node than the one that owns the block; it gets a
/32 of its own. Of two nodes that claim a prefix the first by name has it.

The law of Felix holds: all of it depends on the resources that exist, never on the order in which they came.

Left out: the bridge's forwarding entries and neighbours (``vxlan.calico``'s MACs), routes of WireGuard and eBPF.

Follows felix/calc/l3_route_resolver.go and felix/dataplane/linux/{vxlan,ipip,noencap,route}_mgr.go.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Container, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar, cast

import attrs

from agents.confd.parts import Part, Reader, ResourceView
from agents.dataplane.fib import BLACKHOLE, TUNL0, VXLAN, FibRoute, Routes
from agents.felix.pools import (
    AllSettings,
    Encapsulation,
    FelixSettings,
    PoolClass,
    class_of,
    clusterwide,
    pool_classes,
    read_settings,
)
from protocol.prefix import (
    IPV4,
    IPV6,
    Address,
    Prefix,
    contains,
    family_of,
    host_prefix,
    make_prefix,
    network_int,
    parse_address,
    parse_prefix,
)
from protocol.v3.felix import FelixConfiguration
from protocol.v3.ipam import BlockAffinity
from protocol.v3.ippool import IPPool
from protocol.v3.metadata import Key, Resource
from protocol.v3.node import Node
from protocol.v3.workload import WorkloadEndpoint

R = TypeVar("R", bound=Resource)

PACE = 0.1
"""Seconds between two looks at what others claim: Felix applies what it has computed ten times a second at most."""

_KINDS = tuple(kind.kind for kind in (IPPool, FelixConfiguration, Node, BlockAffinity, WorkloadEndpoint))

_NO_ROUTES: Mapping[Prefix, FibRoute] = MappingProxyType({})


@attrs.frozen
class NodeAddresses:
    """Of one node and family. ``tunnel`` is VXLAN's."""

    address: Address
    subnet: Prefix
    tunnel: Address | None


Standing = tuple[tuple[int, Prefix, bool], ...]
"""Family, subnet, and whether there is a VXLAN tunnel: all that a node's ways to others depend on, of its own."""


@attrs.frozen
class NodeFacts:
    families: Mapping[int, NodeAddresses]
    tunnels: tuple[Prefix, ...]  # every tunnel address, as it would be borrowed

    @property
    def standing(self) -> Standing:
        return tuple((family, it.subnet, it.tunnel is not None) for family, it in self.families.items())


@attrs.frozen
class Claim:
    prefix: Prefix
    node: str
    pool: PoolClass


class L3Routes:
    """See the module."""

    def __init__(self, view: ResourceView, routes: Routes) -> None:
        self._view = view
        self._routes = routes
        self._wanted = Part(view, (IPPool, FelixConfiguration), lambda: clusterwide(view))
        self._settings = Part(
            view, (FelixConfiguration,), lambda: read_settings(_all(view, FelixConfiguration))
        )
        read_nodes = Reader(view, Node, read_node)
        self._nodes = Part(view, (Node,), read_nodes.all)
        self._workloads: dict[Key, tuple[Resource, tuple[Prefix, ...]]] = {}
        self._claims = Part(view, (IPPool, Node, BlockAffinity, WorkloadEndpoint), self._claim)
        self._current: _Everybody | None = None
        self._versions: tuple[int, ...] = ()
        self._next = -math.inf
        self._made: dict[str, tuple[_Everybody, Mapping[Prefix, FibRoute]]] = {}

    @property
    def wanted(self) -> bool:
        """Whether there are such routes at all."""
        return self._wanted.current()

    def refresh(self, now: float) -> float:
        """From here on ``of`` tells what follows from the resources as they are now; or, when somebody asked for that but a
        moment ago, the seconds after which to ask again. Returns 0 when there is nothing to wait for.
        """
        if not self.wanted:
            self._current = None
            self._made.clear()
            return 0.0
        versions = tuple(map(self._view.version, _KINDS))
        if self._current is None or versions != self._versions:
            if now < self._next:
                return self._next - now
            self._next = now + PACE
            self._versions = versions
            made_of = self._claims.current(), self._nodes.current(), self._settings.current()
            if self._current is None or not self._current.is_made_of(made_of):
                self._current = _Everybody(*made_of)
        return 0.0

    def of(self, node: str) -> Mapping[Prefix, FibRoute]:
        """The routes of a node, both families, but for those of its own workloads; the same object while they are the same.
        Not a copy.
        """
        current = self._current
        if current is None or not self.wanted:
            return _NO_ROUTES
        made_of, routes = self._made.get(node, (None, _NO_ROUTES))
        if made_of is not current:
            fresh = self._make(node, current)
            routes = routes if fresh == routes else fresh
            self._made[node] = current, routes
        return routes

    # --- one node's -------------------------------------------------------------------------------------------------

    def _make(self, node: str, everybody: _Everybody) -> Mapping[Prefix, FibRoute]:
        """What all nodes that stand like this one have, but for what is its own."""
        own = everybody.nodes.get(node)
        if own is None:
            return _NO_ROUTES
        settings = everybody.settings.of(node)
        key = settings, own.standing
        if key not in everybody.made:
            everybody.made[key] = self._to_all(own, everybody, settings)
        routes = dict(everybody.made[key])
        for claim in everybody.by_node.get(node, ()):
            routes.pop(claim.prefix, None)
            if settings.programs(claim.pool) and claim.prefix[0] < (len(claim.prefix) - 1) << 3:
                routes[claim.prefix] = BLACKHOLE
        return routes

    def _to_all(
        self, own: NodeFacts, everybody: _Everybody, settings: FelixSettings
    ) -> dict[Prefix, FibRoute]:
        routes: dict[Prefix, FibRoute] = {}
        for node, claims in everybody.by_node.items():
            ways: dict[PoolClass, FibRoute | None] = {}
            for claim in claims:
                if claim.pool not in ways:
                    programmed = settings.programs(claim.pool)
                    ways[claim.pool] = (
                        self._way(own, everybody.nodes.get(node), claim.pool) if programmed else None
                    )
                route = ways[claim.pool]
                if route is not None:
                    routes[claim.prefix] = route
        return routes

    def _way(self, own: NodeFacts, other: NodeFacts | None, pool: PoolClass) -> FibRoute | None:
        family = family_of(pool.cidr)
        here = own.families.get(family)
        there = other.families.get(family) if other is not None else None
        if here is None or there is None:
            return None
        near = contains(here.subnet, host_prefix(there.address))
        if pool.encapsulation is Encapsulation.NONE or (pool.cross_subnet and near):
            return self._routes.via((there.address,))
        if pool.encapsulation is Encapsulation.IPIP:
            return self._routes.via((there.address,), TUNL0)
        if here.tunnel is None or there.tunnel is None:
            return None
        return self._routes.via((there.tunnel,), VXLAN[family])

    # --- everybody's ------------------------------------------------------------------------------------------------

    def _claim(self) -> tuple[Claim, ...]:
        """Blocks, then what is borrowed from them, each by prefix."""
        pools = pool_classes(_all(self._view, IPPool))
        blocks = read_blocks(_all(self._view, BlockAffinity))
        lengths = {(len(block), block[0]) for block in blocks}
        borrowed: dict[Prefix, str] = {}
        for address, node in sorted(self._addresses()):
            if blocks.get(_block_of(address, blocks, lengths) or address) != node:
                borrowed.setdefault(address, node)
        found = {**blocks, **borrowed}
        claims = (
            Claim(prefix, node, pool)
            for prefix, node in sorted(found.items())
            if (pool := class_of(pools, prefix)) is not None
        )
        return tuple(claims)

    def _addresses(self) -> Iterator[tuple[Prefix, str]]:
        """Of workloads and tunnels, with their nodes."""
        for name, facts in self._nodes.current().items():
            for address in facts.tunnels:
                yield address, name
        known, self._workloads = self._workloads, {}
        for key, resource in self._view.all(WorkloadEndpoint.kind).items():
            assert isinstance(resource, WorkloadEndpoint)
            entry = known.get(key)
            if entry is None or entry[0] is not resource:
                entry = resource, tuple(map(parse_prefix, resource.spec.ip_networks))
            self._workloads[key] = entry
            for address in entry[1]:
                yield address, resource.spec.node


@attrs.define(eq=False)
class _Everybody:
    """The state of the cluster that routes follow from, and what was made of it."""

    claims: tuple[Claim, ...]
    nodes: Mapping[str, NodeFacts]
    settings: AllSettings
    by_node: dict[str, list[Claim]] = attrs.field(init=False, factory=dict)
    made: dict[tuple[FelixSettings, Standing], dict[Prefix, FibRoute]] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        for claim in self.claims:
            self.by_node.setdefault(claim.node, []).append(claim)

    def is_made_of(self, parts: tuple[tuple[Claim, ...], Mapping[str, NodeFacts], AllSettings]) -> bool:
        return (self.claims, self.nodes, self.settings) == parts


def read_node(node: Node) -> NodeFacts:
    spec, bgp = node.spec, node.spec.bgp
    families: dict[int, NodeAddresses] = {}
    written = ((IPV4, bgp.ipv4_address, spec.ipv4_vxlan_tunnel_addr), (IPV6, bgp.ipv6_address, spec.ipv6_vxlan_tunnel_addr)) if bgp else ()  # fmt: skip
    for family, text, tunnel in written:
        if text:
            interface = ipaddress.ip_interface(text)
            families[family] = NodeAddresses(
                address=Address(interface.ip.packed),
                subnet=parse_prefix(str(interface.network)),
                tunnel=parse_address(tunnel) if tunnel else None,
            )
    tunnels = (
        bgp.ipv4_ipip_tunnel_addr if bgp else "",
        spec.ipv4_vxlan_tunnel_addr,
        spec.ipv6_vxlan_tunnel_addr,
    )
    return NodeFacts(families, tuple(parse_prefix(text) for text in tunnels if text))


def read_blocks(affinities: Iterable[BlockAffinity]) -> dict[Prefix, str]:
    """Whose each block is. One that a node is about to claim is nobody's yet; one that it gives back is still its own."""
    blocks: dict[Prefix, str] = {}
    for affinity in sorted(affinities, key=lambda each: each.spec.node):
        spec = affinity.spec
        if spec.state != "pending" and spec.type == "host" and not spec.deleted:
            blocks.setdefault(parse_prefix(spec.cidr), spec.node)
    return blocks


def _block_of(
    address: Prefix, blocks: Container[Prefix], lengths: Iterable[tuple[int, int]]
) -> Prefix | None:
    number, family = network_int(address), family_of(address)
    for size, length in lengths:
        if size == len(address):
            block = make_prefix(number, length, family)
            if block in blocks:
                return block
    return None


def _all(view: ResourceView, kind: type[R]) -> Iterable[R]:
    return cast("Iterable[R]", view.all(kind.kind).values())
