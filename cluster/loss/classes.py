"""Which pods are alike: those of one node that no table tells apart are walked to once.

Owns ``Classes``: every pod, the class that it is in, and one ``Walk`` for each class. A pod changes its class when a
prefix that holds it is the first of its kind in any table, or the last one goes, and when its own route at home comes
or goes; a class keeps who has ever reached its pods when they change class.

Left out: pairs and time (``account``).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from agents.dataplane.fib import FibRoute, RouteKind
from cluster.loss.ground import Ground, bits
from cluster.loss.walk import Kind, Walk
from protocol.prefix import Address, Prefix, family_of, host_prefix, make_prefix, network_int


class Classes:
    """See the module."""

    def __init__(self, ground: Ground) -> None:
        self.destinations = 0
        """Nodes with pods."""
        self._ground = ground
        self._pods: dict[Prefix, dict[int, Walk | None]] = {}
        self._of: dict[int, dict[Prefix, None]] = {}
        self._sorted: dict[int, list[int]] = {}  # family -> the pods' addresses
        self._walks: dict[Kind, Walk] = {}
        self._by_prefix: dict[Prefix, dict[Kind, Walk]] = {}
        self._by_node: dict[int, list[Walk]] = {}
        self._unsorted: dict[Prefix, None] = {}  # pods whose class is to be found
        self._waiting: dict[Kind, Walk] = {}  # walks with something to settle
        self._moved: dict[int, None] = {}  # nodes with pods that are in another class

    def of(self, destination: int) -> Iterable[Walk]:
        """In an order that does not depend on the past."""
        return self._by_node.get(destination, ())

    # --- facts ------------------------------------------------------------------------------------------------------

    def set_pods(self, number: int, addresses: Iterable[Address]) -> None:
        wanted = dict.fromkeys(map(host_prefix, addresses))
        before = self._of.get(number, {})
        for host in before:
            if host not in wanted:
                self._remove(number, host)
        for host in wanted:
            if host not in before:
                nodes = self._pods.get(host)
                if nodes is None:
                    nodes = self._pods[host] = {}
                    insort(self._sorted.setdefault(family_of(host), []), network_int(host))
                nodes[number] = None
                self._unsorted[host] = None
        self._of[number] = wanted

    def grow(self) -> None:
        """There are more nodes."""
        for kind, walk in self._walks.items():
            walk.grow()
            self._waiting[kind] = walk

    def forget(self, number: int) -> None:
        """The node is a new one: it has never reached anybody."""
        for walk in self._walks.values():
            walk.seen &= ~(1 << number)

    def reroute(self, routes: set[FibRoute]) -> None:
        for kind, walk in self._walks.items():
            walk.reroute(routes)
            self._waiting[kind] = walk

    def all_seen(self, numbers: int) -> None:
        for walk in self._walks.values():
            walk.seen |= numbers

    # --- an instant -------------------------------------------------------------------------------------------------

    def sort(self, hops: int, links: dict[int, int]) -> None:
        """Find the classes as they are now, and what in them is in doubt: by tables, by nodes whose power is not what
        it was (``hops``), by links that were cut or healed.
        """
        ground = self._ground
        changed, ground.changed = ground.changed, {}
        pods, unsorted = self._pods, self._unsorted
        for prefix in changed:
            if prefix in pods:
                unsorted[prefix] = None
        if ground.appeared:
            for prefix in ground.appeared:
                if prefix[0] < (len(prefix) - 1) << 3:
                    unsorted.update(dict.fromkeys(self._inside(prefix)))
            ground.appeared = {}
        if unsorted:
            for host in unsorted:
                for number in [*pods.get(host, ())]:
                    self._place(number, host)
            self._unsorted = {}
        for prefix, nodes in changed.items():
            walks = self._by_prefix.get(prefix)
            if walks is None:
                continue
            for kind, walk in walks.items():
                for number in bits(nodes):
                    walk.refresh(number)
                self._waiting[kind] = walk
        if hops or links:
            for kind, walk in self._walks.items():
                walk.doubt(hops, links)
                self._waiting[kind] = walk

    def settle(self) -> dict[int, int]:
        """Returns the sources for which a destination is not what it was (-1: all of them)."""
        waiting, self._waiting = self._waiting, {}
        moved, self._moved = self._moved, {}
        found: dict[int, int] = dict.fromkeys(moved, -1)
        for walk in waiting.values():
            changed = walk.settle()
            if changed:
                found[walk.destination] = found.get(walk.destination, 0) | changed
        return found

    # --- pods -------------------------------------------------------------------------------------------------------

    def _inside(self, prefix: Prefix) -> Iterable[Prefix]:
        family = family_of(prefix)
        known = self._sorted.get(family, [])
        width = (len(prefix) - 1) << 3
        first = network_int(prefix)
        last = first + (1 << (width - prefix[0]))
        for number in known[bisect_left(known, first) : bisect_left(known, last)]:
            yield make_prefix(number, width, family)

    def _kind(self, number: int, host: Prefix) -> Kind:
        held = self._ground.tables.get(host)
        chain = tuple(self._ground.covering(host))
        if held is None:
            return number, chain, False
        route = held.get(number)
        if len(held) == 1 and route is not None and route.kind is RouteKind.DEVICE:
            return number, chain, True
        return number, (host, *chain), False

    def _place(self, number: int, host: Prefix) -> None:
        kind = self._kind(number, host)
        before = self._pods[host][number]
        if before is not None and before.kind == kind:
            return
        self._moved[number] = None
        walk = self._walks.get(kind)
        if walk is None:
            walk = self._walks[kind] = Walk(self._ground, kind)
            for prefix in walk.chain:
                self._by_prefix.setdefault(prefix, {})[kind] = walk
            walks = self._by_node.setdefault(number, [])
            walks.append(walk)
            self.destinations |= 1 << number
            walks.sort(key=_order)
            self._waiting[kind] = walk
        walk.pods[host] = None
        self._pods[host][number] = walk
        if before is not None:
            walk.seen |= before.seen
            self._leave(before, host)

    def _remove(self, number: int, host: Prefix) -> None:
        self._moved[number] = None
        nodes = self._pods[host]
        walk = nodes.pop(number)
        if not nodes:
            del self._pods[host]
            known = self._sorted[family_of(host)]
            del known[bisect_left(known, network_int(host))]
        if walk is not None:
            self._leave(walk, host)

    def _leave(self, walk: Walk, host: Prefix) -> None:
        del walk.pods[host]
        if walk.pods:
            return
        del self._walks[walk.kind]
        self._waiting.pop(walk.kind, None)
        for prefix in walk.chain:
            del self._by_prefix[prefix][walk.kind]
            if not self._by_prefix[prefix]:
                del self._by_prefix[prefix]
        walks = self._by_node[walk.destination]
        walks.remove(walk)
        if not walks:
            del self._by_node[walk.destination]
            self.destinations &= ~(1 << walk.destination)


def _order(walk: Walk) -> tuple[object, ...]:
    return walk.order
