"""The BGP finite state machine of RFC 4271 section 8, as a table.

Owns ``State``, ``Event``, ``Action`` and ``TABLE``: ``TABLE[state][event]`` is a ``Transition(next, actions)`` and
what is not in a state's row is that state's ``OTHERWISE``. It decides nothing else: ``session`` executes the actions
and knows what they do; ``agents.speaker.peer`` owns one machine a neighbour, and a second one while two connections
collide (section 6.8).

A reader with section 8.2.2 open can check it row by row. Events that the RFC treats alike in every state are one
event here; beside each stand the RFC's numbers. Where a row differs from the RFC, its comment says so:

- a failed dial goes to Active and waits for ConnectRetryTimer, as RFC 1771 and BIRD have it, not to Idle;
- a connection that is lost after the OPENs, without a NOTIFICATION, goes to Active too, as in BIRD: after its connect delay
  we dial, and until then the neighbour may;
- so does one that the neighbour gave up for another one of ours and says so (Cease, connection collision): the other may
  not have been accepted yet, and must be when it is;
- a NOTIFICATION that comes before Established closes the connection without another NOTIFICATION;
- a mistake in a message is answered with its own code in every state, also where the RFC has an FSM error (28 in OpenSent
  and OpenConfirm, 21 and 22 in Established);
- a passive start does not run ConnectRetryTimer, so a passive machine never dials;
- ConnectRetryCounter is not kept: nothing here is decided by it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs


class State(enum.IntEnum):
    IDLE = 0
    CONNECT = 1
    ACTIVE = 2
    OPEN_SENT = 3
    OPEN_CONFIRM = 4
    ESTABLISHED = 5


STATE_NAMES = ("Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established")


class Event(enum.IntEnum):
    """Inputs of the machine, with the RFC's event numbers."""

    START = 0  # 1, 3: ManualStart, AutomaticStart
    START_PASSIVE = (
        1  # 4, 5, 7: the same with PassiveTcpEstablishment; also a start that delays its first dial
    )
    STOP = 2  # 2, 8: ManualStop, AutomaticStop
    CONNECT_RETRY_EXPIRES = 3  # 9
    HOLD_EXPIRES = 4  # 10
    KEEPALIVE_EXPIRES = 5  # 11
    DELAY_OPEN_EXPIRES = 6  # 12
    IDLE_HOLD_EXPIRES = 7  # 13
    TCP_CONNECTED = 8  # 16, 17: dialled or accepted, with DelayOpen off
    TCP_CONNECTED_DELAY_OPEN = 9  # 16, 17: the same with DelayOpen on
    TCP_FAILS = 10  # 18
    OPEN = 11  # 19
    OPEN_WITH_DELAY_OPEN = 12  # 20: while DelayOpenTimer runs
    MESSAGE_ERROR = 13  # 21, 22, 28: header, OPEN or UPDATE error
    COLLISION_DUMP = 14  # 23
    NOTIFICATION = 15  # 24, 25
    COLLISION_CEASE = 16  # 25, when it is Cease with "connection collision" (RFC 4486)
    KEEPALIVE = 17  # 26
    UPDATE = 18  # 27
    ROUTE_REFRESH = 19  # RFC 2918


class Action(enum.IntEnum):
    """What a transition does, in the order of its row."""

    DIAL = 0  # initiate a TCP connection
    DROP = 1  # drop the TCP connection
    SEND_OPEN = 2
    SEND_KEEPALIVE = 3  # and restart KeepaliveTimer
    SEND_NOTIFICATION = 4  # the error or Cease that is pending
    SEND_HOLD_EXPIRED = 5
    SEND_FSM_ERROR = 6
    START_CONNECT_RETRY = 7
    START_CONNECT_DELAY = 8  # ConnectRetryTimer, with BIRD's shorter "connect delay"
    STOP_CONNECT_RETRY = 9
    START_DELAY_OPEN = 10
    STOP_DELAY_OPEN = 11
    START_OPEN_HOLD = 12  # HoldTimer with the large value of section 8.2.2
    NEGOTIATE = 13  # the OPEN's hold time; HoldTimer and KeepaliveTimer start
    RESTART_HOLD = 14
    RELEASE = 15  # all timers off, what the peer told is forgotten
    DAMP = 16  # IdleHoldTimer: the machine starts itself again (DampPeerOscillations)
    DELIVER = 17  # the message goes to the owner


@attrs.frozen
class Transition:
    next: State
    actions: tuple[Action, ...] = ()


Row = Mapping[Event, Transition]

_A = Action
_TO = Transition

# Section 8.2.2 ends almost every row of every state like this: everything is let go, the counter goes up, and the
# machine is Idle until IdleHoldTimer starts it again.
_DOWN = (_A.DROP, _A.RELEASE, _A.DAMP)
_FAIL = _TO(State.IDLE, _DOWN)
_NOTIFY_AND_FAIL = _TO(State.IDLE, (_A.SEND_NOTIFICATION, *_DOWN))
_FSM_ERROR = _TO(State.IDLE, (_A.SEND_FSM_ERROR, *_DOWN))
_HOLD_EXPIRED = _TO(State.IDLE, (_A.SEND_HOLD_EXPIRED, *_DOWN))
_STOP_SILENTLY = _TO(State.IDLE, (_A.DROP, _A.RELEASE))
_STOP_WITH_CEASE = _TO(State.IDLE, (_A.SEND_NOTIFICATION, _A.DROP, _A.RELEASE))
_LOST = _TO(State.ACTIVE, (_A.DROP, _A.RELEASE, _A.START_CONNECT_DELAY))
_GAVE_WAY = _TO(State.ACTIVE, (_A.DROP, _A.RELEASE, _A.START_CONNECT_RETRY))
_DUMP = _TO(State.IDLE, (_A.SEND_NOTIFICATION, _A.DROP, _A.RELEASE))

_OPEN_NOW = _TO(
    State.OPEN_SENT, (_A.STOP_CONNECT_RETRY, _A.STOP_DELAY_OPEN, _A.SEND_OPEN, _A.START_OPEN_HOLD)
)
_WAIT_FOR_OPEN = (_A.STOP_CONNECT_RETRY, _A.START_DELAY_OPEN)
_ANSWER_OPEN = _TO(
    State.OPEN_CONFIRM,
    (_A.STOP_CONNECT_RETRY, _A.STOP_DELAY_OPEN, _A.SEND_OPEN, _A.NEGOTIATE, _A.SEND_KEEPALIVE),
)

_IDLE: Row = {
    Event.START: _TO(State.CONNECT, (_A.START_CONNECT_RETRY, _A.DIAL)),
    Event.START_PASSIVE: _TO(State.ACTIVE),
    Event.IDLE_HOLD_EXPIRES: _TO(State.CONNECT, (_A.START_CONNECT_RETRY, _A.DIAL)),
}

_CONNECT: Row = {
    Event.START: _TO(State.CONNECT),
    Event.START_PASSIVE: _TO(State.CONNECT),
    Event.STOP: _STOP_SILENTLY,
    Event.CONNECT_RETRY_EXPIRES: _TO(
        State.CONNECT, (_A.DROP, _A.STOP_DELAY_OPEN, _A.START_CONNECT_RETRY, _A.DIAL)
    ),
    Event.DELAY_OPEN_EXPIRES: _OPEN_NOW,
    Event.TCP_CONNECTED: _OPEN_NOW,
    Event.TCP_CONNECTED_DELAY_OPEN: _TO(State.CONNECT, _WAIT_FOR_OPEN),
    # RFC 4271 goes to Idle when DelayOpenTimer does not run; waiting in Active lets the neighbour dial meanwhile.
    Event.TCP_FAILS: _TO(State.ACTIVE, (_A.DROP, _A.STOP_DELAY_OPEN, _A.START_CONNECT_RETRY)),
    Event.OPEN_WITH_DELAY_OPEN: _ANSWER_OPEN,
    Event.MESSAGE_ERROR: _NOTIFY_AND_FAIL,
}

_ACTIVE: Row = {
    Event.START: _TO(State.ACTIVE),
    Event.START_PASSIVE: _TO(State.ACTIVE),
    Event.STOP: _STOP_SILENTLY,
    Event.CONNECT_RETRY_EXPIRES: _TO(State.CONNECT, (_A.START_CONNECT_RETRY, _A.DIAL)),
    Event.DELAY_OPEN_EXPIRES: _OPEN_NOW,
    Event.TCP_CONNECTED: _OPEN_NOW,
    Event.TCP_CONNECTED_DELAY_OPEN: _TO(State.ACTIVE, _WAIT_FOR_OPEN),
    Event.OPEN_WITH_DELAY_OPEN: _ANSWER_OPEN,
    Event.MESSAGE_ERROR: _NOTIFY_AND_FAIL,
}

_OPEN_SENT: Row = {
    Event.START: _TO(State.OPEN_SENT),
    Event.START_PASSIVE: _TO(State.OPEN_SENT),
    Event.STOP: _STOP_WITH_CEASE,
    Event.HOLD_EXPIRES: _HOLD_EXPIRED,
    Event.TCP_FAILS: _GAVE_WAY,
    Event.COLLISION_CEASE: _GAVE_WAY,
    Event.OPEN: _TO(State.OPEN_CONFIRM, (_A.STOP_CONNECT_RETRY, _A.NEGOTIATE, _A.SEND_KEEPALIVE)),
    Event.MESSAGE_ERROR: _NOTIFY_AND_FAIL,
    Event.COLLISION_DUMP: _DUMP,
    Event.NOTIFICATION: _FAIL,
}

_OPEN_CONFIRM: Row = {
    Event.START: _TO(State.OPEN_CONFIRM),
    Event.START_PASSIVE: _TO(State.OPEN_CONFIRM),
    Event.STOP: _STOP_WITH_CEASE,
    Event.HOLD_EXPIRES: _HOLD_EXPIRED,
    Event.KEEPALIVE_EXPIRES: _TO(State.OPEN_CONFIRM, (_A.SEND_KEEPALIVE,)),
    Event.TCP_FAILS: _LOST,
    Event.COLLISION_CEASE: _GAVE_WAY,
    Event.NOTIFICATION: _FAIL,
    Event.MESSAGE_ERROR: _NOTIFY_AND_FAIL,
    Event.COLLISION_DUMP: _DUMP,
    Event.KEEPALIVE: _TO(State.ESTABLISHED, (_A.RESTART_HOLD,)),
}

_ESTABLISHED: Row = {
    Event.START: _TO(State.ESTABLISHED),
    Event.START_PASSIVE: _TO(State.ESTABLISHED),
    Event.STOP: _STOP_WITH_CEASE,
    Event.HOLD_EXPIRES: _HOLD_EXPIRED,
    Event.KEEPALIVE_EXPIRES: _TO(State.ESTABLISHED, (_A.SEND_KEEPALIVE,)),
    Event.TCP_FAILS: _LOST,
    Event.COLLISION_CEASE: _LOST,
    Event.NOTIFICATION: _FAIL,
    Event.MESSAGE_ERROR: _NOTIFY_AND_FAIL,
    Event.COLLISION_DUMP: _DUMP,
    Event.KEEPALIVE: _TO(State.ESTABLISHED, (_A.RESTART_HOLD,)),
    Event.UPDATE: _TO(State.ESTABLISHED, (_A.RESTART_HOLD, _A.DELIVER)),
    Event.ROUTE_REFRESH: _TO(State.ESTABLISHED, (_A.RESTART_HOLD, _A.DELIVER)),
}

TABLE: Mapping[State, Row] = {
    State.IDLE: _IDLE,
    State.CONNECT: _CONNECT,
    State.ACTIVE: _ACTIVE,
    State.OPEN_SENT: _OPEN_SENT,
    State.OPEN_CONFIRM: _OPEN_CONFIRM,
    State.ESTABLISHED: _ESTABLISHED,
}

OTHERWISE: Mapping[State, Transition] = {
    State.IDLE: _TO(State.IDLE),  # 8.2.2: any other event in Idle changes nothing
    State.CONNECT: _FAIL,
    State.ACTIVE: _FAIL,
    State.OPEN_SENT: _FSM_ERROR,
    State.OPEN_CONFIRM: _FSM_ERROR,
    State.ESTABLISHED: _FSM_ERROR,
}


def transition(state: State, event: Event) -> Transition:
    """What an event does in a state. Total: every pair has an answer."""
    return TABLE[state].get(event) or OTHERWISE[state]
