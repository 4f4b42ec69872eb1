"""What a process tells of its tables: replayed, it is the tables."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, Fib, FibRoute, device, via
from cluster.fibfeed import FibFeed, rows
from protocol.prefix import IPV4, Prefix, parse_address, parse_prefix

PREFIXES = [parse_prefix(f"192.168.{number}.0/26") for number in range(4)]
ROUTES = [
    BLACKHOLE,
    device("cali1"),
    via((parse_address("10.0.0.1"),)),
    via((parse_address("10.0.0.2"),), "tunl0"),
]

tables = st.dictionaries(st.sampled_from(PREFIXES), st.sampled_from(ROUTES))
steps = st.one_of(
    st.tuples(st.just("felix"), tables),
    st.tuples(
        st.just("program"),
        st.tuples(
            st.lists(st.sampled_from(PREFIXES), min_size=1, unique=True),
            st.none() | st.sampled_from(ROUTES),
        ),
    ),
    st.tuples(st.just("forget"), st.none()),
)  # fmt: skip


def carry_out(fib: Fib, step: tuple[str, Any]) -> None:
    match step:
        case "felix", routes:
            fib.set_felix(routes)
        case "program", (prefixes, route):
            fib.program(prefixes, route)
        case _:
            fib.forget(IPV4)


def replay(changes: list[list[Any]], spelled: dict[str, dict[Prefix, Any]]) -> None:
    for _, name, told in changes:
        if told is None:
            del spelled[name]
            continue
        table = spelled.setdefault(name, {})
        for route, prefixes in told:
            for prefix in prefixes:
                if route is None:
                    table.pop(prefix, None)
                else:
                    table[prefix] = route


def spelled(routes: dict[Prefix, FibRoute]) -> dict[Prefix, Any]:
    return {prefix: route for route, prefixes in rows(routes) for prefix in prefixes}


@given(st.lists(steps), st.lists(steps))
def test_replayed_it_is_the_table_whatever_came_before(
    before: list[tuple[str, Any]], after: list[tuple[str, Any]]
) -> None:
    fib, clock = Fib(), itertools.count()
    feed = FibFeed(lambda: float(next(clock)))
    told: dict[str, dict[Prefix, Any]] = {}
    for step in before:
        carry_out(fib, step)
    assert feed.take() == [], "nobody asks"
    feed.begin({"a": fib})
    for step in after:
        carry_out(fib, step)
        changes = feed.take()
        assert [change[0] for change in changes] == sorted(change[0] for change in changes)
        replay(changes, told)
        assert told["a"] == spelled(fib.routes)


def test_a_machine_without_power_has_no_table_and_one_that_boots_has_an_empty_one() -> None:
    feed = FibFeed(lambda: 7.0)
    feed.begin({})
    feed.made("a", Fib())
    feed.gone("a")
    assert feed.take() == [[7.0, "a", []], [7.0, "a", None]]


def test_who_asks_no_more_costs_nothing_more() -> None:
    fib = Fib()
    feed = FibFeed(lambda: 7.0)
    feed.begin({"a": fib})
    feed.end({"a": fib})
    fib.set_felix({PREFIXES[0]: BLACKHOLE})
    feed.made("b", Fib())
    assert feed.take() == []
    assert fib.watcher is None
