"""What two OPENs agree on.

Owns ``SessionConfig``, what one end offers and expects, and what follows when the neighbour's OPEN is laid beside it:

    check             whether there can be a session at all
    agreed_times      hold time and keepalive interval
    agreed_add_path   who may send several paths to a prefix

Left out: what an OPEN looks like (``wire``), what a session does with it (``session``).
Follows RFC 4271 sections 4.2, 4.4 and 6.2, RFC 5492, RFC 6286, RFC 7911.
"""

from __future__ import annotations

import attrs

from protocol.bgp.errors import Code, OpenError, RemoteProtocolError
from protocol.bgp.messages import AddPath, Capabilities, Open
from protocol.prefix import Address


@attrs.frozen(kw_only=True)
class SessionConfig:
    """What a session needs to know of itself and its neighbour. Times are seconds."""

    local_as: int
    peer_as: int
    identifier: Address
    capabilities: Capabilities
    passive: bool = False  # never dials
    hold_time: float = 90.0
    keepalive_time: float | None = None  # None: a third of the negotiated hold time
    start_delay: float = 0.0  # before the first dial
    connect_delay: float = 2.0  # before dialling again after a connection was lost without an error
    connect_retry: float = 5.0
    delay_open: float = 0.0  # 0: off
    idle_hold_min: float = 5.0  # after an error; doubles up to the maximum
    idle_hold_max: float = 30.0
    idle_hold_forget: float = 300.0  # an error older than this is forgotten
    open_hold: float = 240.0


def check(ours: SessionConfig, theirs: Open) -> None:
    """Raises RemoteProtocolError."""
    if theirs.asn != ours.peer_as:
        raise RemoteProtocolError(
            f"AS {theirs.asn}, {ours.peer_as} is configured",
            Code.OPEN, OpenError.BAD_PEER_AS, theirs.asn.to_bytes(4, "big"),
        )  # fmt: skip
    if theirs.identifier == ours.identifier and theirs.asn == ours.local_as:
        # RFC 6286 2.1: an identifier is unique within its AS.
        raise RemoteProtocolError("our own identifier", Code.OPEN, OpenError.BAD_IDENTIFIER)
    if set(ours.capabilities.families).isdisjoint(theirs.capabilities.families):
        raise RemoteProtocolError("no address family in common", Code.OPEN, OpenError.UNSUPPORTED_CAPABILITY)


def agreed_times(ours: SessionConfig, theirs: Open) -> tuple[float, float]:
    """Hold time and keepalive interval; 0 when both sides do without."""
    hold = min(ours.hold_time, float(theirs.hold_time))
    # RFC 4271 4.4: a third at most, though the configured time may suit a longer hold time of ours.
    return hold, min(ours.keepalive_time or hold, hold / 3)


def agreed_add_path(ours: Capabilities, theirs: Capabilities, family: int, way: AddPath) -> bool:
    """Whether we may RECEIVE, or SEND, several paths to a prefix (RFC 7911 section 4)."""
    answer = AddPath.BOTH - way
    return any(each == family and mode & way for each, mode in ours.add_path) and any(
        each == family and mode & answer for each, mode in theirs.add_path
    )
