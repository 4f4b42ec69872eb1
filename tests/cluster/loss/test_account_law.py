"""The loss account against whoever walks every packet at every instant."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.dataplane.fib import FibRoute, RouteKind
from cluster.loss.account import Account
from cluster.loss.failure import Reason, words
from cluster.loss.report import LossReport
from protocol.prefix import Address, Prefix, contains, host_prefix
from tests.strategies.loss import (
    NAMES,
    Fact,
    histories,
    tell,
)

Pair = tuple[str, str]
NOWHERE = Address(b"")


class World:
    """What is the case, as plainly as can be said; packets are walked one by one. ``explains``: why, or only that."""

    def __init__(self, *, explains: bool) -> None:
        self.explains = explains
        self.members: dict[str, list[Address]] = {}
        self.sources: set[str] = set()
        self.tables: dict[str, dict[Prefix, FibRoute]] = {name: {} for name in NAMES}
        self.pods: dict[str, list[Address]] = {}
        self.off: set[str] = set()
        self.cuts: set[frozenset[str]] = set()
        self.arrived: set[tuple[str, str, Address]] = set()

    def be_told(self, fact: Fact) -> None:
        what, name, *rest = fact
        if what == "set_member":
            addresses, source = rest
            if name not in self.members:
                self.arrived = {each for each in self.arrived if each[0] != name}
            self.members[name] = addresses
            self.sources = self.sources | {name} if source else self.sources - {name}
        elif what == "remove_member":
            if self.members.pop(name, None) is not None:
                self.sources.discard(name)
                self.tables[name] = {}
        elif what == "set_pods":
            [self.pods[name]] = rest
            self.arrived = {each for each in self.arrived if each[1] != name or each[2] in rest[0]}
        elif what == "set_power":
            if rest == [False] and name not in self.off:
                self.off.add(name)
                self.tables[name] = {}
            elif rest == [True]:
                self.off.discard(name)
        elif what == "set_cut":
            other, cut = rest
            link = {frozenset((name, other))} if name != other else set()
            self.cuts = self.cuts | link if cut else self.cuts - link
        else:
            [routes] = rest
            table = {**self.tables[name], **routes}
            self.tables[name] = {prefix: route for prefix, route in table.items() if route is not None}

    def owner(self, gateway: Address) -> str | None:
        return min((name for name, addresses in self.members.items() if gateway in addresses), default=None)

    def lookup(self, name: str, pod: Address) -> tuple[Prefix, FibRoute] | None:
        table = self.tables[name]
        best = max((each for each in table if contains(each, host_prefix(pod))), default=None)
        return None if best is None else (best, table[best])

    def subject(self, pod: Address, destination: str) -> Prefix:
        """What one calls the pod's network: the longest prefix that somebody has for it."""
        holders: dict[Prefix, list[str]] = {}
        for name, table in self.tables.items():
            for prefix in table:
                if contains(prefix, host_prefix(pod)):
                    holders.setdefault(prefix, []).append(name)
        own = host_prefix(pod)
        if holders.get(own) == [destination] and self.tables[destination][own].kind is RouteKind.DEVICE:
            del holders[own]
        return max(holders, key=lambda prefix: prefix[0], default=own)

    def walk(self, at: str, pod: Address, destination: str, path: tuple[str, ...] = ()) -> str | None:
        """Why a packet does not arrive."""

        def fails(reason: Reason, prefix: Prefix | None, gateway: Address = NOWHERE, *others: str) -> str:
            if not self.explains:
                return "lost"
            what = prefix or self.subject(pod, destination)
            return words((reason, NAMES.index(at), what, gateway, tuple(map(NAMES.index, others))), NAMES)

        if at in path:
            loop = path[path.index(at) :]
            first = loop.index(min(loop))
            return fails(Reason.LOOP, None, NOWHERE, *loop[first:], *loop[:first])
        found = self.lookup(at, pod)
        if found is None:
            return fails(Reason.NO_ROUTE, None)
        prefix, route = found
        if route.kind is RouteKind.BLACKHOLE:
            return fails(Reason.BLACKHOLE, prefix)
        if route.kind is RouteKind.UNREACHABLE:
            return fails(Reason.UNREACHABLE, prefix)
        if route.kind is RouteKind.DEVICE:
            return None if at == destination else fails(Reason.WRONG_NODE, prefix, NOWHERE, destination)
        for gateway in route.gateways:
            owner = self.owner(gateway)
            if owner is None:
                return fails(Reason.STRANGER, prefix, gateway)
            if owner in self.off:
                return fails(Reason.DEAD_HOP, prefix, gateway, owner)
            if frozenset((at, owner)) in self.cuts:
                return fails(Reason.CUT_LINK, prefix, gateway, owner)
            why = self.walk(owner, pod, destination, (*path, at))
            if why is not None:
                return why
        return None

    def pairs(self) -> Iterable[Pair]:
        for destination, pods in self.pods.items():
            for source in self.sources:
                if source != destination and destination in self.members and pods:
                    yield source, destination

    def failing(self, first: bool) -> tuple[dict[Pair, set[str]], set[Pair], int]:
        """Pairs whose packets do not arrive, with all reasons; those of them that did before; and how many are off."""
        found: dict[Pair, set[str]] = {}
        old: set[Pair] = set()
        off = 0
        for source, destination in self.pairs():
            if {source, destination} & self.off:
                off += 1
            for pod in self.pods[destination]:
                why = self.walk(source, pod, destination)
                key = source, destination, pod
                if why is None or first:
                    self.arrived.add(key)
                if why is not None and not {source, destination} & self.off:
                    found.setdefault((source, destination), set()).add(why)
                    if key in self.arrived:
                        old.add((source, destination))
        return found, old, off


def instants(history: list[tuple[float, Fact]]) -> list[tuple[float, list[Fact]]]:
    found: list[tuple[float, list[Fact]]] = []
    now = 0.0
    for pause, fact in history:
        now += pause
        if not found or found[-1][0] != now:
            found.append((now, []))
        found[-1][1].append(fact)
    return found


@pytest.mark.slow
@settings(max_examples=200)
@given(histories(), st.sets(st.integers(0, 30)), st.sampled_from((0.0, 1.0, 4.5, 20.0)))
def test_it_is_what_walking_every_packet_at_every_instant_gives(
    history: list[tuple[float, Fact]], looks: set[int], since: float
) -> None:
    world, account = World(explains=False), Account()
    moments = instants(history)
    end = moments[-1][0] + 3.0
    since = min(since, end)
    failed: dict[Pair, float] = {}
    lost: dict[Pair, float] = {}
    off_seconds = 0.0
    for number, (now, told) in enumerate(moments):
        for fact in told:
            world.be_told(fact)
            tell(account, now, fact)
            if number in looks:
                account.failing(now)  # to look when not all is told changes nothing
        failing, old, off = world.failing(first=now == 0.0)
        if number in looks:
            assert account.failing(now).keys() == failing.keys()
        until = moments[number + 1][0] if number + 1 < len(moments) else end
        lasts = max(0.0, until - max(now, since))
        off_seconds += off * lasts
        for pair in failing:
            failed[pair] = failed.get(pair, 0.0) + lasts
        for pair in old:
            lost[pair] = lost.get(pair, 0.0) + lasts
    report = account.report(end, since)
    assert report.total + report.new == pytest.approx(sum(failed.values()))
    assert report.off == pytest.approx(off_seconds)
    seconds = {(each.source, each.destination): each.seconds for each in report.pairs}
    for pair in seconds.keys() | lost.keys():
        assert lost.get(pair, 0.0) <= seconds.get(pair, 0.0) <= failed.get(pair, 0.0)
    assert account.failing(end).keys() == failing.keys()
    holds_together(report)


@pytest.mark.slow
@settings(max_examples=150)
@given(histories())
def test_the_reason_is_the_one_that_a_packet_meets(history: list[tuple[float, Fact]]) -> None:
    world, account = World(explains=True), Account()
    moments = instants(history)
    failing: list[tuple[float, dict[Pair, set[str]], set[Pair]]] = []
    for now, told in moments:
        for fact in told:
            world.be_told(fact)
            tell(account, now, fact)
        expected, old, _ = world.failing(first=now == 0.0)
        failing.append((now, expected, old))
        for pair, why in account.failing(now).items():
            assert why in expected[pair]
    report = account.report(moments[-1][0] + 1)
    lost = {(each.source, each.destination): each.intervals for each in report.pairs}
    for now, expected, old in failing:
        for pair in old:
            [interval] = [each for each in lost[pair] if each.start <= now < each.end]
            assert interval.why in expected[pair]


def holds_together(report: LossReport) -> None:
    """What a report says in several ways it says alike."""
    by_interval = sum(each.seconds for pair in report.pairs for each in pair.intervals)
    assert report.total == pytest.approx(by_interval)
    assert report.total == pytest.approx(sum(each.seconds for each in report.causes))
    assert report.total == pytest.approx(sum(report.reasons.values()))
    ends = [*(each.at for each in report.timeline[1:]), report.end]
    lasting = [(each, end - each.at) for each, end in zip(report.timeline, ends, strict=True)]
    assert report.total == sum(each.lost * lasts for each, lasts in lasting)
    assert report.new == sum(each.new * lasts for each, lasts in lasting)
    assert report.off == sum(each.off * lasts for each, lasts in lasting)
    for pair in report.pairs:
        ends_before = report.start
        for each in pair.intervals:
            assert ends_before <= each.start < each.end <= report.end
            ends_before = each.end
    assert [each.seconds for each in report.pairs] == sorted(
        (each.seconds for each in report.pairs), reverse=True
    )
    assert LossReport.from_json(report.to_json()) == report
