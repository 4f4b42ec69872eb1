"""Who has a BGP session with whom, in a plain cluster (``choice``).

Owns the derivation of the session graph of one address family from Node and BGPPeer. A session stands when both sides
configure each other, each expects the AS of the cluster, both are alive and the link between them is not cut.
There is one session between two nodes at most, however many resources ask for it. Of what a node has for one neighbour
a peering that every node has comes first, then the mesh, then what is the node's own: that one has the session, also
when it expects the wrong AS.

The node-to-node mesh is not spelled out, it is a clique. Explicit peerings are tables, one a node: address to what is
expected there. Global BGPPeers come first, then those of single nodes, then the reverse of both, each in the order of
their names; what came first stays.

Follows confd's ``updatePeersV1`` and ``bgp_processor.go`` for the rules, but not for the way.

Left out: neighbours that are no node of the cluster, and what a session is like beyond ASes and reflection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import attrs

from protocol.prefix import Address, parse_address
from protocol.v3.bgp import BGPPeer
from protocol.v3.selector import SelectorError, parse

Pair = tuple[int, int]


@attrs.frozen(kw_only=True)
class Station:
    """A node as its neighbours know it. ``number`` is its place in ``Facts.names``."""

    number: int
    name: str
    labels: Mapping[str, str]
    address: bytes  # b"": none of this family
    cluster: bytes  # b"": no reflector


@attrs.frozen(kw_only=True)
class Graph:
    """All sessions that should stand. Nodes are numbers.

    ``clique`` is the mesh. ``severed`` are pairs within the clique that cannot talk, as [node, bitmap of nodes
    (little-endian)]. ``edges`` are all other sessions: [a, b, a reflects for b, b reflects for a].
    """

    clique: list[int]
    severed: list[tuple[int, bytes]]
    edges: list[tuple[int, int, bool, bool]]


@attrs.frozen
class _Peering:
    """One side's configuration of a session. ``cluster`` is the neighbour's, b"" when it has or tells none."""

    peer_as: int
    cluster: bytes
    everybodys: bool  # it comes before the mesh

    def reflects(self, station: Station) -> bool:
        """Whether the neighbour is a client of the station that is configured so."""
        return bool(station.cluster) and self.cluster != station.cluster


def derive(
    stations: Sequence[Station],
    *,
    mesh: bool,
    asn: int,
    peers: Sequence[BGPPeer],
    down: Collection[int],
    cut: Collection[Pair],
) -> Graph:
    """``cut`` holds each pair both ways round."""
    alive = [station for station in stations if station.address and station.number not in down]
    clique = {station.number for station in alive if mesh and not station.cluster}
    tables = _tables(stations, asn, peers)
    severed: dict[int, int] = {}
    for one, other in (*cut, *_hidden(alive, clique, tables, asn)):
        if one in clique and other in clique:
            severed[one] = severed.get(one, 0) | 1 << other
    size = (len(stations) + 7) >> 3
    return Graph(
        clique=sorted(clique),
        severed=[(number, bits.to_bytes(size, "little")) for number, bits in sorted(severed.items())],
        edges=[
            edge
            for edge in _explicit(alive, tables, asn, cut)
            if not (edge[0] in clique and edge[1] in clique)
        ],
    )


def _hidden(
    alive: Iterable[Station], clique: Collection[int], tables: Sequence[Mapping[bytes, _Peering]], asn: int
) -> Iterator[Pair]:
    """Sessions of the mesh that a peering of every node comes before, which can not come up; both ways round."""
    numbers = {station.address: station.number for station in alive}
    for station in alive:
        if station.number in clique:
            for address, peering in tables[station.number].items():
                if peering.everybodys and peering.peer_as != asn and address in numbers:
                    yield station.number, numbers[address]
                    yield numbers[address], station.number


def _explicit(
    alive: Sequence[Station],
    tables: Sequence[Mapping[bytes, _Peering]],
    asn: int,
    cut: Collection[Pair],
) -> list[tuple[int, int, bool, bool]]:
    living = {station.address: station for station in alive}
    edges = []
    for one in alive:
        for address, ours in tables[one.number].items():
            other = living.get(address)
            if other is None or other.number < one.number or (one.number, other.number) in cut:
                continue
            theirs = tables[other.number].get(one.address)
            if theirs is not None and ours.peer_as == theirs.peer_as == asn:
                edges.append((one.number, other.number, ours.reflects(one), theirs.reflects(other)))
    return edges


def _tables(stations: Sequence[Station], asn: int, peers: Sequence[BGPPeer]) -> list[dict[bytes, _Peering]]:
    tables: list[dict[bytes, _Peering]] = [{} for _ in stations]

    def add(to: Iterable[Station], address: bytes, peering: _Peering) -> None:
        for station in to:
            if station.address != address:
                tables[station.number].setdefault(address, peering)

    peers = sorted(
        (peer for peer in peers if not peer.spec.local_workload_selector), key=lambda peer: peer.metadata.name
    )
    here = {peer.metadata.name: _locals(stations, peer) for peer in peers}
    there = {peer.metadata.name: _remotes(stations, peer, asn) for peer in peers}
    for particular in (False, True):
        for peer in peers:
            if bool(peer.spec.node or peer.spec.node_selector) is not particular:
                continue
            name = peer.metadata.name
            if peer.spec.peer_selector:
                for remote in there[name]:
                    add(here[name], remote.address, _Peering(asn, remote.cluster, not particular))
            elif (address := _address(peer.spec.peer_ip)) is not None:
                add(here[name], address, _Peering(peer.spec.as_number or asn, b"", not particular))
    for peer in peers:
        if peer.spec.reverse_peering != "Manual":
            for local in here[peer.metadata.name]:
                add(there[peer.metadata.name], local.address, _Peering(asn, local.cluster, False))
    return tables


def _locals(stations: Sequence[Station], peer: BGPPeer) -> list[Station]:
    """The nodes a BGPPeer is for."""
    if peer.spec.node:
        return [station for station in stations if station.address and station.name == peer.spec.node]
    return _selected(stations, peer.spec.node_selector or "all()")


def _remotes(stations: Sequence[Station], peer: BGPPeer, asn: int) -> list[Station]:
    """The nodes of the cluster a BGPPeer points at."""
    if peer.spec.peer_selector:
        return _selected(stations, peer.spec.peer_selector)
    address = _address(peer.spec.peer_ip)
    if address is None or (peer.spec.as_number or asn) != asn:
        return []
    return [station for station in stations if station.address == address]


def _selected(stations: Sequence[Station], text: str) -> list[Station]:
    try:
        selector = parse(text)
    except SelectorError:
        return []  # as confd: it matches nothing
    return [station for station in stations if station.address and selector.matches(station.labels)]


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except ValueError:
        return None
