"""The table against section 8.2.2 of RFC 4271, read a second time, and against what no row may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.bgp.fsm import OTHERWISE, STATE_NAMES, TABLE, Action, Event, State, transition

A, E, S = Action, Event, State
PAIRS = [(state, event) for state in State for event in Event]
SENDS = {A.SEND_OPEN, A.SEND_KEEPALIVE, A.SEND_NOTIFICATION, A.SEND_HOLD_EXPIRED, A.SEND_FSM_ERROR}
LAST_WORDS = {A.SEND_NOTIFICATION, A.SEND_HOLD_EXPIRED, A.SEND_FSM_ERROR}
TALKING = (S.OPEN_SENT, S.OPEN_CONFIRM, S.ESTABLISHED)
DIAGRAM = Path(__file__).parents[3] / "docs" / "fsm.md"

DOWN = {A.DROP, A.RELEASE, A.DAMP}
UP = {A.STOP_CONNECT_RETRY, A.NEGOTIATE, A.SEND_KEEPALIVE}
OPENING = {A.STOP_CONNECT_RETRY, A.STOP_DELAY_OPEN, A.SEND_OPEN, A.START_OPEN_HOLD}
STOPPED = {A.DROP, A.RELEASE}

RFC = {
    # Idle: 1, 3 / 4, 5 / 13 / anything else
    (S.IDLE, E.START): (S.CONNECT, {A.START_CONNECT_RETRY, A.DIAL}),
    (S.IDLE, E.START_PASSIVE): (S.ACTIVE, set()),
    (S.IDLE, E.IDLE_HOLD_EXPIRES): (S.CONNECT, {A.START_CONNECT_RETRY, A.DIAL}),
    (S.IDLE, E.STOP): (S.IDLE, set()),
    (S.IDLE, E.TCP_CONNECTED): (S.IDLE, set()),
    (S.IDLE, E.MESSAGE_ERROR): (S.IDLE, set()),
    # Connect: 2 / 9 / 12 / 16, 17 / 18 / 20 / 21, 22 / 8, 10, 11, 13, 19, 23, 25-28
    (S.CONNECT, E.STOP): (S.IDLE, STOPPED),
    (S.CONNECT, E.CONNECT_RETRY_EXPIRES): (S.CONNECT, {A.DROP, A.START_CONNECT_RETRY, A.STOP_DELAY_OPEN, A.DIAL}),
    (S.CONNECT, E.DELAY_OPEN_EXPIRES): (S.OPEN_SENT, OPENING),
    (S.CONNECT, E.TCP_CONNECTED): (S.OPEN_SENT, OPENING),
    (S.CONNECT, E.TCP_CONNECTED_DELAY_OPEN): (S.CONNECT, {A.STOP_CONNECT_RETRY, A.START_DELAY_OPEN}),
    (S.CONNECT, E.TCP_FAILS): (S.ACTIVE, {A.DROP, A.START_CONNECT_RETRY, A.STOP_DELAY_OPEN}),
    (S.CONNECT, E.OPEN_WITH_DELAY_OPEN): (S.OPEN_CONFIRM, UP | {A.STOP_DELAY_OPEN, A.SEND_OPEN}),
    (S.CONNECT, E.MESSAGE_ERROR): (S.IDLE, DOWN | {A.SEND_NOTIFICATION}),
    (S.CONNECT, E.HOLD_EXPIRES): (S.IDLE, DOWN),
    (S.CONNECT, E.OPEN): (S.IDLE, DOWN),
    (S.CONNECT, E.UPDATE): (S.IDLE, DOWN),
    # Active
    (S.ACTIVE, E.STOP): (S.IDLE, STOPPED),
    (S.ACTIVE, E.CONNECT_RETRY_EXPIRES): (S.CONNECT, {A.START_CONNECT_RETRY, A.DIAL}),
    (S.ACTIVE, E.DELAY_OPEN_EXPIRES): (S.OPEN_SENT, OPENING),
    (S.ACTIVE, E.TCP_CONNECTED): (S.OPEN_SENT, OPENING),
    (S.ACTIVE, E.TCP_CONNECTED_DELAY_OPEN): (S.ACTIVE, {A.STOP_CONNECT_RETRY, A.START_DELAY_OPEN}),
    (S.ACTIVE, E.TCP_FAILS): (S.IDLE, DOWN),
    (S.ACTIVE, E.OPEN_WITH_DELAY_OPEN): (S.OPEN_CONFIRM, UP | {A.STOP_DELAY_OPEN, A.SEND_OPEN}),
    (S.ACTIVE, E.MESSAGE_ERROR): (S.IDLE, DOWN | {A.SEND_NOTIFICATION}),
    (S.ACTIVE, E.KEEPALIVE): (S.IDLE, DOWN),
    # OpenSent: 2, 8 / 10 / 18 / 19 / 21, 22 / 23 / 24 / 9, 11-13, 20, 26, 27
    (S.OPEN_SENT, E.STOP): (S.IDLE, STOPPED | {A.SEND_NOTIFICATION}),
    (S.OPEN_SENT, E.HOLD_EXPIRES): (S.IDLE, DOWN | {A.SEND_HOLD_EXPIRED}),
    (S.OPEN_SENT, E.TCP_FAILS): (S.ACTIVE, {A.DROP, A.RELEASE, A.START_CONNECT_RETRY}),
    (S.OPEN_SENT, E.OPEN): (S.OPEN_CONFIRM, UP),
    (S.OPEN_SENT, E.MESSAGE_ERROR): (S.IDLE, DOWN | {A.SEND_NOTIFICATION}),
    (S.OPEN_SENT, E.COLLISION_DUMP): (S.IDLE, DOWN - {A.DAMP} | {A.SEND_NOTIFICATION}),
    (S.OPEN_SENT, E.NOTIFICATION): (S.IDLE, DOWN),
    (S.OPEN_SENT, E.OPEN_WITH_DELAY_OPEN): (S.IDLE, DOWN | {A.SEND_FSM_ERROR}),
    (S.OPEN_SENT, E.KEEPALIVE): (S.IDLE, DOWN | {A.SEND_FSM_ERROR}),
    (S.OPEN_SENT, E.UPDATE): (S.IDLE, DOWN | {A.SEND_FSM_ERROR}),
    (S.OPEN_SENT, E.KEEPALIVE_EXPIRES): (S.IDLE, DOWN | {A.SEND_FSM_ERROR}),
    # OpenConfirm
    (S.OPEN_CONFIRM, E.STOP): (S.IDLE, STOPPED | {A.SEND_NOTIFICATION}),
    (S.OPEN_CONFIRM, E.HOLD_EXPIRES): (S.IDLE, DOWN | {A.SEND_HOLD_EXPIRED}),
    (S.OPEN_CONFIRM, E.KEEPALIVE_EXPIRES): (S.OPEN_CONFIRM, {A.SEND_KEEPALIVE}),
    (S.OPEN_CONFIRM, E.NOTIFICATION): (S.IDLE, DOWN),
    (S.OPEN_CONFIRM, E.MESSAGE_ERROR): (S.IDLE, DOWN | {A.SEND_NOTIFICATION}),
    (S.OPEN_CONFIRM, E.COLLISION_DUMP): (S.IDLE, DOWN - {A.DAMP} | {A.SEND_NOTIFICATION}),
    (S.OPEN_CONFIRM, E.KEEPALIVE): (S.ESTABLISHED, {A.RESTART_HOLD}),
    (S.OPEN_CONFIRM, E.UPDATE): (S.IDLE, DOWN | {A.SEND_FSM_ERROR}),
    (S.OPEN_CONFIRM, E.CONNECT_RETRY_EXPIRES): (S.IDLE, DOWN | {A.SEND_FSM_ERROR}),
    # Established
    (S.ESTABLISHED, E.STOP): (S.IDLE, STOPPED | {A.SEND_NOTIFICATION}),
    (S.ESTABLISHED, E.HOLD_EXPIRES): (S.IDLE, DOWN | {A.SEND_HOLD_EXPIRED}),
    (S.ESTABLISHED, E.KEEPALIVE_EXPIRES): (S.ESTABLISHED, {A.SEND_KEEPALIVE}),
    (S.ESTABLISHED, E.NOTIFICATION): (S.IDLE, DOWN),
    (S.ESTABLISHED, E.MESSAGE_ERROR): (S.IDLE, DOWN | {A.SEND_NOTIFICATION}),
    (S.ESTABLISHED, E.KEEPALIVE): (S.ESTABLISHED, {A.RESTART_HOLD}),
    (S.ESTABLISHED, E.UPDATE): (S.ESTABLISHED, {A.RESTART_HOLD, A.DELIVER}),
    (S.ESTABLISHED, E.ROUTE_REFRESH): (S.ESTABLISHED, {A.RESTART_HOLD, A.DELIVER}),
    (S.ESTABLISHED, E.OPEN): (S.IDLE, DOWN | {A.SEND_FSM_ERROR}),
    (S.ESTABLISHED, E.DELAY_OPEN_EXPIRES): (S.IDLE, DOWN | {A.SEND_FSM_ERROR}),
    # Where the head of fsm.py says that the RFC is left: a lost or yielded connection waits in Active.
    (S.OPEN_CONFIRM, E.TCP_FAILS): (S.ACTIVE, DOWN - {A.DAMP} | {A.START_CONNECT_DELAY}),
    (S.ESTABLISHED, E.TCP_FAILS): (S.ACTIVE, DOWN - {A.DAMP} | {A.START_CONNECT_DELAY}),
    (S.OPEN_SENT, E.COLLISION_CEASE): (S.ACTIVE, {A.DROP, A.RELEASE, A.START_CONNECT_RETRY}),
    (S.OPEN_CONFIRM, E.COLLISION_CEASE): (S.ACTIVE, {A.DROP, A.RELEASE, A.START_CONNECT_RETRY}),
    (S.ESTABLISHED, E.COLLISION_CEASE): (S.ACTIVE, DOWN - {A.DAMP} | {A.START_CONNECT_DELAY}),
} | {
    # 8.2.2, in every state but Idle: "Start events ... are ignored".
    (state, start): (state, set())
    for state in list(State)[1:] for start in (E.START, E.START_PASSIVE)
}  # fmt: skip


@pytest.mark.parametrize(("state", "event"), RFC, ids=lambda name: name.name)
def test_row_of_the_rfc(state: State, event: Event) -> None:
    found = transition(state, event)
    assert (found.next, set(found.actions)) == RFC[state, event]


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda name: name.name)
def test_no_row_contradicts_itself(state: State, event: Event) -> None:
    row = transition(state, event)
    actions, target = row.actions, row.next
    done = set(actions)
    assert target in State
    assert len(actions) == len(done), "nothing is done twice"
    assert not done & SENDS or state is not S.IDLE, "Idle has nobody to talk to"
    assert not done & LAST_WORDS or target is S.IDLE, "a NOTIFICATION ends the connection"
    assert len(done & LAST_WORDS) <= 1
    assert A.SEND_FSM_ERROR not in done or state in TALKING
    if A.DROP in done:
        spoken = [action for action in actions if action in SENDS]
        assert list(actions[: len(spoken)]) == spoken, "nothing is sent over a dropped connection"
    if target is S.IDLE and state is not S.IDLE:
        assert {A.DROP, A.RELEASE} <= done
        assert not done & {
            A.START_CONNECT_RETRY,
            A.START_CONNECT_DELAY,
            A.START_DELAY_OPEN,
            A.START_OPEN_HOLD,
            A.DIAL,
        }
    if state in TALKING and target not in TALKING:
        assert {A.DROP, A.RELEASE} <= done
    if A.RELEASE in done:
        assert not any(a.name.startswith(("START_", "DAMP")) for a in actions[: actions.index(A.RELEASE)]), (
            "it stops all timers"
        )
    assert (A.SEND_OPEN in done) is (state in (S.CONNECT, S.ACTIVE) and target in TALKING)
    assert (A.NEGOTIATE in done) is (target is S.OPEN_CONFIRM and state is not S.OPEN_CONFIRM)
    assert A.DIAL not in done or target is S.CONNECT
    assert A.DAMP not in done or target is S.IDLE
    assert A.DELIVER not in done or state is target is S.ESTABLISHED
    assert target is not S.ESTABLISHED or state in (S.OPEN_CONFIRM, S.ESTABLISHED)
    for timer in ("CONNECT_RETRY", "DELAY_OPEN"):
        assert not {A[f"START_{timer}"], A[f"STOP_{timer}"]} <= done


def test_an_action_and_an_event_is_one_number() -> None:
    # An IntEnum makes a second name of a repeated number without a word.
    assert [len(Action.__members__), len(Event.__members__)] == [len(Action), len(Event)]
    assert len(STATE_NAMES) == len(State)


# --- every way through the table, with its timers and its connection -------------------------------------------------

Situation = tuple[State, frozenset[str], str]
"""State, the timers that run, and the connection: "" (none), "dialling" or "up"."""

STARTS = {
    A.START_CONNECT_RETRY: {"retry"}, A.START_CONNECT_DELAY: {"retry"}, A.START_DELAY_OPEN: {"delay"},
    A.START_OPEN_HOLD: {"hold"}, A.NEGOTIATE: {"hold", "keepalive"}, A.SEND_KEEPALIVE: {"keepalive"},
    A.RESTART_HOLD: {"hold"}, A.DAMP: {"idle hold"},
}  # fmt: skip
STOPS = {
    A.STOP_CONNECT_RETRY: {"retry"}, A.STOP_DELAY_OPEN: {"delay"},
    A.RELEASE: {"retry", "delay", "hold", "keepalive", "idle hold"},
}  # fmt: skip
EXPIRY = {
    E.CONNECT_RETRY_EXPIRES: "retry", E.DELAY_OPEN_EXPIRES: "delay", E.HOLD_EXPIRES: "hold",
    E.KEEPALIVE_EXPIRES: "keepalive", E.IDLE_HOLD_EXPIRES: "idle hold",
}  # fmt: skip


def possible(situation: Situation, event: Event) -> bool:
    state, timers, connection = situation
    if event in EXPIRY:
        return EXPIRY[event] in timers
    if event in (E.START, E.START_PASSIVE, E.STOP):
        return True
    if event in (E.TCP_CONNECTED, E.TCP_CONNECTED_DELAY_OPEN):
        return connection != "up" and (state is S.ACTIVE or connection == "dialling")
    if event is E.TCP_FAILS:
        return connection != ""
    if event in (E.OPEN, E.OPEN_WITH_DELAY_OPEN):
        return connection == "up" and ("delay" in timers) is (event is E.OPEN_WITH_DELAY_OPEN)
    return connection == "up"


def after(situation: Situation, event: Event) -> Situation:
    state, timers, connection = situation
    running = set(timers) - {EXPIRY.get(event)}
    if event in (E.START, E.START_PASSIVE):
        running.discard("idle hold")  # Session.start
    if event in (E.TCP_CONNECTED, E.TCP_CONNECTED_DELAY_OPEN):
        connection = "up"
    row = transition(state, event)
    for action in row.actions:
        if action is A.DIAL:
            assert connection == "", "a second connection"
            connection = "dialling"
        elif action is A.DROP:
            connection = ""
        elif action in SENDS:
            assert connection == "up", "sent to nobody"
        running = (running | STARTS.get(action, set())) - STOPS.get(action, set())
    return row.next, frozenset(timer for timer in running if timer), connection


def test_on_every_way_the_right_timers_run() -> None:
    start: Situation = (S.IDLE, frozenset(), "")
    seen, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for event in Event:
            if possible(here, event):
                there = after(here, event)
                if there not in seen:
                    seen.add(there)
                    todo.append(there)
    assert {state for state, _, _ in seen} == set(State)
    for state, timers, connection in seen:
        where = f"{state.name} {set(timers)} {connection!r}"
        if state is S.IDLE:
            assert timers <= {"idle hold"}, where
            assert connection == "", where
        elif state in TALKING:
            assert timers == ({"hold"} if state is S.OPEN_SENT else {"hold", "keepalive"}), where
            assert connection == "up", where
        else:
            assert timers <= {"retry", "delay"}, where
            assert ("delay" in timers) is (connection == "up"), where
            assert not {"retry", "delay"} <= timers, where
            assert state is S.ACTIVE or timers, f"{where}: nothing would ever happen"


# --- the picture --------------------------------------------------------------------------------------------------


def names(events: list[Event]) -> str:
    return ", ".join(event.name.lower() for event in events)


def picture() -> str:
    """docs/fsm.md. Arrows for what a state's row names; what it does not name is in the table below them."""
    lines = [
        "# The BGP state machine",
        "",
        "Generated from `protocol/bgp/fsm.py` (`pytest tests/protocol/bgp/test_fsm.py --rewrite`). Events that leave a state as it is and",
        "do nothing are not drawn.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> Idle",
    ]
    for state, row in TABLE.items():
        for target in State:
            events = [
                event
                for event, to in row.items()
                if to.next is target and (to.actions or target is not state)
            ]
            if events:
                lines.append(f"    {STATE_NAMES[state]} --> {STATE_NAMES[target]}: {names(events)}")
    lines += ["```", "", "| in | on | to | doing |", "|---|---|---|---|"]
    for state, row in TABLE.items():
        rest = OTHERWISE[state]
        for event, to in [*row.items(), (None, rest)]:
            name = "anything else" if event is None else event.name.lower()
            doing = ", ".join(action.name.lower() for action in to.actions) or "nothing"
            lines.append(f"| {STATE_NAMES[state]} | {name} | {STATE_NAMES[to.next]} | {doing} |")
    return "\n".join(lines) + "\n"


def test_the_picture_is_of_this_table(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite"):
        DIAGRAM.write_text(picture())
    assert DIAGRAM.read_text() == picture()
