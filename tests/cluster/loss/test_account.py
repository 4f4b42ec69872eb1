"""The loss account against whoever walks every packet at every instant, and against what one expects of it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, Fib, FibRoute, RouteKind, device, via
from cluster.loss.account import Account
from cluster.loss.failure import Reason, words
from cluster.loss.report import LossReport
from protocol.prefix import Address, Prefix, contains, host_prefix
from tests.strategies.loss import (
    ADDRESSES,
    NAMES,
    PODS,
    ROUTER,
    STRANGER,
    TUNNELS,
    WIDER,
    Fact,
    a_cluster,
    histories,
)

Pair = tuple[str, str]
NOWHERE = Address(b"")


class World:
    """What is the case, as plainly as can be said; packets are walked one by one."""

    def __init__(self) -> None:
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
            self.cuts = (
                self.cuts | {frozenset((name, other))} if cut else self.cuts - {frozenset((name, other))}
            )
        else:
            [routes] = rest
            table = {**self.tables[name], **routes}
            self.tables[name] = {prefix: route for prefix, route in table.items() if route is not None}

    def owner(self, gateway: Address) -> str | None:
        return min((name for name, addresses in self.members.items() if gateway in addresses), default=None)

    def lookup(self, name: str, pod: Address) -> tuple[Prefix, FibRoute] | None:
        fib = Fib()
        for prefix, route in self.tables[name].items():
            fib.program([prefix], route)
        return fib.lookup(pod)

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

        def fails(reason: Reason, prefix: Prefix, gateway: Address = NOWHERE, *others: str) -> str:
            return words((reason, NAMES.index(at), prefix, gateway, tuple(map(NAMES.index, others))), NAMES)

        if at in path:
            loop = path[path.index(at) :]
            first = loop.index(min(loop))
            subject = self.subject(pod, destination)
            return fails(Reason.LOOP, subject, NOWHERE, *loop[first:], *loop[:first])
        found = self.lookup(at, pod)
        if found is None:
            return fails(Reason.NO_ROUTE, self.subject(pod, destination))
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


def tell(account: Account, now: float, fact: Fact) -> None:
    what, name, *rest = fact
    if what == "set_routes":
        account.set_routes(now, name, rest[0], rest[0])
    elif what == "set_member":
        account.set_member(now, name, rest[0], source=rest[1])
    else:
        getattr(account, what)(now, name, *rest)


def instants(history: list[tuple[float, Fact]]) -> list[tuple[float, list[Fact]]]:
    found: list[tuple[float, list[Fact]]] = []
    now = 0.0
    for pause, fact in history:
        now += pause
        if not found or found[-1][0] != now:
            found.append((now, []))
        found[-1][1].append(fact)
    return found


@settings(max_examples=300)
@given(histories(), st.sets(st.integers(0, 30)), st.sampled_from((0.0, 1.0, 4.5, 20.0)))
def test_it_is_what_walking_every_packet_at_every_instant_gives(
    history: list[tuple[float, Fact]], looks: set[int], since: float
) -> None:
    world, account = World(), Account()
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
        failing, old, off = world.failing(first=now == 0.0)
        if number in looks:  # to look changes nothing
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


@settings(max_examples=200)
@given(histories())
def test_the_reason_is_the_one_that_a_packet_meets(history: list[tuple[float, Fact]]) -> None:
    world, account = World(), Account()
    for now, told in instants(history):
        for fact in told:
            world.be_told(fact)
            tell(account, now, fact)
        expected = world.failing(first=now == 0.0)[0]
        for pair, why in account.failing(now).items():
            assert why in expected[pair]


def holds_together(report: LossReport) -> None:
    """What a report says in several ways it says alike."""
    by_interval = sum(each.seconds for pair in report.pairs for each in pair.intervals)
    assert report.total == pytest.approx(by_interval)
    assert report.total == pytest.approx(sum(each.seconds for each in report.causes))
    assert report.total == pytest.approx(sum(report.reasons.values()))
    ends = [*(each.at for each in report.timeline[1:]), report.end]
    area = sum(
        (each.lost + each.new) * (end - each.at) for each, end in zip(report.timeline, ends, strict=True)
    )
    assert report.total + report.new == pytest.approx(area)
    for pair in report.pairs:
        ends_before = report.start
        for each in pair.intervals:
            assert ends_before <= each.start < each.end <= report.end
            ends_before = each.end
    assert [each.seconds for each in report.pairs] == sorted(
        (each.seconds for each in report.pairs), reverse=True
    )
    assert LossReport.from_json(report.to_json()) == report


# --- one thing at a time ----------------------------------------------------------------------------------------------


def cluster() -> Account:
    """ant and cat have a pod each and reach each other straight; bee goes by way of rtr."""
    account = Account()
    for fact in a_cluster():
        tell(account, 0.0, fact)
    return account


def lost(report: LossReport) -> dict[Pair, list[tuple[float, float, str]]]:
    return {
        (pair.source, pair.destination): [(each.start, each.end, each.why) for each in pair.intervals]
        for pair in report.pairs
    }


def test_a_cluster_that_is_whole_loses_nothing() -> None:
    report = cluster().report(100.0)
    assert (report.total, report.pairs, report.worst, report.reasons) == (0.0, (), 0.0, {})
    # ant, bee, cat and dog to the pods of ant and cat; a router sends nothing of its own.
    assert report.counted == 6


def test_it_lasts_from_the_fact_that_begins_it_to_the_one_that_ends_it() -> None:
    account = cluster()
    tell(account, 10.0, ("set_cut", "ant", "cat", True))
    tell(account, 13.5, ("set_cut", "cat", "ant", False))
    assert lost(account.report(20.0)) == {
        ("ant", "cat"): [
            (10.0, 13.5, "ant sends 192.168.1.0/29 via cat (10.77.0.3), and nothing gets there")
        ],
        ("cat", "ant"): [
            (10.0, 13.5, "cat sends 192.168.0.0/29 via ant (10.77.0.1), and nothing gets there")
        ],
    }


def test_what_is_there_for_no_time_is_not_lost() -> None:
    account = cluster()
    tell(account, 10.0, ("set_cut", "ant", "cat", True))
    tell(account, 10.0, ("set_cut", "ant", "cat", False))
    assert not account.report(20.0).pairs


def test_whoever_goes_by_way_of_a_machine_that_is_off_is_lost() -> None:
    account = cluster()
    tell(account, 10.0, ("set_power", ROUTER, False))
    # What is told of its table before it is on again is not yet of use to anybody.
    tell(account, 11.0, ("set_routes", ROUTER, {WIDER[1]: to("ant"), WIDER[3]: to("cat")}))
    tell(account, 12.0, ("set_power", ROUTER, True))
    why = "bee sends 192.168.0.0/29 via rtr (10.77.0.5), which is off"
    report = account.report(20.0)
    assert lost(report)["bee", "ant"] == [(10.0, 12.0, why)]
    assert report.pairs == tuple(sorted(report.pairs, key=lambda each: each.destination))
    assert [(each.reason, each.cause, each.pairs) for each in report.causes] == [
        ("dead hop", "rtr is off", 2)
    ]
    assert report.off == 0.0  # nobody's pair is off: it has no pods, and sends nothing


def test_an_end_without_power_is_off_and_what_it_finds_when_it_is_back_is_lost() -> None:
    account = cluster()
    tell(account, 10.0, ("set_power", "cat", False))
    tell(account, 20.0, ("set_power", "cat", True))
    tell(account, 21.0, ("set_routes", "cat", {host_prefix(PODS[3]): device("cali0"), WIDER[1]: to("ant")}))
    report = account.report(30.0)
    assert report.off == 10.0 * 4  # three to it, and it to one
    assert report.powerless == {"cat": ((10.0, 20.0),)}
    to_cat = [(20.0, 21.0, "cat has no route to 192.168.1.0/29")]
    assert lost(report) == {
        ("ant", "cat"): to_cat,
        ("bee", "cat"): to_cat,
        ("dog", "cat"): to_cat,
        ("cat", "ant"): [(20.0, 21.0, "cat has no route to 192.168.0.0/29")],
    }


def test_one_branch_that_fails_is_enough() -> None:
    account = cluster()
    both = via((ADDRESSES["ant"], ADDRESSES["dog"]))
    tell(account, 10.0, ("set_routes", "bee", {WIDER[1]: both}))
    tell(account, 11.0, ("set_routes", "dog", {WIDER[1]: BLACKHOLE}))
    tell(account, 12.0, ("set_routes", "dog", {WIDER[1]: to("ant")}))
    assert lost(account.report(20.0))["bee", "ant"] == [(11.0, 12.0, "dog has 192.168.0.0/29 as blackhole")]


def test_a_loop_is_named_from_its_first_node_whoever_meets_it() -> None:
    account = cluster()
    tell(account, 10.0, ("set_routes", "cat", {WIDER[1]: to("dog")}))
    tell(account, 10.0, ("set_routes", "dog", {WIDER[1]: to("cat")}))
    tell(account, 10.0, ("set_routes", "bee", {WIDER[1]: to("dog")}))
    why = "192.168.0.0/29 goes round: cat, dog, cat"
    assert account.failing(11.0) == {("bee", "ant"): why, ("cat", "ant"): why, ("dog", "ant"): why}


def test_a_tunnel_ends_at_its_gateway() -> None:
    account = cluster()
    tell(account, 10.0, ("set_routes", "bee", {WIDER[1]: via((TUNNELS["ant"],), "vxlan.calico")}))
    assert not account.failing(11.0)
    tell(account, 12.0, ("set_member", "ant", [ADDRESSES["ant"]], True))
    assert account.failing(13.0) == {
        ("bee", "ant"): "bee sends 192.168.0.0/29 via 192.168.9.1, which nobody has"
    }


def test_the_prefix_that_is_named_is_the_one_that_matches() -> None:
    account = cluster()
    tell(account, 10.0, ("set_routes", "bee", {WIDER[1]: to("dog"), WIDER[2]: to("dog")}))
    tell(account, 10.0, ("set_power", "dog", False))
    assert account.failing(11.0)["bee", "ant"] == "bee sends 192.168.0.0/30 via dog (10.77.0.4), which is off"
    tell(account, 12.0, ("set_routes", "cat", {WIDER[2]: BLACKHOLE}))  # so that somebody still has it
    tell(account, 12.0, ("set_routes", "bee", {WIDER[2]: None}))
    assert account.failing(13.0)["bee", "ant"] == "bee sends 192.168.0.0/29 via dog (10.77.0.4), which is off"


def test_a_pod_of_two_nodes_is_at_home_with_neither() -> None:
    account = cluster()
    tell(account, 10.0, ("set_pods", "dog", [PODS[0]]))
    tell(account, 10.0, ("set_routes", "dog", {host_prefix(PODS[0]): device("cali9"), WIDER[1]: to("ant")}))
    assert account.failing(11.0) == {
        ("ant", "dog"): "ant keeps 192.168.0.1/32, which is dog's",
        ("bee", "dog"): "ant keeps 192.168.0.1/32, which is dog's",
        ("cat", "dog"): "ant keeps 192.168.0.1/32, which is dog's",
        ("dog", "ant"): "dog keeps 192.168.0.1/32, which is ant's",
    }


def test_what_is_new_is_not_lost_until_it_arrives() -> None:
    account = cluster()
    pod = PODS[4]
    tell(account, 10.0, ("set_pods", "dog", [pod]))
    tell(account, 10.0, ("set_routes", "dog", {host_prefix(pod): device("cali1"), WIDER[4]: BLACKHOLE}))
    tell(account, 11.0, ("set_routes", "ant", {WIDER[4]: to("dog")}))
    tell(account, 12.0, ("set_routes", "bee", {WIDER[4]: to("dog")}))
    assert account.failing(12.0) == {("cat", "dog"): "cat has no route to fd00::/122"}
    tell(account, 20.0, ("set_routes", "ant", {WIDER[4]: None}))
    tell(account, 21.0, ("set_routes", "ant", {WIDER[4]: to("dog")}))
    report = account.report(30.0)
    assert report.new == 1.0 + 2.0
    assert lost(report) == {
        # Nothing ever arrived: that was no beginning.
        ("cat", "dog"): [(10.0, 30.0, "cat has no route to fd00::/122")],
        ("ant", "dog"): [(20.0, 21.0, "ant has no route to fd00::/122")],
    }
    assert [each.lost_at_end for each in report.pairs] == [True, False]


def test_a_node_that_joins_is_new_and_one_that_comes_again_too() -> None:
    account = cluster()
    for begin in (10.0, 20.0):
        tell(account, begin, ("set_member", "eel", [STRANGER], True))
        assert account.failing(begin).keys() == {("eel", "ant"), ("eel", "cat")}
        tell(account, begin + 1, ("set_routes", "eel", {WIDER[1]: to("ant"), WIDER[3]: to("cat")}))
        assert not account.failing(begin + 1)
        tell(account, begin + 5, ("remove_member", "eel"))
    report = account.report(40.0)
    assert (report.new, report.total, report.pairs) == (2 * 2 * 1.0, 0.0, ())


def test_pods_that_are_gone_are_missed_by_nobody() -> None:
    account = cluster()
    tell(account, 10.0, ("set_cut", "ant", "cat", True))
    tell(account, 11.0, ("set_pods", "cat", []))
    report = account.report(20.0)
    assert {pair: spans[0][:2] for pair, spans in lost(report).items()} == {
        ("ant", "cat"): (10.0, 11.0),
        ("cat", "ant"): (10.0, 20.0),
    }
    assert report.counted == 3


def test_a_report_of_a_part_has_that_part() -> None:
    account = cluster()
    tell(account, 10.0, ("set_cut", "ant", "cat", True))
    tell(account, 13.0, ("set_cut", "ant", "cat", False))
    tell(account, 20.0, ("set_power", ROUTER, False))
    assert account.report(21.0, 12.0).total == 2 * 1.0 + 2 * 1.0
    assert account.report(22.0, 13.0).reasons == {"dead hop": 2 * 2.0}
    assert account.report(22.0, 22.0).pairs == ()
    part = account.report(22.0, 11.0)
    assert part.timeline[0].at == 11.0
    assert part.timeline[0].lost == 2
    assert part.reasons == {"cut link": 2 * 2.0, "dead hop": 2 * 2.0}


def test_the_worst_ones_are_enough_for_json() -> None:
    account = cluster()
    tell(account, 10.0, ("set_power", ROUTER, False))
    document = account.report(20.0).to_json(limit=1)
    assert (len(document["pairs"]), document["lost_pairs"], document["worst"]) == (1, 2, 10.0)
    assert LossReport.from_json(document).total == 20.0


def test_a_fact_that_comes_late_counts_from_when_it_is_told() -> None:
    account = cluster()
    account.report(15.0)
    tell(account, 10.0, ("set_power", ROUTER, False))
    assert account.report(20.0).worst == 5.0


def to(name: str) -> FibRoute:
    return via((ADDRESSES[name],))
