"""The peers of one node: its ``protocol bgp`` stanzas.

Owns the filling in of stanzas from the node's side; who peers with whom was found in ``fabric``. In the order of
their names:

- ``Global_*``: what every node has, but not with itself;
- ``Local_Workload_*``: workloads on this node that a BGPPeer's localWorkloadSelector matches;
- ``Mesh_*``: every other node, unless this one is a route reflector (and reflectors are not in the list either);
- ``Node_*``: what this node has of its own, reverse peerings included, but no neighbour that is global already.

Which side dials: in the mesh the address that is larger *as text* does and the other is passive, so "10.0.0.9"
dials "10.0.0.10". A global peer is passive by the same rule when its peerIP is a node's address. A workload dials. Every
other session is dialled from both ends and BGP's collision rule leaves one.

A mesh neighbour without an AS of its own is expected in *this* node's AS, not in the global one: a node with its own
AS and a neighbour without can never agree. That is Calico's behaviour and is kept. The mesh has a password and a
restart time of its own, and no filters but those for every session of the cluster.

A Mesh_ and a Node_ or Global_ stanza for one neighbour can stand beside each other; only one session comes up, that of the
first (``agents.speaker.turns``).

``localASNumber`` is the node's AS for the session: whether it is internal, and whether the neighbour is a client of a
reflector, is asked of that.

Follows confd/pkg/backends/calico/bgp_processor.go and bird.cfg.template.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import attrs

from agents.confd.fabric import Fabric, Neighbor, NeighborKey, label_of
from agents.confd.nodes import NodeFacts
from agents.confd.requests import Workloads
from agents.speaker.config import NextHop, PeerConfig, PeerKind, StaticRoute
from protocol.prefix import (
    Address,
    address_family,
    family_of,
    format_address,
    host_prefix,
    network_address,
    parse_prefix,
)
from protocol.v3.workload import WorkloadEndpoint


def local_as(fabric: Fabric, own: NodeFacts) -> int:
    return own.as_number or fabric.settings.as_number


@attrs.frozen(kw_only=True)
class Sessions:
    peers: tuple[PeerConfig, ...] = ()  # sorted by name
    statics: tuple[StaticRoute, ...] = ()  # the way to neighbours with reachableBy, to global ones first
    notes: tuple[str, ...] = ()  # on BGPPeers that are for this node, or that it peers back for


def derive_sessions(fabric: Fabric, own: NodeFacts, workloads: Iterable[WorkloadEndpoint]) -> Sessions:
    """``workloads`` are those on the node."""
    concerning = [peering for peering in fabric.peerings if peering.concerns(own.name)]
    said = [*fabric.notes, *(note for peering in concerning for note in peering.notes)]
    notes = tuple(dict.fromkeys(said))
    if not own.address:
        return Sessions(notes=notes)
    everyone = fabric.global_peers
    neighbors: dict[NeighborKey, Neighbor] = {}
    for peering in concerning:
        for neighbor in peering.neighbors:
            if neighbor.key not in everyone:
                neighbors.setdefault(neighbor.key, neighbor)
    ours = sorted(neighbors.values(), key=lambda neighbor: neighbor.label)
    wanted = [peering.workloads for peering in concerning if peering.workloads is not None]
    return Sessions(
        # Each list is sorted and "Global" < "Local_Workload" < "Mesh" < "Node".
        peers=(
            *_explicit(fabric, own, PeerKind.GLOBAL, everyone.values()),
            *(_workloads(fabric, own, workloads, wanted, {*everyone, *neighbors}) if wanted else ()),
            *_mesh(fabric, own),
            *_explicit(fabric, own, PeerKind.NODE, ours),
        ),
        statics=_gateways(own, (*everyone.values(), *ours)),
        notes=notes,
    )


def _gateways(own: NodeFacts, neighbors: Iterable[Neighbor]) -> tuple[StaticRoute, ...]:
    gateways: dict[Address, Address] = {}
    for neighbor in neighbors:
        if neighbor.options.reachable_by is not None and neighbor.address != own.address:
            gateways.setdefault(neighbor.address, neighbor.options.reachable_by)
    return tuple(StaticRoute(prefix=host_prefix(address), via=via) for address, via in gateways.items())


def _mesh(fabric: Fabric, own: NodeFacts) -> list[PeerConfig]:
    if own.cluster_id is not None:
        return []
    own_as, own_address, own_text = local_as(fabric, own), own.address, own.text
    kind, password, restart_time = PeerKind.MESH, fabric.mesh.password, fabric.mesh.restart_time
    import_filters, export_filters = fabric.mesh.import_filters, fabric.mesh.export_filters
    stanza = PeerConfig  # local names: this is done a million times for a mesh of a thousand
    return [
        stanza(
            name=name,
            kind=kind,
            address=address,
            local_address=own_address,
            local_as=own_as,
            peer_as=as_number or own_as,
            passive=text > own_text,
            port=port,
            restart_time=restart_time,
            password=password,
            import_filters=import_filters,
            export_filters=export_filters,
        )
        for name, address, text, as_number, port in fabric.mesh.neighbors
        if address != own_address
    ]


def _explicit(
    fabric: Fabric, own: NodeFacts, kind: PeerKind, neighbors: Iterable[Neighbor]
) -> list[PeerConfig]:
    node_as = local_as(fabric, own)
    stanzas = []
    for neighbor in neighbors:
        if neighbor.address == own.address:
            continue
        options = neighbor.options
        own_as = options.local_as_number or node_as
        external = neighbor.as_number != own_as
        rr_client = (
            own.cluster_id is not None
            and not external
            # A neighbour by peerIP has no cluster ID, so even a reflector of the same cluster becomes a client.
            and neighbor.cluster_id != own.cluster_id
        )
        stanzas.append(
            PeerConfig(
                name=f"{kind.value}_{neighbor.label}",
                kind=kind,
                address=neighbor.address,
                local_address=own.address,
                local_as=own_as,
                peer_as=neighbor.as_number,
                passive=kind is PeerKind.GLOBAL and neighbor.by_node_address and neighbor.text > own.text,
                rr_client=rr_client,
                cluster_id=own.cluster_id if rr_client else None,
                port=neighbor.port,
                local_as_number=options.local_as_number,
                source_address=options.source_address,
                ttl_security=options.ttl_security,
                next_hop=NextHop.KEEP if options.keep_next_hop and external else options.next_hop,
                allow_local_as=options.allow_local_as,
                restart_time=options.restart_time,
                keepalive_time=options.keepalive_time,
                password=options.password,
                import_filters=options.import_filters,
                export_filters=options.export_filters,
            )
        )
    return stanzas


def _workloads(
    fabric: Fabric,
    own: NodeFacts,
    workloads: Iterable[WorkloadEndpoint],
    wanted: Sequence[Workloads],
    taken: Container[NeighborKey],
) -> list[PeerConfig]:
    """One for each workload that a BGPPeer selects, by the first that does; none where a neighbour is already."""
    node_as = local_as(fabric, own)
    stanzas: dict[NeighborKey, PeerConfig] = {}
    for workload in sorted(workloads, key=lambda each: each.key):
        address = _workload_address(workload, address_family(own.address))
        found = next((it for it in wanted if it.selector.matches(workload.metadata.labels)), None)
        if found is None or address is None or (address, None) in taken:
            continue
        options = found.options
        own_as = options.local_as_number or node_as
        rr_client = own.cluster_id is not None and found.as_number == own_as
        stanzas.setdefault(
            (address, None),
            PeerConfig(
                name=f"{PeerKind.LOCAL_WORKLOAD.value}_{label_of(format_address(address), None)}",
                kind=PeerKind.LOCAL_WORKLOAD,
                address=address,
                local_address=fabric.settings.workload_gateway or own.address,
                local_as=own_as,
                peer_as=found.as_number,
                passive=True,
                rr_client=rr_client,
                cluster_id=own.cluster_id if rr_client else None,
                local_as_number=options.local_as_number,
                source_address=False,
                import_filters=options.import_filters,
                export_filters=options.export_filters,
            ),
        )
    return sorted(stanzas.values(), key=lambda each: each.name)


def _workload_address(workload: WorkloadEndpoint, family: int) -> Address | None:
    for text in workload.spec.ip_networks:
        prefix = parse_prefix(text)
        if family_of(prefix) == family:
            return network_address(prefix)
    return None
