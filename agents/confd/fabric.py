"""What all nodes of a shard derive their peers from: who is there, and which peerings the BGPPeers ask for.

Owns the reading of Node, BGPConfiguration and BGPPeer resources (``node_facts``, ``read_settings``) and ``Fabric``,
the index made of them once per change and shared by every node: selectors are evaluated, names are formatted and
neighbours are sorted here, so that one node of a mesh of a thousand has only its own thousand stanzas to fill in.

How a BGPPeer becomes peerings (FIRST wins, per node, neighbour's address and port):

1. BGPPeers without node and nodeSelector: ``global_peers``, the same for every node;
2. all others: ``peerings``, for the nodes that ``node`` or ``nodeSelector`` names, unless 1 has the same neighbour;
3. reverse peerings, unless ``reversePeering: Manual``: the Calico nodes that a BGPPeer peers *with* peer back with
   the nodes it is *for*; after 2 in ``peerings``, so that what somebody wrote wins over what follows from it.

Among BGPPeers of one step Calico leaves the winner to the order of a Go map; here it is the first by name, and
among nodes with one address too.

A peerIP that is a Calico node's own address is dialled at that node's port. A peerIP carries no cluster ID, not
even when it is a route reflector's. A selector that does not parse matches no node; a peerIP that does not parse is
no peer.

Departure: ``asNumber`` left out beside a peerIP is the global AS here, which is how Calico looks for the node
behind it; what Calico then writes for BIRD is AS 0, a configuration that BIRD refuses to load.

Left out: IPv6, localWorkloadSelector and every field of BGPPeer that only qualifies a session.

Follows confd/pkg/backends/calico/client.go: updatePeersV1, nodesWithIPPortAndAS, nodeAsBGPPeers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from agents.speaker.config import NORMAL_PRIORITY
from protocol.prefix import IPV4, Address, format_address, parse_address
from protocol.v3.bgp import DEFAULT_AS_NUMBER, BGPConfiguration, BGPPeerSpec
from protocol.v3.fields import split_peer_address
from protocol.v3.node import Node
from protocol.v3.selector import SelectorError, parse

NeighborKey = tuple[Address, int | None]
"""One neighbour, one stanza: address and port, None where the stanza names no port."""

_PER_NODE = "node."


@attrs.frozen(kw_only=True)
class NodeFacts:
    """What BGP reads of one Node resource that has an IPv4 address."""

    name: str
    address: Address
    text: str  # the address as BIRD's configuration has it; compared as text to find the passive side
    as_number: int | None
    cluster_id: Address | None
    labels: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Settings:
    """What the BGPConfigurations "default" and "node.<name>" say; others are ignored."""

    as_number: int = DEFAULT_AS_NUMBER
    mesh: bool = True
    listen_port: int | None = None
    normal_priority: int = NORMAL_PRIORITY
    node_ports: Mapping[str, int] = attrs.field(factory=dict)

    def port_of(self, node: str) -> int | None:
        return self.node_ports.get(node, self.listen_port)


@attrs.frozen(kw_only=True)
class Neighbor:
    """The far end of a peering that a BGPPeer asks for."""

    address: Address
    text: str
    label: str  # of the protocol's name, without the kind
    as_number: int
    port: int | None
    cluster_id: Address | None
    by_node_address: bool  # a peerIP that is some Calico node's address

    @property
    def key(self) -> NeighborKey:
        return self.address, self.port


@attrs.frozen(kw_only=True)
class MeshNeighbor:
    name: str  # of the protocol
    node: NodeFacts
    port: int | None


@attrs.frozen(kw_only=True)
class Peering:
    """Each of ``nodes`` (names) peers with all of ``neighbors``."""

    nodes: frozenset[str]
    neighbors: tuple[Neighbor, ...]


@attrs.frozen(kw_only=True, eq=False)
class Fabric:
    """Compared by identity: as long as it is the same object, no node's peers have changed."""

    settings: Settings
    nodes: Mapping[str, NodeFacts]
    mesh: tuple[MeshNeighbor, ...]  # sorted by protocol name; empty when the mesh is off
    global_peers: Mapping[NeighborKey, Neighbor]
    peerings: tuple[Peering, ...]  # in order of precedence


def node_facts(node: Node) -> NodeFacts | None:
    """None when the node has no IPv4 address."""
    bgp = node.spec.bgp
    if bgp is None or not bgp.ipv4_address:
        return None
    address = parse_address(bgp.ipv4_address.partition("/")[0])
    return NodeFacts(
        name=node.metadata.name,
        address=address,
        text=format_address(address),
        as_number=bgp.as_number,
        cluster_id=parse_address(bgp.route_reflector_cluster_id) if bgp.route_reflector_cluster_id else None,
        labels=node.metadata.labels,
    )


def read_settings(configurations: Iterable[BGPConfiguration]) -> Settings:
    settings = Settings()
    node_ports: dict[str, int] = {}
    for configuration in configurations:
        name, spec = configuration.metadata.name, configuration.spec
        if name == "default":
            settings = Settings(
                as_number=spec.as_number or DEFAULT_AS_NUMBER,
                mesh=spec.node_to_node_mesh_enabled is not False,
                listen_port=spec.listen_port,
                normal_priority=spec.ipv4_normal_route_priority or NORMAL_PRIORITY,
            )
        elif name.startswith(_PER_NODE) and spec.listen_port:
            node_ports[name.removeprefix(_PER_NODE)] = spec.listen_port
    return attrs.evolve(settings, node_ports=node_ports)


def build_fabric(
    settings: Settings, nodes: Mapping[str, NodeFacts], bgp_peers: Mapping[str, BGPPeerSpec]
) -> Fabric:
    """The index over nodes and BGPPeers, both by name and in any order."""
    specs = [bgp_peers[name] for name in sorted(bgp_peers)]
    reader = _PeeringReader(settings, [nodes[name] for name in sorted(nodes)])
    return Fabric(
        settings=settings,
        nodes=nodes,
        mesh=_mesh(settings, nodes) if settings.mesh else (),
        global_peers=reader.global_peers(specs),
        peerings=(*reader.forward_peerings(specs), *reader.reverse_peerings(specs)),
    )


def _mesh(settings: Settings, nodes: Mapping[str, NodeFacts]) -> tuple[MeshNeighbor, ...]:
    """Route reflectors are not in the mesh. Of nodes with one address the first by name is."""
    members: dict[str, MeshNeighbor] = {}
    for name in sorted(nodes):
        node = nodes[name]
        if node.cluster_id is None:
            # The port never is part of a mesh protocol's name.
            protocol = f"Mesh_{_label(node.text, None)}"
            members.setdefault(protocol, MeshNeighbor(name=protocol, node=node, port=settings.port_of(name)))
    return tuple(members[protocol] for protocol in sorted(members))


def _label(text: str, port: int | None) -> str:
    label = text.replace(".", "_")
    return label if port is None else f"{label}_port_{port}"


def _is_global(spec: BGPPeerSpec) -> bool:
    return not spec.node and not spec.node_selector


class _PeeringReader:
    """Reads BGPPeers against one set of nodes. Remembers each selector's answer and each node as a neighbour."""

    def __init__(self, settings: Settings, nodes: Sequence[NodeFacts]) -> None:
        self._settings = settings
        self._nodes = nodes  # sorted by name
        self._by_address: dict[Address, list[NodeFacts]] = {}
        for node in nodes:
            self._by_address.setdefault(node.address, []).append(node)
        self._matching: dict[str, Sequence[NodeFacts]] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._as_neighbor: dict[str, Neighbor] = {}

    def global_peers(self, specs: Iterable[BGPPeerSpec]) -> Mapping[NeighborKey, Neighbor]:
        peers: dict[NeighborKey, Neighbor] = {}
        for spec in specs:
            if _is_global(spec):
                for neighbor in self._remote_neighbors(spec):
                    peers.setdefault(neighbor.key, neighbor)
        return peers

    def forward_peerings(self, specs: Iterable[BGPPeerSpec]) -> Iterable[Peering]:
        for spec in specs:
            if not _is_global(spec):
                nodes = (
                    self._names_matching(spec.node_selector)
                    if spec.node_selector
                    else frozenset((spec.node,))
                )
                yield Peering(nodes=nodes, neighbors=self._remote_neighbors(spec))

    def reverse_peerings(self, specs: Iterable[BGPPeerSpec]) -> Iterable[Peering]:
        for spec in specs:
            if spec.reverse_peering != "Manual":
                if spec.peer_selector:
                    nodes = self._names_matching(spec.peer_selector)
                else:
                    nodes = frozenset(node.name for node in self._nodes_at(spec))
                if nodes:
                    yield Peering(
                        nodes=nodes, neighbors=tuple(map(self._node_as_neighbor, self._local_nodes(spec)))
                    )

    def _local_nodes(self, spec: BGPPeerSpec) -> Iterable[NodeFacts]:
        """The nodes a BGPPeer is for."""
        if spec.node_selector:
            return self._nodes_matching(spec.node_selector)
        if spec.node:
            return [node for node in self._nodes if node.name == spec.node]
        return self._nodes

    def _remote_neighbors(self, spec: BGPPeerSpec) -> tuple[Neighbor, ...]:
        """Those it peers them with."""
        if spec.peer_selector:
            return tuple(map(self._node_as_neighbor, self._nodes_matching(spec.peer_selector)))
        peer = _split_peer_ip(spec)
        if peer is None:
            return ()
        address, port = peer
        if port is None:
            port = next((self._settings.port_of(node.name) for node in self._nodes_at(spec)), None)
        text = format_address(address)
        neighbor = Neighbor(
            address=address,
            text=text,
            label=_label(text, port),
            as_number=spec.as_number or self._settings.as_number,
            port=port,
            cluster_id=None,
            by_node_address=address in self._by_address,
        )
        return (neighbor,)

    def _nodes_at(self, spec: BGPPeerSpec) -> list[NodeFacts]:
        """The Calico nodes that a peerIP and its asNumber mean."""
        peer = _split_peer_ip(spec)
        if peer is None:
            return []
        address, port = peer
        as_number = spec.as_number or self._settings.as_number
        return [
            node
            for node in self._by_address.get(address, ())
            if (node.as_number or self._settings.as_number) == as_number and self._listens_at(node.name, port)
        ]

    def _listens_at(self, node: str, port: int | None) -> bool:
        """Calico's comparison: the node's own port does not spare it the comparison with the global one."""
        return port is None or all(
            listen is None or listen == port
            for listen in (self._settings.node_ports.get(node), self._settings.listen_port)
        )

    def _nodes_matching(self, selector: str) -> Sequence[NodeFacts]:
        if selector not in self._matching:
            try:
                matches = parse(selector).matches
            except SelectorError:
                self._matching[selector] = ()
            else:
                self._matching[selector] = [node for node in self._nodes if matches(node.labels)]
        return self._matching[selector]

    def _names_matching(self, selector: str) -> frozenset[str]:
        if selector not in self._names:
            self._names[selector] = frozenset(node.name for node in self._nodes_matching(selector))
        return self._names[selector]

    def _node_as_neighbor(self, node: NodeFacts) -> Neighbor:
        neighbor = self._as_neighbor.get(node.name)
        if neighbor is None:
            port = self._settings.port_of(node.name)
            neighbor = self._as_neighbor[node.name] = Neighbor(
                address=node.address,
                text=node.text,
                label=_label(node.text, port),
                as_number=node.as_number or self._settings.as_number,
                port=port,
                cluster_id=node.cluster_id,
                by_node_address=False,
            )
        return neighbor


def _split_peer_ip(spec: BGPPeerSpec) -> NeighborKey | None:
    try:
        address, port = split_peer_address(spec.peer_ip)
    except ValueError:
        return None
    return (Address(address.packed), port) if address.version == IPV4 else None
