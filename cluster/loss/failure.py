"""Why a packet does not arrive: the reasons, and their words.

Owns ``Reason``, ``Why`` (a failure as the walks note it, by numbers: there may be tens of thousands) and the sentences
that people read. A failure is always that of the first gateway, in the order of their addresses, behind which something
fails.

Left out: how it is found (``walk``).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from protocol.prefix import Address, Prefix, format_address, format_prefix


class Reason(enum.Enum):
    NO_ROUTE = "no route"
    BLACKHOLE = "blackhole"
    UNREACHABLE = "unreachable"
    LOOP = "loop"
    DEAD_HOP = "dead hop"
    CUT_LINK = "cut link"
    STRANGER = "next hop of nobody"
    WRONG_NODE = "wrong node"


LOOP = " goes round: "

Why = tuple[Reason, int, Prefix, Address, tuple[int, ...]]
"""Reason; the node that has nowhere to send the packet; the prefix that it matched there, or that nobody has; the
gateway, if there is one; and the nodes to name: whose the gateway is, all of a loop, or whose pod it was.
"""


def words(why: Why, names: Sequence[str]) -> str:
    """``"node-7 sends 192.168.4.0/26 via node-9 (10.77.0.9), which is off"``."""
    reason, number, prefix, gateway, others = why
    at, what = names[number], format_prefix(prefix)
    if reason is Reason.NO_ROUTE:
        return f"{at} has no route to {what}"
    if reason is Reason.LOOP:
        return f"{what}{LOOP}{_loop(others, names)}"
    if reason is Reason.WRONG_NODE:
        return f"{at} keeps {what}, which is {names[others[0]]}'s"
    if reason is Reason.STRANGER:
        return f"{at} sends {what} via {format_address(gateway)}, which nobody has"
    if reason in (Reason.DEAD_HOP, Reason.CUT_LINK):
        end = "which is off" if reason is Reason.DEAD_HOP else "and nothing gets there"
        return f"{at} sends {what} via {names[others[0]]} ({format_address(gateway)}), {end}"
    return f"{at} has {what} as {reason.value}"


def _cause(why: Why, names: Sequence[str]) -> str:
    """What many failures have in common: ``"node-9 is off"``."""
    reason, _, prefix, gateway, others = why
    if reason is Reason.NO_ROUTE:
        return f"no route to {format_prefix(prefix)}"
    if reason is Reason.DEAD_HOP:
        return f"{names[others[0]]} is off"
    if reason is Reason.CUT_LINK:
        return "links are cut"
    if reason is Reason.STRANGER:
        return f"nobody has {format_address(gateway)}"
    return words(why, names)


class Common:
    """The causes of all failures of a report. Where a node lacks many routes that is one cause, and where many nodes
    lack one that is one too: of each failure the one that explains more.
    """

    def __init__(self, whys: Iterable[Why], names: Sequence[str]) -> None:
        self._names = names
        self._nodes: dict[int, int] = {}
        self._prefixes: dict[Prefix, int] = {}
        for reason, number, prefix, _, _ in whys:
            if reason is Reason.NO_ROUTE:
                self._nodes[number] = self._nodes.get(number, 0) + 1
                self._prefixes[prefix] = self._prefixes.get(prefix, 0) + 1

    def of(self, why: Why) -> str:
        reason, number, prefix, _, _ = why
        if reason is Reason.NO_ROUTE and self._nodes[number] > self._prefixes[prefix]:
            return f"{self._names[number]} lacks routes"
        return _cause(why, self._names)


def _loop(members: Sequence[int], names: Sequence[str]) -> str:
    return ", ".join(names[member] for member in (*members, members[0]))
