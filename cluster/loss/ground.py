"""What packets walk on: the tables of all nodes, whose each address is, who has power, and which links are cut.

Owns ``Ground``. Nodes are numbers, given when a name is first heard and never to another name; sets of nodes are
bitmaps. Tables lie crosswise, by prefix and then by node, since whoever asks has a destination and wants all nodes'
routes to it.

What has changed since the last look is noted (``changed``, ``appeared``) and taken by the account.

Left out: pods; time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from agents.dataplane.fib import FibRoute
from protocol.prefix import Address, Prefix, family_of, make_prefix, network_int

Ahead = tuple[int, bool]
"""The nodes that a route's gateways are, and whether that is all of them."""


class Ground:
    """See the module."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}
        self.alive = 0
        """Those that exist and have power."""
        self.cuts: list[int] = []
        """For each node those that it cannot reach."""
        self.tables: dict[Prefix, dict[int, FibRoute]] = {}
        self.owners: dict[Address, int] = {}
        self.changed: dict[Prefix, int] = {}
        """Prefixes and the nodes that may have another route for them."""
        self.appeared: dict[Prefix, None] = {}
        """Prefixes that the first node got, or the last one lost."""
        self._addresses: dict[int, tuple[Address, ...]] = {}
        self._ahead: dict[FibRoute, Ahead] = {}
        self._lengths: dict[int, dict[int, int]] = {}  # family -> length -> prefixes known
        self._descending: dict[int, list[int]] = {}

    def number(self, name: str) -> int:
        known = self.numbers.get(name)
        if known is None:
            known = self.numbers[name] = len(self.names)
            self.names.append(name)
            self.cuts.append(0)
        return known

    # --- tables -----------------------------------------------------------------------------------------------------

    def program(self, number: int, prefixes: Iterable[Prefix], table: Mapping[Prefix, FibRoute]) -> None:
        """These prefixes have the route that ``table`` has, or none."""
        bit = 1 << number
        tables, changed = self.tables, self.changed
        for prefix in prefixes:
            route = table.get(prefix)
            held = tables.get(prefix)
            if route is None:
                if held is None or held.pop(number, None) is None:
                    continue
                if not held:
                    del tables[prefix]
                    self._count(prefix, -1)
            else:
                if held is None:
                    held = tables[prefix] = {}
                    self._count(prefix, 1)
                elif held.get(number) is route:
                    continue
                held[number] = route
            changed[prefix] = changed.get(prefix, 0) | bit

    def table(self, number: int) -> list[Prefix]:
        """All that the node has a route for."""
        return [prefix for prefix, held in self.tables.items() if number in held]

    def covering(self, host: Prefix) -> Iterator[Prefix]:
        """The prefixes that any table has and that hold the address, longest first, but for its own."""
        family, network = family_of(host), network_int(host)
        lengths = self._descending.get(family)
        if lengths is None:
            known = self._lengths.get(family, {})
            lengths = self._descending[family] = sorted(known, reverse=True)
        for length in lengths:
            if length < host[0]:
                prefix = make_prefix(network, length, family)
                if prefix in self.tables:
                    yield prefix

    def _count(self, prefix: Prefix, step: int) -> None:
        self.appeared[prefix] = None
        family, length = family_of(prefix), prefix[0]
        lengths = self._lengths.setdefault(family, {})
        count = lengths.get(length, 0) + step
        if count:
            lengths[length] = count
        else:
            del lengths[length]
        self._descending.pop(family, None)

    # --- gateways ---------------------------------------------------------------------------------------------------

    def ahead(self, route: FibRoute) -> Ahead:
        """Where a route leads. Through a tunnel too: the packet goes to the gateway's node itself, over whatever is
        between.
        """
        known = self._ahead.get(route)
        if known is None:
            owners = [self.owners.get(gateway) for gateway in route.gateways]
            mask = 0
            for owner in owners:
                if owner is not None:
                    mask |= 1 << owner
            known = self._ahead[route] = mask, None not in owners
        return known

    def set_addresses(self, number: int, addresses: Iterable[Address]) -> set[FibRoute]:
        """Returns the routes that lead elsewhere now. Of two nodes with one address the first by name has it."""
        before, after = self._addresses.get(number, ()), tuple(addresses)
        self._addresses[number] = after
        moved = {*before} ^ {*after}
        for address in moved:
            claims = [each for each, known in self._addresses.items() if address in known]
            if claims:
                self.owners[address] = min(claims, key=self.names.__getitem__)
            else:
                self.owners.pop(address, None)
        stale = {route for route in self._ahead if not moved.isdisjoint(route.gateways)} if moved else set()
        for route in stale:
            del self._ahead[route]
        return stale

    def cut(self, one: int, other: int, cut: bool) -> bool:
        """Whether that is new."""
        if bool(self.cuts[one] >> other & 1) is cut:
            return False
        self.cuts[one] ^= 1 << other
        self.cuts[other] ^= 1 << one
        return True


def bits(mask: int) -> Iterator[int]:
    """The numbers of a bitmap, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
