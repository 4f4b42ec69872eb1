"""Scenarios played in virtual time: what actions do, whether clauses hold, and what the report says of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.rehearsal.rehearse import CannotRun, rehearse
from cluster.rehearsal.report import Report, StepReport
from cluster.scenario import model
from cluster.scenario.model import Cluster, Scenario, Step
from protocol.v3.codec import decode
from protocol.v3.loader import load
from protocol.v3.metadata import Resource
from tests.cluster.test_oracle_general import POOL, gadget
from tests.strategies.clusters import bgp_configuration, bgp_peer, document, node, pool

ROOT = Path(__file__).parents[3]
NAMES = ("node-001", "node-002", "node-003", "node-004")


def resources(*documents: dict[str, Any]) -> tuple[Resource, ...]:
    return tuple(map(decode, documents))


def played(*steps: Step, expect: tuple[model.Clause, ...] = (), **cluster: Any) -> Report:
    return rehearse(
        Scenario(name="tried", steps=steps, expect=expect, cluster=Cluster(**{"nodes": 4, **cluster}))
    )


def only(*steps: Step, **cluster: Any) -> StepReport:
    """The report of the last step; those before it went as they should."""
    report = played(*steps, **cluster)
    assert report.start.ok
    assert all(step.ok for step in report.steps[:-1]), report.failures()
    return report.steps[-1]


def doing(*actions: model.Action, expect: tuple[model.Clause, ...] = ()) -> Step:
    return Step(do=actions, expect=expect)


def expecting(*clauses: model.Clause) -> Step:
    return Step(expect=clauses)


def found(step: StepReport) -> list[tuple[bool, str]]:
    return [(finding.ok, finding.found) for finding in step.findings]


# -- when -------------------------------------------------------------------------------------------------------------


def test_steps_have_their_times_by_the_clock_of_the_cluster() -> None:
    report = played(
        Step(name="early", at=10.0, do=(model.Wait(5.0),)),
        Step(at=12.0, do=(model.Wait(1.0),)),  # late: the step before took longer
        Step(after=20.0, do=(model.Wait(0.0),)),
        Step(do=(model.Wait(3.0),)),
    )
    assert report.ok
    assert [(step.name, step.began, step.ended) for step in report.steps] == [
        ("early", 10.0, 15.0),
        ("step 2", 15.0, 16.0),
        ("step 3", 36.0, 36.0),
        ("step 4", 36.0, 39.0),
    ]
    assert report.ended == 39.0
    assert report.converged > 0


def test_after_counts_from_the_last_action_and_not_from_what_was_expected_of_it() -> None:
    one, two = played(
        doing(model.PowerOff(("node-004",)), model.Wait(3.0), expect=(model.Converged(),)),
        Step(after=200.0, do=(model.Wait(0.0),)),
    ).steps
    assert one.ended > 60
    assert two.began == 203.0


def test_what_comes_before_the_next_step_is_of_this_one_whatever_it_expects() -> None:
    silent, wait, last = played(
        doing(model.PowerOff(("node-003",))),
        Step(at=120.0, do=(model.PowerOff(("node-004",)),)),
        Step(at=240.0),
    ).steps
    assert silent.ended < 1.0
    assert silent.sessions is not None
    assert (silent.sessions.before, silent.sessions.after) == (12, 6)
    assert wait.sessions is not None
    assert (wait.sessions.before, wait.sessions.after) == (6, 2)
    assert last.sessions is not None
    assert (last.sessions.before, last.sessions.after) == (2, 2)


def test_a_step_waits_for_what_it_is_told_to() -> None:
    report = played(
        doing(model.PowerOff(("node-002",))),
        Step(when=(model.WhenSession("node-001", "node-002", negated=True),), do=(model.Start(("node-002",)),)),
        Step(when=(model.WhenSession("node-001", "10.77.0.2"), model.WhenConverged()), do=(model.Wait(0.0),)),
    )  # fmt: skip
    assert report.ok
    died, noticed, back = report.steps
    assert 37.5 <= noticed.began - died.began <= 91
    assert noticed.waited_for == "session node-001 node-002 is not Established"
    assert 0 < back.began - noticed.began < 30


def test_what_a_step_waits_for_is_all_so_at_once() -> None:
    up = model.WhenSession("node-001", "node-002")
    step = played(
        doing(model.PowerOff(("node-002",))),
        Step(when=(up, model.WhenSession("node-001", "node-002", negated=True)), within=300.0),
    ).steps[-1]
    assert step.began == 300
    assert "session node-001 node-002 is Established: " in step.trouble[0]


def test_a_step_that_allows_unsettled_prefixes_is_not_kept_waiting_by_them() -> None:
    report = played(
        doing(model.Start(("n2",))),
        Step(when=(model.WhenConverged(),), expect=(model.UnsettledAllowed(),)),
        Step(when=(model.WhenConverged(),), within=5.0),
        nodes=None,
        pods_per_node=0,
        resources=resources(POOL, *gadget(2)),
        off=("n2",),
    )
    assert [step.ok for step in report.steps] == [True, True, False], report.failures()
    assert "no one stable state: 9.9.9.0/24" in report.steps[-1].trouble[0]


def test_after_a_step_that_waits_in_vain_nothing_is_done() -> None:
    report = played(
        Step(
            name="vain",
            when=(model.WhenSession("node-001", "node-002", "Idle"),),
            within=30.0,
            do=(model.PowerOff(("all",)),),
        ),
        doing(model.PowerOff(("all",))),
        expect=(model.Sessions(count=12),),
    )
    vain, skipped = report.steps
    assert vain.trouble == (
        "waited 30 s for session node-001 node-002 is Idle: node-001 with node-002: Established",
    )
    assert not vain.done
    assert skipped.skipped
    assert not report.ok
    assert [finding.ok for finding in report.end] == [True]


def test_a_cluster_that_does_not_start_is_not_played_with() -> None:
    report = rehearse(
        Scenario(
            name="tried",
            cluster=Cluster(nodes=2, resources=resources(pool("tiny", "10.48.0.0/29", blockSize=30))),
            steps=(doing(model.Wait(1.0)),),
        )
    )
    assert report.start.ok
    # The pool is full with the first node's pods and tunnels of its own when more are asked for.
    report = rehearse(
        Scenario(
            name="tried",
            cluster=Cluster(
                nodes=2,
                pods_per_node=4,
                resources=resources(
                    pool("tiny", "10.48.0.0/29", blockSize=30, ipipMode="Always"),
                ),
            ),
            steps=(doing(model.Wait(1.0)),),
        )
    )
    assert not report.ok
    assert not report.steps
    assert report.start.trouble


def test_nodes_may_be_off_at_the_start() -> None:
    step = only(
        expecting(model.Sessions(count=6), model.Routes(names=("node-004",), absent=("192.168.0.0/16",))),
        off=("node-004",),
    )
    assert step.ok
    with pytest.raises(CannotRun, match="no Node is selected"):
        played(off=("has(nothing)",))


# -- actions ----------------------------------------------------------------------------------------------------------


def test_resources_are_changed_as_by_the_api() -> None:
    step = only(
        doing(
            model.Label(("node-001",), {"rack": "a"}),
            model.Apply(resources(bgp_peer("top", peerIP="10.77.9.9", asNumber=65000))),
            model.Patch(("BGPConfiguration", "", "default"), {"spec": {"asNumber": 64513}}),
        ),
        doing(
            model.Stop(("rack == 'a'",)),
            model.Delete((("BGPPeer", "", "top"),)),
            expect=(model.Converged(300.0), model.Sessions(peer="node-001", count=0)),
        ),
    )
    assert step.ok


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (model.Apply(resources(pool("default-ipv4-ippool", "192.168.0.0/17"))), "IPPool CIDR cannot be modified"),
        (model.Patch(("Node", "", "nobody"), {}), "Node/nobody: resource does not exist"),
        (model.Patch(("Node", "", "node-001"), {"metadata": {"name": "x"}}), "changes no kind, namespace or name"),
        (model.Patch(("Node", "", "node-001"), {"spec": {"bgp": 3}}), "Node/node-001: spec.bgp: expected an object"),
        (model.Delete((("BGPPeer", "", "top"),)), "BGPPeer/top: resource does not exist"),
        (model.DeletePods(("node-001",), 5), "node-001 had 2 pods, and not 5"),
        (model.Stop(("has(rack)",)), "no Node is selected by has(rack)"),
        (model.Freeze(("node-009",)), "there is no node or router node-009"),
    ],
)  # fmt: skip
def test_what_does_not_work_fails_the_step_unless_it_is_expected(action: model.Action, words: str) -> None:
    failed, expected, other = played(
        doing(action), doing(action, expect=(model.Refused(words),)), doing(action, expect=(model.Refused("?!"),))
    ).steps  # fmt: skip
    assert not failed.ok
    assert words in failed.trouble[0]
    assert expected.done[0].problems
    # The second time there are fewer pods to delete.
    if not isinstance(action, model.DeletePods):
        assert expected.ok
    assert not other.ok


def test_the_rest_of_an_action_is_done_all_the_same() -> None:
    step = only(
        doing(
            model.Delete((("BGPPeer", "", "none"), ("Node", "", "node-004"))),
            expect=(model.Refused("BGPPeer/none"), model.Converged(), model.Sessions(count=6)),
        )
    )
    assert step.ok


def test_pods_come_and_go_until_there_are_no_addresses_left() -> None:
    tiny = resources(pool("tiny", "10.48.0.0/28", blockSize=30))
    come, go, again = played(
        doing(model.AddPods(("all",), 4), expect=(model.Refused("pod-"), model.SoundIpam())),
        doing(model.DeletePods(("node-001",), 2), expect=(model.SoundIpam(),)),
        doing(model.AddPods(("node-002",), 1), expect=(model.Converged(),)),
        resources=tiny,
        pods_per_node=2,
    ).steps
    assert come.ok
    assert len(come.done[0].problems) == 8  # 16 addresses: 4 nodes with 2 pods each had half of them
    assert go.ok
    assert again.ok


def test_a_partition_heals_in_parts_and_whole() -> None:
    cut = model.Partition(("node-001", "node-002"), ("node-002", "node-003", "node-004"))
    step = only(
        doing(cut, expect=(model.Converged(150.0), model.Sessions(count=2))),
        doing(
            model.Heal(("node-003",), ("node-001", "node-002")),
            expect=(model.Converged(), model.Sessions(count=6, within=60.0)),
        ),
        doing(model.Heal(), expect=(model.Sessions(count=12, within=60.0), model.Converged())),
    )
    assert step.ok


def test_a_link_flaps_as_often_and_as_long_as_it_is_told() -> None:
    step = only(
        doing(
            model.Flap("node-002", "node-001", down=3.0, every=20.0, times=3),
            expect=(model.Loss(pair=9.0), model.Loss(total=17.9)),
        )
    )
    assert step.ended - step.began == 43.0
    assert step.loss is not None
    assert [pair.seconds for pair in step.loss.pairs] == [pytest.approx(9.0)] * 2
    assert found(step) == [
        (True, "2 pairs lost 18 s together, node-001 to node-002 9 s"),
        (False, "2 pairs lost 18 s together, node-001 to node-002 9 s"),
    ]


def test_whoever_is_frozen_hears_of_nothing_that_is_done_next() -> None:
    change = model.Patch(("BGPConfiguration", "", "default"), {"spec": {"asNumber": 65010}})
    blocks = model.Routes(names=("node-002",), present=(model.Wanted("blocks of node-001"),))
    step = only(
        doing(
            model.Freeze(("node-002",)), change, model.Wait(20.0), expect=(blocks, model.Sessions(count=9))
        ),
        doing(model.Thaw(("node-002",)), expect=(model.Converged(60.0), model.Sessions(count=12))),
    )
    assert step.ok


def test_a_rolling_restart_goes_on_when_sessions_are_up_again() -> None:
    step = only(doing(model.Restart(NAMES[:3], window=2, down=5.0), expect=(model.Sessions(count=12),)))
    assert step.ok
    assert 10 < step.ended - step.began < 60
    assert step.sessions is not None
    assert (step.sessions.before, step.sessions.after) == (12, 12)
    assert (step.sessions.downs, step.sessions.ups) == (16, 16), "with the ends of those that were stopped"


def test_a_rolling_restart_ends_where_a_session_does_not_come_back() -> None:
    step = only(
        doing(
            model.Partition(("node-001",), ("node-002",)),
            model.Restart(NAMES, down=1.0, within=30.0),
            model.Heal(),
        )
    )
    [problem] = step.trouble
    assert problem.startswith("30 s after the restart there is no session of ")


def test_the_dead_are_missed_when_the_hold_time_is_over() -> None:
    power, thaw = model.PowerOff(("node-004",)), model.Freeze(("node-003",))
    died, frozen = played(
        doing(power, expect=(model.Converged(within=95.0), model.Sessions(names=NAMES[:3], count=6))),
        doing(
            thaw,
            model.Wait(100.0),
            model.Thaw(("node-003",)),
            expect=(model.Converged(), model.Sessions(names=NAMES[:3], count=6, within=90.0)),
        ),
    ).steps
    assert died.ok
    assert died.sessions is not None
    assert (died.sessions.before, died.sessions.downs, died.sessions.ups, died.sessions.after) == (
        12,
        6,
        0,
        6,
    )
    assert frozen.ok
    assert frozen.sessions is not None
    assert frozen.sessions.downs


# -- clauses ----------------------------------------------------------------------------------------------------------


def test_a_cluster_that_does_not_converge_in_time() -> None:
    step = only(
        doing(model.PowerOff(("node-004",)), expect=(model.Converged(within=30.0), model.Converged()))
    )
    [late, ok] = found(step)
    assert not late[0]
    assert late[1].startswith("not after 30 s: node-001: 192.168.")
    assert ok[0]


def test_routes_are_there_or_not_and_go_where_they_should() -> None:
    block = resources(
        document(
            "BlockAffinity",
            "node-002-192-168-7-0-26",
            {"state": "confirmed", "node": "node-002", "type": "host", "cidr": "192.168.7.0/26", "deleted": False},
        )
    )  # fmt: skip
    prefix = "192.168.7.0/26"
    others = ("node-001", "node-003")
    step = only(
        expecting(
            model.Routes(names=others, present=(model.Wanted(prefix, ("node-002",)),)),
            model.Routes(names=others, present=(model.Wanted(prefix, ("10.77.0.2",)),)),
            model.Routes(names=("node-002",), present=(model.Wanted(prefix, ("blackhole",)),)),
            model.Routes(names=("node-001",), present=(model.Wanted(prefix),), absent=("0.0.0.0/0",)),
            model.Routes(names=("node-001",), present=(model.Wanted(prefix, ("node-002", "node-003")),)),
            model.Routes(names=("node-001",), present=(model.Wanted(prefix, ("blackhole",)),)),
            model.Routes(names=("node-001",), present=(model.Wanted("10.1.0.0/16"),)),
            model.Routes(absent=(prefix,)),
        ),
        resources=block,
    )
    verdicts = found(step)
    assert [ok for ok, _ in verdicts] == [True] * 4 + [False] * 4
    assert [text for _, text in verdicts[4:7]] == [
        "node-001 has 192.168.7.0/26 via 10.77.0.2",
        "node-001 has 192.168.7.0/26 via 10.77.0.2",
        "node-001 has no 10.1.0.0/16",
    ]
    assert verdicts[7][1].endswith("; and 1 more")


def test_a_route_goes_to_all_that_it_is_said_to_and_to_nobody_else() -> None:
    racks = load([str(ROOT / "examples" / "racks.yaml")]).resources
    [both, one, other] = found(
        only(
            expecting(
                *(
                    model.Routes(names=("rack1-a",), present=(model.Wanted("blocks of rack2-a", via),))
                    for via in (("tor1a", "10.77.1.252"), ("tor1a",), ("tor1a", "tor2a"))
                )
            ),
            nodes=None,
            resources=racks,
        )
    )
    assert both == (True, "")
    assert not one[0]
    assert not other[0]
    assert one[1].endswith("via 10.77.1.251, 10.77.1.252")


def test_blocks_are_known_by_their_nodes() -> None:
    own, others = "blocks of node-002", ("node-001", "node-003")
    wanted = (model.Wanted(own, ("node-002",)),)
    before, after = played(
        expecting(
            model.Routes(names=others, present=wanted),
            model.Routes(names=("node-002",), present=wanted),
            model.Routes(names=others, absent=(own,)),
        ),
        doing(
            model.PowerOff(("node-002",)),
            expect=(model.Converged(95.0), model.Routes(names=others, absent=(own,))),
        ),
    ).steps
    assert [ok for ok, _ in found(before)] == [True, False, False]
    assert after.ok
    [verdict] = found(only(expecting(model.Routes(present=wanted)), pods_per_node=0))
    assert verdict == (False, "node-002 has no blocks")


def test_a_node_that_is_created_can_be_given_pods_at_once() -> None:
    fresh = node("fresh", "10.77.0.77/16")
    step = only(
        doing(
            model.Apply(resources(fresh)),
            model.AddPods(("fresh",), 2),
            expect=(model.Converged(), model.Sessions(count=20), model.SoundIpam()),
        ),
        doing(
            model.Delete((("Node", "", "fresh"),)),
            expect=(model.Converged(), model.Sessions(count=12), model.SoundIpam()),
        ),
    )
    assert step.ok


def test_routes_and_sessions_are_waited_for() -> None:
    gone = model.Sessions(peer="node-004", count=0, within=95.0)
    step = only(
        doing(
            model.PowerOff(("node-004",)),
            expect=(
                model.Sessions(peer="node-004", count=0),
                model.Sessions(peer="Mesh_10_77_0_4", state="Established"),
                gone,
            ),
        )
    )
    assert found(step) == [(False, "3 Established"), (True, ""), (True, "")]
    assert 37.5 <= step.ended - step.began <= 91


def test_sessions_that_are_not_as_expected_are_named() -> None:
    [verdict, none] = found(
        only(
            doing(model.PowerOff(("node-004",)), model.Wait(95.0)),
            expecting(model.Sessions(names=("node-001",)), model.Sessions(peer="10.0.0.1")),
        )
    )
    assert not verdict[0]
    assert "node-001 with node-004: " in verdict[1]
    assert none == (False, "there are none")


def test_sessions_that_are_down_say_why() -> None:
    own = {"spec": {"bgp": {"asNumber": 64513}}}
    [refuses, refused, not_all, other] = found(
        only(
            doing(model.Patch(("Node", "", "node-001"), own), model.Wait(30.0)),
            expecting(
                model.Sessions(names=("node-001",), error="BGP Error: Bad peer AS"),
                model.Sessions(error="Bad peer AS", count=6),
                model.Sessions(error="Bad peer AS"),
                model.Sessions(error="Hold timer", count=1),
            ),
        )
    )
    assert refuses == refused == (True, "")
    assert not not_all[0]
    assert "6 Established, 6 Idle: node-002 with node-003: Established; " in not_all[1]
    assert not other[0]


def test_a_whole_scenario_is_judged_at_the_end_and_from_its_start() -> None:
    report = played(
        doing(model.Partition(("node-001",), ("node-002",)), model.Wait(4.0), model.Heal()),
        doing(model.Wait(1.0), expect=(model.Loss(pair=0.0), model.Loss(pair=0.0, since="start"))),
        expect=(model.Loss(pair=3.0, since="start"), model.SoundIpam()),
    )
    assert [ok for ok, _ in found(report.steps[1])] == [True, False]
    assert [finding.ok for finding in report.end] == [False, True]
    assert report.failures() == [
        "step 2: no pair loses more than 0 s — 2 pairs lost 8 s together, node-001 to node-002 4 s",
        "at the end: no pair loses more than 3 s — 2 pairs lost 8 s together, node-001 to node-002 4 s",
    ]
    assert report.loss is not None
    [first, _] = report.loss.pairs
    assert [(each.start, each.end) for each in first.intervals] == [(0.0, 4.0)]


def test_a_change_of_the_mesh_is_played_to_its_end() -> None:
    mesh = resources(bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=False))
    peers = resources(
        node("node-001", "10.77.0.1/16", cluster="244.0.0.1", labels={"rr": "a"}),
        bgp_peer("reflectors", nodeSelector="all()", peerSelector="has(rr)"),
    )
    step = only(
        doing(model.Apply(peers), expect=(model.Converged(),)),
        doing(model.Apply(mesh), expect=(model.Converged(), model.Sessions(count=6), model.Loss(pair=0.0))),
    )
    assert step.ok
