"""What a speaker is told: the one structured object between confd and BGP.

Owns ``SpeakerConfig`` and what it is made of. confd derives it from resources (``agents.confd``), the speaker obeys it
(``agents.speaker``), and ``agents.confd.bird`` prints it as the files that real BIRD reads: one model, two outputs.
Neither side knows more of the other. Everything is frozen and compared by value, which is how a reconfiguration
finds what changed.

There is one of these for each address family of a node, as Calico runs bird and bird6 beside each other.

Follows confd's ``BirdBGPConfig`` and BIRD 1.6's ``proto/bgp/config.Y`` for names and defaults.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from operator import attrgetter
from typing import Literal

import attrs

from protocol.prefix import IPV4, Address, Prefix
from protocol.v3.bgp import FilterRuleV4, FilterRuleV6

MAX_PRIORITY = 2147483647
"""BIRD's INTMAX: Calico carries a route's priority as LOCAL_PREF = INTMAX - priority."""
NORMAL_PRIORITY = 1024
DEFAULT_PORT = 179
UPLINK = "eth0"
"""A node's only wire to the others: what BIRD's ifname is for a route through one of them."""

CommunityValue = int | tuple[int, int, int]
"""A community of RFC 1997 as one 32-bit number, or a large one of RFC 8092."""


class PeerKind(enum.Enum):
    """Where a peering comes from; the value is the prefix of BIRD's protocol name."""

    MESH = "Mesh"
    GLOBAL = "Global"
    NODE = "Node"
    LOCAL_WORKLOAD = "Local_Workload"
    LAB = "Lab"  # of an emulated router outside the cluster, which Calico does not configure


@attrs.frozen(kw_only=True)
class Timers:
    """Seconds. The defaults are those of Calico's BIRD template, but for the hold time (BIRD's is 240)."""

    hold: float = 90.0
    keepalive: float | None = None  # None: a third of the negotiated hold time
    connect_delay: float = 2.0
    # Before the first dial after a node's start. BIRD waits connect_delay here too; nodes that are powered on
    # together have nothing to wait for.
    start_delay: float = 0.0
    connect_retry: float = 5.0
    error_wait_min: float = 5.0
    error_wait_max: float = 30.0
    error_forget: float = 300.0
    open_hold: float = 240.0  # RFC 4271 8.2.2: the large hold time while waiting for an OPEN


@attrs.frozen(kw_only=True, cache_hash=True)
class Filter:
    """One direction and family of a BGPFilter; ``rules`` is not empty. First match wins and ends the whole policy."""

    name: str  # of the BGPFilter
    direction: Literal["import", "export"]
    family: int
    rules: tuple[FilterRuleV4 | FilterRuleV6, ...]


class NextHop(enum.Enum):
    """BGPPeer's nextHopMode; the value is BIRD's statement, if it has one."""

    AUTO = ""
    SELF = "next hop self"
    KEEP = "next hop keep"


@attrs.define(kw_only=True, unsafe_hash=True)
class PeerConfig:
    """One ``protocol bgp`` stanza. A change of the filters alone does not end the session.

    Never changed once it is made, like everything here. It is not frozen because that is half the time of making
    one, and a mesh of a thousand nodes has a million.
    """

    name: str  # "Mesh_10_77_0_17"
    kind: PeerKind
    address: Address  # the neighbour
    local_address: Address  # this node's: NEXT_HOP of its own routes, and the source of its dials
    local_as: int  # the effective one
    peer_as: int
    passive: bool = False
    rr_client: bool = False
    cluster_id: Address | None = None  # set with rr_client
    port: int | None = None  # the neighbour listens on; None: DEFAULT_PORT
    local_as_number: int | None = None  # BGPPeer.localASNumber: printed as the stanza's own `local as`
    source_address: bool = True  # False: sourceAddress None, the statement is left out
    ttl_security: int | None = None  # RFC 5082: hops that a packet may have crossed; None: off
    next_hop: NextHop = NextHop.AUTO
    allow_local_as: int = 0  # how often our own AS may stand in a path that we accept
    restart_time: int | None = None  # seconds; None: BIRD's 120
    keepalive_time: int | None = None  # seconds; None: a third of the hold time
    password: str | None = attrs.field(default=None, repr=False)  # RFC 2385
    import_filters: tuple[Filter, ...] = ()
    export_filters: tuple[Filter, ...] = ()

    @property
    def internal(self) -> bool:
        """iBGP or eBGP, by the effective AS."""
        return self.local_as == self.peer_as

    @property
    def session(self) -> tuple[object, ...]:
        """What must stay the same for the session to live on. Asked of every session when a filter of all changes."""
        return _of_session(self)


_of_session: Callable[[PeerConfig], tuple[object, ...]] = attrgetter(
    *(
        field.name
        for field in attrs.fields(PeerConfig)
        if field.name not in ("import_filters", "export_filters")
    )
)


@attrs.frozen(kw_only=True)
class Block:
    """An IPAM block with an affinity to this node. ``state`` is the affinity's: "confirmed", "" or "pendingDeletion"."""

    cidr: Prefix
    state: str

    @property
    def confirmed(self) -> bool:
        """ "" is data older than states. A block that is being given back is no more announced whole."""
        return self.state != "pendingDeletion"


@attrs.frozen(kw_only=True)
class StaticRoute:
    """``route X blackhole``, ``route X via Y``, or ``route X via "eth0"``, which only a lab Router has."""

    prefix: Prefix
    via: Address | None = None
    device: str = ""


@attrs.frozen(kw_only=True)
class PrefixCommunities:
    """One ``if ( net ~ CIDR )`` of apply_communities()."""

    cidr: Prefix
    communities: tuple[CommunityValue, ...]


@attrs.frozen(kw_only=True)
class ExportPolicy:
    """The export filter of Calico's stanzas, calico_export_to_bgp_peers() and calico_aggr(), as data; in their order."""

    normal_priority: int = NORMAL_PRIORITY
    export_disabled: tuple[Prefix, ...] = ()  # pools with disableBGPExport
    tunnel_kept: bool = True  # routes over tunl0 are Felix's: iBGP peers are not told
    communities: tuple[PrefixCommunities, ...] = ()
    blocks: tuple[Block, ...] = ()  # a confirmed one is announced whole, what is inside it is not
    services: tuple[Prefix, ...] = ()  # "Export static routes"
    reflected: tuple[Prefix, ...] = ()  # service CIDRs that a route reflector passes on
    pools: tuple[Prefix, ...] = ()  # every pool that is exported


class PoolRoutes(enum.Enum):
    """Who programs the routes of a pool, and how BIRD does when it is BIRD."""

    DIRECT = "direct"  # BIRD, without a tunnel
    TUNNEL = "tunnel"  # BIRD, over tunl0
    CROSS_SUBNET = "cross-subnet"  # BIRD, over tunl0 where the next hop is in another subnet
    VXLAN = "vxlan"  # Felix
    FELIX = "felix"  # Felix, any other kind


@attrs.frozen(kw_only=True)
class KernelPool:
    cidr: Prefix
    routes: PoolRoutes


@attrs.frozen(kw_only=True)
class KernelPolicy:
    """calico_kernel_programming, as data, in its order."""

    normal_priority: int = NORMAL_PRIORITY
    rejected: tuple[Prefix, ...] = ()  # service CIDRs: never in the kernel
    wireguard: tuple[Address, ...] = ()  # next hops whose routes are WireGuard's
    pools: tuple[KernelPool, ...] = ()
    subnet: Prefix | None = None  # the node's own; what CROSS_SUBNET asks for


class Debug(enum.Enum):
    """logSeverityScreen as the templates read it."""

    NONE = "none"
    INFO = "info"
    ALL = "debug"


@attrs.frozen(kw_only=True)
class SpeakerConfig:
    """All that one node's BIRD is told, for one address family.

    An empty ``address``: the node has none of this family; BIRD runs and does nothing.
    A ``policy`` or ``kernel`` of None: everything is exported to peers, to the kernel, as it is (a lab router).
    """

    node: str
    address: Address
    router_id: Address
    local_as: int
    family: int = IPV4
    subnet: Prefix | None = None  # of the address; BIRD's direct protocol has it
    peers: tuple[PeerConfig, ...] = ()  # sorted by name
    filters: tuple[
        Filter, ...
    ] = ()  # every one of the family, used or not, as bird.cfg has them: name, then import
    policy: ExportPolicy | None = ExportPolicy()
    kernel: KernelPolicy | None = KernelPolicy()
    statics: tuple[
        StaticRoute, ...
    ] = ()  # as bird_aggr.cfg lists them: blocks, then services, then reachableBy
    timers: Timers = Timers()
    add_path: bool = True  # RFC 7911, both ways, with every peer that has it too
    listen_port: int | None = None  # None: DEFAULT_PORT
    listen_address: Address | None = None  # bindMode NodeIP
    ignored_interfaces: tuple[str, ...] = ()
    debug: Debug = Debug.INFO
    notes: tuple[str, ...] = ()  # what of the resources could not be followed, and why: "BGPPeer/x: …"

    @property
    def enabled(self) -> bool:
        return bool(self.address)
