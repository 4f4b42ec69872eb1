"""What a speaker is told: the one structured object between confd and BGP.

Owns ``PeerConfig``, ``ExportPolicy`` and ``SpeakerConfig``. confd derives them from resources
(``agents.confd``), the speaker obeys them (``agents.speaker``); neither knows more of the other. All three are
frozen and compared by value, which is how a reconfiguration finds what changed.

Follows confd's ``BirdBGPConfig`` and BIRD 1.6's ``proto/bgp/config.Y`` for names and defaults.
"""

from __future__ import annotations

import enum

import attrs

from protocol.prefix import IPV4, Address, Prefix

MAX_PRIORITY = 2147483647
"""BIRD's INTMAX: Calico carries a route's priority as LOCAL_PREF = INTMAX - priority."""
NORMAL_PRIORITY = 1024


class PeerKind(enum.Enum):
    """Where a peering comes from; the value is the prefix of BIRD's protocol name."""

    MESH = "Mesh"
    GLOBAL = "Global"
    NODE = "Node"


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


@attrs.frozen(kw_only=True)
class PeerConfig:
    """One ``protocol bgp`` stanza."""

    name: str  # "Mesh_10_77_0_17"
    kind: PeerKind
    address: Address  # the neighbour
    local_address: Address  # source address
    local_as: int
    peer_as: int
    passive: bool = False
    rr_client: bool = False
    cluster_id: Address | None = None  # set with rr_client
    port: int | None = None

    @property
    def internal(self) -> bool:
        """iBGP or eBGP, by the effective AS."""
        return self.local_as == self.peer_as


@attrs.frozen(kw_only=True)
class ExportPolicy:
    """calico_export_to_bgp_peers() of bird_ipam.cfg and calico_aggr() of bird_aggr.cfg, as data."""

    blocks: tuple[Prefix, ...] = ()  # confirmed local blocks: announced whole, what is inside them is not
    export_disabled: tuple[Prefix, ...] = ()  # pools with disableBGPExport
    pools: tuple[Prefix, ...] = ()  # every other pool
    normal_priority: int = NORMAL_PRIORITY


@attrs.frozen(kw_only=True)
class SpeakerConfig:
    """All that one node's BIRD is told, for one address family."""

    node: str
    address: Address
    router_id: Address
    local_as: int
    family: int = IPV4
    peers: tuple[PeerConfig, ...] = ()  # sorted by name
    policy: ExportPolicy = ExportPolicy()
    blackholes: tuple[Prefix, ...] = ()  # `route X blackhole` of bird_aggr.cfg: the local blocks
    timers: Timers = Timers()
