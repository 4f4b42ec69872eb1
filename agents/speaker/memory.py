"""The network in memory: the twin of ``tcp``.

Owns ``MemoryNetwork`` and the ``Links`` of its nodes. Connections behave as TCP's do: bytes arrive in order, cut
anywhere; a node that goes away resets its connections. Everything that happens is decided by the seeded random numbers
given, on trio's clock, so under a MockClock a hold time of 90 s costs nothing and the same seed gives the same run.

Signatures and TTLs (``LinkOptions``) are as the kernel's: a dial with the wrong password is never answered, and what is
sent with less than the TTL that the other end asks for does not arrive. The way between two nodes costs no TTL.

Delays are one way, a link; bytes above ``capacity`` count as ``queued`` for their sender, as a full socket buffer does.

Left out: links that are cut and machines that fall silent (``cluster.rehearsal.weather``); loss and reordering, which
TCP hides; a limit of dials.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import os
import random
from collections.abc import Iterator, Mapping

import attrs
import trio

from agents.speaker.config import DEFAULT_PORT
from agents.speaker.links import PLAIN, Link, LinkChange, LinkEvent, LinkOptions
from protocol.prefix import Address

_SYSTEM_TTL = 64


class MemoryLink(Link):
    """One end of a connection."""

    __slots__ = ("arrives", "home", "in_flight", "options", "other")

    def __init__(self, remote: Address, home: MemoryLinks) -> None:
        super().__init__(remote)
        self.home = home
        self.options = home.options.get(remote, PLAIN)
        self.vouched = home.vouches
        self.other: MemoryLink | None = None
        self.arrives = 0.0  # when the last thing sent on it gets there: nothing overtakes
        self.in_flight = 0  # bytes sent and not yet taken

    def reaches(self, other: MemoryLink) -> bool:
        """Nothing is asked of the handshake: whoever asks for a TTL does so when it is over."""
        return (self.options.ttl or _SYSTEM_TTL) >= other.options.min_ttl


@attrs.define
class MemoryNetwork:
    """All nodes of one simulated cluster."""

    rng: random.Random
    delay: float = 0.0005
    fragment: bool = False
    """Cut what is sent into pieces at random places."""
    capacity: int = 1 << 20
    """Bytes a connection takes before its sender sees a queue."""
    vouches: bool = False
    nodes: dict[Address, MemoryLinks] = attrs.field(factory=dict)

    def attach(self, address: Address, port: int = DEFAULT_PORT) -> MemoryLinks:
        """Listen on behalf of a node. Raises OSError when its address is taken."""
        if address in self.nodes:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        links = self.nodes[address] = MemoryLinks(self, address, port)
        return links

    def lacks(self, options: LinkOptions) -> str:
        return ""

    def post(self, link: MemoryLink, what: bytes | LinkChange) -> None:
        """Let something happen at one end of a connection, when it gets there."""
        link.arrives = max(link.arrives, trio.current_time() + self.delay)
        link.home.deliver(link.arrives, link, what)

    def pieces(self, data: bytes) -> list[bytes]:
        if not self.fragment or len(data) < 2:
            return [data]
        cuts = sorted({0, len(data), *(self.rng.randrange(len(data)) for _ in range(self.rng.randrange(3)))})
        return [data[start:end] for start, end in itertools.pairwise(cuts)]


class MemoryLinks:
    """The connections of one node; implements ``links.Links``."""

    def __init__(self, network: MemoryNetwork, address: Address, port: int) -> None:
        self.address = address
        self.port = port
        self.options: Mapping[Address, LinkOptions] = {}
        self.vouches = network.vouches
        self._network = network
        self._links: dict[MemoryLink, None] = {}
        self._inbox: list[tuple[float, int, MemoryLink, bytes | LinkChange]] = []
        self._order = itertools.count()
        self._scope: trio.CancelScope | None = None
        self._woken = False

    def expect(self, options: Mapping[Address, LinkOptions]) -> None:
        self.options = options

    def dial(self, remote: Address, port: int = DEFAULT_PORT) -> MemoryLink:
        link = MemoryLink(remote, self)
        self._links[link] = None
        there = self._network.nodes.get(remote)
        if there is not None and there.options.get(self.address, PLAIN).password != link.options.password:
            return link  # a SYN that nobody answers: its signature is wrong. The speaker gives up by itself
        if there is None or there.port != port:
            link.error = os.strerror(errno.ECONNREFUSED)
            self._network.post(link, LinkChange.FAILED)
            return link
        link.other = MemoryLink(self.address, there)
        link.other.other = link
        there._links[link.other] = None
        self._network.post(link.other, LinkChange.ACCEPTED)
        self._network.post(link, LinkChange.CONNECTED)
        return link

    def send(self, link: Link, data: bytes) -> None:
        assert isinstance(link, MemoryLink)
        if link not in self._links or link.other is None:
            return
        link.in_flight += len(data)
        link.queued = max(0, link.in_flight - self._network.capacity)
        if not link.reaches(link.other):
            return
        for piece in self._network.pieces(data):
            self._network.post(link.other, piece)

    def close(self, link: Link) -> None:
        assert isinstance(link, MemoryLink)
        if self._links.pop(link, self) is None and link.other is not None and link.reaches(link.other):
            link.other.error = "Connection closed"
            self._network.post(link.other, LinkChange.FAILED)

    def wake(self) -> None:
        self._woken = True
        if self._scope is not None:
            self._scope.cancel()

    def links_with(self, remote: Address | None) -> Iterator[MemoryLink]:
        return (link for link in [*self._links] if remote is None or link.remote == remote)

    def shut(self) -> None:
        del self._network.nodes[self.address]
        for link in self._links:
            if link.other is not None and link.reaches(link.other):
                link.other.error = os.strerror(errno.ECONNRESET)
                self._network.post(link.other, LinkChange.FAILED)
        self._links.clear()
        self._inbox.clear()

    async def wait(self, deadline: float) -> list[LinkEvent]:
        await trio.lowlevel.checkpoint()
        while not self._woken:
            now = trio.current_time()
            arrival = self._inbox[0][0] if self._inbox else deadline
            if min(arrival, deadline) <= now:
                break
            with trio.CancelScope(deadline=min(arrival, deadline)) as self._scope:
                await trio.sleep_forever()
            self._scope = None
        self._woken = False
        return self._drain(trio.current_time())

    def deliver(self, when: float, link: MemoryLink, what: bytes | LinkChange) -> None:
        heapq.heappush(self._inbox, (when, next(self._order), link, what))
        if self._scope is not None and when < self._scope.deadline:
            self._scope.deadline = when

    def _drain(self, now: float) -> list[LinkEvent]:
        events: list[LinkEvent] = []
        inbox = self._inbox
        while inbox and inbox[0][0] <= now:
            _, _, link, what = heapq.heappop(inbox)
            if link not in self._links:
                continue
            if isinstance(what, bytes):
                self._taken(link, len(what))
            elif what is LinkChange.FAILED:
                del self._links[link]
            elif what is LinkChange.ACCEPTED and link.options != self.options.get(link.remote, PLAIN):
                self.close(link)  # it was dialled when something else was expected
                continue
            events.append((link, what))
        return events

    def _taken(self, link: MemoryLink, size: int) -> None:
        """The other end's queue moves on."""
        sender = link.other
        if sender is None:
            return
        sender.in_flight -= size
        was, sender.queued = sender.queued, max(0, sender.in_flight - self._network.capacity)
        if was and not sender.queued and sender in sender.home._links:
            self._network.post(sender, LinkChange.DRAINED)
