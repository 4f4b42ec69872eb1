"""The five messages of BGP, as values.

Owns ``Open`` with its ``Capabilities``, ``Update``, ``Keepalive``, ``Notification`` and ``RouteRefresh``. All are
frozen and validated where a caller of ours could be wrong; what a stranger sends is checked by ``wire``, which
knows the NOTIFICATION for each mistake.

One ``Update`` speaks of one address family and one path ID: what RFC 4271 puts into two NLRI fields and RFC 4760
into MP_REACH_NLRI and MP_UNREACH_NLRI is one shape here, and RFC 7911's per-prefix path IDs are one per message,
because a speaker tells its paths ID by ID (``agents.speaker.groups``). An UPDATE with neither withdrawn nor announced prefixes is the
family's End-of-RIB (RFC 4724 section 2).

Follows RFC 4271 section 4, RFC 5492 (capabilities), RFC 6793 (four-octet AS), RFC 2918 (ROUTE-REFRESH).
"""

from __future__ import annotations

import enum

import attrs

from protocol.bgp.attributes import Attributes
from protocol.prefix import IPV4, Address, Prefix


class AddPath(enum.IntEnum):
    """RFC 7911 section 4, Send/Receive."""

    RECEIVE = 1
    SEND = 2
    BOTH = 3


@attrs.frozen(kw_only=True)
class GracefulRestart:
    """RFC 4724 section 3: ``families`` are (family, forwarding state preserved)."""

    restarting: bool = False
    time: int = 120
    families: tuple[tuple[int, bool], ...] = ()


@attrs.frozen(kw_only=True)
class Capabilities:
    """What an OPEN offers. ``families`` are 4 and 6, standing for AFI/SAFI 1/1 and 2/1."""

    families: tuple[int, ...] = (IPV4,)
    route_refresh: bool = True
    four_octet_as: int | None = None
    add_path: tuple[tuple[int, AddPath], ...] = ()
    graceful_restart: GracefulRestart | None = None
    long_lived: tuple[tuple[int, bool, int], ...] | None = None
    """RFC 9494 section 3: (family, forwarding state preserved, stale time in seconds). Empty: it knows what LLGR_STALE means
    and keeps nothing itself, which is BIRD's ``long lived graceful restart aware``."""


@attrs.frozen(kw_only=True)
class Open:
    """RFC 4271 4.2. ``asn`` is the real AS number, of two or four octets; ``hold_time`` is whole seconds."""

    asn: int
    hold_time: int
    identifier: Address
    capabilities: Capabilities = Capabilities()
    version: int = 4


@attrs.frozen(kw_only=True)
class Update:
    """RFC 4271 4.3. ``attributes`` is set exactly when ``nlri`` is not empty."""

    family: int = IPV4
    withdrawn: tuple[Prefix, ...] = ()
    attributes: Attributes | None = None
    nlri: tuple[Prefix, ...] = ()
    path_id: int = 0


@attrs.frozen
class Keepalive:
    """RFC 4271 4.4."""


@attrs.frozen
class Notification:
    """RFC 4271 4.5."""

    code: int
    subcode: int = 0
    data: bytes = b""


@attrs.frozen
class RouteRefresh:
    """RFC 2918."""

    family: int = IPV4


Message = Open | Update | Keepalive | Notification | RouteRefresh
