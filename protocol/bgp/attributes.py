"""Path attributes: what an UPDATE says of its prefixes.

Owns ``Attributes`` (all path attributes of one route, immutable and compared by value), ``Origin`` and AS_PATH
segments, and ``AttributeTable`` which interns them: equal attributes of one table are the same object, so that
hot paths compare identities and a thousand routes share one set.

Follows RFC 4271 section 5 (ORIGIN, AS_PATH, NEXT_HOP, MULTI_EXIT_DISC, LOCAL_PREF, ATOMIC_AGGREGATE, AGGREGATOR),
RFC 1997 (COMMUNITIES), RFC 4456 (ORIGINATOR_ID, CLUSTER_LIST), RFC 8092 (LARGE_COMMUNITY) and RFC 9494 (LLGR_STALE).

Left out: unknown attributes (a frame with one is malformed here: both ends speak this protocol), and what the
wire looks like (``wire``).
"""

from __future__ import annotations

import enum

import attrs

from protocol.prefix import Address


class Origin(enum.IntEnum):
    """RFC 4271 section 4.3 a)."""

    IGP = 0
    EGP = 1
    INCOMPLETE = 2


AS_SET = 1
AS_SEQUENCE = 2

Segment = tuple[int, tuple[int, ...]]
"""(AS_SET or AS_SEQUENCE, AS numbers)."""

DEFAULT_LOCAL_PREF = 100
"""BIRD's ``default bgp_local_pref``, for routes that come without one."""

LLGR_STALE = 0xFFFF0006
"""RFC 9494: the community of a route that somebody keeps long after its origin went. (NO_LLGR speaks to who would keep it.)"""


def _path_length(path: tuple[Segment, ...]) -> int:
    # RFC 4271 9.1.2.2 a): an AS_SET counts as one, however many it holds.
    return sum(1 if kind == AS_SET else len(numbers) for kind, numbers in path)


@attrs.frozen(kw_only=True, cache_hash=True, weakref_slot=False)
class Attributes:
    """The path attributes of a route.

    ``communities`` are 32-bit values, ``large_communities`` triples; both sorted and without repeats.
    ``rank`` is computed: (LLGR_STALE, -LOCAL_PREF, AS_PATH length, ORIGIN), the head of the decision process
    (RFC 9494 4.3, RFC 4271 9.1.1 and 9.1.2.2 a-b), smaller is better. So is ``gateways``, the next hop as the only one of its kind:
    all paths with these attributes share it.

    ``settled`` does not travel: an import filter has had the last word on the route, and nothing raises its preference.
    """

    next_hop: Address
    origin: Origin = Origin.IGP
    as_path: tuple[Segment, ...] = ()
    med: int | None = None
    local_pref: int | None = None
    atomic_aggregate: bool = False
    aggregator: tuple[int, Address] | None = None
    communities: tuple[int, ...] = ()
    large_communities: tuple[tuple[int, int, int], ...] = ()
    originator_id: Address | None = None
    cluster_list: tuple[Address, ...] = ()
    settled: bool = False
    rank: tuple[bool, int, int, int] = attrs.field(init=False, eq=False, repr=False)
    gateways: tuple[Address, ...] = attrs.field(init=False, eq=False, repr=False)

    @rank.default
    def _rank(self) -> tuple[bool, int, int, int]:
        preference = DEFAULT_LOCAL_PREF if self.local_pref is None else self.local_pref
        return (LLGR_STALE in self.communities, -preference, _path_length(self.as_path), self.origin)

    @gateways.default
    def _gateways(self) -> tuple[Address, ...]:
        return (self.next_hop,)

    @property
    def neighbour_as(self) -> int:
        """The AS that MEDs are compared within (RFC 4271 9.1.2.2 c); 0 for a path of our own AS."""
        if self.as_path and self.as_path[0][0] == AS_SEQUENCE:
            return self.as_path[0][1][0]
        return 0

    def as_count(self, asn: int) -> int:
        """How often an AS stands in the path, for loop checks."""
        return sum(numbers.count(asn) for _, numbers in self.as_path)


def prepend(path: tuple[Segment, ...], asn: int) -> tuple[Segment, ...]:
    """AS_PATH with one AS put in front (RFC 4271 5.1.2 b): a full segment of 255 starts another."""
    if path and path[0][0] == AS_SEQUENCE and len(path[0][1]) < 255:
        return ((AS_SEQUENCE, (asn, *path[0][1])), *path[1:])
    return ((AS_SEQUENCE, (asn,)), *path)


MAX_INTERNED = 1 << 16
"""Sets of attributes a table remembers before it starts anew: four per route of 16,000 reflected ones, 25 MB."""


class AttributeTable:
    """Interned attributes of one process.

    Identity is a short cut, never an argument: equal attributes of which one was interned before the table started anew
    cost a comparison or a needless UPDATE, nothing else. A table of weak references was rejected: it costs twice the
    time and memory for what a bound gives as well.
    """

    def __init__(self) -> None:
        self._table: dict[Attributes, Attributes] = {}

    def __len__(self) -> int:
        return len(self._table)

    def intern(self, attributes: Attributes) -> Attributes:
        """The one object that stands for these attributes."""
        if len(self._table) >= MAX_INTERNED:
            self._table.clear()
        return self._table.setdefault(attributes, attributes)
