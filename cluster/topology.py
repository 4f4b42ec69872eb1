"""How many sessions every node of a cluster will hold, counted before anything is started.

Owns a count and a name ("full mesh", "4 route reflectors"), both from the resources alone. It is deliberately not
confd: confd works out every peering with all of its fields, this only how many there will be, cheaply enough for a
mesh of 1,000 nodes (499,500 sessions are multiplied, not listed), and independently enough to be what the
progress of ``up`` is held against.

Follows confd's ``client.go``: the mesh is every node without a cluster ID, in which a node takes a neighbour
without an AS of its own to be in the node's own AS; a BGPPeer joins the nodes that ``node`` or ``nodeSelector``
picks (all, when neither is set) with the nodes of ``peerSelector`` or the one that has ``peerIP``, and is answered
unless ``reversePeering`` is Manual.

Left out: neighbours that are no nodes of the cluster (never Established here), and IPv6 sessions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from cluster.plan import NodeLoad
from protocol.v3.bgp import DEFAULT_AS_NUMBER, BGPConfiguration, BGPPeer
from protocol.v3.node import Node
from protocol.v3.selector import parse


@attrs.frozen
class Topology:
    name: str
    sessions: Mapping[str, int]  # node -> how many will be Established
    reflectors: frozenset[str]

    @property
    def total(self) -> int:
        return sum(self.sessions.values()) // 2

    def loads(self, blocks_per_node: int) -> list[NodeLoad]:
        """What every node asks for. A reflector's client hears all routes from every reflector."""
        nodes = len(self.sessions)
        return [
            NodeLoad(
                name=name,
                sessions=sessions,
                routes=sessions
                * blocks_per_node
                * (nodes if self.reflectors and name not in self.reflectors else 1),
            )
            for name, sessions in self.sessions.items()
        ]


def derive(
    nodes: Sequence[Node], configuration: BGPConfiguration | None, peers: Iterable[BGPPeer]
) -> Topology:
    """Counts. ``nodes`` gives the order of the result; ``configuration`` is the one named default."""
    spec = configuration.spec if configuration is not None else None
    mesh_on = spec is None or spec.node_to_node_mesh_enabled is not False
    default_as = (spec.as_number if spec is not None else None) or DEFAULT_AS_NUMBER
    by_as = {node.metadata.name: as_number(node, default_as) for node in nodes}
    reflectors = frozenset(node.metadata.name for node in nodes if _cluster_id(node))
    mesh = [] if not mesh_on else [name for name in by_as if name not in reflectors]
    # Two nodes of the mesh agree when both are in the default AS or both have an AS of their own.
    meshes = [
        {name for name in mesh if by_as[name] == default_as},
        {name for name in mesh if by_as[name] != default_as},
    ]
    sessions = dict.fromkeys(by_as, 0)
    for members in meshes:
        for name in members:
            sessions[name] = len(members) - 1
    explicit = {
        (one, other)
        for one, other in _explicit(nodes, by_as, default_as, peers)
        if not any(one in members and other in members for members in meshes)
    }
    for name, count in Counter(name for pair in explicit for name in pair).items():
        sessions[name] += count
    return Topology(_name(bool(mesh), len(explicit), len(reflectors)), sessions, reflectors)


def as_number(node: Node, default: int) -> int:
    """The AS a node is in: its own, or the cluster's."""
    return (node.spec.bgp.as_number if node.spec.bgp is not None else None) or default


def _cluster_id(node: Node) -> str:
    return node.spec.bgp.route_reflector_cluster_id if node.spec.bgp is not None else ""


def _name(mesh: bool, explicit: int, reflectors: int) -> str:
    if reflectors and not mesh:
        return f"{reflectors} route reflector{'s' if reflectors > 1 else ''}"
    if mesh:
        return f"mesh and {explicit:,} explicit sessions" if explicit else "full mesh"
    return "explicit peerings" if explicit else "no peerings"


def _explicit(
    nodes: Sequence[Node], by_as: Mapping[str, int], default_as: int, peers: Iterable[BGPPeer]
) -> set[tuple[str, str]]:
    """Pairs (smaller name first) that both ends are told of."""
    by_address = {_address(node): node.metadata.name for node in nodes}
    told: set[tuple[str, str]] = set()
    for peer in peers:
        spec = peer.spec
        if spec.local_workload_selector:
            continue
        if spec.node:
            local: Collection[str] = [spec.node] if spec.node in by_as else []
        else:
            local = _select(nodes, spec.node_selector or "all()")
        if spec.peer_selector:
            remote: Collection[str] = _select(nodes, spec.peer_selector)
        else:
            # An IPv4 peerIP may carry a port behind a colon.
            name = by_address.get(
                spec.peer_ip.rpartition(":")[0] if spec.peer_ip.count(":") == 1 else spec.peer_ip
            )
            remote = [name] if name is not None and by_as[name] == (spec.as_number or default_as) else []
        both = spec.reverse_peering != "Manual"
        for one in local:
            for other in remote:
                if one != other:
                    told.add((one, other))
                    if both:
                        told.add((other, one))
    return {(one, other) for one, other in told if one < other and (other, one) in told}


def _address(node: Node) -> str:
    return node.spec.bgp.ipv4_address.partition("/")[0] if node.spec.bgp is not None else ""


def _select(nodes: Sequence[Node], selector: str) -> list[str]:
    matches = parse(selector).matches
    return [node.metadata.name for node in nodes if matches(node.metadata.labels)]
