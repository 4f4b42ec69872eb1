"""Which route each node of a plain cluster ends with: the stable state of BGP over the facts, without any message.

In a plain cluster (``choice``) all is iBGP with one LOCAL_PREF, next hops stay what they are, and with add-path
(RFC 7911) whoever passes routes on passes on every path that it has. So no path keeps another one from going
anywhere, and all that arrive tie: a node's next hops for a prefix are those announcers from whom some way of
reflection leads to it. The stable state is reachability, for each announcer alone.

A path at a reflector is two things: whether a client told it (then all neighbours are told, else the clients alone),
and the clusters that it has come through. BIRD looks at CLUSTER_LIST on sessions with clients only, when it tells and
when it hears. Of two paths from one announcer, the one with fewer clusters that came from a client gets at
least as far, and only such are followed (``_reach``). A path that comes back to whoever has it already gets nowhere new.

Most nodes have no clients. They are leaves; a leaf's table is read off what its neighbours hold. Leaves with the
same neighbours have the same table but for what they announce themselves, and that is local at each of them: so it
is computed once and copied. Neighbours are bitmaps. In a clique nobody has the same neighbours as anybody else
until each counts as its own neighbour too, which changes nothing for a leaf; ``_Topology.likeness`` does so.

Follows RFC 4456, and BIRD 1.6's ``bgp_import_control``, ``bgp_rte_mergable`` and ``bgp_cluster_list_loopy``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol

import attrs

from agents.dataplane.fib import BLACKHOLE, FibRoute, device
from cluster.oracle.facts import Facts
from protocol.prefix import Address, Prefix

ECMP_LIMIT = 16
"""BIRD's ``merge paths`` limit. The lowest next hops are kept."""

Table = dict[Prefix, FibRoute]


class MakeVia(Protocol):
    """``agents.dataplane.fib.via``, or what gives the same objects that the FIBs hold."""

    def __call__(self, gateways: tuple[Address, ...], device: str = "") -> FibRoute: ...


Likeness = tuple[int, int]


@attrs.frozen
class NodeCounts:
    """What a node has when it has everything."""

    sessions: int
    routes: int


@attrs.frozen
class Path:
    """What a reflector holds of one announcer's route."""

    holder: int
    from_client: bool
    clusters: frozenset[bytes]

    def covers(self, other: Path) -> bool:
        """Whether this one gets wherever the other does; both are held by the same node."""
        return self.from_client >= other.from_client and self.clusters <= other.clusters


@attrs.define
class Group:
    """Nodes that share a table, but for what is local at each."""

    members: list[int]
    table: Table = attrs.Factory(dict)


def solve(facts: Facts, own: Collection[str], via: MakeVia) -> list[Group]:
    """All living nodes of ``own``, in groups; what is local to them is not in the tables (``local_routes``).

    When ``via`` gives the same objects that the FIBs hold, comparing a table with ``==`` costs a look-up an entry.
    """
    topology = _Topology(facts)
    dead = set(facts.down)
    numbers = [number for number, name in enumerate(facts.names) if name in own and number not in dead]
    relays = {number: Group([number]) for number in numbers if topology.relays >> number & 1}
    leaves: dict[Likeness, Group] = {}
    for number in numbers:
        if number not in relays:
            leaves.setdefault(topology.likeness(number), Group([])).members.append(number)
    routes = _Routes(facts.addresses, via)
    reached: dict[tuple[int, int], list[Path]] = {}
    for announcers, silent, transit, prefixes in facts.announced:
        # Outside of the pools only what is one's own passes.
        mute = _bits(silent) if transit else topology.relays & ~_bits(announcers)
        mute &= topology.relays
        paths = []
        for announcer in announcers:
            # The same announcer fares the same with other prefixes, unless somebody else keeps quiet.
            key = announcer, mute
            found = reached.get(key)
            if found is None:
                found = reached[key] = topology.reach(announcer, mute)
            paths.append((announcer, found))
        for number, group in relays.items():
            held = [announcer for announcer, found in paths if any(path.holder == number for path in found)]
            if held:
                group.table.update(dict.fromkeys(prefixes, routes.through(_bits(held))))
        for (near, _), group in leaves.items():
            heard = [
                announcer
                for announcer, found in paths
                if near >> announcer & 1 or topology.tells(found, mute, group.members[0])
            ]
            if heard:
                group.table.update(dict.fromkeys(prefixes, routes.through(_bits(heard))))
    return [*relays.values(), *leaves.values()]


def local_routes(facts: Facts, number: int) -> Table:
    """What a node holds without BGP. A workload's route wins; the rest beats what BGP brings."""
    table: Table = {}
    if facts.addresses[number]:  # without an address there is no BIRD to make them
        table = dict.fromkeys(facts.blackholes[number], BLACKHOLE)
    claimed: Table = {}
    for prefix, interface in facts.workloads[number]:
        claimed.setdefault(prefix, device(interface))
    table.update(claimed)
    return table


def counts(facts: Facts, own: Collection[str]) -> Iterator[tuple[str, NodeCounts]]:
    """For each living node of ``own``. A session counts at both of its ends."""
    near = _Topology(facts).near
    for group in solve(facts, own, _any_route):
        for number in group.members:
            local = local_routes(facts, number)
            routes = len(group.table) + sum(prefix not in group.table for prefix in local)
            yield facts.names[number], NodeCounts(near[number].bit_count(), routes)


def _any_route(gateways: tuple[Address, ...], device: str = "") -> FibRoute:
    return BLACKHOLE


def session_count(facts: Facts) -> int:
    """All sessions of the cluster, each once."""
    size = len(facts.clique)
    severed = sum(int.from_bytes(bits, "little").bit_count() for _, bits in facts.severed) // 2
    return size * (size - 1) // 2 - severed + len(facts.edges)


class _Routes:
    """Bitmaps of next hops to routes."""

    def __init__(self, addresses: Sequence[bytes], via: MakeVia) -> None:
        self._addresses = addresses
        self._via = via
        self._known: dict[int, FibRoute] = {}

    def through(self, next_hops: int) -> FibRoute:
        route = self._known.get(next_hops)
        if route is None:
            lowest = _numbers(next_hops)[:ECMP_LIMIT]
            route = self._via(tuple(Address(self._addresses[number]) for number in lowest))
            self._known[next_hops] = route
        return route


def _numbers(bits: int) -> list[int]:
    if not bits & (bits - 1):
        return [bits.bit_length() - 1] if bits else []
    return [number for number, bit in enumerate(bin(bits)[:1:-1]) if bit == "1"]


def _bits(numbers: Iterable[int]) -> int:
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits


class _Topology:
    """The session graph as bitmaps, one bit a node."""

    def __init__(self, facts: Facts) -> None:
        count = len(facts.names)
        self._clusters = facts.clusters
        self.near = [0] * count  # neighbours
        self._clients = [0] * count  # those it reflects for
        self._reflectors = [0] * count  # those that reflect for it
        everybody = _bits(facts.clique)
        for number in facts.clique:
            self.near[number] = everybody & ~(1 << number)
        for number, bits in facts.severed:
            self.near[number] &= ~int.from_bytes(bits, "little")
        for one, other, one_reflects, other_reflects in facts.edges:
            self.near[one] |= 1 << other
            self.near[other] |= 1 << one
            if one_reflects:
                self._add_client(one, other)
            if other_reflects:
                self._add_client(other, one)
        self.relays = _bits(number for number in range(count) if self._clients[number])

    def _add_client(self, reflector: int, client: int) -> None:
        self._clients[reflector] |= 1 << client
        self._reflectors[client] |= 1 << reflector

    def likeness(self, leaf: int) -> Likeness:
        """Equal for leaves that hear the same. The first item is the neighbours to listen to."""
        near = self.near[leaf]
        if near & ~self.relays:
            near |= 1 << leaf
        return near, self._reflectors[leaf]

    def reach(self, announcer: int, mute: int) -> list[Path]:
        """The paths that reflectors hold of a route of ``announcer``; of those that cover each other, one."""
        found: dict[int, list[Path]] = {}
        fresh = [
            Path(number, bool(self._clients[number] >> announcer & 1), frozenset())
            for number in _numbers(self.near[announcer] & self.relays)
        ]
        while fresh:
            arrived = []
            for path in fresh:
                known = found.setdefault(path.holder, [])
                if not any(each.covers(path) for each in known):
                    known[:] = [each for each in known if not path.covers(each)] + [path]
                    arrived.append(path)
            fresh = [
                further
                for path in arrived
                if not mute >> path.holder & 1
                for receiver in _numbers(self._audience(path) & self.relays & ~(1 << announcer))
                if (further := self._reflected(path, receiver)) is not None
            ]
        return [path for paths in found.values() for path in paths]

    def tells(self, paths: Iterable[Path], mute: int, leaf: int) -> bool:
        """Whether one of these paths is told to a leaf, which refuses none."""
        return any(not mute >> path.holder & 1 and self._audience(path) >> leaf & 1 for path in paths)

    def _audience(self, path: Path) -> int:
        """Whom its holder tells a path."""
        clients = self._clients[path.holder]
        if self._clusters[path.holder] in path.clusters:
            return self.near[path.holder] & ~clients if path.from_client else 0
        return self.near[path.holder] if path.from_client else clients

    def _reflected(self, path: Path, receiver: int) -> Path | None:
        """The path as the receiver holds it; None when it refuses it."""
        clusters = path.clusters | {self._clusters[path.holder]}
        from_client = bool(self._clients[receiver] >> path.holder & 1)
        if from_client and self._clusters[receiver] in clusters:
            return None
        return Path(receiver, from_client, clusters)
