"""What a speaker tells of itself: plain values for whoever prints them.

Owns ``BgpStatus`` (one neighbour), ``RouteStatus`` (one route of the tables) and ``SpeakerStatus``. ``inspect``
fills them on request; birdc, calicoctl's tables and the API only format.
All times are Unix seconds.
"""

from __future__ import annotations

import attrs

from agents.speaker.decision import RouteSource
from protocol.bgp.attributes import Attributes
from protocol.prefix import Address, Prefix


@attrs.frozen(kw_only=True)
class BgpStatus:
    """One neighbour, as ``show protocols all`` and ``calicoctl node status`` show it."""

    name: str  # "Mesh_10_77_0_17"
    kind: str  # "Mesh" | "Global" | "Node"
    address: Address
    local_address: Address
    peer_as: int
    local_as: int
    peer_id: Address | None  # BGP identifier, once an OPEN was heard
    protocol_state: str  # "up" | "wait" (up, and told nothing while this BIRD recovers) | "start" | "down"
    bgp_state: str  # "Established", "OpenSent", "Active", "Connect", "Idle", "Passive"
    since: float
    last_error: str  # "" or "BGP Error: Bad peer AS", "Received: Cease", "Socket: Connection refused"
    capabilities: tuple[str, ...]  # of the peer: "refresh", "restart-able", "AS4", ...
    add_path: tuple[str, ...]  # agreed: "add-path-rx", "add-path-tx"
    internal: bool
    rr_client: bool
    hold_time: float  # negotiated
    hold_left: float
    keepalive_time: float
    keepalive_left: float
    imported: int  # routes in the Adj-RIB-In
    exported: int  # routes in the Adj-RIB-Out
    preferred: int  # routes of this neighbour in the Loc-RIB
    updates_received: int
    updates_filtered: int
    updates_sent: int
    withdraws_received: int
    withdraws_sent: int
    locks_recovery: bool = False  # this BIRD recovers, and waits for it to tell everything
    restarting: bool = False  # the neighbour: what it told is kept, and may be stale
    restart_left: float = 0.0  # seconds that this is believed at most, while it is away


@attrs.frozen(kw_only=True)
class RouteStatus:
    """One route for one prefix. The best of a prefix comes first."""

    prefix: Prefix
    source: RouteSource
    protocol: str  # "Mesh_10_77_0_17", "static1", "kernel1", "direct1"
    neighbour: Address | None  # who sent it
    gateways: tuple[
        Address, ...
    ]  # none for a blackhole, a device route or what is unreachable; several for the kernel
    device: str  # "" or the interface
    preference: int
    best: bool
    since: float
    internal: bool  # learned by iBGP
    attributes: Attributes | None
    metric: int = 0  # the IGP's, to the next hop
    reason: str = ""  # why this is best, or what it lost on (RFC 4271 9.1.2.2)


@attrs.frozen(kw_only=True)
class SpeakerStatus:
    node: str
    router_id: Address
    started: float
    reconfigured: float
    now: float
    peers: tuple[BgpStatus, ...]
    recovery_left: float | None = None  # seconds that a BIRD which recovers waits for its neighbours at most
