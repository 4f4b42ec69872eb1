"""Next hops to gateways: BIRD's ``gateway recursive``.

Owns ``NextHops``. Every session of Calico is multihop, so a NEXT_HOP may be anybody's address, and the kernel needs the router
on the way there. The longest of the node's own routes that holds the address says who that is:

- a connected network, or another interface (a workload's; where a lab Router has what it announces): the address itself,
  at IGP metric 0;
- a route through a gateway (``reachableBy``, or what Felix programmed): that gateway, at BIRD's unknown metric;
- a blackhole, or when the address is our own: the next hop is unreachable;
- none of them: the address itself, at the unknown metric. A computer has a default route to the fabric there, which takes
  the packet on; there is no other router to name here.

Answers are remembered, which is also how a change of the node's routes is found to concern anybody.

Left out: BGP routes. BIRD does not resolve recursive routes by others of their kind; where one of them is longer than the
route that would have done, the next hop is unreachable to BIRD, and not here (docs/differences.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.speaker.decision import UNKNOWN_METRIC, Path
from protocol.prefix import Address, Prefix, network_int

Resolved = tuple[tuple[Address, ...] | None, int]
"""Gateways (empty: unreachable; None: the next hop itself) and IGP metric."""

UNREACHABLE: Resolved = ((), UNKNOWN_METRIC)
NEAR: Resolved = (None, 0)
FAR: Resolved = (None, UNKNOWN_METRIC)


class NextHops:
    """See the module. ``own`` is the node's address."""

    def __init__(self, own: Address) -> None:
        self._own = own
        self._bits = len(own) << 3
        self._tables: list[
            tuple[int, dict[int, Path]]
        ] = []  # (host bits, network -> route), longest prefix first
        self._known: dict[Address, Resolved] = {}

    def resolve(self, next_hop: Address) -> Resolved:
        known = self._known.get(next_hop)
        if known is None:
            known = self._known[next_hop] = self._resolve(next_hop)
        return known

    def set_routes(self, routes: Mapping[Prefix, Path]) -> bool:
        """The best of the node's own routes, all of them. Whether a next hop that was asked for goes another way now."""
        tables: dict[int, dict[int, Path]] = {}
        for prefix, path in routes.items():
            host_bits = self._bits - prefix[0]
            tables.setdefault(host_bits, {})[network_int(prefix) >> host_bits] = path
        self._tables = sorted(tables.items())
        before, self._known = self._known, {}
        return any(self.resolve(next_hop) != resolved for next_hop, resolved in before.items())

    def _resolve(self, next_hop: Address) -> Resolved:
        if next_hop == self._own:
            return UNREACHABLE
        number = int.from_bytes(next_hop, "big")
        for host_bits, table in self._tables:
            path = table.get(number >> host_bits)
            if path is not None:
                if path.hops:
                    return path.hops, UNKNOWN_METRIC
                return NEAR if path.ifname else UNREACHABLE
        return FAR
