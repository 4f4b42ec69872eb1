"""How many sessions every node and router of a cluster will hold, counted before anything is started.

Owns a count and a name ("full mesh", "4 route reflectors"), both from the resources alone. It is deliberately not
confd: confd works out every peering with all of its fields, this only how many there will be, cheaply enough for a
mesh of 1,000 nodes (499,500 sessions are multiplied, not listed), and independently enough to be what the
progress of ``up`` is held against.

Follows confd's ``client.go``: the mesh of a family is every node with an address of it and without a cluster ID, in
which a node takes a neighbour without an AS of its own to be in the node's own AS; a BGPPeer joins the nodes that
``node`` or ``nodeSelector`` picks (all, when neither is set) with the nodes of ``peerSelector`` or the one that has
``peerIP``, and is answered unless ``reversePeering`` is Manual. A lab's Router names its neighbours, and has a session
with those that name it.

Left out: neighbours that are neither nodes nor routers of the cluster (never Established here), and what keeps a
session from coming up though both ends want it: a wrong port or password.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from cluster.plan import NodeLoad
from protocol.prefix import Address, address_family, parse_address
from protocol.v3.bgp import DEFAULT_AS_NUMBER, BGPConfiguration, BGPPeer
from protocol.v3.lab import Router
from protocol.v3.node import Node
from protocol.v3.selector import parse

Session = tuple[int, str, str]
"""Family and both ends: a session, or the wish of the first for one with the second."""


@attrs.frozen
class Topology:
    name: str
    sessions: Mapping[str, int]  # node or router -> how many will be Established
    reflectors: frozenset[str]
    routers: frozenset[str] = frozenset()
    passing: Mapping[str, int] = attrs.field(
        factory=dict
    )  # node or router -> sessions on which all is passed on
    families: Mapping[str, int] = attrs.field(factory=dict)  # node or router -> how many it has an address of

    @property
    def total(self) -> int:
        return sum(self.sessions.values()) // 2

    def loads(self, blocks_per_node: int) -> list[NodeLoad]:
        """What everybody asks for. A reflector passes on to its clients all that there is, so does a router, and so
        does a node to a router; other neighbours tell of their own."""
        nodes = len(self.sessions)
        return [
            NodeLoad(
                name=name,
                sessions=sessions,
                routes=blocks_per_node * (sessions + self.passing.get(name, 0) * (nodes - 1)),
                families=self.families.get(name, 1),
                router=name in self.routers,
            )
            for name, sessions in self.sessions.items()
        ]


@attrs.frozen
class _Member:
    """A node or a router, as a neighbour sees it."""

    name: str
    labels: Mapping[str, str]
    addresses: Mapping[int, Address]
    as_number: int
    reflector: bool = False


def derive(
    nodes: Sequence[Node],
    configuration: BGPConfiguration | None,
    peers: Iterable[BGPPeer],
    routers: Sequence[Router] = (),
) -> Topology:
    """Counts. The order of ``nodes``, then ``routers`` is that of the result; ``configuration`` is the one named default."""
    spec = configuration.spec if configuration is not None else None
    mesh_on = spec is None or spec.node_to_node_mesh_enabled is not False
    default_as = (spec.as_number if spec is not None else None) or DEFAULT_AS_NUMBER
    members = [_node(node, default_as) for node in nodes]
    others = [_router(router) for router in routers]
    reflectors = frozenset(member.name for member in members if member.reflector)
    meshes = [*_meshes(members, default_as)] if mesh_on else []
    sessions = dict.fromkeys([member.name for member in (*members, *others)], 0)
    for _, clique in meshes:
        for name in clique:
            sessions[name] += len(clique) - 1
    wishes = _wishes_of_nodes(members, others, default_as, peers) | _wishes_of_routers(
        members, others, routers
    )
    explicit = {
        (family, one, other)
        for family, one, other in wishes
        if one < other
        and (family, other, one) in wishes
        and not any(family == each and one in clique and other in clique for each, clique in meshes)
    }
    for name, count in Counter(name for _, *pair in explicit for name in pair).items():
        sessions[name] += count
    aliens = frozenset(other.name for other in others)
    passing = Counter(
        one
        for _, *pair in explicit
        for one, other in (pair, pair[::-1])
        if other in reflectors or not aliens.isdisjoint(pair)
    )
    return Topology(
        _name(mesh_on and len(members) > len(reflectors), len(explicit), len(reflectors)),
        sessions,
        reflectors,
        aliens,
        passing,
        {member.name: len(member.addresses) for member in (*members, *others)},
    )


def _node(node: Node, default_as: int) -> _Member:
    bgp = node.spec.bgp
    return _Member(
        node.metadata.name,
        node.metadata.labels,
        _by_family((bgp.ipv4_address, bgp.ipv6_address) if bgp is not None else ()),
        (bgp.as_number if bgp is not None else None) or default_as,
        bool(bgp is not None and bgp.route_reflector_cluster_id),
    )


def _router(router: Router) -> _Member:
    return _Member(
        router.metadata.name,
        router.metadata.labels,
        _by_family(router.spec.addresses),
        router.spec.as_number,
    )


def _by_family(texts: Iterable[str]) -> dict[int, Address]:
    addresses = [parse_address(text.partition("/")[0]) for text in texts if text]
    return {address_family(address): address for address in addresses}


def _meshes(members: Sequence[_Member], default_as: int) -> Iterable[tuple[int, set[str]]]:
    """Two nodes of the mesh agree when both are in the default AS or both have an AS of their own."""
    for family in sorted({family for member in members for family in member.addresses}):
        mesh = [member for member in members if family in member.addresses and not member.reflector]
        yield family, {member.name for member in mesh if member.as_number == default_as}
        yield family, {member.name for member in mesh if member.as_number != default_as}


def _name(mesh: bool, explicit: int, reflectors: int) -> str:
    if reflectors and not mesh:
        return f"{reflectors} route reflector{'s' if reflectors > 1 else ''}"
    if mesh:
        one_or_more = f"{explicit:,} explicit session{'s' if explicit > 1 else ''}"
        return f"mesh and {one_or_more}" if explicit else "full mesh"
    return "explicit peerings" if explicit else "no peerings"


def _wishes_of_nodes(
    nodes: Sequence[_Member], routers: Sequence[_Member], default_as: int, peers: Iterable[BGPPeer]
) -> set[Session]:
    at = {address: member for member in (*routers, *nodes) for address in member.addresses.values()}
    calico = {node.name for node in nodes}
    wishes: set[Session] = set()
    for peer in peers:
        spec = peer.spec
        if spec.local_workload_selector:
            continue
        if spec.node:
            local: Collection[_Member] = [node for node in nodes if node.name == spec.node]
        else:
            local = _select(nodes, spec.node_selector or "all()")
        families: Collection[int] | None = None
        if spec.peer_selector:
            remote: Collection[_Member] = _select(nodes, spec.peer_selector)
        else:
            address = _peer_address(spec.peer_ip)
            found = at.get(address)
            fits = found is not None and found.as_number == (spec.as_number or default_as)
            remote = [found] if found is not None and fits else []
            families = [address_family(address)] if address else []
        both = spec.reverse_peering != "Manual"
        for one in local:
            for other in remote:
                for family in one.addresses.keys() & other.addresses.keys():
                    if one is not other and (families is None or family in families):
                        wishes.add((family, one.name, other.name))
                        if both and other.name in calico:
                            wishes.add((family, other.name, one.name))
    return wishes


def _wishes_of_routers(
    nodes: Sequence[_Member], members: Sequence[_Member], routers: Sequence[Router]
) -> set[Session]:
    everybody = (*members, *nodes)
    wishes: set[Session] = set()
    for one, router in zip(members, routers, strict=True):
        for neighbor in router.spec.neighbors:
            if neighbor.peer_ip:
                address = _peer_address(neighbor.peer_ip)
                remote = [member for member in everybody if address in member.addresses.values()]
                families = {address_family(address)}
            else:
                remote = [*_select(nodes, neighbor.node_selector)] if neighbor.node_selector else []
                remote += _select(members, neighbor.router_selector) if neighbor.router_selector else []
                families = {*one.addresses}
            wishes |= {
                (family, one.name, other.name)
                for other in remote
                if other is not one and neighbor.as_number in (None, other.as_number)
                for family in families & one.addresses.keys() & other.addresses.keys()
            }
    return wishes


def _peer_address(text: str) -> Address:
    """Without the port that it may have: ``10.0.0.1:1790``, ``[fd00::1]:1790``."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return parse_address(text)
    except ValueError:
        return Address(b"")


def _select(members: Sequence[_Member], selector: str) -> list[_Member]:
    matches = parse(selector).matches
    return [member for member in members if matches(member.labels)]
