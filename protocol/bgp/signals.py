"""What a session tells its owner: ``Signal`` and the messages that pass through it.

Left out: when (``session``).
"""

from __future__ import annotations

import enum

from protocol.bgp.messages import RouteRefresh, Update


class Signal(enum.Enum):
    """Events for the owner that carry nothing."""

    DIAL = "dial"
    CLOSE = "close"  # after what is in the outbox
    OPENED = "opened"  # a good OPEN came: collisions can be resolved
    ESTABLISHED = "established"
    LOST = "lost"  # was Established, and the connection went without a NOTIFICATION (RFC 4724 4.2)
    DOWN = "down"  # was Established, and it ended in any other way


SessionEvent = Signal | Update | RouteRefresh
Outputs = tuple[list[bytes], list[SessionEvent]]
"""Frames to send, and events. An owner who takes them after each input may give all of its sessions the same two lists."""
