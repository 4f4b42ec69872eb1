"""Which route each node ends with: the stable state of BGP over the facts, without any message.

What a node tells a neighbour is always worse, in the one order that all nodes rank by, than what it holds itself:
crossing an AS border lengthens AS_PATH, a route that came in over the border ranks below its outside original, and
reflection lengthens CLUSTER_LIST. So the best offer in all of the cluster cannot be improved on, its receiver keeps
it, and so on down: the stable state is the only one, whatever the order of messages, and is found by taking
offers best first, each node once. This is Dijkstra's algorithm with a rank for distance. Two of BGP's rules need no
code then: who is offered a route back (never over the session it came by, never to its ORIGINATOR_ID) holds a
better one already. Inside an AS its own number never stands in an AS_PATH, so only the border looks for it.

An offer is a tuple that sorts by rank and ends with what it carries:

    0 length of AS_PATH                \\  equal to here: ECMP
    1 0 over an AS border, 1 inside    /
    2 originator (its router ID)   3 length of CLUSTER_LIST   4 sender
    5 receiver   6 next hop   7 AS_PATH   8 CLUSTER_LIST   9 the next hops of this and equal offers, as a bitmap

LOCAL_PREF says the same as the length of AS_PATH (Calico's 2147482623 where the path is empty, BIRD's default of 100
beyond the border); ORIGIN and MED never differ. Nodes are numbered in the order of their addresses, which are their
router IDs.

Most nodes never pass a route on: no border, no clients. They are leaves. Offers are only followed among the others,
the relays; a leaf's table is read off what its neighbours hold. Leaves with the same neighbours have the same table
but for what they announce themselves, and that is local at each of them: so it is computed once and copied.
Neighbours are bitmaps. In a clique nobody has the same neighbours as anybody else until each counts as its
own neighbour too, which changes nothing for a leaf; ``_Topology.likeness`` does so.

Follows RFC 4271 9.1, RFC 4456 and BIRD 1.6's ``bgp_rte_better``, ``bgp_rte_mergable`` and ``bgp_update_attrs``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Sequence
from heapq import heapify, heappop, heappush

import attrs

from agents.dataplane.fib import BLACKHOLE, FibRoute, device
from cluster.oracle.facts import Facts
from protocol.prefix import Address, Prefix

ECMP_LIMIT = 16
"""BIRD's ``merge paths`` limit. The lowest next hops are kept."""

Offer = tuple[int, int, int, int, int, int, int, tuple[int, ...], tuple[bytes, ...], int]
Speaking = list[tuple[int, Offer | None]]  # (node, what it holds; None: its own route)
Table = dict[Prefix, FibRoute]
MakeVia = Callable[[tuple[Address, ...]], FibRoute]
Likeness = tuple[int, int, int]


@attrs.frozen
class NodeCounts:
    """What a node has when it has everything."""

    sessions: int
    routes: int


def solve(facts: Facts, own: Collection[str], via: MakeVia) -> Iterator[tuple[str, Table]]:
    """The table that each living node of ``own`` should have.

    ``via`` makes the route through some gateways. When it gives the same objects that the FIBs hold
    (``agents.dataplane.fib.Routes.via``), comparing a table with ``==`` costs a look-up an entry.
    """
    for group in _groups(facts, own, via):
        for number in group.members:
            table = group.table.copy() if len(group.members) > 1 else group.table
            table.update(_local(facts, number))
            yield facts.names[number], table


def expected_counts(facts: Facts, own: Collection[str]) -> dict[str, NodeCounts]:
    """For each living node of ``own``. A session counts at both of its ends."""
    near = _Topology(facts).near
    counts = {}
    for group in _groups(facts, own, lambda _: BLACKHOLE):
        for number in group.members:
            local = _local(facts, number)
            routes = len(group.table) + sum(prefix not in group.table for prefix in local)
            counts[facts.names[number]] = NodeCounts(sessions=near[number].bit_count(), routes=routes)
    return counts


def session_count(facts: Facts) -> int:
    """All sessions of the cluster, each once."""
    inside = [set(clique) for clique in facts.cliques]
    doubled = set.intersection(*inside) if len(inside) > 1 else set()
    cliques = sum(map(_pairs, map(len, inside))) - _pairs(len(doubled))
    severed = sum(int.from_bytes(bits, "little").bit_count() for _, bits in facts.severed) // 2
    return cliques - severed + len(facts.edges)


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _local(facts: Facts, number: int) -> Table:
    """What a node holds without BGP. A workload's route wins; the rest beats what BGP brings."""
    table: Table = {}
    if facts.addresses[number]:  # without an address there is no BIRD to make them
        table = dict.fromkeys(facts.blackholes[number], BLACKHOLE)
    claimed: Table = {}
    for prefix, interface in facts.workloads[number]:
        claimed.setdefault(prefix, device(interface))
    table.update(claimed)
    return table


@attrs.define
class _Group:
    """Nodes that share a table."""

    members: list[int]
    table: Table = attrs.Factory(dict)


def _groups(facts: Facts, own: Collection[str], via: MakeVia) -> list[_Group]:
    topology = _Topology(facts)
    dead = set(facts.down)
    numbers = [number for number, name in enumerate(facts.names) if name in own and number not in dead]
    relays = {number: _Group([number]) for number in numbers if topology.relays >> number & 1}
    leaves: dict[Likeness, _Group] = {}
    for number in numbers:
        if number not in relays:
            leaves.setdefault(topology.likeness(number), _Group([])).members.append(number)
    routes = _Routes(facts.addresses, via)
    settled: dict[tuple[int, ...], dict[int, _Held]] = {}
    for announcers, silent, transit, prefixes in facts.announced:
        mute = sum(1 << number for number in set(silent)) & topology.relays if transit else topology.relays
        # The same announcers fare the same with other prefixes, unless somebody else keeps quiet.
        key = (mute, *announcers)
        held = settled.get(key)
        if held is None:
            held = settled[key] = _settle(topology, announcers, mute)
        for number, group in relays.items():
            if number in held and held[number].next_hops:
                group.table.update(dict.fromkeys(prefixes, routes.through(held[number].next_hops)))
        speaking: Speaking = [(number, None) for number in announcers]
        speaking += [
            (number, state.best) for number, state in held.items() if state.best and not mute >> number & 1
        ]
        for (near, *_), group in leaves.items():
            next_hops = _read_off(topology, near, group.members[0], speaking)
            if next_hops:
                group.table.update(dict.fromkeys(prefixes, routes.through(next_hops)))
    return [*relays.values(), *leaves.values()]


def _read_off(topology: _Topology, near: int, leaf: int, speaking: Speaking) -> int:
    """The next hops of a leaf, and of all that are like it."""
    heard = [(number, best) for number, best in speaking if near >> number & 1]
    if len(heard) == 1 and heard[0][1] is None:
        return 1 << heard[0][0]
    offers = [offer for number, best in heard if (offer := topology.offer(number, best, leaf))]
    if not offers:
        return 0
    rank = min(offers)[:2]
    next_hops = 0
    for offer in offers:
        if offer[:2] == rank:
            next_hops |= offer[9]
    return next_hops


class _Routes:
    """Bitmaps of next hops to routes."""

    def __init__(self, addresses: Sequence[bytes], via: MakeVia) -> None:
        self._addresses = addresses
        self._via = via
        self._known: dict[int, FibRoute] = {}

    def through(self, next_hops: int) -> FibRoute:
        route = self._known.get(next_hops)
        if route is None:
            single = not next_hops & (next_hops - 1)
            lowest = [next_hops.bit_length() - 1] if single else _numbers(next_hops)[:ECMP_LIMIT]
            route = self._via(tuple(Address(self._addresses[number]) for number in lowest))
            self._known[next_hops] = route
        return route


def _numbers(bits: int) -> list[int]:
    return [number for number, bit in enumerate(bin(bits)[:1:-1]) if bit == "1"]


@attrs.define
class _Held:
    """What a relay has for a prefix. ``best`` None: its own; then there are no next hops."""

    best: Offer | None
    next_hops: int


def _settle(topology: _Topology, announcers: Sequence[int], mute: int) -> dict[int, _Held]:
    """What every relay holds once nothing moves any more."""
    if not topology.relays:
        return {}
    held = {number: _Held(None, 0) for number in announcers if topology.relays >> number & 1}
    offers = topology.pass_on([(number, None) for number in announcers], held)
    while offers:
        # One rank at a time: its offers settle who is left, and only then are passed on to the ranks below. Without
        # this a mesh of relays would queue n^2 offers a prefix that can never win.
        heapify(offers)
        rank = offers[0][:2]
        fresh: Speaking = []
        while offers and offers[0][:2] == rank:
            offer = heappop(offers)
            receiver = offer[5]
            state = held.get(receiver)
            if state is not None:
                if state.best is not None and state.best[:2] == rank:
                    state.next_hops |= offer[9]
                continue
            held[receiver] = _Held(offer, offer[9])
            if mute >> receiver & 1:
                continue
            fresh.append((receiver, offer))
            if offer[1] and topology.clients[receiver]:
                # Reflection keeps the rank, so it takes part in this round, for ECMP too.
                for further in topology.inward(receiver):
                    reflected = topology.offer(receiver, offer, further)
                    if reflected is not None:
                        heappush(offers, reflected)
        offers += topology.pass_on(fresh, held)
    return held


class _Topology:
    """The session graph as bitmaps, one bit a node."""

    def __init__(self, facts: Facts) -> None:
        count = len(facts.names)
        self._asns = facts.asns
        self._clusters = facts.clusters
        self.near = [0] * count  # neighbours
        self.border = [0] * count  # those of another AS
        self.clients = [0] * count  # those it reflects for
        self._reflectors = [0] * count  # those that reflect for it
        for clique in facts.cliques:
            self._add_clique(clique)
        for number, bits in facts.severed:
            self.near[number] &= ~int.from_bytes(bits, "little")
            self.border[number] &= self.near[number]
        for one, other, one_reflects, other_reflects in facts.edges:
            self._add(one, other)
            self._add(other, one)
            if one_reflects:
                self._add_client(one, other)
            if other_reflects:
                self._add_client(other, one)
        self.relays = sum(
            1 << number for number in range(count) if self.border[number] or self.clients[number]
        )
        self._bordering = [number for number in range(count) if self.border[number]]
        self._inward: dict[int, list[int]] = {}

    def _add_clique(self, clique: Sequence[int]) -> None:
        by_as: dict[int, int] = {}
        for number in clique:
            by_as[self._asns[number]] = by_as.get(self._asns[number], 0) | 1 << number
        everybody = sum(by_as.values())
        for number in clique:
            self.near[number] |= everybody & ~(1 << number)
            self.border[number] |= everybody & ~by_as[self._asns[number]]

    def _add(self, one: int, other: int) -> None:
        self.near[one] |= 1 << other
        if self._asns[one] != self._asns[other]:
            self.border[one] |= 1 << other

    def _add_client(self, reflector: int, client: int) -> None:
        self.clients[reflector] |= 1 << client
        self._reflectors[client] |= 1 << reflector

    def likeness(self, leaf: int) -> Likeness:
        """Equal for leaves that hear the same. The first item is the neighbours to listen to."""
        near = self.near[leaf]
        if near & ~self.relays:
            near |= 1 << leaf
        return near, self._reflectors[leaf], self._asns[leaf]

    def inward(self, number: int) -> list[int]:
        """The relays among its neighbours in its own AS."""
        found = self._inward.get(number)
        if found is None:
            found = self._inward[number] = _numbers(self.near[number] & ~self.border[number] & self.relays)
        return found

    def pass_on(self, speaking: Speaking, held: Container[int]) -> list[Offer]:
        """What relays that hold nothing yet are told."""
        offers: list[Offer] = []
        over: dict[tuple[int, ...], int] = {}  # AS_PATH as told over the border: who tells it
        for number, best in speaking:
            path = (self._asns[number], *(best[7] if best else ()))
            over[path] = over.get(path, 0) | 1 << number
            for receiver in self.inward(number):
                if receiver not in held and (offer := self.offer(number, best, receiver)):
                    offers.append(offer)
        # Over the border all that tell the same path tie: one offer stands for all of them. In a mesh with an AS per
        # rack this is one for each node and prefix instead of as many as a rack has nodes.
        for path, senders in over.items():
            for receiver in self._bordering:
                if receiver not in held:
                    equals = self.border[receiver] & senders
                    if equals and self._asns[receiver] not in path:
                        lowest = (equals & -equals).bit_length() - 1
                        offers.append((len(path), 0, lowest, 0, lowest, receiver, lowest, path, (), equals))
        return offers

    def offer(self, sender: int, best: Offer | None, receiver: int) -> Offer | None:
        """What ``sender`` tells ``receiver``, of its own AS, of what it holds, as the receiver ranks it.

        None when the sender keeps it to itself or the receiver refuses it.
        """
        if best is None:
            return 0, 1, sender, 0, sender, receiver, sender, (), (), 1 << sender
        length, inside, originator, reflections, source, _, next_hop, path, clusters, _ = best
        if not inside:
            return length, 1, sender, 0, sender, receiver, next_hop, path, (), 1 << next_hop
        if not (self.clients[sender] >> source & 1 or self.clients[sender] >> receiver & 1):
            return None
        clusters = (self._clusters[sender], *clusters)
        # BIRD knows its cluster ID on sessions with clients only.
        if self.clients[receiver] >> sender & 1 and self._clusters[receiver] in clusters:
            return None
        return (
            length,
            1,
            originator,
            reflections + 1,
            sender,
            receiver,
            next_hop,
            path,
            clusters,
            1 << next_hop,
        )
