"""Real TCP for the nodes of one process: a nested poller for each, and one budget of dials for all.

Owns ``TcpNetwork`` (where nodes live, how many dials may be under way) and ``TcpLinks`` (one node's listener and
connections). Each node has an epoll of its own; its one task waits in trio for that epoll's descriptor to become
readable and then drains every socket that is ready in one go. There is no task, timer or closure a connection.

A node's address is where its neighbours find it; ``endpoints`` says which loopback endpoint stands for it, and ``learn``
adds to them at any time. An IPv6 address too stands for an endpoint of IPv4: what is emulated is BGP's addresses. A dial
comes from the node's own loopback address, so the acceptor knows who calls. The port of an endpoint stands for BGP's 179;
other ports keep their distance from it (``real_port``), so that a wrong port is refused as in life.

Where the system has only 127.0.0.1 the endpoints differ by port alone; then (``introduce``) the dialler's first bytes are its
node address and the port it wants; at a wrong one the connection just ends.

Where ``LinkOptions`` cannot be had (``tcp_terms``) a dial says so and a caller is turned away.

Pacing: at most 64 dials of a node and 256 of a process are under way at once, should they not succeed inside the system call. An
accept queue that overflows costs a second of SYN retransmission, which is more than the whole mesh needs.

Follows RFC 4271 only in being what a BGP speaker needs; all protocol is above.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from collections.abc import Iterator, Mapping

import trio

from agents.speaker.config import DEFAULT_PORT
from agents.speaker.links import Link, LinkChange, LinkEvent, LinkOptions, NoEndpoint
from agents.speaker.tcp_options import can_sign, lacks, real_port
from agents.speaker.tcp_terms import Endpoint, Terms
from protocol.prefix import Address

BACKLOG = 4096
"""Of a listener: a whole mesh may dial at once."""
NODE_DIALS = 64
PROCESS_DIALS = 256
MAX_STRANGERS = 64
"""Connections that have not introduced themselves; the next one ends the oldest."""
RECEIVE = 16384
"""Octets read from one socket at a time: a turn costs at most this a neighbour, the rest waits in the kernel. With four times as
much a neighbour who asks for routes all the time holds the others up three times as long; with half of it long tables take
twice the time, because the kernel's window opens too late."""
MAX_EVENTS = 512
"""Sockets served in one turn, so that one node does not hold the process up for long."""

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; Python 3.11 has no name for it
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NOT_NOW = (errno.EAGAIN, errno.EINPROGRESS)


class TcpLink(Link):
    """One TCP connection."""

    __slots__ = ("connecting", "introduction", "port", "queue", "sock")

    def __init__(self, remote: Address, sock: socket.socket, port: int = 0, *, connecting: bool) -> None:
        super().__init__(remote)
        self.sock = sock
        self.port = port  # of a dial: what is dialled
        self.connecting = connecting
        self.queue: deque[bytes | memoryview] | None = None
        self.introduction: bytearray | None = None
        """Of an accepted connection whose dialler has not said who it is: what came so far."""


class TcpNetwork:
    """The nodes that can be reached, and what their dials share in this process."""

    vouches = False

    def __init__(self, endpoints: Mapping[Address, Endpoint], *, introduce: bool = False) -> None:
        self.endpoints: dict[Address, Endpoint] = {}
        self.introduce = introduce
        self.node_at: dict[str, Address] = {}
        self.attached: dict[TcpLinks, None] = {}
        self._can_sign: bool | None = None
        self.dials_left = PROCESS_DIALS
        self.buffer = memoryview(bytearray(RECEIVE))
        """What a socket is read into: most reads are of a few dozen octets."""
        self.nothing = socket.socket()
        """A closed socket: what a dial has that got none."""
        self.nothing.close()
        self.deaf: deque[TcpLinks] = deque()
        """Nodes that stopped to accept when descriptors ran out."""
        self.waiting: deque[TcpLinks] = deque()
        """Nodes with dials that the budget holds back, first come first served."""
        self.learn(endpoints)

    def learn(self, endpoints: Mapping[Address, Endpoint]) -> None:
        """More nodes can be reached."""
        self.endpoints.update(endpoints)
        if not self.introduce:
            self.node_at.update((host, address) for address, (host, _) in endpoints.items())
        for links in self.attached:
            links.sign(endpoints)

    def attach(self, address: Address, port: int = DEFAULT_PORT) -> TcpLinks:
        """Listen on behalf of a node. Raises NoEndpoint, or another OSError when it is taken."""
        links = TcpLinks(self, address, port)
        self.attached[links] = None
        return links

    def lacks(self, options: LinkOptions) -> str:
        """Why connections like this cannot be had here; "" when they can."""
        if options.password is not None and self._can_sign is None:
            self._can_sign = can_sign()
        return lacks(options, one_address=self.introduce, signs=bool(self._can_sign))


class TcpLinks:
    """The connections of one node; implements ``links.Links``."""

    def __init__(self, network: TcpNetwork, address: Address, port: int) -> None:
        if address not in network.endpoints:
            raise NoEndpoint(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        self._network = network
        self._address = address
        self._port = port
        self._host, base = network.endpoints[address]
        where = base if network.introduce else real_port(base, port)
        self._links: dict[int, TcpLink] = {}
        self._dialling = 0
        self._dials: deque[TcpLink] = deque()
        self._strangers: dict[TcpLink, None] = {}
        """Accepted, and not introduced yet; the oldest first."""
        self._news: list[LinkEvent] = []
        """What happened to dials outside of the poller: over loopback most succeed or fail at once."""
        self._scope: trio.CancelScope | None = None
        self._woken = False
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._listener.setblocking(False)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # What it accepts inherits this.
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._listener.bind((self._host, where))
            self._listener.listen(BACKLOG)
            self._poller = select.epoll()
        except OSError as error:
            self._listener.close()
            raise OSError(error.errno, error.strerror, f"{self._host}:{where}") from None
        self._poller.register(self._listener, _IN)
        self._terms = Terms(network, network.endpoints, self._listener)
        self.expect, self.sign = self._terms.expect, self._terms.sign

    # --- Links ------------------------------------------------------------------------------------------------------

    def dial(self, remote: Address, port: int = DEFAULT_PORT) -> TcpLink:
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            link = TcpLink(remote, self._network.nothing, port, connecting=True)
            link.error = os.strerror(error.errno or 0)
            self._fail_dial(link)
            return link
        link = TcpLink(remote, sock, port, connecting=True)
        self._dials.append(link)
        self._dial_more()
        return link

    def send(self, link: Link, data: bytes) -> None:
        assert isinstance(link, TcpLink)
        if link.queue is not None:
            link.queue.append(data)
            link.queued += len(data)
            return
        try:
            sent = link.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # Broken or closed: the poller reports it, and nobody reads what is not sent.
            return
        if sent < len(data):
            link.queue = deque((memoryview(data)[sent:],))
            link.queued = len(data) - sent
            self._poller.modify(link.sock, _IN | _OUT)

    def close(self, link: Link) -> None:
        assert isinstance(link, TcpLink)
        if self._news:
            self._news = [event for event in self._news if event[0] is not link]
        if link.sock.fileno() < 0:
            return
        if link.connecting:
            self._dial_ended(link)
        else:
            self._drop(link)

    def wake(self) -> None:
        self._woken = True
        if self._scope is not None:
            self._scope.cancel()

    def links_with(self, remote: Address | None) -> Iterator[TcpLink]:
        return (link for link in [*self._links.values()] if remote is None or link.remote == remote)

    def shut(self) -> None:
        self._network.attached.pop(self, None)
        for link in [*self._links.values(), *self._dials]:
            link.sock.close()
        self._network.dials_left += self._dialling
        self._dialling = 0
        self._links.clear()
        self._dials.clear()
        if self in self._network.deaf:
            self._network.deaf.remove(self)
        self._listener.close()
        self._poller.close()
        while self._network.deaf:
            self._network.deaf.popleft().listen_again()
        self._next_in_line()

    async def wait(self, deadline: float) -> list[LinkEvent]:
        if not self._woken and not self._news:
            with trio.CancelScope(deadline=deadline) as self._scope:
                await trio.lowlevel.wait_readable(self._poller.fileno())
            self._scope = None
        else:
            await trio.lowlevel.checkpoint()
        self._woken = False
        return self._drain()

    # --- events -----------------------------------------------------------------------------------------------------

    def _drain(self) -> list[LinkEvent]:
        events, self._news = self._news, []
        links = self._links
        for descriptor, mask in self._poller.poll(0, MAX_EVENTS):
            link = links.get(descriptor)
            if link is None:
                self._accept(events)
            elif link.connecting:
                self._connected(link, events)
            else:
                if mask & _OUT:
                    self._send_queued(link, events)
                if mask & ~_OUT:
                    self._receive(link, events)
        return events

    def _receive(self, link: TcpLink, events: list[LinkEvent]) -> None:
        try:
            size = link.sock.recv_into(self._network.buffer)
        except BlockingIOError:
            return
        except OSError as error:
            link.error = os.strerror(error.errno or 0)
            size = 0
        if not size:
            link.error = link.error or "Connection closed"
            self._drop(link)
            if link.introduction is None:
                events.append((link, LinkChange.FAILED))
            return
        data = bytes(self._network.buffer[:size])
        if link.introduction is not None:
            self._introduced(link, data, events)
        else:
            events.append((link, data))

    def _send_queued(self, link: TcpLink, events: list[LinkEvent]) -> None:
        queue = link.queue
        if queue is None:
            return
        while queue:
            head = queue[0]
            try:
                sent = link.sock.send(head)
            except OSError:
                return  # not now; or broken, and the error comes with the next read
            link.queued -= sent
            if sent < len(head):
                queue[0] = memoryview(head)[sent:]
                return
            queue.popleft()
        link.queue = None
        self._poller.modify(link.sock, _IN)
        events.append((link, LinkChange.DRAINED))

    def _accept(self, events: list[LinkEvent]) -> None:
        while True:
            try:
                sock, (host, _) = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    # Who waits would wake us for nothing, again and again, until there is a descriptor.
                    self._poller.unregister(self._listener)
                    self._network.deaf.append(self)
                return
            sock.setblocking(False)
            node = self._network.node_at.get(host, Address(b""))
            link = TcpLink(node, sock, connecting=False)
            if not self._network.introduce and not self._accepts(link):
                sock.close()
                continue
            self._links[sock.fileno()] = link
            self._poller.register(sock, _IN)
            if self._network.introduce:
                link.introduction = bytearray()
                if len(self._strangers) >= MAX_STRANGERS:
                    self._drop(next(iter(self._strangers)))
                self._strangers[link] = None
            else:
                events.append((link, LinkChange.ACCEPTED))

    def listen_again(self) -> None:
        """There is a descriptor for who waits."""
        self._poller.register(self._listener, _IN)

    def _introduced(self, link: TcpLink, data: bytes, events: list[LinkEvent]) -> None:
        assert link.introduction is not None
        link.introduction += data
        size = len(self._address)
        if len(link.introduction) < size + 2:
            return
        port = int.from_bytes(link.introduction[size : size + 2], "big")
        rest = bytes(link.introduction[size + 2 :])
        link.remote = Address(bytes(link.introduction[:size]))
        if port != self._port or not self._accepts(link):
            self._drop(link)
            return
        link.introduction = None
        del self._strangers[link]
        events.append((link, LinkChange.ACCEPTED))
        if rest:
            events.append((link, rest))

    # --- dials ------------------------------------------------------------------------------------------------------

    def _dial_more(self) -> None:
        network = self._network
        while self._dials and self._dialling < NODE_DIALS:
            if network.dials_left <= 0:
                if self not in network.waiting:
                    network.waiting.append(self)
                return
            self._connect(self._dials.popleft())

    def _accepts(self, link: TcpLink) -> bool:
        """Give an accepted connection what its neighbour's options say, if that can be had."""
        if self._terms.refusal(link.remote):
            return False
        self._terms.connected(link.sock, link.remote)
        return True

    def _connect(self, link: TcpLink) -> None:
        endpoint = self._network.endpoints.get(link.remote)
        link.error = "No route to host" if endpoint is None else self._terms.refusal(link.remote)
        if endpoint is None or link.error:
            self._fail_dial(link)
            return
        try:
            self._terms.dials(link.sock, link.remote, endpoint[0])
        except OSError as error:
            link.error = os.strerror(error.errno or 0)
            self._fail_dial(link)
            return
        sock = link.sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._network.introduce:
            # Bound to the node's address, but to a port only when the connection is known: a port is then free again for
            # every other neighbour, and 200 nodes do not exhaust 28,000 of them.
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((self._host, 0))
        host, base = endpoint
        result = sock.connect_ex((host, base if self._network.introduce else real_port(base, link.port)))
        if result and result not in _NOT_NOW:
            link.error = os.strerror(result)
            self._fail_dial(link)
            return
        self._links[sock.fileno()] = link
        try:
            sock.getpeername()
        except OSError:
            self._dialling += 1
            self._network.dials_left -= 1
            self._poller.register(sock, _OUT)
            return
        # Loopback has shaken hands inside the system call: no need to be told so, and nothing that is under way.
        self._poller.register(sock, _IN)
        self._is_connected(link, self._news)
        self.wake()

    def _fail_dial(self, link: TcpLink) -> None:
        link.sock.close()
        link.connecting = False
        self._news.append((link, LinkChange.FAILED))
        self.wake()

    def _connected(self, link: TcpLink, events: list[LinkEvent]) -> None:
        code = link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            link.error = os.strerror(code)
            self._dial_ended(link)
            events.append((link, LinkChange.FAILED))
            return
        self._dialling -= 1
        self._network.dials_left += 1
        self._poller.modify(link.sock, _IN)
        self._is_connected(link, events)
        self._dial_more()
        self._next_in_line()

    def _is_connected(self, link: TcpLink, events: list[LinkEvent]) -> None:
        link.connecting = False
        self._terms.connected(link.sock, link.remote)
        if self._network.introduce:
            self.send(link, self._address + link.port.to_bytes(2, "big"))
        events.append((link, LinkChange.CONNECTED))

    def _dial_ended(self, link: TcpLink) -> None:
        """A dial that failed or that nobody wants any more."""
        link.connecting = False
        if link in self._dials:
            self._dials.remove(link)
            link.sock.close()
            return
        self._dialling -= 1
        self._network.dials_left += 1
        self._drop(link)
        self._dial_more()
        self._next_in_line()

    def _next_in_line(self) -> None:
        network = self._network
        while network.waiting and network.dials_left > 0:
            network.waiting.popleft()._dial_more()

    def _drop(self, link: TcpLink) -> None:
        if link.sock.fileno() < 0:
            return
        del self._links[link.sock.fileno()]
        self._strangers.pop(link, None)
        # Closing a descriptor takes it out of the poller.
        link.sock.close()
        if self._network.deaf:
            self._network.deaf.popleft().listen_again()
        link.queue, link.queued = None, 0
