"""Somebody who means harm, in a process of his own: ``python -m bench.besieger`` with what he is told on stdin, started by ``siege``.

    strangers   dials from addresses that are nobody's, as fast as it gets, and keeps what it is let
    slow        a neighbour's address; many connections to everybody, and of his OPEN an octet now and then
    mute        a neighbour with whom everybody has a session; asks for all routes again and again, and reads nothing
    flood       a neighbour with whom everybody has a session; tells 1,000 routes again and again, each time with other
                attributes

One thread and one selector. Every second a line of JSON on stdout: what was done until then. Ends when it is killed.
"""

from __future__ import annotations

import contextlib
import json
import random
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator

import attrs

from protocol.bgp.attributes import Attributes
from protocol.bgp.messages import Capabilities, Notification, Open, RouteRefresh
from protocol.bgp.wire import KEEPALIVE, Codec, split
from protocol.prefix import IPV4, Address, Prefix, make_prefix, parse_address

ROUTES = 1000
SEVERAL = 8
"""Connections of a slow neighbour to each node."""
SLOWLY = 0.5
"""Seconds between two octets of his."""
KEEPALIVES = 10.0
BURST = 1000
"""Requests, or routes, that are said in one breath."""
MAX_OPEN = 4000
"""Connections that strangers keep, should anybody let them: this process has descriptors to lose, too."""


@attrs.define
class Call:
    """One connection."""

    sock: socket.socket
    target: tuple[str, int]
    sent: int = 0
    """Octets of the OPEN."""
    next_at: float = 0.0
    keepalive_at: float = 0.0
    heard: bytes = b""
    waiting: bytes = b""
    """What the other end has not taken."""
    up: bool = False


@attrs.define
class Besieger:
    kind: str
    address: str  # of the neighbour that he is
    source: str  # where he dials from; strangers have a network of their own
    asn: int
    targets: list[tuple[str, int]]
    calls: dict[socket.socket, Call] = attrs.field(factory=dict)
    done: dict[str, int] = attrs.field(
        factory=lambda: {"connections": 0, "refused": 0, "ended": 0, "octets": 0, "notifications": 0}
    )
    rng: random.Random = attrs.field(factory=lambda: random.Random(0))
    codec: Codec = attrs.field(factory=Codec)
    selector: selectors.BaseSelector = attrs.field(factory=selectors.DefaultSelector)

    def run(self) -> None:
        work: Callable[[float], None] = getattr(self, self.kind)
        report_at = time.monotonic() + 1
        while True:
            now = time.monotonic()
            work(now)
            self.listen()
            if now >= report_at:
                report_at = now + 1
                print(json.dumps({**self.done, "open": len(self.calls)}), flush=True)

    # --- kinds ------------------------------------------------------------------------------------------------------

    def strangers(self, now: float) -> None:
        for _ in range(50):
            if len(self.calls) < MAX_OPEN:
                self.dial(
                    self.rng.choice(self.targets),
                    f"127.99.{self.rng.randrange(256)}.{self.rng.randrange(1, 255)}",
                )

    def slow(self, now: float) -> None:
        self.keep(SEVERAL)
        said = self.open()
        for call in [*self.calls.values()]:
            if call.next_at <= now:
                self.say(call, said[call.sent : call.sent + 1])
                call.sent = min(call.sent + 1, len(said) - 1)  # never the last one
                call.next_at = now + SLOWLY

    def mute(self, now: float) -> None:
        refresh = self.codec.encode(RouteRefresh()) * BURST
        for call in self.sessions(now):
            self.say(call, refresh)

    def flood(self, now: float) -> None:
        for call in self.sessions(now):
            self.say(call, b"".join(self.update() for _ in range(BURST // 20)))

    # --- sessions ---------------------------------------------------------------------------------------------------

    def keep(self, several: int) -> None:
        """That many connections to everybody."""
        have = dict.fromkeys(self.targets, 0)
        for call in self.calls.values():
            have[call.target] += 1
        for target, count in have.items():
            for _ in range(several - count):
                self.dial(target, self.source)

    def sessions(self, now: float) -> Iterator[Call]:
        """Those that are up and take something; all others are brought on their way."""
        self.keep(1)
        for call in [*self.calls.values()]:
            if not call.sent:
                call.sent = 1
                self.say(call, self.open() + KEEPALIVE)
            if call.up and call.keepalive_at <= now:
                call.keepalive_at = now + KEEPALIVES
                self.say(call, KEEPALIVE)
            if call.waiting:
                self.say(call, b"")
            if call.up and not call.waiting and call.sock in self.calls:
                yield call

    def open(self) -> bytes:
        identifier = Address(parse_address(self.address))
        offered = Capabilities(families=(IPV4,), four_octet_as=self.asn)
        return self.codec.encode(
            Open(asn=self.asn, hold_time=90, identifier=identifier, capabilities=offered)
        )

    def update(self) -> bytes:
        attributes = Attributes(
            next_hop=Address(parse_address(self.address)),
            local_pref=self.rng.randrange(1 << 31),
            med=self.rng.randrange(1 << 31),
            communities=(self.rng.randrange(1 << 31),),
        )
        return b"".join(
            self.codec.update_frames(IPV4, nlri=self.rng.sample(PREFIXES, 20), attributes=attributes)
        )

    # --- sockets ----------------------------------------------------------------------------------------------------

    def dial(self, target: tuple[str, int], source: str) -> None:
        sock = socket.socket()
        try:
            if self.kind == "mute":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.bind((source, 0))
            sock.settimeout(5)
            sock.connect(target)
        except OSError:
            sock.close()
            self.done["refused"] += 1
            return
        sock.setblocking(False)
        self.done["connections"] += 1
        self.calls[sock] = Call(sock, target)
        self.selector.register(sock, selectors.EVENT_READ)

    def say(self, call: Call, data: bytes) -> None:
        if call.sock not in self.calls:
            return
        data = call.waiting + data
        try:
            taken = call.sock.send(data) if data else 0
        except BlockingIOError:
            taken = 0
        except OSError:
            self.end(call)
            return
        self.done["octets"] += taken
        call.waiting = data[taken:]

    def listen(self) -> None:
        for key, _ in self.selector.select(0.001):
            assert isinstance(key.fileobj, socket.socket)
            call = self.calls[key.fileobj]
            try:
                data = call.sock.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self.end(call)
            elif self.kind in ("mute", "flood"):
                self.hear(call, data)

    def hear(self, call: Call, data: bytes) -> None:
        frames, call.heard = split(call.heard + data)
        for frame in frames:
            call.up = call.up or frame == KEEPALIVE
            self.done["notifications"] += isinstance(self.codec.decode(frame), Notification)
        if call.up and self.kind == "mute":
            self.selector.unregister(call.sock)  # never again

    def end(self, call: Call) -> None:
        self.done["ended"] += 1
        del self.calls[call.sock]
        with contextlib.suppress(KeyError):
            self.selector.unregister(call.sock)
        call.sock.close()


PREFIXES: list[Prefix] = [
    make_prefix((198 << 24) + (18 << 16) + (number << 6), 26, IPV4) for number in range(ROUTES)
]


if __name__ == "__main__":
    told = json.loads(sys.stdin.readline())
    Besieger(**{**told, "targets": [tuple(target) for target in told["targets"]]}).run()
