"""Import and export policy: which routes pass, and what becomes of their attributes on the way.

Owns the rules of Calico's generated filters (``bird_ipam.cfg``, ``bird_aggr.cfg``) and of BGP itself (RFC 4271 5.1,
RFC 4456 section 8) as functions of a route and a session:

- ``ImportPolicy``, one a neighbour: UPDATE -> Adj-RIB-In: loop checks, then BGPFilters; everything else is accepted;
- ``Exporter``, one an update group: Loc-RIB -> Adj-RIB-Out. ``ExportClass`` is what makes two sessions one group.

The order of an export is BIRD's. First bgp_import_control: is the session told such routes at all (reflection, well-known
communities), and the attributes that BGP makes: NEXT_HOP, the AS prepended, ORIGINATOR_ID and CLUSTER_LIST. Then the export
filter, which sees these: LOCAL_PREF from the route's priority, BGPFilters, calico_export_to_bgp_peers(). Last, as it is
encoded, an external session loses what is ours alone.

All that a verdict can depend on falls into two: the prefix, which picks one of a few classes (which conditions hold for it),
and the path. Both are remembered, so a prefix costs two look-ups, whatever the filters say.

Left out: that nobody is told a route of its own, or one whose NEXT_HOP it is (BIRD's bgp_get_bucket): members of one group
differ in that, and ``groups`` sees to it. Rules of filters are in ``filters``, what goes to the kernel in ``kernel``.

Sources: BIRD 1.6's ``proto/bgp/attrs.c``; confd's templates.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence

import attrs

from agents.speaker.config import (
    MAX_PRIORITY,
    UPLINK,
    CommunityValue,
    ExportPolicy,
    Filter,
    NextHop,
    PeerConfig,
)
from agents.speaker.decision import Path, RouteSource
from agents.speaker.filters import Facts, FilterChain, add_communities, interface_pattern, local_pref
from agents.speaker.peer import Peer
from protocol.bgp.attributes import DEFAULT_LOCAL_PREF, LLGR_STALE, Attributes, Origin, prepend
from protocol.prefix import Address, Cover, Prefix, contains

MAX_MEMO = 1 << 17
"""Prefixes that a policy remembers before it starts anew: two per route of a table of 50,000."""
MAX_PATHS = 1 << 10
"""Paths that an Exporter remembers before it starts anew."""

NO_EXPORT = 0xFFFFFF01
NO_ADVERTISE = 0xFFFFFF02
NO_EXPORT_SUBCONFED = 0xFFFFFF03

Intern = Callable[[Attributes], Attributes]

_FELIX_DEVICES = ("*.cali", "*.calico")
_TUNNEL = "tunl0"
_BPF_DEVICE = "bpf*.cali"


class _Default(enum.Enum):
    """What calico_export_to_bgp_peers() makes of a prefix."""

    REJECT = 0
    ACCEPT = 1
    ELEVATED = 2  # accepted if of better than normal priority


@attrs.frozen(kw_only=True, cache_hash=True)
class ExportClass:
    """What makes two sessions one update group: everything that export policy looks at."""

    internal: bool
    local_as: int
    local_address: Address
    rr_client: bool
    cluster_id: Address | None
    next_hop: NextHop = NextHop.AUTO
    export_filters: tuple[Filter, ...] = ()
    add_path: bool = False  # both ends have it: it is told every path, not the best alone
    llgr_aware: bool = True  # it knows what LLGR_STALE means

    @classmethod
    def of(cls, config: PeerConfig, *, add_path: bool, llgr_aware: bool = True) -> ExportClass:
        return cls(
            internal=config.internal, local_as=config.local_as, local_address=config.local_address,
            rr_client=config.rr_client, cluster_id=config.cluster_id, next_hop=config.next_hop,
            export_filters=config.export_filters, add_path=add_path, llgr_aware=llgr_aware,
        )  # fmt: skip


class ImportPolicy:
    """What one neighbour's routes go through before they enter the Adj-RIB-In. Made once for a configuration."""

    def __init__(self, config: PeerConfig, *, router_id: Address, intern: Intern) -> None:
        self._config = config
        self._router_id = router_id
        self._intern = intern
        self._filters = FilterChain(config.import_filters, internal=config.internal)

    def import_(
        self, prefixes: Sequence[Prefix], attributes: Attributes
    ) -> Iterable[tuple[Sequence[Prefix], Attributes | None]]:
        """What becomes of an UPDATE: prefixes with the attributes to keep for them, or None for a route that is not let in
        and replaces what was there. One entry for all prefixes, unless filters tell them apart.
        """
        received = self._received(attributes)
        if received is None or not self._filters:
            return ((prefixes, received),)
        facts = Facts(received, learned=True, interface=UPLINK)
        if not self._filters.by_prefix:
            return ((prefixes, self._verdict(self._filters.match(prefixes[0]), facts)),) if prefixes else ()
        classes: dict[int, list[Prefix]] = {}
        for prefix in prefixes:
            classes.setdefault(self._filters.match(prefix), []).append(prefix)
        return [(found, self._verdict(matched, facts)) for matched, found in classes.items()]

    def _verdict(self, matched: int, facts: Facts) -> Attributes | None:
        decision = self._filters.run(matched, facts)
        if decision is None:
            return facts.attributes
        if decision.attributes is None:
            return None
        return self._intern(attrs.evolve(decision.attributes, settled=True))

    def _received(self, attributes: Attributes) -> Attributes | None:
        """After bgp_decode_attrs: None for a loop, or when this node is the next hop.

        RFC 4271 9.1.2 (our AS in AS_PATH, more often than allowed), RFC 4456 8 (our identifier as ORIGINATOR_ID; our
        cluster in CLUSTER_LIST, which BIRD looks at on sessions with clients only). What is for internal sessions
        alone is not read from an external one (RFC 4271 5.1.5).
        """
        config = self._config
        if attributes.next_hop == config.local_address:
            return None  # RFC 4271 6.3; BIRD already does not send it (bgp_get_bucket: "Invalid NEXT_HOP attribute in route")
        if attributes.as_path and attributes.as_count(config.local_as) > config.allow_local_as:
            return None
        if not config.internal:
            return self._intern(_external(attributes, local_pref=DEFAULT_LOCAL_PREF))
        if attributes.originator_id == self._router_id:
            return None
        if config.rr_client and (config.cluster_id or self._router_id) in attributes.cluster_list:
            return None
        if attributes.local_pref is None:
            return self._intern(attrs.evolve(attributes, local_pref=DEFAULT_LOCAL_PREF))
        return attributes


class ImportPolicies:
    """One for all neighbours that it treats alike."""

    def __init__(self, router_id: Address, intern: Intern) -> None:
        self._router_id = router_id
        self._intern = intern
        self._known: dict[object, ImportPolicy] = {}

    def of(self, config: PeerConfig) -> ImportPolicy:
        key = (
            config.local_as, config.peer_as, config.local_address, config.allow_local_as, config.rr_client,
            config.cluster_id, config.import_filters,
        )  # fmt: skip
        policy = self._known.get(key)
        if policy is None:
            policy = self._known[key] = ImportPolicy(config, router_id=self._router_id, intern=self._intern)
        return policy


def _external(attributes: Attributes, *, local_pref: int | None) -> Attributes:
    """Without what does not cross to another AS."""
    if (attributes.local_pref, attributes.originator_id, attributes.cluster_list) == (local_pref, None, ()):
        return attributes
    return attrs.evolve(attributes, local_pref=local_pref, originator_id=None, cluster_list=())


@attrs.define
class _Told:
    """A path that a group may be told, before its prefix comes in."""

    facts: Facts
    by_class: dict[int, Attributes | None] = attrs.field(factory=dict)


@attrs.frozen(cache_hash=True)
class _PrefixClass:
    matched: int  # FilterChain.match
    default: _Default
    communities: tuple[CommunityValue, ...]


class Exporter:
    """What one update group is told. Made once for its class and an export policy; ``policy`` None tells everything."""

    def __init__(
        self, to: ExportClass, policy: ExportPolicy | None, *, router_id: Address, intern: Intern
    ) -> None:
        self._to = to
        self._policy = policy
        self._router_id = router_id
        self._intern = intern
        self._filters = FilterChain(to.export_filters, internal=to.internal)
        self._blocks = (
            Cover(block.cidr for block in policy.blocks if block.confirmed) if policy else Cover(())
        )
        self._accepted = Cover((*policy.services, *policy.reflected, *policy.pools)) if policy else Cover(())
        hidden: tuple[str, ...] = (_BPF_DEVICE,)
        if policy is not None and to.internal:
            hidden += (*_FELIX_DEVICES, _TUNNEL) if policy.tunnel_kept else _FELIX_DEVICES
        self._hidden = tuple(map(interface_pattern, hidden))
        self._classes: list[_PrefixClass] = []
        self._class_numbers: dict[_PrefixClass, int] = {}
        self._class_of: dict[Prefix, int] = {}
        self._paths: dict[object, _Told | None] = {}
        self._last: tuple[Path | None, _Told | None] = (None, None)

    def may_tell(self, path: Path) -> bool:
        """Whether a path is told at all: bgp_import_control's own rules, whatever the prefix. Cheap.

        A lab's Router keeps the network that it is in to itself: what it originates is what it announces.
        """
        source, to = path.peer, self._to
        if source is None:
            return self._policy is not None or path.source is not RouteSource.DIRECT
        if self._internal_both(source) and not (to.rr_client or source.config.rr_client):
            return False
        attributes = path.attributes
        if to.rr_client and attributes.cluster_list and self._cluster_id in attributes.cluster_list:
            return False  # the neighbour who told us is not of this cluster, so our import did not look
        if attributes.communities:
            if NO_ADVERTISE in attributes.communities:
                return False
            if LLGR_STALE in attributes.communities and not to.llgr_aware:
                return False  # RFC 9494 4.3: it would take the route for a good one
            if not to.internal:
                return NO_EXPORT not in attributes.communities and (
                    NO_EXPORT_SUBCONFED not in attributes.communities
                )
        return True

    def export(self, prefix: Prefix, path: Path) -> Attributes | None:
        """The attributes that the group is told for a path to a prefix (interned), or None if it is not told."""
        last, told = self._last
        if path is not last:
            told = self._told(path)
            self._last = (path, told)
        if told is None:
            return None
        number = self._class_of.get(prefix)
        if number is None:
            number = self._classify(prefix)
        try:
            return told.by_class[number]
        except KeyError:
            result = told.by_class[number] = self._filter(self._classes[number], told.facts)
            return result

    # --- the path -----------------------------------------------------------------------------------------------------

    @property
    def _cluster_id(self) -> Address:
        return self._to.cluster_id or self._router_id

    def _internal_both(self, source: Peer) -> bool:
        """What one iBGP taught another: reflection, or nothing."""
        to = self._to
        return source.internal and to.internal and source.config.local_as == to.local_as

    def _told(self, path: Path) -> _Told | None:
        if not self.may_tell(path):
            return None
        source = path.peer
        key = (path.attributes, source, source and source.identifier, path.ifname, path.hops)
        if len(self._paths) >= MAX_PATHS:
            self._paths.clear()
        if key not in self._paths:
            attributes = self._update_attrs(path.attributes, source) if source else self._create_attrs(path)
            if attributes.settled:
                attributes = attrs.evolve(attributes, settled=False)
            if self._policy is not None and source is None:
                # Priority sync. krt_metric is what the kernel's route has, else the normal one; what BGP taught keeps its own.
                preference = path.attributes.local_pref
                if preference is None:
                    preference = MAX_PRIORITY - self._policy.normal_priority
                attributes = attrs.evolve(attributes, local_pref=preference)
            interface = UPLINK if source else path.ifname
            self._paths[key] = _Told(Facts(attributes, learned=source is not None, interface=interface))
        return self._paths[key]

    def _create_attrs(self, path: Path) -> Attributes:
        """bgp_create_attrs: of a route that is no BGP's. A route through one gateway is that gateway's by iBGP."""
        to = self._to
        through = path.hops[0] if len(path.hops) == 1 and to.next_hop is not NextHop.SELF else None
        if through is None or not (to.internal or to.next_hop is NextHop.KEEP):
            through = to.local_address
        as_path = () if to.internal else prepend((), to.local_as)
        return Attributes(next_hop=through, origin=Origin.IGP, as_path=as_path, local_pref=DEFAULT_LOCAL_PREF)

    def _update_attrs(self, attributes: Attributes, source: Peer) -> Attributes:
        """bgp_update_attrs. Every session of Calico's is multihop: by eBGP the NEXT_HOP is ours, by iBGP it stays."""
        to = self._to
        keep = to.next_hop is NextHop.KEEP or (to.internal and to.next_hop is not NextHop.SELF)
        next_hop = attributes.next_hop if keep else to.local_address
        if not to.internal:
            return attrs.evolve(
                attributes, next_hop=next_hop, as_path=prepend(attributes.as_path, to.local_as),
                med=None if attributes.med is None else 0,
            )  # fmt: skip
        if not self._internal_both(source):
            return attributes if keep else attrs.evolve(attributes, next_hop=next_hop)
        return attrs.evolve(
            attributes,
            next_hop=next_hop,
            originator_id=attributes.originator_id or source.identifier,
            # RFC 4456 8 says in front. To BIRD 1.6 it is a set, sorted when it is sent (bgp_normalize_int_set).
            cluster_list=tuple(sorted({*attributes.cluster_list, *self._clusters(source)})),
        )

    def _clusters(self, source: Peer) -> tuple[Address, ...]:
        """What a reflected route's CLUSTER_LIST gets: the cluster that it leaves, or enters."""
        if not source.config.rr_client:
            return (self._cluster_id,)
        left = source.config.cluster_id or self._router_id
        if self._to.rr_client and left != self._cluster_id:
            return (left, self._cluster_id)  # from one cluster of ours into another
        return (left,)

    # --- the prefix ---------------------------------------------------------------------------------------------------

    def _classify(self, prefix: Prefix) -> int:
        found = _PrefixClass(self._filters.match(prefix), self._default(prefix), self._communities(prefix))
        number = self._class_numbers.get(found)
        if number is None:
            number = self._class_numbers[found] = len(self._classes)
            self._classes.append(found)
        if len(self._class_of) >= MAX_MEMO:
            self._class_of.clear()
        self._class_of[prefix] = number
        return number

    def _default(self, prefix: Prefix) -> _Default:
        """calico_export_to_bgp_peers(), as far as prefixes go."""
        policy = self._policy
        if policy is None:
            return _Default.ACCEPT
        if any(contains(pool, prefix) for pool in policy.export_disabled):
            return _Default.REJECT
        block = self._blocks.first(prefix)
        if block is not None:
            return _Default.ACCEPT if prefix == block else _Default.ELEVATED
        return _Default.ACCEPT if self._accepted.first(prefix) is not None else _Default.REJECT

    def _communities(self, prefix: Prefix) -> tuple[CommunityValue, ...]:
        """apply_communities()."""
        if self._policy is None:
            return ()
        return tuple(
            value
            for entry in self._policy.communities
            if contains(entry.cidr, prefix)
            for value in entry.communities
        )

    # --- both ---------------------------------------------------------------------------------------------------------

    def _filter(self, prefix: _PrefixClass, facts: Facts) -> Attributes | None:
        """The export filter, and what the encoder leaves out after it."""
        attributes: Attributes | None = facts.attributes
        if (decision := self._filters.run(prefix.matched, facts)) is not None:
            attributes = decision.attributes
        elif self._policy is not None:
            attributes = self._calico_export(prefix, facts, self._policy)
        if attributes is None:
            return None
        return self._intern(attributes if self._to.internal else _external(attributes, local_pref=None))

    def _calico_export(self, prefix: _PrefixClass, facts: Facts, policy: ExportPolicy) -> Attributes | None:
        if prefix.default is _Default.REJECT:
            return None
        if facts.interface and any(pattern.fullmatch(facts.interface) for pattern in self._hidden):
            return None
        if prefix.default is _Default.ELEVATED:
            metric = (MAX_PRIORITY - local_pref(facts.attributes)) % (
                1 << 32
            )  # krt_metric has 32 bits and no sign
            if metric >= policy.normal_priority:
                return None
        if not prefix.communities:
            return facts.attributes
        return add_communities(facts.attributes, prefix.communities)
