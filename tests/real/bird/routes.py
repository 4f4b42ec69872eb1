"""What ``show route all`` and ``show protocols`` say: the same readers for the real daemon and for the emulated one.

Owns ``Route`` (one candidate of one prefix), ``read``, ``read_sessions`` and ``undecided``. What is not in a Route: when it
came, and in which place among the candidates of its prefix it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import attrs

_ROW = re.compile(
    r"(?P<net>\S+/\d+)?\s+(?P<way>blackhole|unreachable|prohibit|multipath|dev \S+|via \S+ on \S+) "
    r"\[(?P<protocol>\S+) \S+(?: \S+:\S+)?(?: from (?P<sender>[0-9a-f.:]+))?\](?P<best> [*!])? \((?P<metric>[^)]+)\)"
)
_SESSION = re.compile(r"\s(?P<name>\S+)\s+BGP\s+\S+\s+\S+\s+\S+(?: \S+:\S+)?\s*(?P<info>\S*)")
_CODE = re.compile(r"\d{4}[ -]")

Session = str
"""What stands first in the info column: Established, Active, Connect, Passive…"""


@attrs.frozen(kw_only=True, order=True)
class Route:
    """Texts as BIRD prints them; an attribute that is not there is empty."""

    prefix: str
    protocol: str
    way: str  # "via 10.0.0.2 on eth0"; of a BGP route what its next hop resolves to
    preference: int
    best: bool
    origin: str = ""
    as_path: str = ""
    next_hop: str = ""
    med: str = ""
    local_pref: str = ""
    communities: str = ""
    large_communities: str = ""
    originator_id: str = ""
    cluster_list: str = ""

    def __str__(self) -> str:
        said = [
            f"{name} {value}"
            for name, value in attrs.asdict(self).items()
            if name in _ATTRIBUTES.values() and value
        ]
        star = " *" if self.best else ""
        return f"{self.prefix} {self.way} [{self.protocol}]{star} ({self.preference}) {', '.join(said)}"


_ATTRIBUTES = {
    "BGP.origin": "origin",
    "BGP.as_path": "as_path",
    "BGP.next_hop": "next_hop",
    "BGP.med": "med",
    "BGP.local_pref": "local_pref",
    "BGP.community": "communities",
    "BGP.large_community": "large_communities",
    "BGP.originator_id": "originator_id",
    "BGP.cluster_list": "cluster_list",
}
_SETS = ("communities", "large_communities")


def read(answer: str) -> Counter[Route]:
    """Every candidate. Raises ValueError for a line that is none of those known."""
    found: list[dict[str, object]] = []
    prefix = ""
    for line in answer.splitlines():
        text = _CODE.sub("", line, count=1).rstrip()
        name, colon, value = text.strip().partition(":")
        if name in _ATTRIBUTES:
            value = value.strip()
            # Sets to BGP; BIRD keeps the order in which they were added.
            found[-1][_ATTRIBUTES[name]] = _sorted(value) if _ATTRIBUTES[name] in _SETS else value
        elif match := _ROW.match(text):
            prefix = match["net"] or prefix
            found.append(
                {
                    "prefix": prefix,
                    "protocol": match["protocol"],
                    "way": match["way"],
                    "preference": int(match["metric"].partition("/")[0]),
                    # "!": the best, and the kernel did not take it. Felix's route, with the same metric, is there already.
                    "best": match["best"] is not None,
                }
            )
        elif (
            text.strip()
            and not (colon and name.split(".")[0] in ("Type", "Kernel", "BGP"))
            and not line.startswith("0")
        ):
            raise ValueError(f"not understood: {line!r}")
    return _without_age([Route(**fields) for fields in found])  # type: ignore[arg-type]  # named by _ATTRIBUTES


def _without_age(routes: Sequence[Route]) -> Counter[Route]:
    """Of one neighbour's paths that tie in all but their age, all are the best when one is."""
    ties = {_rank(route) for route in routes if route.best}
    return Counter(attrs.evolve(route, best=_rank(route) in ties) for route in routes)


def undecided(routes: Iterable[Route]) -> set[str]:
    """The prefixes whose best route is one of several that differ, but not in what BIRD compares before their age."""
    best = Counter(route.prefix for route in set(routes) if route.best)
    return {prefix for prefix, count in best.items() if count > 1}


def _rank(route: Route) -> tuple[object, ...]:
    """What BIRD compares, between paths of one neighbour, before their age."""
    return (
        route.prefix,
        route.protocol,
        route.preference,
        route.way == "unreachable",
        route.local_pref,
        len(route.as_path.split()),
        route.origin,
        route.med,
        route.originator_id,
        len(route.cluster_list.split()),
    )


def read_sessions(answer: str) -> dict[str, Session]:
    lines = re.sub(r"^\d{4}-", " ", answer, flags=re.MULTILINE).splitlines()
    return {match["name"]: match["info"] for line in lines if (match := _SESSION.match(line))}


def _sorted(communities: str) -> str:
    return " ".join(sorted(re.findall(r"\([^)]*\)", communities)))
