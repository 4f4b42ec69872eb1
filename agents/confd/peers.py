"""The peers of one node: its ``protocol bgp`` stanzas.

Owns the filling in of stanzas from the node's side; who peers with whom was found in ``fabric``. In the order of
their names:

- ``Global_*``: what every node has, but not with itself;
- ``Mesh_*``: every other node, unless this one is a route reflector (and reflectors are not in the list either);
- ``Node_*``: what this node has of its own, reverse peerings included, but no neighbour that is global already.

Which side dials: in the mesh the address that is larger *as text* does and the other is passive, so "10.0.0.9"
dials "10.0.0.10". A global peer is passive by the same rule when its peerIP is a node's address. Every other
session is dialled from both ends and BGP's collision rule leaves one.

A mesh neighbour without an AS of its own is expected in *this* node's AS, not in the global one: a node with its own
AS and a neighbour without can never agree. That is Calico's behaviour and is kept.

A Mesh_ and a Node_ or Global_ stanza for one neighbour can stand beside each other; only one session comes up.

Follows confd/pkg/backends/calico/bgp_processor.go and bird.cfg.template.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.confd.fabric import Fabric, Neighbor, NeighborKey, NodeFacts
from agents.speaker.config import PeerConfig, PeerKind


def local_as(fabric: Fabric, own: NodeFacts) -> int:
    return own.as_number or fabric.settings.as_number


def derive_peers(fabric: Fabric, own: NodeFacts) -> tuple[PeerConfig, ...]:
    """Every stanza of one node, sorted by name."""
    # Each list is sorted and "Global" < "Mesh" < "Node".
    return (
        *_explicit(fabric, own, PeerKind.GLOBAL, fabric.global_peers),
        *_mesh(fabric, own),
        *_explicit(fabric, own, PeerKind.NODE, _of_this_node(fabric, own)),
    )


def _mesh(fabric: Fabric, own: NodeFacts) -> list[PeerConfig]:
    if own.cluster_id is not None:
        return []
    own_as, own_address, own_text = local_as(fabric, own), own.address, own.text
    kind = PeerKind.MESH
    return [
        PeerConfig(
            name=neighbor.name,
            kind=kind,
            address=node.address,
            local_address=own_address,
            local_as=own_as,
            peer_as=node.as_number or own_as,
            passive=node.text > own_text,
            port=neighbor.port,
        )
        for neighbor in fabric.mesh
        if (node := neighbor.node).address != own_address
    ]


def _of_this_node(fabric: Fabric, own: NodeFacts) -> dict[NeighborKey, Neighbor]:
    neighbors: dict[NeighborKey, Neighbor] = {}
    for peering in fabric.peerings:
        if own.name in peering.nodes:
            for neighbor in peering.neighbors:
                key = neighbor.key
                if key not in fabric.global_peers:
                    neighbors.setdefault(key, neighbor)
    return neighbors


def _explicit(
    fabric: Fabric, own: NodeFacts, kind: PeerKind, neighbors: Mapping[NeighborKey, Neighbor]
) -> list[PeerConfig]:
    own_as = local_as(fabric, own)
    stanzas = []
    for neighbor in sorted(neighbors.values(), key=_by_label):
        if neighbor.address == own.address:
            continue
        rr_client = (
            own.cluster_id is not None
            and neighbor.as_number == own_as
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
            )
        )
    return stanzas


def _by_label(neighbor: Neighbor) -> str:
    return neighbor.label
