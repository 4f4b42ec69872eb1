"""The network as a speaker sees it: dial, send, close, wait for events.

Owns the interface that the real network (``tcp``) and its in-memory twin (``memory``) both implement, so that the
same node runs on either. A ``Link`` is one connection; ``session`` is the speaker's own mark on it.

A wait ends with a batch of ``LinkEvent`` pairs: the link, and either the bytes that came or what happened to it. Within
a batch the events of one link are in order.

A session may ask for more than a connection: TCP MD5 signatures (RFC 2385) and a TTL that shows how near the neighbour
is (RFC 5082). Both must hold from the first packet on, so a node says beforehand what it expects of whom
(``LinkOptions``). Who does not meet it meets silence, as in life: packets without the right signature or TTL are
dropped by the kernel.

A network that vouches for a link promises that nothing is lost on it and nobody at its ends stands still; it takes that
back (``DOUBTED``) before it is not so any more. In memory a session with such a link needs no keepalives; TCP vouches
for nothing.

Back-pressure: ``Link.queued`` is what the network has not taken yet. A sender that looks at it and stops above
``HIGH_WATER`` is told ``DRAINED`` when it may go on; nothing is ever dropped.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import attrs

from agents.speaker.config import DEFAULT_PORT, PeerConfig
from protocol.prefix import Address

if TYPE_CHECKING:
    from protocol.bgp.session import Session

HIGH_WATER = 256 << 10
"""Bytes queued on a link above which a speaker stops adding UPDATEs: four frames of the largest size, and more than
a loopback socket takes in one call. A slow neighbour costs a node this much and what one turn adds to it."""


@attrs.frozen(kw_only=True)
class LinkOptions:
    """What every packet to and from one neighbour has. With ``ttl security`` BIRD sends 255 and drops below 256 - hops."""

    password: str | None = attrs.field(default=None, repr=False)
    ttl: int | None = None  # None: the system's, 64
    min_ttl: int = 0


PLAIN = LinkOptions()


def options_of(peer: PeerConfig) -> LinkOptions:
    """PLAIN itself for a peer that asks for nothing."""
    hops = peer.ttl_security
    if hops is None and peer.password is None:
        return PLAIN
    return LinkOptions(
        password=peer.password,
        ttl=255 if hops is not None else None,
        min_ttl=256 - hops if hops is not None else 0,
    )


def expectations(peers: Iterable[PeerConfig]) -> dict[Address, LinkOptions]:
    """What ``Links.expect`` is to be told of these neighbours."""
    return {peer.address: options for peer in peers if (options := options_of(peer)) is not PLAIN}


class LinkChange(enum.Enum):
    ACCEPTED = "accepted"  # a neighbour dialled us
    CONNECTED = "connected"  # our dial succeeded
    FAILED = "failed"  # our dial failed, or the connection broke or ended; ``Link.error`` says why
    DRAINED = "drained"  # all queued bytes were taken
    TRUSTED = "trusted"  # the network vouches for it from now on
    DOUBTED = "doubted"  # and not any more


class Link:
    """One connection. ``remote`` is the neighbour's node address."""

    __slots__ = ("error", "queued", "remote", "session", "vouched")

    def __init__(self, remote: Address) -> None:
        self.remote = remote
        self.session: Session | None = None
        self.queued = 0
        self.error = ""
        self.vouched = False
        """Set by the network before it says CONNECTED or ACCEPTED, and with what it says later."""


LinkEvent = tuple[Link, bytes | LinkChange]


class Links(Protocol):
    """The connections of one node."""

    def expect(self, options: Mapping[Address, LinkOptions], /) -> None:
        """What holds for connections, dialled or accepted, with these neighbours from now on; all others are PLAIN."""

    def dial(self, remote: Address, port: int = DEFAULT_PORT, /) -> Link:
        """Begin to connect; CONNECTED or FAILED follows, or neither when nobody answers."""

    def send(self, link: Link, data: bytes, /) -> None:
        """Send, or queue what the network does not take now. A broken link swallows it; FAILED follows."""

    def close(self, link: Link, /) -> None:
        """Send what is queued if the network takes it at once, then end the connection. No event follows."""

    def wake(self) -> None:
        """Let ``wait`` return now."""

    async def wait(self, deadline: float) -> list[LinkEvent]:
        """The next events; an empty list at the deadline (trio's clock) or after ``wake``."""

    def links_with(self, remote: Address | None) -> Iterator[Link]:
        """Connections, with one neighbour or with all, in the order in which they came to be."""

    def shut(self) -> None:
        """Power off: every connection and the listener are gone at once."""


class NoEndpoint(OSError):
    """The network does not know of the address, or not yet."""


class Network(Protocol):
    """Where nodes find one another."""

    @property
    def vouches(self) -> bool:
        """Whether links are trusted unless something is said (``LinkChange``)."""

    def attach(self, address: Address, port: int = DEFAULT_PORT) -> Links:
        """Listen on behalf of a node. Raises NoEndpoint, or another OSError when it is taken."""

    def lacks(self, options: LinkOptions) -> str:
        """Why connections like this cannot be had here; "" when they can."""
