"""A session alone, with a neighbour and a clock moved by hand."""

from __future__ import annotations

import math

import pytest

from protocol.bgp.errors import Cease
from protocol.bgp.fsm import State
from protocol.bgp.messages import Capabilities, Keepalive, Message, Notification, Open, RouteRefresh, Update
from protocol.bgp.negotiation import SessionConfig
from protocol.bgp.signals import Signal
from protocol.bgp.wire import KEEPALIVE
from protocol.prefix import IPV6
from tests.protocol.bgp.sessions import (
    ROUTE,
    THEM,
    UNPREFERRED,
    Alone,
    config,
    open_of,
    snapshot,
    updates,
    written,
)

TALKING = (State.OPEN_SENT, State.OPEN_CONFIRM, State.ESTABLISHED)

# --- the usual life -----------------------------------------------------------------------------------------------


def test_the_way_up() -> None:
    alone = Alone().to(State.ESTABLISHED)
    assert alone.events == [Signal.DIAL, Signal.OPENED, Signal.ESTABLISHED]
    assert alone.said == [open_of(alone.config), Keepalive()]
    assert alone.session.outgoing
    assert alone.session.peer_open == Open(asn=64512, hold_time=90, identifier=THEM.identifier)
    assert alone.session.last_error == ""


def test_what_an_established_neighbour_says_is_delivered_in_order() -> None:
    alone = Alone().to(State.ESTABLISHED)
    alone.hear(ROUTE, RouteRefresh(IPV6), Update(withdrawn=ROUTE.nlri), Keepalive(), Update())
    assert alone.events[3:] == [ROUTE, RouteRefresh(IPV6), Update(withdrawn=ROUTE.nlri), Update()]


@pytest.mark.parametrize("message", [Keepalive(), ROUTE, Update(), RouteRefresh()])
def test_every_message_restarts_the_hold_timer(message: Message) -> None:
    alone = Alone().to(State.ESTABLISHED)
    alone.now = 50.0
    alone.hear(message)
    assert alone.session.hold_left(50.0) == 90
    assert alone.session.hold_left(120.0) == 20


def test_sent_updates_postpone_the_keepalive() -> None:
    alone = Alone().to(State.ESTABLISHED)
    assert alone.session.keepalive_left(10.0) == 20
    alone.session.sent_update(10.0)
    alone.check(10.0)
    assert alone.session.keepalive_left(10.0) == 30


def test_an_accepted_connection_needs_no_dial() -> None:
    alone = Alone(config(passive=True)).start()
    assert alone.session.state is State.ACTIVE
    assert alone.session.next_timer() == math.inf
    assert alone.connect(outgoing=False).hear(open_of(THEM), Keepalive()).session.state is State.ESTABLISHED
    assert not alone.session.outgoing
    assert Signal.DIAL not in alone.events


def test_a_session_that_is_given_a_connection_waits_for_it() -> None:
    alone = Alone()
    alone.session.wait(0.0)
    alone.after(0.0)
    alone.connect(outgoing=False).hear(open_of(THEM), Keepalive())
    assert alone.session.state is State.ESTABLISHED
    assert Signal.DIAL not in alone.events


def test_a_start_delay_waits_in_active_where_the_neighbour_may_come_first() -> None:
    alone = Alone(config(start_delay=3.0)).start()
    assert alone.session.state is State.ACTIVE
    assert alone.wait() == 3
    assert alone.events == [Signal.DIAL]
    first = Alone(config(start_delay=3.0)).start()
    first.connect(outgoing=False).hear(open_of(THEM), Keepalive())
    assert first.session.state is State.ESTABLISHED


# --- what is agreed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "configured", "theirs", "hold", "keepalive"),
    [
        (90.0, None, 90, 90, 30), (90.0, None, 30, 30, 10), (30.0, None, 90, 30, 10), (240.0, None, 3, 3, 1),
        (90.0, 10.0, 90, 90, 10), (90.0, 60.0, 90, 90, 30), (90.0, 30.0, 9, 9, 3),  # never more than a third
        (0.0, None, 90, 0, 0), (90.0, None, 0, 0, 0), (0.0, 5.0, 0, 0, 0),
    ],
)  # fmt: skip
def test_the_smaller_hold_time_is_agreed(
    ours: float, configured: float | None, theirs: int, hold: float, keepalive: float
) -> None:
    alone = Alone(config(hold_time=ours, keepalive_time=configured)).to(State.ESTABLISHED, hold_time=theirs)
    assert (alone.session.hold_time, alone.session.keepalive_time) == (hold, keepalive)


def test_before_an_open_the_hold_time_is_the_large_one() -> None:
    alone = Alone().to(State.OPEN_SENT)
    assert alone.session.hold_time == 0
    assert alone.wait() == 240
    assert alone.notifications == [Notification(4)]


@pytest.mark.parametrize(
    ("ours", "theirs", "answer", "words"),
    [
        (config(), config(local_as=64513, identifier=THEM.identifier), Notification(2, 2, b"\0\0\xfc\x01"), "BGP Error: Bad peer AS"),
        (config(), config(), Notification(2, 3), "BGP Error: Bad BGP identifier"),
        (config(), config(identifier=THEM.identifier, capabilities=Capabilities(families=(IPV6,))),
         Notification(2, 7), "BGP Error: Unsupported capability"),
    ],
)  # fmt: skip
def test_an_open_that_we_cannot_agree_with(
    ours: SessionConfig, theirs: SessionConfig, answer: Notification, words: str
) -> None:
    alone = Alone(ours).to(State.OPEN_SENT).hear(open_of(theirs))
    assert alone.notifications == [answer]
    assert alone.events[-1] is Signal.CLOSE
    assert Signal.OPENED not in alone.events
    assert alone.session.state is State.IDLE
    assert alone.session.last_error == words


def test_another_as_may_have_our_identifier() -> None:
    # RFC 6286: an identifier is unique within its AS.
    alone = Alone(config(peer_as=65000)).to(State.OPEN_SENT)
    assert (
        alone.hear(Open(asn=65000, hold_time=90, identifier=alone.config.identifier)).session.state
        is State.OPEN_CONFIRM
    )


def test_an_internal_neighbour_owes_local_pref() -> None:
    alone = Alone().to(State.ESTABLISHED).hear(ROUTE, UNPREFERRED)
    assert alone.notifications == [Notification(3, 3, b"\5")]
    assert updates(alone) == [ROUTE], "what came before the mistake counts"
    assert alone.events[-2:] == [Signal.CLOSE, Signal.DOWN]
    external = Alone(config(peer_as=65000)).to(State.ESTABLISHED).hear(UNPREFERRED)
    assert updates(external) == [UNPREFERRED]


# --- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("why", Cease)
def test_stop_says_why_when_somebody_listens_and_is_for_good(state: State, why: Cease) -> None:
    alone = Alone().to(state)
    events = len(alone.events)
    alone.stop(why)
    assert alone.notifications == ([Notification(6, why)] if state in TALKING else [])
    expected = [Signal.CLOSE, Signal.DOWN][
        : 0 if state is State.IDLE else 2 if state is State.ESTABLISHED else 1
    ]
    assert alone.events[events:] == expected
    assert alone.session.state is State.IDLE
    assert alone.session.next_timer() == math.inf


def test_stop_ends_the_wait_after_an_error_too() -> None:
    alone = Alone().to(State.ESTABLISHED).hear_bytes(b"garbage")
    assert alone.session.next_timer() < math.inf
    assert alone.stop(Cease.ADMINISTRATIVE_SHUTDOWN).session.next_timer() == math.inf


def test_a_silent_neighbour_is_given_up_after_the_hold_time() -> None:
    alone = Alone().to(State.ESTABLISHED)
    alone.now = 10.0
    alone.hear(Keepalive())
    while alone.session.state is State.ESTABLISHED:
        alone.wait()
    assert alone.now == 100
    assert alone.said[2:] == [Keepalive(), Keepalive(), Keepalive(), Notification(4)]
    assert alone.events[-2:] == [Signal.CLOSE, Signal.DOWN]
    assert alone.session.last_error == "BGP Error: Hold timer expired"


@pytest.mark.parametrize("state", TALKING)
def test_a_notification_is_not_answered(state: State) -> None:
    alone = Alone().to(state)
    said = len(alone.said)
    alone.hear(Notification(6, 2), Notification(6, 4), Keepalive())
    assert alone.said[said:] == []
    assert alone.session.state is State.IDLE
    assert alone.session.last_error == "Received: Administrative shutdown"


@pytest.mark.parametrize("state", TALKING)
def test_a_connection_that_gave_way_to_another_waits_for_that(state: State) -> None:
    alone = Alone().to(state).hear(Notification(6, 7), Keepalive(), ROUTE)
    assert alone.session.state is State.ACTIVE
    assert not updates(alone)
    assert alone.wait() == (2 if state is State.ESTABLISHED else 5)


@pytest.mark.parametrize(
    ("state", "message", "subcode"),
    [
        (State.OPEN_SENT, Keepalive(), 1), (State.OPEN_SENT, ROUTE, 1), (State.OPEN_SENT, RouteRefresh(), 1),
        (State.OPEN_CONFIRM, ROUTE, 2), (State.OPEN_CONFIRM, open_of(THEM), 2), (State.OPEN_CONFIRM, RouteRefresh(), 2),
        (State.ESTABLISHED, open_of(THEM), 3),
    ],
)  # fmt: skip
def test_a_message_out_of_turn(state: State, message: Message, subcode: int) -> None:
    alone = Alone().to(state).hear(message)
    assert alone.notifications == [Notification(5, subcode)]
    assert alone.session.state is State.IDLE
    assert not updates(alone)


@pytest.mark.parametrize("state", TALKING)
def test_garbage_is_answered_and_then_there_is_silence(state: State) -> None:
    alone = Alone().to(state).hear_bytes(b"\xff" * 19)
    assert alone.notifications == [Notification(1, 1)]
    said, events = list(alone.said), list(alone.events)
    before = snapshot(alone.session)
    alone.hear_bytes(b"\xff" * 19).hear(open_of(THEM)).fail()
    assert (alone.said, alone.events) == (said, events)
    assert snapshot(alone.session) | {"_now": 0.0} == before, "an Idle session hears nothing"


def test_what_stood_before_garbage_was_heard() -> None:
    alone = Alone().to(State.OPEN_SENT).hear_bytes(written(open_of(THEM), Keepalive(), ROUTE) + b"\xff" * 19)
    assert alone.events[1:] == [Signal.OPENED, Signal.ESTABLISHED, ROUTE, Signal.CLOSE, Signal.DOWN]
    assert alone.said[1:] == [Keepalive(), Notification(1, 1)]


def test_a_life_within_one_batch_of_bytes_is_told_whole() -> None:
    alone = Alone().to(State.OPEN_SENT).hear(open_of(THEM), Keepalive(), ROUTE, Notification(6, 3), ROUTE)
    assert alone.events[1:] == [Signal.OPENED, Signal.ESTABLISHED, ROUTE, Signal.CLOSE, Signal.DOWN]
    assert alone.session.last_error == "Received: Peer de-configured"


def test_a_new_connection_begins_with_a_clean_buffer() -> None:
    alone = Alone().to(State.ESTABLISHED).hear_bytes(b"\xc9\0\0").fail()
    alone.wait()
    alone.connect().hear(open_of(THEM), Keepalive())
    assert alone.session.state is State.ESTABLISHED


def test_frames_cut_in_the_middle_are_put_together() -> None:
    alone = Alone().to(State.ESTABLISHED).hear_bytes(KEEPALIVE * 5 + KEEPALIVE[:3])
    assert alone.session._tail == KEEPALIVE[:3]
    alone.now = 80.0
    alone.hear_bytes(KEEPALIVE[3:])
    assert alone.session._tail == b""
    assert alone.session.hold_left(80.0) == 90


def test_an_idle_session_refuses_a_connection() -> None:
    alone = Alone().connect()
    assert alone.events == [Signal.CLOSE]
    assert alone.said == []


@pytest.mark.parametrize("state", [State.OPEN_SENT, State.OPEN_CONFIRM])
def test_the_loser_of_a_collision_says_so_and_stays_idle(state: State) -> None:
    alone = Alone().to(state)
    alone.session.collision_dump(0.0)
    alone.after(0.0)
    assert alone.notifications == [Notification(6, 7)]
    assert alone.events[-1] is Signal.CLOSE
    assert alone.session.next_timer() == math.inf


# --- timers -----------------------------------------------------------------------------------------------------


def test_a_refused_dial_is_tried_again() -> None:
    alone = Alone().start()
    for _ in range(3):
        assert alone.fail().session.state is State.ACTIVE
        assert alone.session.last_error == "Socket: Connection reset by peer"
        assert alone.wait() == 5
        assert alone.session.state is State.CONNECT
    assert alone.events.count(Signal.DIAL) == 4


def test_a_dial_without_an_answer_is_given_up_and_tried_again() -> None:
    alone = Alone().start()
    assert alone.wait() == 5
    assert alone.events == [Signal.DIAL, Signal.CLOSE, Signal.DIAL]


def test_a_lost_connection_is_dialled_again_soon() -> None:
    alone = Alone().to(State.ESTABLISHED).fail()
    assert alone.events[-2:] == [Signal.CLOSE, Signal.LOST]
    assert alone.session.state is State.ACTIVE
    assert alone.wait() == 2
    assert alone.events[-1] is Signal.DIAL


def test_the_wait_after_errors_doubles_and_is_forgotten() -> None:
    alone = Alone().start()
    waits = []
    for _ in range(5):
        alone.connect().hear_bytes(b"garbage")
        waits.append(alone.wait())
    assert waits == [5, 10, 20, 30, 30]
    alone.now += 300.0
    assert alone.connect().hear_bytes(b"garbage").wait() == 5, "the last error is more than 300 s old"
    assert alone.connect().hear_bytes(b"garbage").wait() == 10


def test_an_operator_need_not_wait_after_an_error() -> None:
    alone = Alone().to(State.ESTABLISHED).hear_bytes(b"garbage").start()
    assert alone.session.state is State.CONNECT
    alone.connect().hear(open_of(THEM), Keepalive())
    while alone.now < 3600.0:
        alone.wait()
        assert alone.hear(Keepalive()).up, "IdleHoldTimer did not stop"


def test_a_passive_session_waits_again_after_an_error() -> None:
    alone = Alone(config(passive=True)).start().connect(outgoing=False).hear_bytes(b"garbage")
    assert alone.wait() == 5
    assert alone.session.state is State.ACTIVE
    assert alone.session.next_timer() == math.inf
    alone.connect(outgoing=False).hear(open_of(THEM), Keepalive()).fail()
    assert alone.session.state is State.ACTIVE
    assert alone.session.next_timer() == math.inf, "it never dials"


def test_delay_open_lets_the_neighbour_speak_first() -> None:
    patient = Alone(config(delay_open=8.0)).start().connect()
    assert patient.said == []
    patient.hear(open_of(THEM))
    assert patient.said == [open_of(patient.config), Keepalive()]
    assert patient.session.state is State.OPEN_CONFIRM
    lonely = Alone(config(delay_open=8.0)).start().connect()
    assert lonely.wait() == 8
    assert lonely.said == [open_of(lonely.config)]
    assert lonely.session.state is State.OPEN_SENT


def test_a_connection_lost_during_delay_open() -> None:
    dialled = Alone(config(delay_open=8.0)).start().connect().fail()
    assert dialled.session.state is State.ACTIVE
    assert dialled.wait() == 5
    accepted = Alone(config(delay_open=8.0, passive=True)).start().connect(outgoing=False).fail()
    assert accepted.session.state is State.IDLE


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0 - 2**-53])
def test_jitter_shortens_by_a_quarter_at_most(jitter: float) -> None:
    def alone(**changes: object) -> Alone:
        return Alone(config(**changes), jitter)

    shares = [
        alone().start().wait() / 5,
        alone().to(State.ESTABLISHED).wait() / 30,
        alone().to(State.ESTABLISHED).fail().wait() / 2,
        alone().to(State.ESTABLISHED).hear_bytes(b"garbage").wait() / 5,
        alone(delay_open=8.0).start().connect().wait() / 8,
        # The RFC's hold timer is a promise to the neighbour; BIRD keeps three quarters of it.
        alone().to(State.OPEN_SENT).wait() / 240,
        alone().to(State.ESTABLISHED).session.hold_left(0.0) / 90,
    ]
    assert shares == pytest.approx([1 - jitter / 4] * 7)
    # The delay of the first dial is too short for it.
    assert alone(start_delay=2.0).start().wait() == 2
