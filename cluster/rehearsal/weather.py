"""What lies between nodes and their network: cuts, silence and standstill, over any network.

Owns ``Weather``, a ``links.Network`` around another one: whole nodes in one process, over memory links or TCP, and
every shard of a live cluster have one. All that can be seen of it is what a node hears:

    cut        what the neighbour sends is held back until ``heal``, and dials are not answered
    power_off  what the neighbour sent and sends is lost, dials are not answered, and that its connections end is not heard.
               When it has power again it knows nothing of them: who says something on one is told "Connection reset by peer"
    freeze     the node itself stands still where it waits for its links; what is sent to it piles up in the network

It acts where things are heard, so that in several processes each only has to be told in time: of a machine that is to
lose its power all must know before its sockets close.

A network that ``vouches`` (memory) loses nothing by itself. Its links are told when that is not so for one of these
reasons (DOUBTED), and when it is so again (TRUSTED): sessions need keepalives only in between.

In fair weather a node's links are the network's own, but for one more call to wait.

Left out: what happens to the nodes themselves (``cluster.lives``), packets of pods (``cluster.loss``).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

import trio

from agents.speaker.config import DEFAULT_PORT
from agents.speaker.links import Link, LinkChange, LinkEvent, LinkOptions, Links, Network
from protocol.prefix import Address

AddressPair = tuple[Address, Address]


class Weather:
    """``addresses`` gives those that a Node or Router has now."""

    def __init__(self, network: Network, addresses: Callable[[str], Iterable[Address]]) -> None:
        self.network = network
        self.off: dict[str, None] = {}
        self.frozen: dict[str, None] = {}
        self.cuts: dict[tuple[str, str], None] = {}
        """Pairs in the order of their names. All three are to be read, not written."""
        self._addresses = addresses
        self._known: dict[str, tuple[Address, ...]] = {}
        """Of those whom something has befallen: the addresses that it was done to."""
        self._links: dict[Address, WeatherLinks] = {}
        self._silent: set[Address] = set()
        self._still: dict[Address, trio.Event] = {}
        self._severed: dict[Address, set[Address]] = {}

    # --- links.Network ----------------------------------------------------------------------------------------------

    @property
    def vouches(self) -> bool:
        return self.network.vouches

    def attach(self, address: Address, port: int = DEFAULT_PORT) -> WeatherLinks:
        links = self._links[address] = WeatherLinks(self, self.network.attach(address, port), address)
        if not self.is_fair:
            links.cloud()
        return links

    def lacks(self, options: LinkOptions) -> str:
        return self.network.lacks(options)

    def detach(self, links: WeatherLinks) -> None:
        if self._links.get(links.address) is links:
            del self._links[links.address]

    # --- what befalls nodes -----------------------------------------------------------------------------------------

    def power_off(self, name: str) -> None:
        """To be followed by the end of the node."""
        self.thaw(name)
        if name not in self.off:
            self.off[name] = None
            self._silence(self._now_of(name))

    def power_on(self, name: str) -> None:
        """Before the node is started anew."""
        if name in self.off:
            del self.off[name]
            self._silent.difference_update(self._known[name])
            self._forget(name)

    def freeze(self, name: str) -> None:
        if name not in self.frozen and name not in self.off:
            self.frozen[name] = None
            self._freeze(self._now_of(name))

    def thaw(self, name: str) -> None:
        if name in self.frozen:
            del self.frozen[name]
            self._thaw(self._known[name])
            self._forget(name)

    def cut(self, one: str, other: str) -> None:
        pair = ordered(one, other)
        if pair not in self.cuts:
            self.cuts[pair] = None
            self._sever(self._now_of(one), self._now_of(other))

    def heal(self, one: str, other: str) -> None:
        pair = ordered(one, other)
        if pair in self.cuts:
            del self.cuts[pair]
            self._join(self._known[one], self._known[other])
            self._forget(one)
            self._forget(other)

    def moved(self, name: str) -> None:
        """The node may have other addresses now. One that has none was deleted, and is where it was until it is
        ``removed``.
        """
        before = self._known.get(name)
        now = tuple(self._addresses(name))
        if before is None or before == now or not now:
            return
        others = [other for pair in self.cuts if name in pair for other in pair if other != name]
        for other in others:
            self._join(before, self._known[other])
        self._silent.difference_update(before)
        self._thaw(before)
        self._known[name] = now
        for other in others:
            self._sever(now, self._known[other])
        if name in self.off:
            self._silence(now)
        if name in self.frozen:
            self._freeze(now)

    def removed(self, name: str) -> None:
        """The node is no more, and whatever has befallen it is over."""
        self.power_on(name)
        self.thaw(name)
        for one, other in [pair for pair in self.cuts if name in pair]:
            self.heal(one, other)

    # --- what links ask ---------------------------------------------------------------------------------------------

    @property
    def is_fair(self) -> bool:
        """Nothing has befallen anybody."""
        return not self._known

    def silent(self, address: Address) -> bool:
        return address in self._silent

    def standstill(self, address: Address) -> trio.Event | None:
        return self._still.get(address)

    def severed(self, one: Address, other: Address) -> bool:
        return other in self._severed.get(one, ())

    def trusted(self, one: Address, other: Address) -> bool:
        """Whether all that one of them sends reaches the other, and is answered."""
        return not (
            self._silent & {one, other}
            or one in self._still
            or other in self._still
            or self.severed(one, other)
        )

    # --- by addresses -----------------------------------------------------------------------------------------------

    def _now_of(self, name: str) -> tuple[Address, ...]:
        if name not in self._known:
            self._known[name] = tuple(self._addresses(name))
        return self._known[name]

    def _forget(self, name: str) -> None:
        if name not in self.off and name not in self.frozen and not any(name in pair for pair in self.cuts):
            del self._known[name]

    def _silence(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self._silent.add(address)
            for links in self._links.values():
                links.silenced(address)

    def _freeze(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self._still[address] = trio.Event()
            for links in self._links.values():
                links.doubt(None if links.address == address else address)

    def _thaw(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            event = self._still.pop(address, None)
            if event is not None:
                event.set()
                for links in self._links.values():
                    links.trust(None if links.address == address else address)

    def _sever(self, ones: Iterable[Address], others: Iterable[Address]) -> None:
        for here, there in _both_ways(ones, others):
            self._severed.setdefault(here, set()).add(there)
            links = self._links.get(here)
            if links is not None:
                links.doubt(there)

    def _join(self, ones: Iterable[Address], others: Iterable[Address]) -> None:
        pairs = [*_both_ways(ones, others)]
        for here, there in pairs:
            self._severed.get(here, set()).discard(there)
        for here, there in pairs:
            links = self._links.get(here)
            if links is not None:
                links.joined(there)


class WeatherLinks:
    """The connections of one node; implements ``links.Links``."""

    dial: Callable[..., Link]
    send: Callable[[Link, bytes], None]
    close: Callable[[Link], None]

    def __init__(self, weather: Weather, links: Links, address: Address) -> None:
        self.address = address
        self._weather = weather
        self._links = links
        self.expect: Callable[[Mapping[Address, LinkOptions]], None] = links.expect
        self.wake = links.wake
        self._held: dict[Address, list[LinkEvent]] = {}
        self._lost: dict[Link, None] = {}
        """The other end is gone, and nobody here knows."""
        self._vain: dict[Link, None] = {}
        """Dials that nobody answers."""
        self._first: list[LinkEvent] = []
        """To be heard before what the network brings next, and after it."""
        self._last: list[LinkEvent] = []
        self._clear()

    def _clear(self) -> None:
        """The network's own methods, until something happens: fair weather costs nothing."""
        self._fair = True
        self.dial, self.send, self.close = self._links.dial, self._links.send, self._links.close

    def cloud(self) -> None:
        self._fair = False
        self.dial, self.send, self.close = self._dial, self._send, self._close

    # --- links.Links ------------------------------------------------------------------------------------------------

    def links_with(self, remote: Address | None) -> Iterator[Link]:
        return self._links.links_with(remote)

    def shut(self) -> None:
        self._weather.detach(self)
        self._links.shut()

    async def wait(self, deadline: float) -> list[LinkEvent]:
        events = await self._links.wait(deadline)
        if self._fair:
            return events
        still = self._weather.standstill(self.address)
        if still is not None and not self._last:  # else it takes note first
            self._first = self._through(events)
            await still.wait()
            self.wake()
            events = await self._links.wait(deadline)
        return self._through(events)

    def _dial(self, remote: Address, port: int = DEFAULT_PORT) -> Link:
        if self._weather.silent(remote) or self._weather.severed(self.address, remote):
            link = Link(remote)
            self._vain[link] = None
            return link
        link = self._links.dial(remote, port)
        link.vouched = self._trusts(remote)
        return link

    def _send(self, link: Link, data: bytes) -> None:
        remote = link.remote
        if self._weather.silent(remote) or link in self._vain:
            return
        if link not in self._lost:
            self._links.send(link, data)
        elif not self._weather.severed(self.address, remote):
            del self._lost[link]
            link.error = os.strerror(errno.ECONNRESET)
            self._last.append((link, LinkChange.FAILED))
            self.wake()

    def _close(self, link: Link) -> None:
        for events in (self._first, self._last, self._held.get(link.remote, [])):
            events[:] = [event for event in events if event[0] is not link]
        if not self._held.get(link.remote, True):
            del self._held[link.remote]
        self._lost.pop(link, None)
        if self._vain.pop(link, self) is self:
            self._links.close(link)

    # --- what the weather tells -------------------------------------------------------------------------------------

    def silenced(self, remote: Address) -> None:
        self.doubt(remote)
        for link, what in self._held.pop(remote, ()):
            self._lose(link, what)

    def joined(self, remote: Address) -> None:
        self._first += self._held.pop(remote, ())
        self.trust(remote)

    def doubt(self, remote: Address | None) -> None:
        """Of one neighbour, or of all."""
        self.cloud()
        if self._weather.vouches:
            for link in self._links.links_with(remote):
                if link.vouched:
                    link.vouched = False
                    self._last.append((link, LinkChange.DOUBTED))
        self.wake()

    def trust(self, remote: Address | None) -> None:
        if self._weather.vouches:
            for link in self._links.links_with(remote):
                if not link.vouched and self._trusts(link.remote):
                    link.vouched = True
                    self._last.append((link, LinkChange.TRUSTED))
        self.wake()

    # --- events -----------------------------------------------------------------------------------------------------

    def _trusts(self, remote: Address) -> bool:
        return self._weather.vouches and self._weather.trusted(self.address, remote)

    def _through(self, events: list[LinkEvent]) -> list[LinkEvent]:
        heard, self._first = self._first, []
        for link, what in events:
            remote = link.remote
            if self._weather.silent(remote):
                self._lose(link, what)
            elif self._weather.severed(self.address, remote):
                self._held.setdefault(remote, []).append((link, what))
            else:
                if what is LinkChange.ACCEPTED:
                    link.vouched = self._trusts(remote)
                heard.append((link, what))
        last, self._last = self._last, []
        if self._weather.is_fair and not (self._lost or self._vain or self._held):
            self._clear()
        return heard + last

    def _lose(self, link: Link, what: bytes | LinkChange) -> None:
        if what is LinkChange.FAILED:
            self._lost[link] = None
        elif what is LinkChange.ACCEPTED:
            self._links.close(link)


def ordered(one: str, other: str) -> tuple[str, str]:
    """A link has no direction: the pair in the order of the names."""
    return (one, other) if one < other else (other, one)


def _both_ways(ones: Iterable[Address], others: Iterable[Address]) -> Iterator[AddressPair]:
    for one in ones:
        for other in others:
            if len(one) == len(other):
                yield one, other
                yield other, one
