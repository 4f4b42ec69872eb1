"""Sessions under test: one alone, or two joined by a wire that delays, cuts and fails, on a clock moved by hand.

``End`` is a careful owner of one session: it checks, after every input, what any owner relies on.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable

from protocol.bgp.attributes import Attributes
from protocol.bgp.errors import Cease
from protocol.bgp.fsm import State
from protocol.bgp.messages import Capabilities, Keepalive, Message, Notification, Open, Update
from protocol.bgp.negotiation import SessionConfig
from protocol.bgp.session import Session
from protocol.bgp.signals import Signal
from protocol.bgp.wire import Codec, split
from protocol.prefix import Address, parse_prefix

Script = list[float]
"""Numbers of a test's choice, used in turn for ever."""

Wants = tuple[list[bytes], bool, bool]
"""Frames to send, whether to dial, whether to close."""


def config(**changes: object) -> SessionConfig:
    plain: dict[str, object] = {
        "local_as": 64512, "peer_as": 64512, "identifier": Address(b"\x0a\0\0\1"), "capabilities": Capabilities(),
    }  # fmt: skip
    return SessionConfig(**(plain | changes))  # type: ignore[arg-type]  # a test's words for a test's session


def open_of(of: SessionConfig) -> Open:
    return Open(
        asn=of.local_as,
        hold_time=round(of.hold_time),
        identifier=of.identifier,
        capabilities=of.capabilities,
    )


def session_of(of: SessionConfig, seed: int = 0) -> Session:
    codec = Codec()
    return Session(of, codec, random.Random(seed), codec.encode(open_of(of)))


def snapshot(session: Session) -> dict[str, object]:
    """Everything a session remembers, but for what its owner drained."""
    names = [name for name in Session.__slots__ if name not in ("_jitter", "codec", "rearm", "call_at")]
    return {name: getattr(session, name) for name in names} | {
        "outbox": list(session.outbox),
        "events": list(session.events),
    }


class End:
    """The owner of one session. ``said`` and ``events`` are all it ever sent and reported."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.connected = False
        self.dialling = False
        self.call_at = math.inf
        self.said: list[Message] = []
        self.events: list[object] = []
        self.up = False

    @property
    def notifications(self) -> list[Notification]:
        return [message for message in self.said if isinstance(message, Notification)]

    def after(self, now: float) -> Wants:
        """What every input is followed by."""
        session = self.session
        frames, session.outbox[:] = list(session.outbox), []
        events, session.events[:] = list(session.events), []
        whole, tail = split(b"".join(frames))
        said = [Codec().decode(frame) for frame in whole]
        assert tail == b""
        assert self.connected or not frames, "sent to nobody"
        assert all(not isinstance(message, Notification) for message in said[:-1]), (
            "words after the last ones"
        )
        dial = close = False
        for event in events:
            if event is Signal.DIAL:
                assert not dial
                assert not self.connected or close, "dials while connected"
                dial = True
            elif event is Signal.CLOSE:
                close, self.connected, self.dialling = True, False, False
            elif event is Signal.ESTABLISHED:
                assert not self.up
                assert not close
                self.up = True
            elif event is Signal.DOWN or event is Signal.LOST:
                assert self.up
                assert close, "down without a closed connection"
                self.up = False
            elif event is Signal.OPENED:
                assert not self.up
                assert not close
            else:
                assert self.up, "a route outside of Established"
                assert not close
        if said and isinstance(said[-1], Notification):
            assert close, "a NOTIFICATION ends the connection"
        self.dialling |= dial
        self.said += said
        self.events += events
        self.check(now)
        return frames, dial, close

    def check(self, now: float) -> None:
        session = self.session
        before = snapshot(session)
        deadline = session.next_timer()
        assert session.next_timer() == deadline
        assert snapshot(session) == before, "next_timer changes something"
        if session.rearm:
            session.rearm = False
            self.call_at = deadline
        assert deadline >= self.call_at, "a deadline became earlier without rearm"
        assert self.up is (session.state is State.ESTABLISHED)
        talking = session.state in (State.OPEN_SENT, State.OPEN_CONFIRM, State.ESTABLISHED)
        assert not talking or self.connected
        assert (session.peer_open is not None) is (session.state in (State.OPEN_CONFIRM, State.ESTABLISHED))
        if session.state is State.IDLE:
            assert not self.connected
            assert session.hold_left(now) == session.keepalive_left(now) == session.hold_time == 0
            assert deadline == session._idle_hold_at
        else:
            assert session._idle_hold_at == math.inf
        if talking:
            assert session._retry_at == session._delay_open_at == math.inf
            assert session._hold_at < math.inf or session.hold_time == 0
        else:
            assert session._hold_at == session._keepalive_at == math.inf
            assert self.connected is (session._delay_open_at < math.inf)

    def early(self, now: float) -> None:
        """handle_timer is harmless when nothing is due."""
        if self.session.next_timer() > now:
            before = snapshot(self.session) | {"_now": now}
            self.session.handle_timer(now)
            assert snapshot(self.session) == before

    def timer(self, now: float) -> Wants:
        self.session.rearm = True
        self.session.handle_timer(now)
        return self.after(now)


THEM = config(identifier=Address(b"\x0a\0\0\2"))
ROUTE = Update(
    nlri=(parse_prefix("192.168.0.0/26"),),
    attributes=Attributes(next_hop=Address(b"\x0a\0\0\2"), local_pref=100),
)
UNPREFERRED = Update(nlri=ROUTE.nlri, attributes=Attributes(next_hop=Address(b"\x0a\0\0\2")))


class FixedRandom(random.Random):
    """The same number always, to see the ends of the jitter."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self._value = value

    def random(self) -> float:
        return self._value


def written(*messages: Message) -> bytes:
    return b"".join(map(Codec().encode, messages))


class Alone(End):
    """A session and its owner; the test is the neighbour and the clock. Jitter is none, unless told."""

    def __init__(self, of: SessionConfig | None = None, jitter: float = 0.0) -> None:
        self.config = of or config()
        codec = Codec()
        super().__init__(Session(self.config, codec, FixedRandom(jitter), codec.encode(open_of(self.config))))
        self.now = 0.0

    def start(self) -> Alone:
        self.session.start(self.now)
        self.after(self.now)
        return self

    def connect(self, outgoing: bool = True) -> Alone:
        self.connected = True
        self.session.connected(self.now, outgoing=outgoing)
        self.after(self.now)
        return self

    def hear(self, *messages: Message) -> Alone:
        return self.hear_bytes(written(*messages))

    def hear_bytes(self, data: bytes) -> Alone:
        self.session.receive(data, self.now)
        self.after(self.now)
        return self

    def fail(self) -> Alone:
        self.connected = self.dialling = False
        self.session.connection_failed("Connection reset by peer", self.now)
        self.after(self.now)
        return self

    def stop(self, why: Cease) -> Alone:
        self.session.stop(why, self.now)
        self.after(self.now)
        return self

    def wait(self) -> float:
        """Move the clock to the next deadline and fire it. Returns how long that was."""
        before, self.now = self.now, self.session.next_timer()
        self.timer(self.now)
        return self.now - before

    def to(self, state: State, hold_time: int = 90) -> Alone:
        """In a state, the usual way."""
        if state >= State.CONNECT:
            self.start()
        if state is State.ACTIVE:
            self.fail()
        if state >= State.OPEN_SENT:
            self.connect()
        if state >= State.OPEN_CONFIRM:
            self.hear(Open(asn=self.config.peer_as, hold_time=hold_time, identifier=THEM.identifier))
        if state >= State.ESTABLISHED:
            self.hear(Keepalive())
        assert self.session.state is state
        return self


class Connection:
    """One TCP connection: two directions, each in order."""

    def __init__(self) -> None:
        self.arrival = [0.0, 0.0]


class Pair:
    """See the module. ``silent`` loses every byte from now on, without a word."""

    def __init__(
        self, one: SessionConfig, other: SessionConfig, delays: Script, cuts: list[int], seed: int = 0
    ) -> None:
        self.now = 0.0
        self.ends = (End(session_of(one, seed)), End(session_of(other, seed + 1)))
        self.silent = False
        self.links: list[Connection | None] = [None, None]
        self._delays = itertools.cycle(delays or [0.0])
        self._cuts = itertools.cycle(cuts or [1 << 20])
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def start(self) -> None:
        for side, end in enumerate(self.ends):
            end.session.start(self.now)
            self._do(side, end.after(self.now))

    def stop(self, side: int, subcode: int) -> None:
        end = self.ends[side]
        end.session.stop(subcode, self.now)  # type: ignore[arg-type]  # any octet
        self._do(side, end.after(self.now))

    def cut(self) -> None:
        """The connection breaks for both."""
        self.links = [None, None]
        for side, end in enumerate(self.ends):
            end.session.connection_failed("Connection reset by peer", self.now)
            self._do(side, end.after(self.now))

    def say(self, side: int, data: bytes) -> None:
        """The owner of one side sends: UPDATEs, or garbage."""
        self._send(side, [data])

    def run(self, until: float, enough: Callable[[], bool] = lambda: False) -> None:
        while not enough():
            timer = min(end.call_at for end in self.ends)
            event = self._queue[0][0] if self._queue else math.inf
            if min(timer, event) > until:
                self.now = until
                return
            for end in self.ends:
                end.early(self.now)
            if event <= timer:
                self.now, _, happen = heapq.heappop(self._queue)
                happen()
            else:
                self.now = timer
                for side, end in enumerate(self.ends):
                    if end.call_at <= self.now:
                        self._do(side, end.timer(self.now))

    @property
    def established(self) -> bool:
        return all(end.up for end in self.ends)

    def _later(self, seconds: float, happen: Callable[[], None]) -> float:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), happen))
        return self.now + seconds

    def _do(self, side: int, what: Wants) -> None:
        frames, dial, close = what
        self._send(side, frames)
        link = self.links[side]
        if close and link is not None:
            self._deliver(side, link, None)
            self.links[side] = None
        if dial:
            self._later(next(self._delays), lambda: self._dialled(side))

    def _send(self, side: int, frames: list[bytes]) -> None:
        data = b"".join(frames)
        link = self.links[side]
        while data and link is not None:
            size = next(self._cuts)
            self._deliver(side, link, data[:size])
            data = data[size:]

    def _deliver(self, side: int, connection: Connection, data: bytes | None) -> None:
        if self.silent:
            return

        def arrive() -> None:
            end = self.ends[1 - side]
            if self.links[1 - side] is not connection:
                return
            if data is not None:
                end.session.receive(data, self.now)
            else:
                self.links[1 - side] = None
                end.session.connection_failed("Connection closed", self.now)
            self._do(1 - side, end.after(self.now))

        at = max(self.now + next(self._delays), connection.arrival[side])
        connection.arrival[side] = at
        heapq.heappush(self._queue, (at, next(self._order), arrive))

    def _dialled(self, side: int) -> None:
        dialler, acceptor = self.ends[side], self.ends[1 - side]
        if not dialler.dialling:
            return
        dialler.dialling = False
        accepts = acceptor.session.state is State.ACTIVE and not acceptor.connected
        if self.silent or not accepts:
            dialler.session.connection_failed("Connection refused", self.now)
            self._do(side, dialler.after(self.now))
            return
        self.links = [Connection()] * 2
        dialler.connected = acceptor.connected = True
        acceptor.session.connected(self.now, outgoing=False)
        self._do(1 - side, acceptor.after(self.now))
        dialler.session.connected(self.now, outgoing=True)
        self._do(side, dialler.after(self.now))


def updates(end: End) -> list[Update]:
    return [event for event in end.events if isinstance(event, Update)]
