"""A table that is not what it should be, in sentences a person can act on.

Owns ``Difference`` and ``first_differences``. Comparing whole tables is ``==``; only one that differs comes here.
The sentence names what the facts know: who announces the prefix, whether that node is alive, whether a session
should stand between the two. What only the running cluster knows, the sessions that do stand, is told by the
caller where it can be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from agents.dataplane.fib import FibRoute, RouteKind
from cluster.oracle.facts import Facts
from protocol.prefix import Prefix, sort_key


@attrs.frozen
class Difference:
    """``expected`` or ``found`` is None where there should be, or is, no route."""

    node: str
    prefix: Prefix
    expected: FibRoute | None
    found: FibRoute | None
    why: str


def first_differences(
    facts: Facts,
    node: str,
    expected: Mapping[Prefix, FibRoute],
    found: Mapping[Prefix, FibRoute],
    *,
    established: Collection[str] | None = None,
    limit: int,
) -> list[Difference]:
    """The first ``limit`` differences of a node's table, in the order of prefixes.

    ``established`` are the neighbours the node has a session with; None when nobody could say.
    """
    differing = {prefix for prefix, route in expected.items() if found.get(prefix) != route}
    differing.update(found.keys() - expected.keys())
    case = _Case(facts, node, established)
    return [
        Difference(node, prefix, *routes, case.why(prefix, *routes))
        for prefix in sorted(differing, key=sort_key)[:limit]
        for routes in [(expected.get(prefix), found.get(prefix))]
    ]


class _Case:
    """What there is to say about one node."""

    def __init__(self, facts: Facts, node: str, established: Collection[str] | None) -> None:
        self._facts = facts
        self._node = node
        self._number = facts.names.index(node)
        self._established = established
        self._by_address = {address: number for number, address in enumerate(facts.addresses) if address}

    def why(self, prefix: Prefix, expected: FibRoute | None, found: FibRoute | None) -> str:
        if expected is None:
            return self._extra(prefix, found)
        if expected.kind is RouteKind.DEVICE:
            return f"{'missing' if found is None else 'wrong'}: it is a workload of {self._node} itself"
        if expected.kind is RouteKind.BLACKHOLE:
            return f"{'missing' if found is None else 'wrong'}: it is a block of {self._node} itself"
        complaint = "; ".join(self._session(number) for number in self._announcers(prefix))
        if found is None:
            return f"missing: {complaint}"
        if found.kind is not RouteKind.VIA:
            return f"wrong: nothing of {self._node} itself claims it; {complaint}"
        lacking = [self._name(gateway) for gateway in expected.gateways if gateway not in found.gateways]
        surplus = [self._name(gateway) for gateway in found.gateways if gateway not in expected.gateways]
        parts = [f"next hop {name} lacks" for name in lacking] + [
            f"next hop {name} is too much" for name in surplus
        ]
        return f"wrong: {', '.join(parts)}; {complaint}"

    def _extra(self, prefix: Prefix, found: FibRoute | None) -> str:
        announcers = self._announcers(prefix)
        if announcers:
            return (
                f"extra: {'; '.join(self._session(number) for number in announcers)}, and no path leads here"
            )
        gateways = found.gateways if found is not None else ()
        dead = [
            self._name(gateway) for gateway in gateways if self._by_address.get(gateway) in self._facts.down
        ]
        if dead:
            return (
                f"extra: nobody announces it, and {', '.join(dead)} is down: a route that was never withdrawn"
            )
        if found is not None and found.kind is not RouteKind.VIA:
            return f"extra: {self._node} has no such block or workload"
        return "extra: nobody announces it"

    def _session(self, number: int) -> str:
        """What the facts, and the caller, know of the way from an announcer to here."""
        name = self._facts.names[number]
        announces = f"{name} announces it"
        if number == self._number:
            return announces
        if (self._number, number) in {(one, other) for one, other in self._facts.cut}:
            return f"{announces}, the link between {name} and {self._node} is cut"
        if not self._neighbours(number):
            return f"{announces}, through others: no session is configured between {name} and {self._node}"
        if self._established is None:
            return f"{announces}, and should have a session with {self._node}"
        if name in self._established:
            return f"{announces}, the session between {name} and {self._node} is established"
        return f"{announces}, no session between {name} and {self._node}"

    def _neighbours(self, number: int) -> bool:
        """Whether the node should have a session with another."""
        here = self._number
        if any({here, number} == {edge[0], edge[1]} for edge in self._facts.edges):
            return True
        severed = any(
            node == here and int.from_bytes(bits, "little") >> number & 1
            for node, bits in self._facts.severed
        )
        return not severed and any(here in clique and number in clique for clique in self._facts.cliques)

    def _announcers(self, prefix: Prefix) -> list[int]:
        return sorted(
            {
                number
                for announcers, _, _, prefixes in self._facts.announced
                if prefix in prefixes
                for number in announcers
            }
        )

    def _name(self, gateway: bytes) -> str:
        number = self._by_address.get(gateway)
        return "a stranger" if number is None else self._facts.names[number]
