"""Which route each node ends with: the stable state of BGP over the facts, without any message.

What a node tells a neighbour is always worse, in the one order that all nodes rank by, than what it holds itself:
crossing an AS border costs LOCAL_PREF (from Calico's 2147482623 to BIRD's default of 100) or lengthens AS_PATH,
a route that came in over the border ranks below its outside original, and reflection lengthens CLUSTER_LIST. So the
best offer in all of the cluster cannot be improved on, its receiver keeps it, and so on down: the stable state is the
only one and is found by taking offers best first, each node once. This is Dijkstra's algorithm with a rank for
distance.

An offer is a tuple that sorts by rank and ends with what it carries:

    0 LOCAL_PREF (0 as announced inside an AS, 1 the default)  \\
    1 length of AS_PATH                                         }  equal to here: ECMP
    2 0 over an AS border, 1 inside                            /
    3 originator (its router ID)   4 length of CLUSTER_LIST   5 sender
    6 receiver   7 next hop   8 AS_PATH   9 CLUSTER_LIST

ORIGIN and MED never differ here. Nodes are numbered in the order of their addresses, which are their router IDs.

Most nodes never pass a route on: no border, no clients. They are leaves. Offers are only followed among the others,
the relays; a leaf's table is read off what its neighbours hold. Leaves with the same neighbours have the same table
but for what they announce themselves, and that is local at each of them: so it is computed once and copied.
Neighbours are bitmaps. In a clique nobody has the same neighbours as anybody else until each counts as its
own neighbour too, which changes nothing for a leaf; ``_Topology.likeness`` does so.

Follows RFC 4271 9.1, RFC 4456 and BIRD 1.6's ``bgp_rte_better``, ``bgp_rte_mergable`` and ``bgp_update_attrs``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush

import attrs

from agents.dataplane.fib import BLACKHOLE, FibRoute, device
from cluster.oracle.facts import Facts
from protocol.prefix import Address, Prefix

ECMP_LIMIT = 16
"""BIRD's ``merge paths`` limit. The lowest next hops are kept."""

Offer = tuple[int, int, int, int, int, int, int, int, tuple[int, ...], tuple[bytes, ...]]
Table = dict[Prefix, FibRoute]
MakeVia = Callable[[tuple[Address, ...]], FibRoute]
Likeness = tuple[int, int, int, tuple[tuple[int, int], ...]]


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
    table: Table = dict.fromkeys(facts.blackholes[number], BLACKHOLE)
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
        speaking: list[tuple[int, Offer | None]] = [(number, None) for number in announcers]
        speaking += [
            (number, state.best) for number, state in held.items() if state.best and not mute >> number & 1
        ]
        for (near, *_), group in leaves.items():
            next_hops = _read_off(topology, near, group.members, announcers, speaking)
            if next_hops:
                group.table.update(dict.fromkeys(prefixes, routes.through(next_hops)))
    return [*relays.values(), *leaves.values()]


def _read_off(
    topology: _Topology,
    near: int,
    members: Sequence[int],
    announcers: Sequence[int],
    speaking: Sequence[tuple[int, Offer | None]],
) -> Iterable[int]:
    """The next hops of leaves that are all alike."""
    heard = [(number, best) for number, best in speaking if near >> number & 1]
    # To one that announces it itself the neighbours may say less, and it would not matter.
    receiver = next((number for number in members if number not in announcers), None)
    if not heard or receiver is None:
        return ()
    if len(heard) == 1 and heard[0][1] is None:
        return (heard[0][0],)
    offers = [offer for number, best in heard if (offer := topology.offer(number, best, receiver))]
    if not offers:
        return ()
    rank = min(offers)[:3]
    return {offer[7] for offer in offers if offer[:3] == rank}


class _Routes:
    """Next hops to routes."""

    def __init__(self, addresses: Sequence[bytes], via: MakeVia) -> None:
        self._addresses = addresses
        self._via = via
        self._single: dict[int, FibRoute] = {}

    def through(self, next_hops: Iterable[int]) -> FibRoute:
        lowest = sorted(next_hops)[:ECMP_LIMIT]
        if len(lowest) > 1:
            return self._via(tuple(Address(self._addresses[number]) for number in lowest))
        route = self._single.get(lowest[0])
        if route is None:
            route = self._single[lowest[0]] = self._via((Address(self._addresses[lowest[0]]),))
        return route


@attrs.define
class _Held:
    """What a relay has for a prefix. ``best`` None: its own; then there are no next hops."""

    best: Offer | None
    next_hops: set[int]


def _settle(topology: _Topology, announcers: Sequence[int], mute: int) -> dict[int, _Held]:
    """What every relay holds once nothing moves any more."""
    if not topology.relays:
        return {}
    held = {number: _Held(None, set()) for number in announcers if topology.relays >> number & 1}
    offers: list[Offer] = []

    def tell(number: int, best: Offer | None) -> None:
        for receiver in topology.onward(number):
            if receiver not in held:
                offer = topology.offer(number, best, receiver)
                if offer is not None:
                    offers.append(offer)

    for number in announcers:
        tell(number, None)
    while offers:
        # One rank at a time: its offers settle who is left and only then are passed on to the next ranks. Without
        # this a mesh of relays would queue n^2 offers a prefix that can never win.
        heapify(offers)
        rank = offers[0][:3]
        fresh: list[Offer] = []
        while offers and offers[0][:3] == rank:
            offer = heappop(offers)
            receiver = offer[6]
            state = held.get(receiver)
            if state is not None:
                if state.best is not None and state.best[:3] == rank:
                    state.next_hops.add(offer[7])
                continue
            held[receiver] = _Held(offer, {offer[7]})
            if not mute >> receiver & 1:
                fresh.append(offer)
                if offer[2] and topology.clients[receiver]:
                    # Reflection keeps the rank.
                    for further in topology.onward(receiver):
                        if further not in held or ((best := held[further].best) is not None and best[:3] == rank):
                            reflected = topology.offer(receiver, offer, further)
                            if reflected is not None and reflected[:3] == rank:
                                heappush(offers, reflected)
        for offer in fresh:
            tell(offer[6], offer)
    return held


class _Topology:
    """The session graph as bitmaps, one bit a node."""

    def __init__(self, facts: Facts) -> None:
        count = len(facts.names)
        self._asns = facts.asns
        self._clusters = facts.clusters
        self._odd: list[dict[int, int]] = [{} for _ in range(count)]  # by node, neighbour: another AS than its own
        self.near = [0] * count  # neighbours
        self.border = [0] * count  # those of another AS
        self.clients = [0] * count  # those it reflects for
        self._reflectors = [0] * count  # those that reflect for it
        for clique in facts.cliques:
            self._add_clique(clique)
        for number, bits in facts.severed:
            self.near[number] &= ~int.from_bytes(bits, "little")
            self.border[number] &= self.near[number]
        for one, other, one_as, other_as, one_reflects, other_reflects in facts.edges:
            self._add(one, other, one_as, other_as)
            self._add(other, one, other_as, one_as)
            if one_reflects:
                self._add_client(one, other)
            if other_reflects:
                self._add_client(other, one)
        self.relays = sum(1 << number for number in range(count) if self.border[number] or self.clients[number])
        self._onward: dict[int, list[int]] = {}

    def _add_clique(self, clique: Sequence[int]) -> None:
        by_as: dict[int, int] = {}
        for number in clique:
            by_as[self._asns[number]] = by_as.get(self._asns[number], 0) | 1 << number
        everybody = sum(by_as.values())
        for number in clique:
            self.near[number] |= everybody & ~(1 << number)
            self.border[number] |= everybody & ~by_as[self._asns[number]]

    def _add(self, one: int, other: int, one_as: int, other_as: int) -> None:
        self.near[one] |= 1 << other
        if one_as != other_as:
            self.border[one] |= 1 << other
        if one_as != self._asns[one]:
            self._odd[one][other] = one_as

    def _add_client(self, reflector: int, client: int) -> None:
        self.clients[reflector] |= 1 << client
        self._reflectors[client] |= 1 << reflector

    def likeness(self, leaf: int) -> Likeness:
        """Equal for leaves that hear the same. The first item is the neighbours to listen to."""
        near = self.near[leaf]
        if near & ~self.relays:
            near |= 1 << leaf
        return near, self._reflectors[leaf], self._asns[leaf], tuple(sorted(self._odd[leaf].items()))

    def onward(self, number: int) -> list[int]:
        """The relays among its neighbours."""
        found = self._onward.get(number)
        if found is None:
            bits = bin(self.near[number] & self.relays)[:1:-1]
            found = self._onward[number] = [place for place, bit in enumerate(bits) if bit == "1"]
        return found

    def offer(self, sender: int, best: Offer | None, receiver: int) -> Offer | None:
        """What ``sender`` tells ``receiver`` of what it holds (None: its own route), as the receiver ranks it.

        None when the sender keeps it to itself or the receiver refuses it.
        """
        receiver_as = self._odd[receiver].get(sender, self._asns[receiver])
        sender_as = self._odd[sender].get(receiver, self._asns[sender])
        if best is None:
            if self.border[receiver] >> sender & 1:
                return 1, 1, 0, sender, 0, sender, receiver, sender, (sender_as,), ()
            return 0, 0, 1, sender, 0, sender, receiver, sender, (), ()
        preference, hops, inside, originator, length, source, _, next_hop, path, clusters = best
        if source == receiver:
            return None  # never back over the session it came by
        if self.border[receiver] >> sender & 1:
            if receiver_as in path:
                return None
            return 1, hops + 1, 0, sender, 0, sender, receiver, sender, (sender_as, *path), ()
        if receiver_as in path:
            return None
        if not inside:
            return preference, hops, 1, sender, 0, sender, receiver, next_hop, path, ()
        if not (self.clients[sender] >> source & 1 or self.clients[sender] >> receiver & 1):
            return None
        if originator == receiver:
            return None
        clusters = (self._clusters[sender], *clusters)
        # BIRD knows its cluster ID on sessions with clients only.
        if self.clients[receiver] >> sender & 1 and self._clusters[receiver] in clusters:
            return None
        return preference, hops, 1, originator, length + 1, sender, receiver, next_hop, path, clusters
