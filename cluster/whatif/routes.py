"""What becomes of routes: entries of FIBs that come, go or lead elsewhere.

Owns ``compare_routes``: per prefix, on which nodes it led where, and where it leads; and the words for many of them at
once, in which a prefix that two hundred nodes lose is one line and two hundred such prefixes are too.

Left out: what happens in between, which is what ``cluster.loss`` counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs

from agents.dataplane.fib import FibRoute, RouteKind
from cluster.whatif.words import counted, listed
from protocol.prefix import Address, Prefix, format_address, format_prefix, sort_key

Table = Mapping[Prefix, FibRoute]
Tables = Mapping[str, Table]

NameOf = Callable[[Address], str]
"""Whose an address is; the address itself, of a stranger."""

MANY = 8
"""So many lines are shown."""


@attrs.frozen(kw_only=True)
class RouteChange:
    """The nodes on which one prefix had ``old`` and has ``new``; None: no route."""

    prefix: Prefix
    nodes: tuple[str, ...]
    old: FibRoute | None
    new: FibRoute | None

    def to_json(self) -> dict[str, Any]:
        return {
            "prefix": format_prefix(self.prefix),
            "nodes": [*self.nodes],
            "from": plain(self.old),
            "to": plain(self.new),
        }


def plain(route: FibRoute | None) -> str:
    """As ``ip route`` has it, in a line; "" is none."""
    if route is None:
        return ""
    if route.kind is RouteKind.DEVICE:
        return f"dev {route.device}"
    if route.kind is not RouteKind.VIA:
        return str(route.kind.value)
    gateways = f"via {' and '.join(map(format_address, route.gateways))}"
    return f"{gateways} dev {route.device}" if route.device else gateways


def compare_routes(before: Tables, after: Tables) -> list[RouteChange]:
    """In the order of prefixes, then of nodes. A node that comes or goes has all of its table with it: nothing is said
    of those.
    """
    found: dict[tuple[Prefix, FibRoute | None, FibRoute | None], list[str]] = {}
    for node, old in sorted(before.items()):
        new = after.get(node, old)
        if old == new:
            continue
        for prefix, route in old.items():
            now = new.get(prefix)
            if now != route:
                found.setdefault((prefix, route, now), []).append(node)
        for prefix, now in new.items():
            if prefix not in old:
                found.setdefault((prefix, None, now), []).append(node)
    changes = [
        RouteChange(prefix=prefix, nodes=tuple(nodes), old=old, new=now)
        for (prefix, old, now), nodes in found.items()
    ]
    return sorted(changes, key=lambda change: (sort_key(change.prefix), change.nodes))


def homes(*pictures: Tables) -> dict[Prefix, set[str]]:
    """Who originates a prefix, as far as tables show it: where its packets end."""
    found: dict[Prefix, set[str]] = {}
    for tables in pictures:
        for node, table in tables.items():
            for prefix, route in table.items():
                if route.kind in (RouteKind.BLACKHOLE, RouteKind.DEVICE):
                    found.setdefault(prefix, set()).add(node)
    return found


def route_lines(
    changes: Sequence[RouteChange], name_of: NameOf, home: Mapping[Prefix, set[str]]
) -> Iterator[str]:
    """The greatest first: ``"10.1.0.0/26 and 10.1.0.64/26: via its node -> none, on 19 nodes each"``."""
    groups: dict[tuple[str, str, int], list[RouteChange]] = {}
    for change in changes:
        old, new = (_words(route, name_of, home.get(change.prefix, ())) for route in (change.old, change.new))
        if old == new:  # the same node, at another address
            old, new = plain(change.old), plain(change.new)
        groups.setdefault((old, new, len(change.nodes)), []).append(change)
    by_size = sorted(groups.items(), key=lambda item: -item[0][2] * len(item[1]))
    for (old, new, on), members in by_size[:MANY]:
        prefixes = [format_prefix(each.prefix) for each in members]
        nodes = {each.nodes for each in members}
        who = listed(members[0].nodes) if len(nodes) == 1 else f"{counted(on, 'node')} each"
        yield f"{listed(prefixes)}: {old} -> {new}, on {who}"
    left = by_size[MANY:]
    if left:
        rest = {each.prefix for _, members in left for each in members}
        yield f"and other changes of {counted(len(rest), 'prefix', 'prefixes')}"


def _words(route: FibRoute | None, name_of: NameOf, home: Collection[str]) -> str:
    if route is None:
        return "none"
    if route.kind is RouteKind.DEVICE:
        return "a pod of its own"
    if route.kind is not RouteKind.VIA:
        return str(route.kind.value)
    names = [name_of(gateway) for gateway in route.gateways]
    own = all(name in home for name in names)
    words = ("its node" if len(names) == 1 else f"its {len(names)} nodes") if own else listed(names)
    return f"via {words} through {route.device}" if route.device else f"via {words}"
