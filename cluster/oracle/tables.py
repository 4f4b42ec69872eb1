"""Tables that are ready: what ``general`` has found out, on its way to the shards.

Owns ``Tables``. All is kept by name, and a table as routes with their prefixes, since a node's few routes stand for
hundreds of prefixes. ``unsettled`` are prefixes for which BGP has no stable state that everybody ends in, with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import attrs

from agents.dataplane.fib import FibRoute, RouteKind
from cluster.oracle.solver import MakeVia, NodeCounts, Table
from protocol.prefix import Address, Prefix

Spelled = tuple[str, list[Address], str]
"""A FibRoute as (kind, gateways, device)."""


@attrs.frozen(kw_only=True)
class Tables:
    routes: dict[str, list[tuple[Spelled, list[Prefix]]]]  # of every living node
    sessions: dict[str, list[str]]  # of every living node: its neighbours, twice when both families have one
    announced: list[tuple[list[str], list[Prefix]]]  # (announcers, prefixes)
    names: dict[Address, str]
    down: list[str]
    cut: list[list[str]]
    unsettled: dict[Prefix, str] = attrs.Factory(dict)

    def solve(self, own: Collection[str], via: MakeVia) -> Iterator[tuple[str, Table]]:
        for name, spelled in self.routes.items():
            if name in own:
                table: Table = {}
                for (kind, gateways, device), prefixes in spelled:
                    table.update(dict.fromkeys(prefixes, unspell(kind, gateways, device, via)))
                yield name, table

    def counts(self, own: Collection[str]) -> dict[str, NodeCounts]:
        return {
            name: NodeCounts(len(self.sessions[name]), sum(len(prefixes) for _, prefixes in spelled))
            for name, spelled in self.routes.items()
            if name in own
        }

    def announcers(self, prefix: Prefix) -> list[str]:
        return [name for announcers, prefixes in self.announced if prefix in prefixes for name in announcers]

    def to_wire(self, own: Collection[str]) -> list[Any]:
        return [
            {name: spelled for name, spelled in self.routes.items() if name in own},
            {name: neighbours for name, neighbours in self.sessions.items() if name in own},
            self.announced,
            [*self.names.items()],
            self.down,
            self.cut,
            [*self.unsettled.items()],
        ]

    @classmethod
    def from_wire(cls, values: Iterable[Any]) -> Tables:
        routes, sessions, announced, names, down, cut, unsettled = values
        return cls(
            routes=routes, sessions=sessions, announced=announced, names=dict(names), down=down, cut=cut,
            unsettled=dict(unsettled),
        )  # fmt: skip


def spell(route: FibRoute) -> Spelled:
    return route.kind.value, [*route.gateways], route.device


def unspell(kind: str, gateways: Iterable[Address], device: str, via: MakeVia) -> FibRoute:
    if kind == RouteKind.VIA.value:
        return via(tuple(gateways), device)
    return FibRoute(RouteKind(kind), device=device)
