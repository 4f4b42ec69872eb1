"""A session that rests because the network vouches for its connection, and what it does when that is over."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from protocol.bgp.fsm import State
from protocol.bgp.messages import Keepalive, Notification
from protocol.bgp.session import Session
from protocol.bgp.wire import KEEPALIVE, Codec
from tests.protocol.bgp.sessions import ROUTE, THEM, Alone, config, open_of, written


def established(hold_time: int = 90, seed: int = 1) -> Session:
    of, codec = config(hold_time=float(hold_time)), Codec()
    session = Session(of, codec, random.Random(seed), codec.encode(open_of(of)))
    session.start(0.0)
    session.connected(0.0, outgoing=True)
    session.receive(written(open_of(THEM), Keepalive()), 0.0)
    assert session.state is State.ESTABLISHED
    session.outbox.clear()
    session.events.clear()
    return session


def test_a_session_that_rests_has_no_timer_and_speaks_as_before() -> None:
    session = established()
    session.rest(1.0)
    assert session.next_timer() == math.inf
    session.receive(written(ROUTE), 5_000.0)
    session.sent_update(5_000.0)
    session.handle_timer(10_000.0)
    assert (session.state, session.events, session.outbox) == (State.ESTABLISHED, [ROUTE], [])
    assert session.next_timer() == math.inf


def test_what_people_are_shown_is_what_was_agreed() -> None:
    session = established()
    session.rest(1.0)
    assert (session.hold_time, session.keepalive_time) == (90, 30)
    assert (session.hold_left(50.0), session.keepalive_left(50.0)) == (90, 30)


@given(seed=st.integers(0, 2**32), hold=st.sampled_from((3, 9, 30, 90)), now=st.floats(0, 1e6))
def test_silence_is_noticed_as_if_keepalives_had_come_until_now(seed: int, hold: int, now: float) -> None:
    session = established(hold, seed)
    session.rest(0.0)
    session.doubt(now)
    assert session.rearm
    assert now < session._keepalive_at <= now + hold / 3
    said: list[bytes] = []
    while session.state is State.ESTABLISHED:
        at = session.next_timer()
        session.handle_timer(at)
        said += session.outbox
        session.outbox.clear()
    # Three quarters of the hold time at least, since a keepalive that came a third of it ago at most.
    assert now + hold * 5 / 12 - 1e-6 <= at <= now + hold
    assert set(said[:-1]) == {KEEPALIVE}
    assert said[-1] == written(Notification(4))


def test_a_neighbour_that_is_heard_in_time_stays() -> None:
    session = established()
    session.rest(0.0)
    session.doubt(100.0)
    session.receive(KEEPALIVE, 130.0)
    session.handle_timer(197.0)
    assert session.state is State.ESTABLISHED
    session.rest(197.0)
    assert session.next_timer() == math.inf


def test_trust_that_comes_too_late_saves_nobody() -> None:
    session = established()
    session.rest(0.0)
    session.doubt(100.0)
    session.rest(200.0)
    session.handle_timer(200.0)
    assert session.state is State.IDLE


def test_doubt_without_rest_is_nothing_and_nobody_rests_before_he_stands() -> None:
    session = established()
    deadlines = session._hold_at, session._keepalive_at
    session.doubt(10.0)
    assert (session._hold_at, session._keepalive_at) == deadlines
    waiting = Alone().to(State.OPEN_CONFIRM).session
    before = waiting.next_timer()
    waiting.rest(1.0)
    assert waiting.next_timer() == before < math.inf


def test_hold_time_0_is_left_alone() -> None:
    session = established(0)
    session.rest(1.0)
    session.doubt(2.0)
    assert session.next_timer() == math.inf
    assert session.hold_left(3.0) == session.hold_time == 0


def test_the_next_connection_has_its_timers_again() -> None:
    session = established()
    session.rest(1.0)
    session.connection_failed("Connection reset by peer", 2.0)
    session.handle_timer(session.next_timer())
    session.connected(10.0, outgoing=True)
    session.receive(written(open_of(THEM), Keepalive()), 10.0)
    assert 67.5 <= session.hold_left(10.0) <= 90
    assert session.next_timer() < 50
