"""Who is meant by ``model.Names``.

Owns ``pick``, for whenever it is asked, and ``off_of``, for the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cluster.scenario.form import is_name
from cluster.scenario.model import ALL, Names, Scenario
from cluster.spec import World
from protocol.sync.messages import Document
from protocol.v3 import selector
from protocol.v3.codec import encode


class UnknownName(ValueError):
    """Nobody has the name, or the selector picks nobody; the text says which."""


def pick(names: Names, members: Iterable[str], nodes: Mapping[str, Document]) -> list[str]:
    """Nodes by name, all or selected; Routers that are named; in the order of the names. Raises UnknownName."""
    found: dict[str, None] = {}
    known = {*members}
    for name in names:
        if name == ALL:
            found |= dict.fromkeys(nodes)
        elif is_name(name):
            if name not in known:
                raise UnknownName(f"there is no node or router {name}")
            found[name] = None
        else:
            matches = selector.parse(name).matches
            picked = [node for node, each in nodes.items() if matches(each["metadata"].get("labels") or {})]
            if not picked:
                raise UnknownName(f"no Node is selected by {name}")
            found |= dict.fromkeys(picked)
    return [*found]


def off_of(scenario: Scenario, world: World) -> list[str]:
    """Those without power at the start. Raises UnknownName."""
    nodes = {each.metadata.name: encode(each) for each in world.nodes}
    members = [*nodes, *(each.metadata.name for each in world.routers)]
    return pick(scenario.cluster.off, members, nodes)
