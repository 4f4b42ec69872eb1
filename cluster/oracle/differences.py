"""A table that is not what it should be, in sentences a person can act on.

Owns ``Difference`` and ``first_differences``. Comparing whole tables is ``==``; only one that differs comes here.
The sentence names what the oracle knows: who announces the prefix, whether that node is alive, whether a session
should stand between the two. What only the running cluster knows, the sessions that do stand, is told by the
caller where it can be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from agents.dataplane.fib import FibRoute, RouteKind
from agents.speaker.config import UPLINK
from cluster.oracle.expected import Expected
from protocol.prefix import Address, Prefix, sort_key


@attrs.frozen
class Difference:
    """``expected`` or ``found`` is None where there should be, or is, no route."""

    node: str
    prefix: Prefix
    expected: FibRoute | None
    found: FibRoute | None
    why: str


def first_differences(
    oracle: Expected,
    node: str,
    expected: Mapping[Prefix, FibRoute],
    found: Mapping[Prefix, FibRoute],
    *,
    established: Collection[Address] | None = None,
    limit: int,
) -> list[Difference]:
    """The first ``limit`` differences of a node's table, in the order of prefixes.

    ``established`` are the neighbours the node has a session with; None when nobody could say.
    """
    differing = {prefix for prefix, route in expected.items() if found.get(prefix) != route}
    differing.update(found.keys() - expected.keys())
    names = None if established is None else {oracle.name_of(address) for address in established}
    case = _Case(oracle, node, names)
    return [
        Difference(node, prefix, *routes, case.why(prefix, *routes))
        for prefix in sorted(differing, key=sort_key)[:limit]
        for routes in [(expected.get(prefix), found.get(prefix))]
    ]


class _Case:
    """What there is to say about one node."""

    def __init__(self, oracle: Expected, node: str, established: Collection[str] | None) -> None:
        self._oracle = oracle
        self._node = node
        self._established = established

    def why(self, prefix: Prefix, expected: FibRoute | None, found: FibRoute | None) -> str:
        if expected is None:
            return self._extra(prefix, found)
        state = "missing" if found is None else "wrong"
        if expected.kind is RouteKind.DEVICE and expected.device == UPLINK:
            return f"{state}: {self._node} announces it itself"
        if expected.kind is RouteKind.DEVICE:
            return f"{state}: it is a workload of {self._node} itself"
        if expected.kind is RouteKind.BLACKHOLE:
            return f"{state}: it is a block of {self._node} itself"
        complaint = "; ".join(self._session(name) for name in self._oracle.announcers(prefix))
        if found is None:
            return f"missing: {complaint}"
        if found.kind is not RouteKind.VIA:
            return f"wrong: nothing of {self._node} itself claims it; {complaint}"
        lacking = [self._name(gateway) for gateway in expected.gateways if gateway not in found.gateways]
        surplus = [self._name(gateway) for gateway in found.gateways if gateway not in expected.gateways]
        parts = [f"next hop {name} lacks" for name in lacking]
        parts += [f"next hop {name} is too much" for name in surplus]
        if expected.device != found.device:
            parts.append(
                f"it should go {f'over {expected.device}' if expected.device else 'without a tunnel'}"
            )
        return f"wrong: {', '.join(parts)}; {complaint}"

    def _extra(self, prefix: Prefix, found: FibRoute | None) -> str:
        announcers = self._oracle.announcers(prefix)
        if announcers:
            return f"extra: {'; '.join(map(self._session, announcers))}, and no path leads here"
        gateways = found.gateways if found is not None else ()
        dead = [name for name in map(self._name, gateways) if self._oracle.is_down(name)]
        if dead:
            return (
                f"extra: nobody announces it, and {', '.join(dead)} is down: a route that was never withdrawn"
            )
        if found is not None and found.kind is not RouteKind.VIA:
            return f"extra: {self._node} has no such block or workload"
        return "extra: nobody announces it"

    def _session(self, name: str) -> str:
        """What the oracle, and the caller, know of the way from an announcer to here."""
        announces = f"{name} announces it"
        if name == self._node:
            return announces
        if self._oracle.is_cut(self._node, name):
            return f"{announces}, the link between {name} and {self._node} is cut"
        if not self._oracle.neighbours(self._node, name):
            return f"{announces}, through others: no session is configured between {name} and {self._node}"
        if self._established is None:
            return f"{announces}, and should have a session with {self._node}"
        if name in self._established:
            return f"{announces}, the session between {name} and {self._node} is established"
        return f"{announces}, no session between {name} and {self._node}"

    def _name(self, gateway: Address) -> str:
        return self._oracle.name_of(gateway)
