"""One BGP session with one neighbour: bytes and time in, bytes and events out.

Owns the state of one finite state machine (``fsm``), its timers, the undecoded tail of its connection and what the
OPENs agreed. It never touches a socket or a clock. The owner (``agents.speaker``) drives it:

    session.start(now)                   the owner wants the neighbour up
    session.connected(now)               the TCP connection it asked for (DIAL), or one that was accepted
    session.receive(data, now)           bytes
    session.connection_failed(why, now)  refused, reset, end of file
    session.stop(subcode, now)           administrative end
    session.next_timer(), session.handle_timer(now)

and after each input looks at ``outbox`` (frames to send), then at ``events`` in order. ``next_timer`` changes nothing;
``handle_timer`` fires all that is due and is harmless when early.

Time is seconds as a float. Timers are jittered by up to 25 % downwards (RFC 4271 section 10) with the owner's random
numbers; the hold timer too, as BIRD does it, though once a session and not with every message. It is a plain field that moves with
every message, so that a busy session costs no timer at all.

Left out: what two OPENs agree on (``negotiation``), which of two colliding connections lives (``agents.speaker.peer``), routes
(``agents.speaker.rib``). Follows RFC 4271 sections 6, 8 and 10.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from protocol.bgp import wire
from protocol.bgp.errors import Cease, Code, FsmError, RemoteProtocolError, UpdateError, describe
from protocol.bgp.fsm import TABLE, Action, Event, State, transition
from protocol.bgp.messages import (
    AddPath,
    Keepalive,
    Message,
    Notification,
    Open,
    RouteRefresh,
    Update,
)
from protocol.bgp.negotiation import SessionConfig, agreed_add_path, agreed_times, check
from protocol.bgp.signals import Outputs, Signal

_NEVER = math.inf
_ESTABLISHED = State.ESTABLISHED  # an enumeration's members are slow to reach
_UNEXPECTED_IN = {
    State.OPEN_SENT: FsmError.UNEXPECTED_IN_OPENSENT,
    State.OPEN_CONFIRM: FsmError.UNEXPECTED_IN_OPENCONFIRM,
    State.ESTABLISHED: FsmError.UNEXPECTED_IN_ESTABLISHED,
}
_EVENT_OF: dict[type[Message], Event] = {
    Keepalive: Event.KEEPALIVE,
    Update: Event.UPDATE,
    RouteRefresh: Event.ROUTE_REFRESH,
    Notification: Event.NOTIFICATION,
}


class Session:
    """See the module. Fields without an underscore are for reading."""

    __slots__ = (
        "_config", "_connected", "_damp", "_delay_open_at", "_hold", "_hold_at", "_idle_hold_at", "_jitter", "_keepalive",
        "_keepalive_at", "_last_error_at", "_message", "_now", "_pending", "_retry_at", "_several", "_tail", "call_at", "codec", "events", "last_error", "link", "outbox", "outgoing", "owner", "peer_open",
        "rearm", "state", "wire_open",
    )  # fmt: skip

    def __init__(
        self,
        config: SessionConfig,
        codec: wire.Codec,
        rng: random.Random,
        wire_open: bytes,
        outputs: Outputs | None = None,
    ) -> None:
        self._config = config
        self.codec = codec
        self._jitter = rng.random
        self.wire_open = wire_open
        """Our OPEN as a frame: the same for every session of a speaker, so the speaker encodes it once."""
        self.state = State.IDLE
        self.outbox, self.events = outputs or ([], [])
        self.peer_open: Open | None = None
        self.outgoing = False
        """Whether the present connection was dialled by us (RFC 4271 6.8 needs to know)."""
        self.last_error = ""
        """BIRD's words for why it is not up: ``BGP Error: …``, ``Received: …``, ``Socket: …``, or empty."""
        self.rearm = True
        """Set when ``next_timer`` may have become earlier; the owner clears it."""
        self.call_at = math.inf
        """The owner's: when it will call ``handle_timer``."""
        self.owner: Any = None
        self.link: Any = None
        """The owner's marks, not looked at here: whom it speaks with, over what."""
        self._connected = False
        self._tail = b""
        self._pending: Notification | None = None
        self._message: Update | RouteRefresh | None = None
        self._now = 0.0
        self._several = 0  # the family of which path IDs are welcome: looked up once
        self._damp = 0.0
        self._last_error_at = -_NEVER
        self._hold = 0.0
        self._keepalive = 0.0
        self._hold_at = self._keepalive_at = self._retry_at = self._delay_open_at = self._idle_hold_at = (
            _NEVER
        )

    # --- inputs -----------------------------------------------------------------------------------------------------

    def start(self, now: float, delay: float = 0.0) -> None:
        """Idle, and wanted up: at once, even if an error would have it wait. Harmless in any other state.

        ``delay`` is waited for at least, before the first dial.
        """
        self._now = now
        delay = max(delay, self._config.start_delay)
        self._idle_hold_at = _NEVER
        if self._config.passive:
            self._step(Event.START_PASSIVE)
        elif delay > 0 and self.state is State.IDLE:
            # BIRD's connect delay: wait in Active, where the neighbour may come first. Its timers are of whole seconds, and of two
            # seconds a quarter is none: there is no jitter.
            self._step(Event.START_PASSIVE)
            self._retry_at = self._now + delay
            self.rearm = True
        else:
            self._step(Event.START)

    def wait(self, now: float) -> None:
        """Idle, and to be given a connection that the neighbour has made: no dial, whatever the configuration says."""
        self._now = now
        self._idle_hold_at = _NEVER
        self._step(Event.START_PASSIVE)

    def stop(self, subcode: Cease, now: float) -> None:
        """Administrative end: a Cease if there is somebody to hear it, then Idle for good."""
        self._now = now
        self._pending = Notification(Code.CEASE, subcode)
        self._step(Event.STOP)
        self._idle_hold_at = _NEVER

    def collision_dump(self, now: float) -> None:
        """This connection lost (RFC 4271 6.8): Cease, and Idle without starting again."""
        self._now = now
        self._pending = Notification(Code.CEASE, Cease.COLLISION)
        self._step(Event.COLLISION_DUMP)

    def connected(self, now: float, *, outgoing: bool) -> None:
        """TCP is there. An Idle session refuses it."""
        self._now = now
        if self.state is State.IDLE:
            self.events.append(Signal.CLOSE)
            return
        self.outgoing = outgoing
        self._connected = True
        delayed = self._config.delay_open > 0
        self._step(Event.TCP_CONNECTED_DELAY_OPEN if delayed else Event.TCP_CONNECTED)

    def connection_failed(self, reason: str, now: float) -> None:
        """TCP is not there, or not any more. ``reason`` is the system's word for it.

        Of a connection that is given up already it says nothing new.
        """
        self._now = now
        if not self._connected and self.state is not State.CONNECT:
            return
        self.last_error = f"Socket: {reason}"
        self._step(Event.TCP_FAILS)

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the neighbour, cut anywhere. What breaks the rules ends the session, never raises.

        Nothing is heard from a connection that is given up.
        """
        if not self._connected:
            return
        self._now = now
        if self._tail:
            data = self._tail + data
        try:
            frames, self._tail = wire.split(data)
            for frame in frames:
                message = self.codec.decode(frame)
                # Most messages of a session's life by far: no table look-up for them.
                if self.state is _ESTABLISHED and type(message) is Update:
                    self._hold_at = now + self._hold
                    if message.nlri or message.path_id:
                        self._check_update(message)
                    self.events.append(message)
                else:
                    self._handle(message)
                    if not self._connected:
                        return
            if self._tail and frames:
                wire.split(self._tail)  # a bad header behind good frames
        except RemoteProtocolError as error:
            self._fail(error)

    def handle_timer(self, now: float) -> None:
        """Fire every timer that is due."""
        self._now = now
        if self._hold_at <= now:
            self._hold_at = _NEVER
            self.last_error = "BGP Error: Hold timer expired"
            self._step(Event.HOLD_EXPIRES)
        if self._keepalive_at <= now:
            self._keepalive_at = _NEVER
            self._step(Event.KEEPALIVE_EXPIRES)
        if self._delay_open_at <= now:
            self._delay_open_at = _NEVER
            self._step(Event.DELAY_OPEN_EXPIRES)
        if self._retry_at <= now:
            self._retry_at = _NEVER
            self._step(Event.CONNECT_RETRY_EXPIRES)
        if self._idle_hold_at <= now:
            self._idle_hold_at = _NEVER
            self._step(Event.START_PASSIVE if self._config.passive else Event.IDLE_HOLD_EXPIRES)

    def sent_update(self, now: float) -> None:
        """The owner sent UPDATEs: KeepaliveTimer restarts (RFC 4271 8.2.2, Established)."""
        if self._keepalive:
            self._keepalive_at = now + self._keepalive

    def rest(self, now: float) -> None:
        """The network vouches for the connection: an Established session needs no keepalives, as with hold time 0.

        One whose hold timer is due is not saved by it.
        """
        if self.state is _ESTABLISHED and self._keepalive and self._hold_at > now:
            self._hold, self._keepalive = _NEVER, 0.0
            self._hold_at = self._keepalive_at = _NEVER

    def doubt(self, now: float) -> None:
        """Not any more: the timers are as if keepalives had gone to and fro all the time, at moments that nobody noted."""
        if self.state is _ESTABLISHED and self._hold == _NEVER and self.hold_time:
            self._draw_times()
            jitter = self._jitter
            self._hold_at = now + self._hold - jitter() * self._keepalive
            self._keepalive_at = now + jitter() * self._keepalive
            self.rearm = True

    # --- outputs ----------------------------------------------------------------------------------------------------

    def next_timer(self) -> float:
        """The smallest deadline; ``math.inf`` when nothing runs."""
        return min(self._hold_at, self._keepalive_at, self._retry_at, self._delay_open_at, self._idle_hold_at)

    def agreed(self, family: int, way: AddPath) -> bool:
        """Whether we may RECEIVE, or SEND, several paths to a prefix, by what the OPENs offered (RFC 7911 section 4)."""
        theirs = self.peer_open
        return theirs is not None and agreed_add_path(
            self._config.capabilities, theirs.capabilities, family, way
        )

    @property
    def hold_time(self) -> float:
        """Negotiated, seconds; 0 before an OPEN, or when both sides do without."""
        return self._agreed_times()[0]

    @property
    def keepalive_time(self) -> float:
        return self._agreed_times()[1]

    def hold_left(self, now: float) -> float:
        return max(0.0, self._hold_at - now) if self._hold_at < _NEVER else self.hold_time

    def keepalive_left(self, now: float) -> float:
        return max(0.0, self._keepalive_at - now) if self._keepalive_at < _NEVER else self.keepalive_time

    # --- the machine ------------------------------------------------------------------------------------------------

    def _step(self, event: Event) -> None:
        """The executor: what ``fsm`` says, in its order."""
        row = TABLE[self.state].get(event) or transition(self.state, event)
        for action in row.actions:
            _DO[action](self)
        was, self.state = self.state, row.next
        if was is not row.next:
            if row.next is State.ESTABLISHED:
                self.last_error = ""
                self.events.append(Signal.ESTABLISHED)
            elif was is State.ESTABLISHED:
                self.events.append(Signal.LOST if event is Event.TCP_FAILS else Signal.DOWN)

    def _handle(self, message: Message) -> None:
        if isinstance(message, Open):
            self._handle_open(message)
            return
        if isinstance(message, Notification):
            self.last_error = f"Received: {describe(message.code, message.subcode)}"
            if (message.code, message.subcode) == (Code.CEASE, Cease.COLLISION):
                self._step(Event.COLLISION_CEASE)
                return
        elif isinstance(message, Update | RouteRefresh):
            self._message = message
        self._step(_EVENT_OF[type(message)])

    def _handle_open(self, message: Open) -> None:
        check(self._config, message)
        self.peer_open = message
        self._step(Event.OPEN_WITH_DELAY_OPEN if self._delay_open_at < _NEVER else Event.OPEN)
        if self.state is State.OPEN_CONFIRM:
            self.events.append(Signal.OPENED)

    def _check_update(self, message: Update) -> None:
        attributes = message.attributes
        if (
            attributes is not None
            and attributes.local_pref is None
            and self._config.local_as == self._config.peer_as
        ):
            raise RemoteProtocolError(
                "no LOCAL_PREF from an internal peer", Code.UPDATE, UpdateError.MISSING_WELL_KNOWN, b"\x05"
            )
        if message.path_id and message.family != self._several:
            self._hear_several(message)

    def _hear_several(self, message: Update) -> None:
        if not self.agreed(message.family, AddPath.RECEIVE):
            raise RemoteProtocolError(
                f"path ID {message.path_id} on a session without add-path",
                Code.UPDATE, UpdateError.INVALID_NETWORK,
            )  # fmt: skip
        self._several = message.family

    def _fail(self, error: RemoteProtocolError) -> None:
        self.last_error = f"BGP Error: {describe(error.code, error.subcode)}"
        self._pending = Notification(error.code, error.subcode, error.data)
        self._step(Event.MESSAGE_ERROR)

    # --- actions ----------------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        self.events.append(Signal.DIAL)

    def _drop(self) -> None:
        self._tail = b""
        self._connected = False
        self.events.append(Signal.CLOSE)

    def _send_open(self) -> None:
        self.outbox.append(self.wire_open)

    def _send_keepalive(self) -> None:
        self.outbox.append(wire.KEEPALIVE)
        if self._keepalive:
            self._keepalive_at = self._now + self._keepalive * (1.0 - 0.25 * self._jitter())
            self.rearm = True

    def _send_notification(self) -> None:
        if self._pending is not None:
            self.outbox.append(self.codec.encode(self._pending))
            self._pending = None

    def _send_hold_expired(self) -> None:
        self.outbox.append(self.codec.encode(Notification(Code.HOLD_TIMER_EXPIRED)))

    def _send_fsm_error(self) -> None:
        subcode = _UNEXPECTED_IN[self.state]
        self.last_error = f"BGP Error: {describe(Code.FSM, subcode)}"
        self.outbox.append(self.codec.encode(Notification(Code.FSM, subcode)))

    def _start_connect_retry(self) -> None:
        if not self._config.passive:
            self._arm_retry(self._config.connect_retry)

    def _start_connect_delay(self) -> None:
        if not self._config.passive:
            self._arm_retry(self._config.connect_delay)

    def _arm_retry(self, seconds: float) -> None:
        self._retry_at = self._now + seconds * (1.0 - 0.25 * self._jitter())
        self.rearm = True

    def _stop_connect_retry(self) -> None:
        self._retry_at = _NEVER

    def _start_delay_open(self) -> None:
        self._delay_open_at = self._now + self._config.delay_open * (1.0 - 0.25 * self._jitter())
        self.rearm = True

    def _stop_delay_open(self) -> None:
        self._delay_open_at = _NEVER

    def _start_open_hold(self) -> None:
        self._hold_at = self._now + self._config.open_hold * (1.0 - 0.25 * self._jitter())
        self.rearm = True

    def _negotiate(self) -> None:
        assert self.peer_open is not None
        self._draw_times()
        if not self._hold:
            # RFC 4271 4.2: zero means neither timer runs.
            self._hold = _NEVER
        self._restart_hold()
        self.rearm = True

    def _draw_times(self) -> None:
        hold, self._keepalive = self._agreed_times()
        self._hold = hold * (1.0 - 0.25 * self._jitter())

    def _agreed_times(self) -> tuple[float, float]:
        if self.peer_open is None:
            return 0.0, 0.0
        return agreed_times(self._config, self.peer_open)

    def _restart_hold(self) -> None:
        self._hold_at = self._now + self._hold

    def _release(self) -> None:
        self._hold_at = self._keepalive_at = self._retry_at = self._delay_open_at = self._idle_hold_at = (
            _NEVER
        )
        self._hold = self._keepalive = 0.0
        self._several = 0
        self.peer_open = None

    def _damp_oscillation(self) -> None:
        config = self._config
        forgotten = self._now - self._last_error_at > config.idle_hold_forget
        self._damp = config.idle_hold_min if forgotten else min(2 * self._damp, config.idle_hold_max)
        self._last_error_at = self._now
        self._idle_hold_at = self._now + self._damp * (1.0 - 0.25 * self._jitter())
        self.rearm = True

    def _deliver(self) -> None:
        assert self._message is not None
        self.events.append(self._message)


_DO: dict[Action, Callable[[Session], None]] = {
    Action.DIAL: Session._dial,
    Action.DROP: Session._drop,
    Action.SEND_OPEN: Session._send_open,
    Action.SEND_KEEPALIVE: Session._send_keepalive,
    Action.SEND_NOTIFICATION: Session._send_notification,
    Action.SEND_HOLD_EXPIRED: Session._send_hold_expired,
    Action.SEND_FSM_ERROR: Session._send_fsm_error,
    Action.START_CONNECT_RETRY: Session._start_connect_retry,
    Action.START_CONNECT_DELAY: Session._start_connect_delay,
    Action.STOP_CONNECT_RETRY: Session._stop_connect_retry,
    Action.START_DELAY_OPEN: Session._start_delay_open,
    Action.STOP_DELAY_OPEN: Session._stop_delay_open,
    Action.START_OPEN_HOLD: Session._start_open_hold,
    Action.NEGOTIATE: Session._negotiate,
    Action.RESTART_HOLD: Session._restart_hold,
    Action.RELEASE: Session._release,
    Action.DAMP: Session._damp_oscillation,
    Action.DELIVER: Session._deliver,
}
