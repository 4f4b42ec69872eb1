"""What a node remembers."""

from __future__ import annotations

import itertools

from agents.journal import REMEMBERED, Event, Journal


def test_events_come_back_in_their_order_with_the_time_they_were_told() -> None:
    clock = iter((1.0, 2.0, 3.0))
    journal = Journal(lambda: next(clock))
    journal.add([Event("SessionUp", "a"), Event("SessionUp", "b")])
    journal.add([Event("SessionDown", "a", warning=True)])
    journal.add([Event("SessionUp", "a")])
    assert [(time, event.reason, event.message) for time, event in journal] == [
        (1.0, "SessionUp", "a"),
        (1.0, "SessionUp", "b"),
        (2.0, "SessionDown", "a"),
        (3.0, "SessionUp", "a"),
    ]


def test_the_oldest_are_forgotten_but_many_sessions_do_not_hide_a_warning() -> None:
    ticks = itertools.count()
    journal = Journal(lambda: float(next(ticks)))
    journal.add([Event("NodeDown", "in use", warning=True)])
    journal.add(Event("SessionUp", str(number)) for number in range(3 * REMEMBERED))
    events = [event for _, event in journal]
    assert len(events) == REMEMBERED + 1
    assert Event("NodeDown", "in use", warning=True) in events
    assert events[-1].message == str(3 * REMEMBERED - 1)
