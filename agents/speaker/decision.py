"""The decision process: which of the routes to a prefix is the best, and why.

Owns ``Path`` (a candidate: attributes and who told them), ``select`` (the whole process), ``reasons`` (the same, told)
and ``compare`` (its short cut for two, which a test holds to ``select``). The order is BIRD 1.6's ``bgp_rte_better``, after the
table's own comparison of protocol preferences:

    preference -> own over BGP -> reachable next hop -> not stale for long -> LOCAL_PREF -> AS_PATH length -> ORIGIN -> MED
    -> eBGP over iBGP -> IGP metric -> originator or router ID -> CLUSTER_LIST length -> neighbour address
    -> the attributes themselves

Of protocols with one preference BIRD takes whichever stands behind the other in its memory; static routes, that is.
Paths that tie up to the IGP metric with different gateways are used together (ECMP, BIRD's ``merge paths``, at most 16).
The last step is not BIRD's: of two paths of one neighbour that tie in everything else BIRD keeps the older one.

Nothing here depends on the order in which routes came. BIRD's MED comparison does, unless told otherwise: it compares
pairs, and pairs with MEDs of different neighbour ASes have no total order. ``select`` eliminates by neighbour AS over the
whole set, as RFC 4271 9.1.2.2 c) describes.

Left out: how a next hop becomes gateways and a metric (``nexthop``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from protocol.bgp.attributes import Attributes
from protocol.prefix import Address

if TYPE_CHECKING:
    from agents.speaker.peer import Peer

PREFERENCE_DIRECT = 240
PREFERENCE_STATIC = 200
PREFERENCE_BGP = 100
PREFERENCE_KERNEL = 10

MAX_MULTIPATH = 16
"""BIRD's default limit of ``merge paths on``."""

UNKNOWN_METRIC = 1 << 31
"""BIRD's IGP_METRIC_UNKNOWN: of every route but the connected ones, which have 0."""


class RouteSource(enum.Enum):
    """Where a path comes from; the value is the name of BIRD's protocol, but for BGP's."""

    STATIC = (
        "static1"  # the blackhole of a local block or service, or the way to a neighbour behind a gateway
    )
    KERNEL = "kernel1"  # a route that Felix programmed and BIRD learned
    DIRECT = "direct1"  # the node's own network
    BGP = "bgp"


PathKey = tuple["Peer | RouteSource", int]
"""Whose path: the neighbour, or for a route of our own its source; and the path ID. One path each, a prefix."""


class Path:
    """One candidate for the prefixes it was announced with; shared by all of them.

    ``hops`` are the gateways that the kernel gets: one, or several when this is the best of an ECMP set; none for a route of
    our own without a gateway, and none for a path of BGP whose next hop is unreachable. ``peer`` is None for a route of our own.
    ``path_id`` is the neighbour's; a neighbour has one path of each ID to a prefix. ``metric`` is the IGP's, to the next hop.
    """

    __slots__ = ("attributes", "hops", "ifname", "metric", "path_id", "peer", "preference", "source")

    def __init__(  # noqa: PLR0917  # behind reflectors one is made for every route: names would cost a tenth more
        self,
        peer: Peer | None,
        attributes: Attributes,
        hops: tuple[Address, ...],
        preference: int,
        path_id: int = 0,
        metric: int = 0,
        source: RouteSource = RouteSource.BGP,
        ifname: str = "",
    ) -> None:
        self.peer = peer
        self.attributes = attributes
        self.hops = hops
        self.preference = preference
        self.path_id = path_id
        self.metric = metric
        self.source = source
        self.ifname = ifname

    @property
    def internal(self) -> bool:
        """Learned by iBGP."""
        return self.peer is not None and self.peer.internal

    @property
    def reachable(self) -> bool:
        return self.peer is None or bool(self.hops)

    def through(self, hops: tuple[Address, ...]) -> Path:
        """The same path as the best of an ECMP set."""
        return Path(
            self.peer, self.attributes, hops, self.preference,
            self.path_id, self.metric, self.source, self.ifname,
        )  # fmt: skip

    @property
    def key(self) -> PathKey:
        """Whose path it is."""
        return (self.peer or self.source, self.path_id)

    def same(self, other: Path) -> bool:
        """Whether nobody sees a difference: a consumer of the table, or the next path that is compared with this one."""
        return (
            self.peer is other.peer
            and self.path_id == other.path_id
            and self.attributes is other.attributes
            and self.hops == other.hops
            and self.preference == other.preference
            and self.metric == other.metric
            and self.source is other.source  # all that tells a block from a workload
            and self.ifname == other.ifname
        )


def _identifier(path: Path) -> Address:
    # RFC 4456 9: ORIGINATOR_ID stands for the router ID of a reflected route.
    if path.attributes.originator_id is not None:
        return path.attributes.originator_id
    return path.peer.identifier if path.peer is not None else Address(b"")


def _contents(path: Path) -> tuple[object, ...]:
    """An order of any two sets of attributes that differ: which path ID they have depends on who came first."""
    of = path.attributes
    return (
        of.next_hop, of.as_path, of.communities, of.large_communities, of.cluster_list,
        -1 if of.med is None else of.med, of.atomic_aggregate, of.aggregator or (), of.originator_id or b"",
        -1 if of.local_pref is None else of.local_pref,
    )  # fmt: skip


def _lowest_med(paths: Sequence[Path]) -> list[Path]:
    lowest: dict[int, int] = {}
    for path in paths:
        med = path.attributes.med or 0
        neighbour = path.attributes.neighbour_as
        lowest[neighbour] = min(med, lowest.get(neighbour, med))
    return [path for path in paths if (path.attributes.med or 0) == lowest[path.attributes.neighbour_as]]


def _least(key: Callable[[Path], Any]) -> Callable[[Sequence[Path]], list[Path]]:
    def keep(paths: Sequence[Path]) -> list[Path]:
        least = min(map(key, paths))
        return [path for path in paths if key(path) == least]

    return keep


Step = tuple[str, Callable[[Sequence[Path]], list[Path]]]
"""Its name, and who is left of the candidates after it."""

_UP_TO_IGP_METRIC: tuple[Step, ...] = (
    ("higher preference", _least(lambda path: -path.preference)),
    ("own over BGP", _least(lambda path: path.peer is not None)),
    ("reachable next hop", _least(lambda path: not path.reachable)),  # 9.1.2.1
    ("not LLGR_STALE", _least(lambda path: path.attributes.rank[0])),  # RFC 9494 4.3
    ("higher LOCAL_PREF", _least(lambda path: path.attributes.rank[1])),  # RFC 4271 9.1.1
    ("shorter AS_PATH", _least(lambda path: path.attributes.rank[2])),  # 9.1.2.2 a
    ("lower ORIGIN", _least(lambda path: path.attributes.rank[3])),  # 9.1.2.2 b
    ("lower MED", _lowest_med),  # 9.1.2.2 c
    ("eBGP over iBGP", _least(lambda path: path.internal)),  # 9.1.2.2 d
    ("lower IGP metric", _least(lambda path: path.metric)),  # 9.1.2.2 e
)
_TIE_BREAKERS: tuple[Step, ...] = (
    ("lower router ID", _least(_identifier)),  # 9.1.2.2 f, RFC 4456 9
    ("shorter CLUSTER_LIST", _least(lambda path: len(path.attributes.cluster_list))),  # RFC 4456 9
    ("lower neighbour address", _least(lambda path: path.peer.address if path.peer else b"")),  # 9.1.2.2 g
    ("lower NEXT_HOP, AS_PATH or communities", _least(_contents)),
    ("lower path ID", _least(lambda path: path.path_id)),  # who is left is the same but in name
)


def select(paths: Sequence[Path]) -> tuple[Path, tuple[Address, ...]]:
    """The best of all candidates for one prefix, and the gateways of everything that ties with it (sorted).

    ``paths`` is not empty and holds at most one path of each neighbour and path ID.
    """
    if len(paths) == 1:
        return paths[0], paths[0].hops
    left = list(paths)
    for _, eliminate in _UP_TO_IGP_METRIC:
        left = eliminate(left)
    hops = tuple(sorted({hop for path in left for hop in path.hops}))[:MAX_MULTIPATH]
    for _, eliminate in _TIE_BREAKERS:
        left = eliminate(left)
    best = left[0]
    return best, hops if best.peer is not None else best.hops


def reasons(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """All candidates, best first, each with the step that decided: what the best won by, what the others lost on."""
    lost: list[tuple[Path, str]] = []
    left = list(paths)
    won = "the only route"
    for name, eliminate in (*_UP_TO_IGP_METRIC, *_TIE_BREAKERS):
        remaining = eliminate(left)
        if len(remaining) < len(left):
            won = name
            lost = [(path, name) for path in left if path not in remaining] + lost
            left = remaining
    return [(path, won) for path in left] + lost


BETTER = 1
WORSE = -1
UNDECIDED = 2
"""Only ``select`` over all candidates can tell."""


def compare(new: Path, best: Path) -> int:
    """Whether a new path of a neighbour is BETTER or WORSE than the present best, if those two alone decide it; else UNDECIDED.

    The short cut for the common case: no MED, no ECMP to form or to break. The steps of ``select`` written out, because behind
    reflectors this runs fifteen times for every route of every node.
    """
    if new.preference != best.preference:
        return BETTER if new.preference > best.preference else WORSE
    mine = new.attributes
    theirs = best.attributes
    peer = new.peer
    best_peer = best.peer
    if peer is None or best_peer is None or len(best.hops) > 1 or mine.med or theirs.med:
        return UNDECIDED
    if (not new.hops) != (not best.hops):
        return BETTER if new.hops else WORSE
    if mine.rank != theirs.rank:
        return BETTER if mine.rank < theirs.rank else WORSE
    if peer.internal != best_peer.internal:
        return WORSE if peer.internal else BETTER
    if new.metric != best.metric:
        return BETTER if new.metric < best.metric else WORSE
    if new.hops != best.hops:
        return UNDECIDED
    my_id = mine.originator_id or peer.identifier
    their_id = theirs.originator_id or best_peer.identifier
    if my_id != their_id:
        return BETTER if my_id < their_id else WORSE
    if len(mine.cluster_list) != len(theirs.cluster_list):
        return BETTER if len(mine.cluster_list) < len(theirs.cluster_list) else WORSE
    if peer.address != best_peer.address:
        return BETTER if peer.address < best_peer.address else WORSE
    return UNDECIDED


def is_longer_way(peer: Peer, attributes: Attributes, best: Path) -> bool:
    """Whether this is the best path again, reflected more often: three of four paths behind four reflectors, found out
    without making a Path of it. Neither has a MED.
    """
    theirs = best.attributes
    return (
        len(attributes.cluster_list) > len(theirs.cluster_list)
        and attributes.originator_id == theirs.originator_id is not None
        and attributes.next_hop == theirs.next_hop
        and attributes.rank == theirs.rank
        and attributes.settled is theirs.settled
        and best.internal
        and peer.internal
    )
