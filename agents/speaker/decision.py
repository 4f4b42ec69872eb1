"""The decision process: which of the routes to a prefix is the best, and why.

Owns ``Path`` (a candidate: attributes and who told them), ``select`` (the whole process), ``reasons`` (the same, told)
and ``compare`` (its short cut for two, which a test holds to ``select``). The order is BIRD 1.6's ``bgp_rte_better``, after the
table's own comparison of protocol preferences:

    preference -> LOCAL_PREF -> AS_PATH length -> ORIGIN -> MED -> eBGP over iBGP -> IGP metric
    -> originator or router ID -> CLUSTER_LIST length -> neighbour address

Paths that tie up to the IGP metric with different next hops are used together (ECMP, BIRD's ``merge paths``, at most 16).

Nothing here depends on the order in which routes came. BIRD's MED comparison does, unless told otherwise: it compares
pairs, and pairs with MEDs of different neighbour ASes have no total order. ``select`` eliminates by neighbour AS over the
whole set, as RFC 4271 9.1.2.2 c) describes.

Left out: the IGP metric, one for every next hop on a shared network; recursive next hops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from protocol.bgp.attributes import Attributes
from protocol.prefix import Address

if TYPE_CHECKING:
    from agents.speaker.peer import Peer

PREFERENCE_STATIC = 200
PREFERENCE_BGP = 100
PREFERENCE_KERNEL = 10

MAX_MULTIPATH = 16
"""BIRD's default limit of ``merge paths on``."""


class Path:
    """One candidate for the prefixes it was announced with; shared by all of them.

    ``hops`` are the gateways the kernel gets: one, or several when this is the best of an ECMP set; none for a route
    of our own. ``peer`` is None for a route of our own.
    """

    __slots__ = ("attributes", "hops", "peer", "preference")

    def __init__(
        self, peer: Peer | None, attributes: Attributes, hops: tuple[Address, ...], preference: int
    ) -> None:
        self.peer = peer
        self.attributes = attributes
        self.hops = hops
        self.preference = preference

    @property
    def internal(self) -> bool:
        """Learned by iBGP."""
        return self.peer is not None and self.peer.internal


def _identifier(path: Path) -> Address:
    # RFC 4456 9: ORIGINATOR_ID stands for the router ID of a reflected route.
    if path.attributes.originator_id is not None:
        return path.attributes.originator_id
    return path.peer.identifier if path.peer is not None else Address(b"")


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
    ("higher LOCAL_PREF", _least(lambda path: path.attributes.rank[0])),  # RFC 4271 9.1.1
    ("shorter AS_PATH", _least(lambda path: path.attributes.rank[1])),  # 9.1.2.2 a
    ("lower ORIGIN", _least(lambda path: path.attributes.rank[2])),  # 9.1.2.2 b
    ("lower MED", _lowest_med),  # 9.1.2.2 c
    ("eBGP over iBGP", _least(lambda path: path.internal)),  # 9.1.2.2 d
)
_TIE_BREAKERS: tuple[Step, ...] = (
    ("lower router ID", _least(_identifier)),  # 9.1.2.2 f, RFC 4456 9
    ("shorter CLUSTER_LIST", _least(lambda path: len(path.attributes.cluster_list))),  # RFC 4456 9
    ("lower neighbour address", _least(lambda path: path.peer.address if path.peer else b"")),  # 9.1.2.2 g
)


def select(paths: Sequence[Path]) -> tuple[Path, tuple[Address, ...]]:
    """The best of all candidates for one prefix, and the gateways of everything that ties with it (sorted).

    ``paths`` is not empty and holds at most one path of each neighbour.
    """
    if len(paths) == 1:
        return paths[0], paths[0].hops
    left = list(paths)
    for _, eliminate in _UP_TO_IGP_METRIC:
        left = eliminate(left)
    hops = tuple(sorted({path.attributes.next_hop for path in left if path.peer is not None}))[:MAX_MULTIPATH]
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


def compare(peer: Peer, attributes: Attributes, best: Path) -> int:
    """Whether a neighbour's new route is BETTER or WORSE than the present best, if those two alone decide it; else UNDECIDED.

    The short cut for the common case: no MED, no ECMP to form or to break, no route of our own. The steps of ``select`` written
    out (preference follows LOCAL_PREF), because behind reflectors this runs three times for every route of every node.
    """
    best_peer = best.peer
    other = best.attributes
    if best_peer is None or len(best.hops) > 1 or attributes.med or other.med:
        return UNDECIDED
    if attributes.rank != other.rank:
        return BETTER if attributes.rank < other.rank else WORSE
    if peer.internal != best_peer.internal:
        return WORSE if peer.internal else BETTER
    if attributes.next_hop != other.next_hop:
        return UNDECIDED
    mine = attributes.originator_id or peer.identifier
    theirs = other.originator_id or best_peer.identifier
    if mine != theirs:
        return BETTER if mine < theirs else WORSE
    if len(attributes.cluster_list) != len(other.cluster_list):
        return BETTER if len(attributes.cluster_list) < len(other.cluster_list) else WORSE
    if peer.address != best_peer.address:
        return BETTER if peer.address < best_peer.address else WORSE
    return UNDECIDED
