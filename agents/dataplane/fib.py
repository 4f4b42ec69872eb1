"""The forwarding table of one node: what its kernel would hold.

Owns ``FibRoute`` (one entry), ``Routes`` (the entries of a process, interned) and ``Fib`` (programmed routes,
longest-prefix match). Routes come from two programs, as in a Calico node: Felix (workloads; tunnels) and BIRD's kernel
protocol (blocks of other nodes, the blackholes of this node's own). They are kept apart, so that neither can
delete what the other programmed; for one prefix Felix's route wins, as a workload's route does in the kernel.

Flow: Felix calls ``set_felix`` with all of its routes (declarative; the difference to what is programmed is found
here), the speaker calls ``program`` with the prefixes that got a new route or lost theirs. ``routes`` is what a
packet meets.

A node holds a hundred workloads at most and may learn a million prefixes, so BIRD's routes are written straight
into ``routes`` and only those that Felix hides are kept aside (``_hidden``). ``program`` therefore costs what
``dict.update(dict.fromkeys(...))`` costs; a second table for BIRD alone would double the time and the memory.

Left out: metrics and tables of the kernel; recursive next hops (the speaker resolves those).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from protocol.prefix import IPV4, IPV6, Address, Prefix, address_family, family_of, make_prefix


class RouteKind(enum.Enum):
    VIA = "via"  # unicast through one or more gateways (more than one: ECMP)
    BLACKHOLE = "blackhole"
    UNREACHABLE = "unreachable"  # BIRD's, where a next hop leads nowhere
    DEVICE = "dev"  # scope link, on a workload's interface


TUNL0 = "tunl0"
VXLAN = {IPV4: "vxlan.calico", IPV6: "vxlan-v6.calico"}
"""The tunnels of a node, by Calico's names."""


@attrs.frozen(cache_hash=True)
class FibRoute:
    """One kernel route. ``gateways`` are sorted and non-empty for VIA; ``device`` is set for DEVICE, and for VIA through
    a tunnel: other gateways are neighbours on the node's own network.
    """

    kind: RouteKind
    gateways: tuple[Address, ...] = ()
    device: str = ""


BLACKHOLE = FibRoute(RouteKind.BLACKHOLE)
UNREACHABLE = FibRoute(RouteKind.UNREACHABLE)


def via(gateways: tuple[Address, ...], device: str = "") -> FibRoute:
    return FibRoute(RouteKind.VIA, gateways=tuple(sorted(gateways)), device=device)


def device(name: str) -> FibRoute:
    return FibRoute(RouteKind.DEVICE, device=name)


class Routes:
    """The VIA routes of one process: equal next hops are one object, whichever node programs them.

    Holds one entry per neighbour of the cluster and one per set of ECMP gateways ever met, in the order met.
    """

    def __init__(self) -> None:
        self._via: dict[str, dict[tuple[Address, ...], FibRoute]] = {"": {}}

    def via(self, gateways: tuple[Address, ...], device: str = "") -> FibRoute:
        """``fib.via(gateways, device)``, always the same object for the same set of gateways."""
        known = self._via.get(device)
        if known is None:
            known = self._via[device] = {}
        route = known.get(gateways)
        if route is None:
            route = via(gateways, device)
            route = known.setdefault(route.gateways, route)
            known[gateways] = route
        return route


class Fib:
    """Programmed routes of one node.

    ``routes`` is to be read, not written. ``version`` grows with every call that may have changed it; an equal
    version means an equal table. ``watcher``, if there is one, is told which prefixes may have another entry now, after
    each such call; a prefix that it is not told of has the entry that it had.
    """

    routes: dict[Prefix, FibRoute]
    version: int
    watcher: Callable[[Iterable[Prefix]], None] | None

    def __init__(self) -> None:
        self.watcher = None
        self.routes = {}
        self.version = 0
        self._felix: dict[Prefix, FibRoute] = {}
        self._hidden: dict[Prefix, FibRoute] = {}  # BIRD's routes for prefixes that Felix has too
        self._lengths: list[tuple[int, int]] = []  # (size, length) in the table, longest first; see lookup
        self._lengths_version = 0

    def set_felix(self, routes: Mapping[Prefix, FibRoute]) -> None:
        """Make Felix's routes exactly these."""
        programmed = self._felix
        if routes == programmed:
            return
        watched = self._differences(routes) if self.watcher is not None else ()
        for prefix in programmed.keys() - routes.keys():
            del programmed[prefix]
            learned = self._hidden.pop(prefix, None)
            if learned is None:
                del self.routes[prefix]
            else:
                self.routes[prefix] = learned
        for prefix, route in routes.items():
            if prefix not in programmed and prefix in self.routes:
                self._hidden[prefix] = self.routes[prefix]
            programmed[prefix] = route
            self.routes[prefix] = route
        self.version += 1
        if self.watcher is not None:
            self.watcher(watched)

    def _differences(self, routes: Mapping[Prefix, FibRoute]) -> list[Prefix]:
        """Where Felix's routes are others than these, in an order that does not depend on hashes."""
        programmed = self._felix
        gone = [prefix for prefix in programmed if prefix not in routes]
        return gone + [prefix for prefix, route in routes.items() if programmed.get(prefix) != route]

    def program(self, prefixes: Sequence[Prefix], route: FibRoute | None) -> None:
        """BIRD's kernel protocol: all of ``prefixes`` have this route from now on, or none when it is None."""
        if route is None:
            self._forget(prefixes)
            return
        if len(prefixes) == 1:
            [prefix] = prefixes
            if prefix in self._felix:
                self._hidden[prefix] = route
            elif self.routes.get(prefix) is not route:
                self.routes[prefix] = route
                self.version += 1
                if self.watcher is not None:
                    self.watcher(prefixes)
            return
        fresh = dict.fromkeys(prefixes, route)
        # isdisjoint walks the shorter of two key views.
        if self._felix and not self._felix.keys().isdisjoint(fresh.keys()):
            for prefix in self._felix.keys() & fresh.keys():
                del fresh[prefix]
                self._hidden[prefix] = route
        if fresh:
            self.routes.update(fresh)
            self.version += 1
            if self.watcher is not None:
                self.watcher(fresh)

    def replace(self, family: int, routes: Mapping[Prefix, FibRoute]) -> int:
        """BIRD's kernel protocol has these of the family and no others; how many there were for other prefixes."""
        gone = [
            prefix
            for prefix in self.routes
            if prefix not in routes
            and family_of(prefix) == family
            and (prefix not in self._felix or prefix in self._hidden)
        ]
        if gone:
            self._forget(gone)
        for prefix, route in routes.items():
            if (self._hidden if prefix in self._felix else self.routes).get(prefix) != route:
                self.program((prefix,), route)
        return len(gone)

    def forget(self, family: int) -> None:
        """The BIRD of this family is gone, and with it all that it programmed."""
        self._forget([prefix for prefix in self.routes if family_of(prefix) == family])

    def _forget(self, prefixes: Sequence[Prefix]) -> None:
        forget = self.routes.pop
        for prefix in prefixes:
            if prefix in self._felix:
                self._hidden.pop(prefix, None)
            else:
                forget(prefix, None)
        self.version += 1
        if self.watcher is not None:
            self.watcher(prefixes)

    def lookup(self, address: Address) -> tuple[Prefix, FibRoute] | None:
        """The route a packet to ``address`` takes: the longest prefix that holds it."""
        if self._lengths_version != self.version:
            # Which lengths occur is all the index there is: the table itself is the dict per length.
            self._lengths = sorted({(len(prefix), prefix[0]) for prefix in self.routes}, reverse=True)
            self._lengths_version = self.version
        family = address_family(address)
        size = len(address) + 1
        number = int.from_bytes(address, "big")
        for prefix_size, length in self._lengths:
            if prefix_size == size:
                prefix = make_prefix(number, length, family)
                route = self.routes.get(prefix)
                if route is not None:
                    return prefix, route
        return None
