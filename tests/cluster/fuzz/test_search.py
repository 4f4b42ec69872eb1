"""The search: one seed is one search, what is found is made small, and each kind is found once."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from cluster.fuzz.search import Search

Numbers = tuple[int, ...]


def kinds(numbers: Numbers) -> list[str]:
    return ["large"] * (sum(numbers) > 700) + ["many"] * (len(numbers) > 5)


def search(shrinking: float = math.inf) -> Search[Numbers]:
    drawn: st.SearchStrategy[Numbers] = st.lists(st.integers(0, 1000), max_size=8).map(tuple)
    return Search(examples=drawn, kinds=kinds, seed=4, shrinking=shrinking)


def test_what_is_found_is_made_small() -> None:
    found = search().next(most=300)
    assert found is not None
    assert (found.kind, sum(found.example), len(found.example)) == ("large", 701, 1)


def test_a_kind_that_is_known_is_not_looked_for() -> None:
    one = search()
    one.known.add("large")
    found = one.next(most=1000)
    assert found is not None
    assert (found.kind, found.example) == ("many", (0,) * 6)


def test_there_may_be_nothing() -> None:
    one = search()
    one.known |= {"large", "many"}
    assert one.next(most=120) is None
    assert one.tried == 120


def test_one_seed_is_one_search() -> None:
    assert search().next(most=300) == search().next(most=300)


def test_without_time_nothing_is_made_smaller() -> None:
    found = search(shrinking=0.0).next(most=300)
    assert found is not None
    assert found.shrunk == 0


def test_the_clock_ends_it() -> None:
    ticks = iter(range(1000))
    one = Search(examples=st.integers(), kinds=lambda _: [], seed=1, clock=lambda: next(ticks))
    assert one.next(until=50.0) is None
    assert one.tried <= 50


def test_what_is_drawn_from_may_be_long() -> None:
    """Hypothesis would warn that it is to be printed, and tests make an error of that."""

    @st.composite
    def drawn(draw: st.DrawFn, base: str) -> Numbers:
        return draw(search().examples)

    one = Search(examples=drawn("x" * 60_000), kinds=lambda _: [], seed=1)
    assert one.next(most=1) is None
