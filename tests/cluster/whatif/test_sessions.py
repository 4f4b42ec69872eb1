"""Sessions before and after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.rehearsal.stage import SessionView
from cluster.whatif.sessions import (
    Ends,
    Falls,
    Session,
    SessionChange,
    compare_sessions,
    ends_of,
    session_lines,
    sessions_of,
)
from protocol.prefix import IPV4

UP, DOWN = Session(up=True), Session(up=False)


def view(node: str, neighbour: str, state: str = "Established", error: str = "") -> SessionView:
    return SessionView(
        node=node, peer=f"Mesh_{neighbour}", neighbour=neighbour, family=IPV4, state=state, error=error
    )


def test_two_ends_are_one_session() -> None:
    found = sessions_of(
        [view("a", "b"), view("b", "a"), view("b", "c", "Active"), view("c", "b", "Idle", "x")]
    )
    assert found == {("a", "b", IPV4): UP, ("b", "c", IPV4): Session(up=False, why="Idle x")}


def test_what_becomes_of_each() -> None:
    ends = {
        name: ends_of("a", name, IPV4) for name in ("gone", "left", "new", "again", "same", "vain", "never")
    }
    before: dict[Ends, Session] = {
        ends["gone"]: UP,
        ends["left"]: UP,
        ends["again"]: UP,
        ends["same"]: UP,
        ends["never"]: DOWN,
    }
    after = {
        ends["left"]: Session(up=False, why="Active BGP Error: Bad peer AS"),
        ends["new"]: UP,
        ends["again"]: UP,
        ends["same"]: UP,
        ends["vain"]: DOWN,
    }
    falls = Falls()
    falls.end(10.0, "a", up=False)
    falls.end(12.5, "a", up=True)
    found = {each.ends[1]: each for each in compare_sessions(before, after, {ends["again"]: falls})}
    assert {name: (each.fate, each.why) for name, each in found.items()} == {
        "again": ("restarted", ""),
        "gone": ("gone", ""),
        "left": ("gone", "Active BGP Error: Bad peer AS"),
        "new": ("new", ""),
        "vain": ("failing", "nobody is there, or does not ask for it"),
    }
    assert (found["again"].falls, found["again"].seconds) == (1, 2.5)
    assert [*session_lines([*found.values()])] == [
        "1 session goes: a – gone",
        "1 session goes: a – left (Active BGP Error: Bad peer AS)",
        "1 session comes: a – new",
        "1 session starts again, down for 2.5 s: a – again",
        "1 session is asked for and does not come up: a – vain (nobody is there, or does not ask for it)",
    ]
    assert found["again"].to_json() == {
        "fate": "restarted", "between": ["a", "again"], "family": 4, "falls": 1, "seconds": 2.5,
    }  # fmt: skip


def test_many_are_told_in_a_line() -> None:
    nodes = [f"node-{index:03}" for index in range(1, 6)]
    changes = [
        SessionChange(fate="restarted", ends=(one, other, 6), falls=2, seconds=float(len(one)))
        for one in nodes
        for other in nodes
        if one < other
    ]
    assert [*session_lines(changes)] == [
        "10 sessions start again (IPv6), down for up to 8 s, up to 2 times: among 5 nodes"
    ]


@given(st.lists(st.tuples(st.floats(0, 10), st.sampled_from("ab"), st.booleans()), max_size=20))
def test_a_session_is_down_while_one_of_its_ends_is(events: list[tuple[float, str, bool]]) -> None:
    falls, now = Falls(), 0.0
    down: set[str] = set()
    times, total = 0, 0.0
    since = 0.0
    for pause, node, up in events:
        now += pause
        before = bool(down)
        (down.discard if up else down.add)(node)
        falls.end(now, node, up=up)
        if down and not before:
            times, since = times + 1, now
        elif before and not down:
            total += now - since
    assert (falls.times, falls.seconds) == (times, total)
