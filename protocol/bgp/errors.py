"""Whose fault it was, and the NOTIFICATION that says so.

Owns the error classes of a conversation and the code points of RFC 4271 section 4.5 (with RFC 4486 for Cease and
RFC 6608 for the FSM). ``LocalProtocolError`` is our caller's bug and flies; ``RemoteProtocolError`` is the
neighbour's doing and carries the NOTIFICATION that it is owed. Any other exception out of ``protocol.bgp`` is a
bug of ours.
"""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """RFC 4271 4.5, Error code."""

    HEADER = 1
    OPEN = 2
    UPDATE = 3
    HOLD_TIMER_EXPIRED = 4
    FSM = 5
    CEASE = 6


class Header(enum.IntEnum):
    """Subcodes of HEADER (RFC 4271 6.1)."""

    NOT_SYNCHRONIZED = 1
    BAD_LENGTH = 2
    BAD_TYPE = 3


class OpenError(enum.IntEnum):
    """Subcodes of OPEN (RFC 4271 6.2, RFC 5492)."""

    UNSPECIFIC = 0
    UNSUPPORTED_VERSION = 1
    BAD_PEER_AS = 2
    BAD_IDENTIFIER = 3
    UNSUPPORTED_PARAMETER = 4
    UNACCEPTABLE_HOLD_TIME = 6
    UNSUPPORTED_CAPABILITY = 7


class UpdateError(enum.IntEnum):
    """Subcodes of UPDATE (RFC 4271 6.3)."""

    MALFORMED_ATTRIBUTE_LIST = 1
    UNRECOGNIZED_WELL_KNOWN = 2
    MISSING_WELL_KNOWN = 3
    ATTRIBUTE_FLAGS = 4
    ATTRIBUTE_LENGTH = 5
    INVALID_ORIGIN = 6
    INVALID_NEXT_HOP = 8
    OPTIONAL_ATTRIBUTE = 9
    INVALID_NETWORK = 10
    MALFORMED_AS_PATH = 11


class FsmError(enum.IntEnum):
    """Subcodes of FSM (RFC 6608)."""

    UNEXPECTED_IN_OPENSENT = 1
    UNEXPECTED_IN_OPENCONFIRM = 2
    UNEXPECTED_IN_ESTABLISHED = 3


class Cease(enum.IntEnum):
    """Subcodes of CEASE (RFC 4486)."""

    ADMINISTRATIVE_SHUTDOWN = 2
    PEER_DECONFIGURED = 3
    ADMINISTRATIVE_RESET = 4
    CONNECTION_REJECTED = 5
    OTHER_CONFIGURATION_CHANGE = 6
    COLLISION = 7


_SUBCODES: dict[int, type[enum.IntEnum]] = {
    Code.HEADER: Header,
    Code.OPEN: OpenError,
    Code.UPDATE: UpdateError,
    Code.FSM: FsmError,
    Code.CEASE: Cease,
}

_WORDS: dict[tuple[int, int], str] = {
    (Code.HEADER, Header.NOT_SYNCHRONIZED): "Connection not synchronized",
    (Code.HEADER, Header.BAD_LENGTH): "Bad message length",
    (Code.HEADER, Header.BAD_TYPE): "Bad message type",
    (Code.OPEN, OpenError.BAD_PEER_AS): "Bad peer AS",
    (Code.OPEN, OpenError.BAD_IDENTIFIER): "Bad BGP identifier",
    (Code.CEASE, Cease.ADMINISTRATIVE_SHUTDOWN): "Administrative shutdown",
    (Code.CEASE, Cease.PEER_DECONFIGURED): "Peer de-configured",
    (Code.CEASE, Cease.COLLISION): "Connection collision",
}


def describe(code: int, subcode: int) -> str:
    """BIRD's words for an error, such as ``Bad peer AS``; numbers where there are none."""
    if words := _WORDS.get((code, subcode)):
        return words
    try:
        title = Code(code).name.replace("_", " ").capitalize()
    except ValueError:
        return f"Unknown error {code}.{subcode}"
    if code == Code.HOLD_TIMER_EXPIRED:
        return "Hold timer expired"
    try:
        return _SUBCODES[code](subcode).name.replace("_", " ").capitalize()
    except ValueError:
        return f"{title} error {subcode}" if subcode else f"{title} error"


class ProtocolError(Exception):
    """Abstract: somebody broke the rules of the conversation."""


class LocalProtocolError(ProtocolError):
    """Our side asked for what the protocol forbids. A bug: let it fly."""


class RemoteProtocolError(ProtocolError):
    """The neighbour broke the rules. Carries the NOTIFICATION to send before the session ends."""

    def __init__(self, reason: str, code: int, subcode: int = 0, data: bytes = b"") -> None:
        super().__init__(f"{reason} (NOTIFICATION {int(code)}/{int(subcode)})")
        self.reason = reason
        self.code = int(code)
        self.subcode = int(subcode)
        self.data = data
