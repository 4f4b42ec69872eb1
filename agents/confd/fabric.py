"""What all nodes of a shard derive their peers from: who is there, and which peerings the BGPPeers ask for.

Owns ``Fabric``, the index made of nodes and BGPPeers once per change and family and shared by every node: selectors
are evaluated, names are formatted and neighbours are sorted here, so that one node of a mesh of a thousand has only
its own thousand stanzas to fill in.

How a BGPPeer becomes peerings (FIRST wins, with all that its BGPPeer says of the session, per node, neighbour's
address and port):

1. BGPPeers without node and nodeSelector: ``global_peers``, the same for every node;
2. all others: ``peerings``, for the nodes that ``node`` or ``nodeSelector`` names, unless 1 has the same neighbour;
3. reverse peerings, unless ``reversePeering: Manual``: the Calico nodes that a BGPPeer peers *with* peer back with
   the nodes it is *for*; after 2 in ``peerings``, so that what somebody wrote wins over what follows from it.

Among BGPPeers of one step Calico leaves the winner to the order of a Go map; here it is the first by name, and
among nodes with one address too.

A peerIP that is a Calico node's own address is dialled at that node's port. A peerIP carries no cluster ID, not
even when it is a route reflector's. A selector that does not parse matches no node. A node without an address is
nobody's neighbour; those that would peer with it are told so.

A BGPPeer with ``localWorkloadSelector`` has no neighbours here: workloads are each node's own (``peers``).

Departure: ``asNumber`` left out beside a peerIP is the global AS here, which is how Calico looks for the node
behind it; what Calico then writes for BIRD is AS 0, a configuration that BIRD refuses to load.

Follows confd/pkg/backends/calico/client.go: updatePeersV1, nodesWithIPPortAndAS, nodeAsBGPPeers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import attrs

from agents.confd.nodes import NodeFacts
from agents.confd.requests import Options, Request, Workloads
from agents.confd.settings import PeeringSettings
from agents.speaker.config import Filter
from protocol.prefix import Address, format_address
from protocol.v3.selector import SelectorError, parse

NeighborKey = tuple[Address, int | None]
"""One neighbour, one stanza: address and port, None where the stanza names no port."""


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
    options: Options

    @property
    def key(self) -> NeighborKey:
        return self.address, self.port


class MeshNeighbor(NamedTuple):
    name: str  # of the protocol
    address: Address
    text: str
    as_number: int | None
    port: int | None


@attrs.frozen(kw_only=True)
class Mesh:
    neighbors: tuple[MeshNeighbor, ...]  # sorted by protocol name; empty when the mesh is off
    password: str | None = attrs.field(repr=False)
    restart_time: int | None
    import_filters: tuple[Filter, ...]
    export_filters: tuple[Filter, ...]


@attrs.frozen(kw_only=True)
class Peering:
    """Each of ``nodes`` (names; None is every one) peers with all of ``neighbors``, and is told the ``notes``."""

    nodes: frozenset[str] | None
    neighbors: tuple[Neighbor, ...] = ()
    workloads: Workloads | None = None
    notes: tuple[str, ...] = ()

    def concerns(self, node: str) -> bool:
        return self.nodes is None or node in self.nodes


@attrs.frozen(kw_only=True)
class Fabric:
    """As long as it is equal, the peers of a node have changed only if the node itself has."""

    settings: PeeringSettings
    mesh: Mesh
    global_peers: Mapping[NeighborKey, Neighbor]  # sorted by label
    peerings: tuple[Peering, ...]  # in order of precedence; global ones have notes and workloads only
    workloads: bool  # whether any of them is with workloads
    notes: tuple[str, ...]  # for every node
    wireguard: tuple[Address, ...]  # nodes that have it, in the order of their addresses' text


def build_fabric(
    settings: PeeringSettings,
    nodes: Mapping[str, NodeFacts],
    requests: Mapping[str, Request],
    mesh_password: tuple[str | None, tuple[str, ...]],
    mesh_filters: tuple[tuple[Filter, ...], tuple[Filter, ...]] = ((), ()),
) -> Fabric:
    """The index over nodes and BGPPeers, both by name and in any order. ``mesh_password`` comes with its notes,
    ``mesh_filters`` are for import and export."""
    wanted = [requests[name] for name in sorted(requests)]
    members = [nodes[name] for name in sorted(nodes) if nodes[name].address]
    homeless = [nodes[name] for name in sorted(nodes) if nodes[name].homeless]
    reader = _PeeringReader(settings, members, homeless)
    password, notes = mesh_password
    return Fabric(
        settings=settings,
        mesh=Mesh(
            neighbors=_mesh(settings, members) if settings.mesh else (),
            password=password,
            restart_time=settings.mesh_restart_time,
            import_filters=mesh_filters[0],
            export_filters=mesh_filters[1],
        ),
        global_peers=reader.global_peers(wanted),
        peerings=(*reader.forward_peerings(wanted), *reader.reverse_peerings(wanted)),
        workloads=any(request.workloads is not None for request in wanted),
        notes=notes,
        wireguard=tuple(sorted({node.address for node in members if node.wireguard}, key=format_address)),
    )


def _mesh(settings: PeeringSettings, members: Iterable[NodeFacts]) -> tuple[MeshNeighbor, ...]:
    """Route reflectors are not in the mesh. Of nodes with one address the first by name is."""
    found: dict[str, MeshNeighbor] = {}
    for node in members:
        if node.cluster_id is None:
            # The port never is part of a mesh protocol's name.
            protocol = f"Mesh_{label_of(node.text, None)}"
            port = settings.port_of(node.name)
            found.setdefault(protocol, MeshNeighbor(protocol, node.address, node.text, node.as_number, port))
    return tuple(found[protocol] for protocol in sorted(found))


def label_of(text: str, port: int | None) -> str:
    label = text.replace(".", "_").replace(":", "_")
    return label if port is None else f"{label}_port_{port}"


class _PeeringReader:
    """Reads BGPPeers against one set of nodes. Remembers each selector's answer."""

    def __init__(
        self, settings: PeeringSettings, members: Sequence[NodeFacts], homeless: Sequence[NodeFacts]
    ) -> None:
        self._settings = settings
        self._members = members  # nodes with an address of the family, sorted by name
        self._homeless = homeless
        self._by_address: dict[Address, list[NodeFacts]] = {}
        for node in members:
            self._by_address.setdefault(node.address, []).append(node)
        self._matching: dict[str, Sequence[NodeFacts]] = {}
        self._names: dict[str, frozenset[str]] = {}

    def global_peers(self, requests: Iterable[Request]) -> Mapping[NeighborKey, Neighbor]:
        peers: dict[NeighborKey, Neighbor] = {}
        for request in requests:
            if request.everywhere:
                for neighbor in self._remote_neighbors(request):
                    peers.setdefault(neighbor.key, neighbor)
        return {neighbor.key: neighbor for neighbor in sorted(peers.values(), key=lambda each: each.label)}

    def forward_peerings(self, requests: Iterable[Request]) -> Iterator[Peering]:
        for request in requests:
            if not request.everywhere:
                yield Peering(
                    nodes=self._local_names(request),
                    neighbors=self._remote_neighbors(request),
                    workloads=request.workloads,
                    notes=self._notes(request),
                )
            elif request.workloads is not None or self._notes(request):
                yield Peering(nodes=None, workloads=request.workloads, notes=self._notes(request))

    def reverse_peerings(self, requests: Iterable[Request]) -> Iterator[Peering]:
        for request in requests:
            spec = request.spec
            if spec.reverse_peering == "Manual":
                continue
            if spec.peer_selector:
                nodes = self._names_matching(spec.peer_selector)
            else:
                nodes = frozenset(node.name for node in self._nodes_at(request))
            if nodes:
                options = request.node_options
                neighbors = (self._as_neighbor(node, options) for node in self._local_nodes(request))
                yield Peering(nodes=nodes, neighbors=tuple(neighbors), notes=request.notes)

    def _notes(self, request: Request) -> tuple[str, ...]:
        selector = request.spec.peer_selector
        if not selector or not self._homeless:
            return request.notes
        found = [node.name for node in _matching(selector, self._homeless)]
        if not found:
            return request.notes
        more = f" and {len(found) - 1} more have" if len(found) > 1 else " has"
        return (*request.notes, f"{request.name}: Node/{found[0]}{more} no address: skipped")

    def _local_names(self, request: Request) -> frozenset[str]:
        """Of the nodes that a BGPPeer which is not global is for."""
        if request.spec.node_selector:
            return self._names_matching(request.spec.node_selector)
        return frozenset((request.spec.node,))

    def _local_nodes(self, request: Request) -> Iterable[NodeFacts]:
        spec = request.spec
        if spec.node_selector:
            return self._nodes_matching(spec.node_selector)
        if spec.node:
            return [node for node in self._members if node.name == spec.node]
        return self._members

    def _remote_neighbors(self, request: Request) -> tuple[Neighbor, ...]:
        """Those it peers them with."""
        if request.spec.peer_selector:
            options = request.node_options
            found = self._nodes_matching(request.spec.peer_selector)
            return tuple(self._as_neighbor(node, options) for node in found)
        if request.address is None:
            return ()
        port = request.port
        if port is None:
            port = next((self._settings.port_of(node.name) for node in self._nodes_at(request)), None)
        text = format_address(request.address)
        neighbor = Neighbor(
            address=request.address,
            text=text,
            label=label_of(text, port),
            as_number=request.spec.as_number or self._settings.as_number,
            port=port,
            cluster_id=None,
            by_node_address=request.address in self._by_address,
            options=request.options,
        )
        return (neighbor,)

    def _nodes_at(self, request: Request) -> list[NodeFacts]:
        """The Calico nodes that a peerIP and its asNumber mean."""
        if request.address is None:
            return []
        as_number = request.spec.as_number or self._settings.as_number
        return [
            node
            for node in self._by_address.get(request.address, ())
            if (node.as_number or self._settings.as_number) == as_number
            and self._listens_at(node.name, request.port)
        ]

    def _listens_at(self, node: str, port: int | None) -> bool:
        """Calico's comparison: the node's own port does not spare it the comparison with the global one."""
        return port is None or all(
            listen is None or listen == port
            for listen in (self._settings.node_ports.get(node), self._settings.listen_port)
        )

    def _nodes_matching(self, selector: str) -> Sequence[NodeFacts]:
        if selector not in self._matching:
            self._matching[selector] = _matching(selector, self._members)
        return self._matching[selector]

    def _names_matching(self, selector: str) -> frozenset[str]:
        if selector not in self._names:
            self._names[selector] = frozenset(node.name for node in self._nodes_matching(selector))
        return self._names[selector]

    def _as_neighbor(self, node: NodeFacts, options: Options) -> Neighbor:
        port = self._settings.port_of(node.name)
        return Neighbor(
            address=node.address,
            text=node.text,
            label=label_of(node.text, port),
            as_number=node.as_number or self._settings.as_number,
            port=port,
            cluster_id=node.cluster_id,
            by_node_address=False,
            options=options,
        )


def _matching(selector: str, nodes: Iterable[NodeFacts]) -> Sequence[NodeFacts]:
    try:
        matches = parse(selector).matches
    except SelectorError:
        return ()
    return [node for node in nodes if matches(node.labels)]
