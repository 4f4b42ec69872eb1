"""Whether nodes keep what they need no more: the same thing again and again, and what everybody holds after each time.

Owns ``weigh`` (how many things nodes hold, in all their tables, queues and heaps) and ``growth``, which restarts one
node again and again and lets all come to rest in between. What differs from round to round by chance (a timer that is
void, and still in its heap; which paths have which IDs, and so how many tables there are) comes and goes; what only
ever becomes more is kept for nothing. By chance alone ROUNDS numbers are in ascending order once in three million
times; and the first that is not more ends it.

Left out: what a process shares (resources, interned attributes, decoded frames), which is bounded elsewhere, and logs.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from agents.journal import Journal
from agents.node import Host
from cluster.rehearsal.virtual import Virtual
from protocol.bgp.wire import Codec

ROUNDS: Final = 10
REST: Final = 400.0
"""Seconds until every timer of a restart is over."""

_CONTAINERS = (dict, list, set, deque, tuple, frozenset)
_SHARED = (Codec, Host, Journal, type)


async def growth(stage: Virtual) -> list[str]:
    """What is wrong, in words. Where weather holds back what is sent nothing can be said: it piles up, as in life."""
    names = sorted(stage.host.nodes)
    if not names or stage.weather.frozen or stage.weather.cuts:
        return []
    weights: list[int] = []
    for _ in range(ROUNDS):
        await stage.stop(names[0])
        await stage.start(names[0])
        await stage.settle(REST)
        await stage.sleep(REST)
        weights.append(weigh(stage))
        if weights[-1] <= max(weights[:-1], default=0):
            return []
    return [f"after each of {ROUNDS} restarts nodes hold more: {', '.join(map(str, weights))} things"]


def weigh(stage: Virtual) -> int:
    """Entries of all containers that can be reached from a node, and from no node's surroundings."""
    seen: set[int] = set()
    waiting: list[Any] = [*stage.host.nodes.values()]
    total = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _SHARED):
            continue
        seen.add(id(one))
        if isinstance(one, _CONTAINERS):
            total += len(one)
            waiting += one.values() if isinstance(one, dict) else one
            if isinstance(one, dict):
                waiting += one
        elif type(one).__module__.startswith(("agents.", "protocol.")):
            waiting += _fields(one)
    return total


def _fields(one: Any) -> list[Any]:
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    found = [getattr(one, name) for name in slots if hasattr(one, name)]
    return [*found, *vars(one).values()] if hasattr(one, "__dict__") else found
