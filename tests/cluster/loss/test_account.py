"""What one expects of a loss account, one thing at a time."""

from __future__ import annotations

from agents.dataplane.fib import BLACKHOLE, FibRoute, device, via
from cluster.loss.account import Account
from cluster.loss.render import lines
from cluster.loss.report import LossReport
from protocol.prefix import host_prefix
from tests.strategies.loss import (
    ADDRESSES,
    PODS,
    ROUTER,
    STRANGER,
    TUNNELS,
    WIDER,
    a_cluster,
    tell,
)

Pair = tuple[str, str]


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


def test_a_route_that_goes_with_the_node_it_led_to_is_missed() -> None:
    account = cluster()
    tell(account, 10.0, ("set_routes", "bee", {WIDER[1]: None}))
    tell(account, 10.0, ("remove_member", "rtr"))
    assert ("bee", "ant") in account.failing(11.0)


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


def test_an_address_that_two_have_is_the_first_one_s() -> None:
    account = cluster()
    tell(account, 10.0, ("set_routes", "dog", {WIDER[1]: via((STRANGER,))}))
    tell(account, 10.0, ("set_member", "cat", [ADDRESSES["cat"], STRANGER], True))
    tell(account, 10.0, ("set_routes", "cat", {WIDER[1]: BLACKHOLE}))
    assert account.failing(11.0)["dog", "ant"] == "cat has 192.168.0.0/29 as blackhole"
    tell(account, 12.0, ("set_member", "ant", [ADDRESSES["ant"], STRANGER], True))
    assert ("dog", "ant") not in account.failing(13.0)


def test_the_prefix_that_is_named_is_the_one_that_matches() -> None:
    account = cluster()
    same = to("dog")
    tell(account, 10.0, ("set_routes", "bee", {WIDER[1]: same, WIDER[2]: same}))
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


def test_what_never_arrives_is_lost_from_the_start_whatever_the_reasons_were() -> None:
    account = cluster()
    tell(account, 10.0, ("set_pods", "dog", [PODS[4]]))
    tell(account, 12.0, ("set_routes", "cat", {WIDER[4]: BLACKHOLE}))
    account.report(13.0)
    tell(account, 14.0, ("set_routes", "cat", {WIDER[4]: to("dog")}))
    why = "dog has no route to fd00::/122"
    assert lost(account.report(20.0))["cat", "dog"] == [(10.0, 20.0, why)]


def test_the_timeline_knows_what_never_arrived_when_as_many_came_as_went() -> None:
    account = cluster()
    here = {host_prefix(PODS[4]): device("cali1")}
    tell(account, 10.0, ("set_pods", "dog", [PODS[4]]))
    tell(account, 10.0, ("set_routes", "dog", here))
    for name in ("ant", "bee", "cat"):
        tell(account, 12.0, ("set_routes", name, {WIDER[4]: to("dog")}))
    tell(account, 12.0, ("set_pods", "bee", [PODS[2]]))
    report = account.report(20.0)
    assert [(each.at, each.lost, each.new) for each in report.timeline] == [(0, 0, 0), (10, 0, 3), (12, 3, 0)]
    assert (report.total, report.new) == (3 * 8.0, 3 * 2.0)


def test_what_is_told_first_is_old_and_what_comes_in_the_same_instant_is_not() -> None:
    account = Account()
    for name in ("ant", "bee", "cat"):
        tell(account, 0.0, ("set_member", name, [ADDRESSES[name]], True))
    tell(account, 0.0, ("set_pods", "bee", [PODS[0]]))
    account.begin()
    tell(account, 0.0, ("set_pods", "cat", [PODS[3]]))
    for name, pod, block in (("bee", PODS[0], WIDER[1]), ("cat", PODS[3], WIDER[3])):
        tell(account, 2.0, ("set_routes", name, {host_prefix(pod): device("cali1")}))
        tell(account, 2.0, ("set_routes", "ant", {block: to(name)}))
    report = account.report(3.0)
    assert lost(report)["ant", "bee"] == [(0.0, 2.0, "ant has no route to 192.168.0.1/32")]
    assert ("ant", "cat") not in lost(report)
    assert report.new == 2.0


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
    assert report.counted == 3 + 1  # and from ant to what was a pod of cat


def test_pairs_that_lost_something_are_counted_when_there_are_fewer_in_the_end() -> None:
    account = cluster()
    tell(account, 10.0, ("set_cut", "ant", "cat", True))
    tell(account, 12.0, ("set_power", "cat", False))
    report = account.report(20.0)
    assert [*lost(report)] == [("ant", "cat"), ("cat", "ant")]
    assert report.counted == 2 + 2  # bee and dog to ant
    assert account.report(20.0, 13.0).counted == 2


def test_a_report_of_a_part_has_that_part() -> None:
    account = cluster()
    tell(account, 10.0, ("set_cut", "ant", "cat", True))
    tell(account, 13.0, ("set_cut", "ant", "cat", False))
    tell(account, 20.0, ("set_power", ROUTER, False))
    assert account.report(21.0, 12.0).total == 2 * 1.0 + 2 * 1.0
    assert account.report(22.0, 13.0).reasons == {"dead hop": 2 * 2.0}
    assert account.report(22.0, 22.0).pairs == ()
    assert account.report(22.0, 99.0).off == 0.0
    part = account.report(22.0, 11.0)
    assert part.timeline[0].at == 11.0
    assert part.timeline[0].lost == 2
    assert part.reasons == {"cut link": 2 * 2.0, "dead hop": 2 * 2.0}


def test_the_worst_ones_are_enough_for_json() -> None:
    account = cluster()
    tell(account, 10.0, ("set_power", ROUTER, False))
    document = account.report(20.0).to_json(limit=1)
    assert (len(document["pairs"]), document["lost_pairs"], document["worst"]) == (1, 2, 10.0)
    short = LossReport.from_json(document)
    assert (short.total, short.lost_pairs, short.lost_at_end) == (20.0, 2, 2)
    assert lines(short)[0] == "lost: 20 s together, 2 pairs (of 6 pairs of nodes) in 20 s; the worst 10 s"


def test_a_clock_may_begin_anywhere() -> None:
    account = cluster()
    tell(account, 10.0, ("set_power", "cat", False))
    tell(account, 20.0, ("set_power", "cat", True))
    report = account.report(30.0, 5.0)
    moved = report.since(8.0)
    assert (moved.start, moved.end, moved.total) == (-3.0, 22.0, report.total)
    assert lost(moved) == {
        pair: [(start - 8.0, end - 8.0, why) for start, end, why in spans]
        for pair, spans in lost(report).items()
    }
    assert [each.at for each in moved.timeline] == [-3.0, 2.0, 12.0]
    assert moved.powerless == {"cat": ((2.0, 12.0),)}
    assert moved.since(-8.0) == report


def test_a_fact_that_comes_late_counts_from_when_it_is_told() -> None:
    account = cluster()
    account.report(15.0)
    tell(account, 10.0, ("set_power", ROUTER, False))
    assert account.report(20.0).worst == 5.0


def to(name: str) -> FibRoute:
    return via((ADDRESSES[name],))
