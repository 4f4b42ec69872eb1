"""The judge of one shard: holds the FIBs of its own nodes against what the oracle says they should hold.

Owns the facts that the coordinator sent last, the comparison and its words. One node after the other is judged, so
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
from cluster.oracle import Facts, first_differences, solve
from protocol.prefix import Prefix, format_address, format_prefix
from protocol.sync.errors import Invalid


class Judge:
    """``hosted`` are all nodes the shard was told to host: one that is not there has nothing and lacks everything."""

    def __init__(self, hosted: Collection[str], nodes: Mapping[str, Node], routes: Routes) -> None:
        self._hosted = frozenset(hosted)
        self._nodes = nodes
        self._routes = routes
        self._facts: Facts | None = None

    def judge(self, revision: int, facts: list[Any] | None) -> Verdict:
        """``facts`` are None when they are still those of the last time."""
        if facts is not None:
            self._facts = Facts.from_wire(facts)
        if self._facts is None:
            raise Invalid("nothing to judge by: the first call to judge brings the facts")
        expected = programmed = missing = extra = 0
        differences: list[Difference] = []
        for name, table in solve(self._facts, self._hosted, self._routes.via):
            node = self._nodes.get(name)
            found = node.fib.routes if node is not None else {}
            expected += len(table)
            programmed += len(found)
            if found != table:
                missing += sum(found.get(prefix) != route for prefix, route in table.items())
                extra += len(found.keys() - table.keys())
                if node is not None and len(differences) < MAX_DIFFERENCES:
                    differences += _explain(self._facts, node, table)
        return Verdict(
            revision=revision,
            expected=expected,
            programmed=programmed,
            missing=missing,
            extra=extra,
            differences=tuple(differences[:MAX_DIFFERENCES]),
        )


def _explain(facts: Facts, node: Node, table: Mapping[Prefix, FibRoute]) -> list[Difference]:
    names = dict(zip(facts.addresses, facts.names, strict=True))
    peers = [peer for speaker in node.speakers.values() for peer in speaker.peers.values()]
    established = {names.get(peer.address, "") for peer in peers if peer.up}
    return [
        Difference(
            node=each.node,
            prefix=format_prefix(each.prefix),
            expected=route_text(each.expected),
            found=route_text(each.found),
            why=each.why,
        )
        for each in first_differences(
            facts, node.name, table, node.fib.routes, established=established, limit=MAX_DIFFERENCES
        )
    ]


def route_text(route: FibRoute | None) -> str:
    """``"via 10.77.0.17"``, ``"blackhole"``, ``"dev cali…"``; "" for no route."""
    if route is None:
        return ""
    if route.kind is RouteKind.BLACKHOLE:
        return "blackhole"
    if route.kind is RouteKind.DEVICE:
        return f"dev {route.device}"
    return "via " + ", ".join(map(format_address, route.gateways))
