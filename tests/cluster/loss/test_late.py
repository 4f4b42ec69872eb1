"""Facts that come late: in whatever order the sources are heard, the account is the one that was told at once."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, device, via
from cluster.loss.account import Account
from cluster.loss.late import PATIENCE, LateAccount
from protocol.prefix import host_prefix
from tests.strategies.loss import ADDRESSES, NAMES, PODS, Fact, histories

SOURCES = 3


def tell(account: Account, now: float, fact: Fact) -> None:
    what, *rest = fact
    if what == "set_member":
        name, addresses, source = rest
        account.set_member(now, name, addresses, source=source)
    elif what == "set_routes":
        name, table = rest
        account.set_routes(now, name, table, {key: route for key, route in table.items() if route})
    else:
        getattr(account, what)(now, *rest)


def source_of(fact: Fact) -> int:
    """Who tells of it: tables and power are a shard's, the rest is the coordinator's."""
    return 1 + NAMES.index(fact[1]) % (SOURCES - 1) if fact[0] in ("set_routes", "set_power") else 0


@given(histories(), st.data())
def test_the_report_is_that_of_an_account_that_was_told_in_order(
    history: list[tuple[float, Fact]], data: st.DataObject
) -> None:
    at_once, late = Account(), LateAccount(0.0, range(SOURCES))
    queues: dict[int, deque[tuple[float, Fact]]] = {number: deque() for number in range(SOURCES)}
    now = 0.0
    for pause, fact in history:
        now += pause / 10 + 0.001  # all in all not longer than anybody's patience
        tell(at_once, now, fact)
        queues[source_of(fact)].append((now, fact))
    while waiting := [number for number, queue in queues.items() if queue]:
        number = data.draw(st.sampled_from(waiting))
        at, fact = queues[number].popleft()
        tell(late, at, fact)
        late.heard(number, at)
    for number in queues:
        late.heard(number, now + 1.0)
    assert late.report(now + 1.0) == at_once.report(now + 1.0)
    assert late.failing(now + 1.0) == at_once.failing(now + 1.0)


def two_nodes(account: Account, *, first: float = 0.0) -> None:
    ant, bee = ADDRESSES["ant"], ADDRESSES["bee"]
    for name, address in (("ant", ant), ("bee", bee)):
        account.set_member(first, name, [address])
    account.set_pods(first, "bee", [PODS[0]])
    pod = host_prefix(PODS[0])
    account.set_routes(first, "bee", [pod], {pod: device("cali1")})
    account.set_routes(first, "ant", [pod], {pod: via((bee,))})


def lose(account: Any, now: float) -> None:
    pod = host_prefix(PODS[0])
    account.set_routes(now, "ant", [pod], {pod: BLACKHOLE})


def test_a_report_is_of_the_time_up_to_which_everybody_was_heard() -> None:
    account = LateAccount(0.0, [1, 2])
    two_nodes(account)
    lose(account, 1.0)
    account.heard(1, 4.0)
    account.heard(2, 3.0)
    report = account.report(4.0)
    assert (report.end, report.total) == (3.0, 2.0)
    account.heard(2, 4.0)
    assert account.report(4.0).total == 3.0
    assert account.report(4.0, since=4.5).total == 0.0


def test_nobody_waits_for_ever_for_a_source_that_says_nothing_and_not_at_all_for_one_that_is_gone() -> None:
    account = LateAccount(0.0, [1, 2])
    two_nodes(account)
    lose(account, 1.0)
    account.heard(1, PATIENCE + 3.0)
    assert account.report(100.0).end == 3.0
    account.gone(2)
    assert account.report(100.0).end == PATIENCE + 3.0
    account.gone(1)
    assert account.report(100.0).end == 100.0
    account.heard(1, 7.0)  # its last words
    assert account.report(100.0).end == 100.0
