"""Who has a BGP session with whom.

Owns the derivation of the session graph from Node, BGPConfiguration and BGPPeer. A session stands when both sides
configure each other, each expects the AS that the other says it is in, both are alive and the link between them is
not cut. There is one session between two nodes at most, however many resources ask for it.

The node-to-node mesh is not spelled out, it is two cliques. A node expects a mesh neighbour in the AS that its
Node resource names, and in its *own* AS when it names none. Two nodes that name none agree, and so do two that
both name theirs; one of each agrees only when the named AS is the global one. Hence: everybody in the global AS
is one clique, everybody who names an AS is the other.

Explicit peerings are tables, one a node: (address, port) to what is expected there. Global BGPPeers come first,
then those of single nodes, then the reverse of both, each in the order of their names; what came first stays.

Follows confd's ``updatePeersV1`` and ``bgp_processor.go`` for the rules, but not for the way.

Left out: neighbours that are no node of the cluster, and what a session is like beyond ASes and reflection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from protocol.prefix import Address, parse_address
from protocol.v3.bgp import BGPPeer
from protocol.v3.selector import SelectorError, parse

PeerKey = tuple[bytes, int]  # (address, port); port 0 when nobody names one
Pair = tuple[int, int]


@attrs.frozen(kw_only=True)
class Station:
    """A node as its neighbours know it. ``number`` is its place in ``Facts.names``."""

    number: int
    name: str
    labels: Mapping[str, str]
    address: bytes  # b"": not in BGP
    named_as: int | None  # by its Node resource
    asn: int
    cluster: bytes  # b"": no reflector
    port: int  # it listens on; 0: the default
    ports: frozenset[int]  # all that its own BGPConfiguration and the global one name

    @property
    def key(self) -> PeerKey:
        return self.address, self.port


@attrs.frozen(kw_only=True)
class Graph:
    """All sessions that should stand. Nodes are numbers.

    ``cliques`` are the mesh. ``severed`` are pairs within the cliques that cannot talk, as [node, bitmap of nodes
    (little-endian)]. ``edges`` are all other sessions: [a, b, a reflects for b, b reflects for a].
    """

    cliques: list[list[int]]
    severed: list[tuple[int, bytes]]
    edges: list[tuple[int, int, bool, bool]]


@attrs.frozen
class _Peering:
    """One side's configuration of a session. ``cluster`` is the neighbour's, b"" when it has or tells none."""

    peer_as: int
    cluster: bytes

    def side(self, station: Station) -> tuple[int, bool]:
        """(AS it expects, whether the neighbour is its client)."""
        client = bool(station.cluster) and self.peer_as == station.asn and self.cluster != station.cluster
        return self.peer_as, client


def derive(
    stations: Sequence[Station],
    *,
    mesh: bool,
    global_as: int,
    peers: Sequence[BGPPeer],
    down: Collection[int],
    cut: Collection[Pair],
) -> Graph:
    """``cut`` holds each pair both ways round."""
    alive = [station for station in stations if station.address and station.number not in down]
    circles = [0] * len(stations)  # which cliques a node is in, as bits
    if mesh:
        for station in alive:
            if not station.cluster:
                in_global, names_one = station.asn == global_as, station.named_as is not None
                circles[station.number] = in_global | names_one << 1
    cliques = [[number for number, circle in enumerate(circles) if circle & bit] for bit in (1, 2)]
    severed: dict[int, int] = {}
    for one, other in cut:
        if circles[one] & circles[other]:
            severed[one] = severed.get(one, 0) | 1 << other
    size = (len(stations) + 7) >> 3
    return Graph(
        cliques=[clique for clique in cliques if len(clique) > 1],
        severed=[(number, bits.to_bytes(size, "little")) for number, bits in sorted(severed.items())],
        edges=_explicit(alive, circles, _tables(stations, global_as, peers), cut),
    )


def _explicit(
    alive: Sequence[Station],
    circles: Sequence[int],
    tables: Sequence[Mapping[PeerKey, _Peering]],
    cut: Collection[Pair],
) -> list[tuple[int, int, bool, bool]]:
    living = {station.address: station for station in alive}
    ports = sorted({port for table in tables for _, port in table})

    def sides(one: Station, other: Station) -> list[tuple[int, bool]]:
        table = tables[one.number]
        found = [table[other.address, port].side(one) for port in ports if (other.address, port) in table]
        if circles[one.number] and circles[other.number]:
            found.append((one.asn if other.named_as is None else other.named_as, False))
        return found

    edges = []
    for one in alive:
        # One neighbour may stand there under several ports.
        for address in dict.fromkeys(address for address, _ in tables[one.number]):
            other = living.get(address)
            if (
                other is None
                or (one.number, other.number) in cut
                or circles[one.number] & circles[other.number]
            ):
                continue
            theirs = sides(other, one)
            if other.number < one.number and any(
                (one.address, port) in tables[other.number] for port in ports
            ):
                continue  # met from the other side
            agreed = [
                (one.number, other.number, client, their_client)
                for expected, client in sides(one, other)
                for they_expect, their_client in theirs
                if expected == other.asn and they_expect == one.asn
            ]
            edges += agreed[:1]
    return edges


def _tables(
    stations: Sequence[Station], global_as: int, peers: Sequence[BGPPeer]
) -> list[dict[PeerKey, _Peering]]:
    tables: list[dict[PeerKey, _Peering]] = [{} for _ in stations]

    def add(to: Iterable[Station], key: PeerKey, peering: _Peering) -> None:
        for station in to:
            if station.address != key[0]:
                tables[station.number].setdefault(key, peering)

    here: dict[str, list[Station]] = {}
    there: dict[str, list[Station]] = {}
    peers = sorted(
        (peer for peer in peers if not peer.spec.local_workload_selector), key=lambda peer: peer.metadata.name
    )
    for peer in peers:
        here[peer.metadata.name] = _locals(stations, peer)
        there[peer.metadata.name] = _remotes(stations, peer, global_as)
    for particular in (False, True):
        for peer in peers:
            if bool(peer.spec.node or peer.spec.node_selector) is not particular:
                continue
            name = peer.metadata.name
            if peer.spec.peer_selector:
                for remote in there[name]:
                    add(here[name], remote.key, _Peering(remote.asn, remote.cluster))
            elif peer.spec.peer_ip:
                endpoint = _endpoint(peer.spec.peer_ip)
                if endpoint is not None:
                    address, port = endpoint
                    if not port and there[name]:
                        port = there[name][0].port
                    add(here[name], (address, port), _Peering(peer.spec.as_number or global_as, b""))
    for peer in peers:
        if peer.spec.reverse_peering != "Manual":
            name = peer.metadata.name
            for local in here[name]:
                add(there[name], local.key, _Peering(local.asn, local.cluster))
    return tables


def _locals(stations: Sequence[Station], peer: BGPPeer) -> list[Station]:
    """The nodes a BGPPeer is for."""
    if peer.spec.node:
        return [station for station in stations if station.address and station.name == peer.spec.node]
    return _selected(stations, peer.spec.node_selector or "all()")


def _remotes(stations: Sequence[Station], peer: BGPPeer, global_as: int) -> list[Station]:
    """The nodes of the cluster a BGPPeer points at."""
    if peer.spec.peer_selector:
        return _selected(stations, peer.spec.peer_selector)
    endpoint = _endpoint(peer.spec.peer_ip)
    if endpoint is None:
        return []
    address, port = endpoint
    expected = peer.spec.as_number or global_as
    return [
        station
        for station in stations
        if station.address == address and station.asn == expected
        # Calico compares with the global port even where the node has its own.
        if not port or station.ports <= {port}
    ]


def _selected(stations: Sequence[Station], text: str) -> list[Station]:
    try:
        selector = parse(text)
    except SelectorError:
        return []  # as confd: it matches nothing
    return [station for station in stations if station.address and selector.matches(station.labels)]


def _endpoint(text: str) -> tuple[Address, int] | None:
    """``10.0.0.1`` or ``10.0.0.1:1790``; None for IPv6 and for what is neither."""
    host, _, port = text.partition(":")
    try:
        return parse_address(host), int(port or 0)
    except ValueError:
        return None
