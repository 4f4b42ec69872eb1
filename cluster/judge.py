"""The judge of one shard: holds the FIBs of its own nodes against what the oracle says they should hold.

Owns what the coordinator sent last, the comparison and its words. One node after the other is judged, so
that only one expected table exists at a time; only a table that differs is explained.

    coordinator ── facts, with the first call after they changed ──► Judge ── Verdict ──►

Left out: what should be there (``oracle``), when to ask (``convergence``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from agents.dataplane.fib import FibRoute, RouteKind, Routes
from agents.node import Node
from cluster.convergence import MAX_DIFFERENCES, Difference, Verdict
from cluster.oracle import Expected, first_differences
from protocol.prefix import Prefix, format_address, format_prefix
from protocol.sync.errors import Invalid


class Judge:
    """``hosted`` are, at any time, all nodes the shard was told to host: one that is not there has nothing and lacks
    everything."""

    def __init__(self, hosted: Collection[str], nodes: Mapping[str, Node], routes: Routes) -> None:
        self._hosted = hosted
        self._nodes = nodes
        self._routes = routes
        self._oracle: Expected | None = None

    def judge(self, revision: int, facts: list[Any] | None) -> Verdict:
        """``facts`` are None when they are still those of the last time."""
        if facts is not None:
            self._oracle = Expected.from_wire(facts)
        oracle = self._oracle
        if oracle is None:
            raise Invalid("nothing to judge by: the first call to judge brings the facts")
        expected = programmed = missing = extra = 0
        differences: list[Difference] = []
        for name, table in oracle.solve(frozenset(self._hosted), self._routes.via):
            node = self._nodes.get(name)
            found: Mapping[Prefix, FibRoute] = node.fib.routes if node is not None else {}
            if oracle.unsettled:
                found = {prefix: route for prefix, route in found.items() if prefix not in oracle.unsettled}
            expected += len(table)
            programmed += len(found)
            if found != table:
                missing += sum(found.get(prefix) != route for prefix, route in table.items())
                extra += len(found.keys() - table.keys())
                if node is not None and len(differences) < MAX_DIFFERENCES:
                    differences += _explain(oracle, node, table, found)
        return Verdict(
            revision=revision,
            expected=expected,
            programmed=programmed,
            missing=missing,
            extra=extra,
            differences=tuple(differences[:MAX_DIFFERENCES]),
        )


def _explain(
    oracle: Expected, node: Node, table: Mapping[Prefix, FibRoute], found: Mapping[Prefix, FibRoute]
) -> list[Difference]:
    peers = [peer for speaker in node.speakers.values() for peer in speaker.peers.values()]
    established = {peer.address for peer in peers if peer.up}
    return [
        Difference(
            node=each.node,
            prefix=format_prefix(each.prefix),
            expected=route_text(each.expected),
            found=route_text(each.found),
            why=each.why,
        )
        for each in first_differences(
            oracle, node.name, table, found, established=established, limit=MAX_DIFFERENCES
        )
    ]


def route_text(route: FibRoute | None) -> str:
    """``"via 10.77.0.17"``, ``"via 10.77.0.17 dev tunl0"``, ``"blackhole"``, ``"dev cali…"``; "" for no route."""
    if route is None:
        return ""
    device = [f"dev {route.device}"] if route.device else []
    if route.kind is RouteKind.VIA:
        return " ".join(["via", ", ".join(map(format_address, route.gateways)), *device])
    return " ".join(device or [route.kind.value])
