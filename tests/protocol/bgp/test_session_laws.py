"""Two sessions on a wire that does what it likes; and one with any owner and any neighbour."""

from __future__ import annotations

import math

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.bgp.errors import Cease
from protocol.bgp.fsm import State
from protocol.bgp.messages import Keepalive, Message, Notification, RouteRefresh, Update
from protocol.bgp.negotiation import SessionConfig
from protocol.bgp.signals import Signal
from tests.protocol.bgp.sessions import (
    ROUTE,
    THEM,
    UNPREFERRED,
    Alone,
    End,
    Pair,
    Script,
    config,
    open_of,
    session_of,
    snapshot,
    updates,
    written,
)  # fmt: skip
from tests.strategies.bgp import pieces, strangers

HOUR = 3600.0

# --- two of them ---------------------------------------------------------------------------------------------------

delays: st.SearchStrategy[Script] = st.lists(st.floats(0, 0.9), min_size=1, max_size=7)
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=5)
sides = st.builds(
    config,
    hold_time=st.sampled_from((0.0, 30.0, 90.0, 240.0)),
    keepalive_time=st.sampled_from((None, 7.0, 60.0)),
    delay_open=st.sampled_from((0.0, 0.0, 2.0)),
    start_delay=st.sampled_from((0.0, 1.0)),
)


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    one = draw(sides)
    passive = draw(st.booleans())
    other = attrs.evolve(draw(sides), identifier=THEM.identifier, passive=passive)
    return Pair(one, other, draw(delays), draw(cuts), draw(st.integers(0, 2**32)))


@settings(max_examples=25)
@given(pairs())
def test_two_sessions_always_meet_stay_for_hours_and_meet_again(pair: Pair) -> None:
    pair.start()
    pair.run(600.0, lambda: pair.established)
    assert pair.established
    for side in (0, 1):
        pair.say(side, written(ROUTE, Update()))
    began = pair.now
    pair.run(began + HOUR)
    assert pair.established
    for end in pair.ends:
        assert updates(end) == [ROUTE, Update()]
        assert end.events.count(Signal.ESTABLISHED) == 1
        hold = min(other.session._config.hold_time for other in pair.ends)
        assert (end.session.hold_time, end.notifications) == (hold, [])
        if hold:
            every = end.session.keepalive_time
            assert every <= hold / 3
            assert HOUR / every - 2 <= end.said.count(Keepalive()) <= HOUR / (0.75 * every) + 3
    pair.cut()
    pair.run(pair.now + 600.0, lambda: pair.established)
    assert pair.established


@settings(max_examples=40)
@given(pairs(), st.sampled_from((0, 1)))
def test_a_wire_that_goes_silent_costs_both_the_session_and_nothing_else(pair: Pair, speaker: int) -> None:
    pair.start()
    pair.run(600.0, lambda: pair.established)
    hold = pair.ends[0].session.hold_time
    pair.silent = True
    began = pair.now
    pair.run(began + 1000.0, lambda: not any(end.up for end in pair.ends))
    if hold == 0:
        assert pair.established
        pair.stop(speaker, Cease.ADMINISTRATIVE_RESET)
        assert pair.ends[speaker].notifications == [Notification(6, 4)]
        return
    assert 0.75 * hold - 2 <= pair.now - began <= hold + 2
    for end in pair.ends:
        assert end.notifications == [Notification(4)]
        assert not end.up
    pair.silent = False
    pair.run(pair.now + 600.0, lambda: pair.established)
    assert pair.established


@settings(max_examples=40)
@given(pairs(), st.sampled_from((0, 1)), st.sampled_from(Cease))
def test_a_stop_is_heard_with_its_reason(pair: Pair, side: int, why: Cease) -> None:
    pair.start()
    pair.run(600.0, lambda: pair.established)
    pair.stop(side, why)
    pair.run(pair.now + 60.0)
    assert pair.ends[side].session.state is State.IDLE
    assert pair.ends[side].notifications == [Notification(6, why)]
    assert not any(end.up for end in pair.ends)
    assert pair.ends[1 - side].notifications == []


# --- any owner, any neighbour ---------------------------------------------------------------------------------------

words: list[Message] = [
    open_of(THEM), Keepalive(), Keepalive(), ROUTE, UNPREFERRED, Update(), RouteRefresh(), Notification(6, 2), Notification(6, 7),
]  # fmt: skip
polite = st.sampled_from(words).map(written)
openings = st.just(written(open_of(THEM), Keepalive()))
bytes_heard = st.lists(st.one_of(polite, polite, openings, strangers), min_size=1, max_size=4).map(b"".join)
steps = st.one_of(
    st.tuples(st.just("hear"), bytes_heard),
    st.tuples(st.sampled_from(("start", "wait", "connected", "connected", "failed", "stop", "dump", "sent")), st.none()),
    st.tuples(st.just("clock"), st.sampled_from((0.0, 0.5, 3.0, 30.0, 100.0, 400.0))),
    st.tuples(st.just("timer"), st.none()),
)  # fmt: skip


def perform(end: End, step: tuple[str, object], now: float, parts: list[bytes]) -> float:
    """One step of an owner who keeps to the contract: one connection at a time, and none to a collision that is over."""
    session = end.session
    what, value = step
    if what == "hear":
        for part in parts:
            session.receive(part, now)
    elif what == "start":
        session.start(now)
    elif what == "wait":
        session.wait(now)
    elif what == "connected":
        if end.connected:
            return now
        end.connected = session.state is not State.IDLE
        end.dialling = False
        session.connected(now, outgoing=True)
    elif what == "failed":
        end.connected = end.dialling = False
        session.connection_failed("Connection reset by peer", now)
    elif what == "stop":
        session.stop(Cease.ADMINISTRATIVE_SHUTDOWN, now)
    elif what == "dump":
        if session.state not in (State.OPEN_SENT, State.OPEN_CONFIRM):
            return now
        session.collision_dump(now)
    elif what == "sent":
        session.sent_update(now)
    else:
        now = now + value if isinstance(value, float) else max(now, min(session.next_timer(), now + 1e6))
        end.early(now)
        if session.next_timer() <= now:
            session.rearm = True
            session.handle_timer(now)
    end.after(now)
    return now


lives = st.lists(steps, max_size=25)
some_configs = st.builds(
    config,
    hold_time=st.sampled_from((0.0, 90.0)),
    delay_open=st.sampled_from((0.0, 4.0)),
    passive=st.booleans(),
    start_delay=st.sampled_from((0.0, 1.0)),
    idle_hold_min=st.sampled_from((0.0, 5.0)),
)
PREFIXES: dict[str, list[tuple[str, object]]] = {
    "idle": [],
    "connect": [("start", None)],
    "open sent": [("start", None), ("connected", None)],
    "established": [("start", None), ("connected", None), ("hear", written(open_of(THEM), Keepalive()))],
}


@settings(max_examples=300)
@given(some_configs, st.sampled_from(sorted(PREFIXES)), lives, st.data())
def test_no_life_raises_or_speaks_out_of_turn_or_depends_on_how_bytes_are_cut(
    of: SessionConfig, begin: str, life: list[tuple[str, object]], data: st.DataObject
) -> None:
    one, other = End(session_of(of)), End(session_of(of))
    now = 0.0
    for step in PREFIXES[begin] + life:
        heard = step[1] if isinstance(step[1], bytes) else b""
        perform(other, step, now, data.draw(pieces(heard)))
        now = perform(one, step, now, [heard])
        assert snapshot(one.session) == snapshot(other.session)
        assert (one.said, one.events) == (other.said, other.events)


@given(st.binary(min_size=1, max_size=30), st.integers(0, 65529))
def test_a_session_keeps_no_more_than_one_frame(body: bytes, claimed: int) -> None:
    alone = Alone().to(State.ESTABLISHED)
    alone.hear_bytes(b"\xc9" + claimed.to_bytes(4, "big") + b"\x03")
    for _ in range(4000):
        if not alone.connected:
            break
        alone.session.receive(body * 1000, alone.now)
        assert len(alone.session._tail) < 65535
        alone.after(alone.now)
    assert not alone.connected, "no frame is longer than 65,535 octets"


def test_without_a_hold_time_no_timer_runs_for_days() -> None:
    pair = Pair(config(hold_time=0.0), THEM, [], [])
    pair.start()
    pair.run(60.0, lambda: pair.established)
    pair.run(72 * HOUR)
    assert pair.established
    assert [end.session.next_timer() for end in pair.ends] == [math.inf, math.inf]
    assert [end.said.count(Keepalive()) for end in pair.ends] == [1, 1]
