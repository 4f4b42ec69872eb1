"""The words of ``up``."""

from __future__ import annotations

import json

import attrs

from cluster.cli.up_output import (
    Goal,
    LostShard,
    Outcome,
    header,
    json_object,
    lost_line,
    next_line,
    outcome_lines,
    pod_failure_lines,
    progress_line,
)
from cluster.convergence import Difference, Progress
from cluster.plan import Plan

GOOD = Outcome(
    topology="full mesh",
    nodes=200,
    routers=0,
    shards=3,
    sessions_expected=19_900,
    sessions_established=19_900,
    routes_expected=40_400,
    routes_programmed=40_400,
    routes_missing=0,
    routes_extra=0,
    start_seconds=0.51234,
    sessions_seconds=1.7,
    converged_seconds=1.96,
    elapsed=1.96,
    cpu_seconds=4.13,
    memory_bytes=190_400_000,
)
MISSING = Difference(
    node="node-003",
    prefix="192.168.4.64/26",
    expected="via 10.77.0.17",
    found="",
    why="no session with node-017",
)
LOST = LostShard(number=2, how="was killed by SIGKILL", nodes=tuple(f"node-{i:03}" for i in range(68, 135)))


def test_the_header_is_the_sum() -> None:
    shards = (tuple("a" * 67), tuple("b" * 67), tuple("c" * 66))
    plan = Plan(
        topology="full mesh",
        sessions=19_900,
        sockets=39_800,
        descriptors=20_000,
        memory=0,
        shards=shards,
        routers=0,
    )
    assert header(plan) == (
        "tortie: 200 nodes, full mesh: 19,900 sessions, 39,800 sockets; "
        "limit 20,000 descriptors a process -> 3 shards"
    )
    assert header(attrs.evolve(plan, routers=2)).startswith("tortie: 198 nodes, 2 routers, full mesh: ")
    one = Plan(
        topology="no peerings",
        sessions=0,
        sockets=0,
        descriptors=1_024,
        memory=0,
        shards=(("a",),),
        routers=0,
    )
    assert header(one).startswith("tortie: 1 node, no peerings: 0 sessions, 0 sockets; ")
    assert header(one).endswith("-> 1 shard")


def test_a_line_of_progress_counts_sessions_and_not_their_ends() -> None:
    line = progress_line(
        1.0,
        Progress(nodes=200, session_ends=19_900, routes=123),
        Goal(nodes=200, sessions=19_900, routes=40_400),
    )
    assert line == "   1.0 s  nodes 200/200  sessions 9,950/19,900 Established  routes 123/40,400 in the FIBs"


def test_convergence_is_one_line() -> None:
    assert outcome_lines(GOOD) == [
        "converged in 2.0 s (CPU 4.1 s, 190 MB): all 200 FIBs are exactly what the datastore asks for"
    ]
    assert ": all 202 FIBs are exactly" in outcome_lines(attrs.evolve(GOOD, routers=2))[0]
    assert ": its one FIB is exactly" in outcome_lines(attrs.evolve(GOOD, nodes=1))[0]
    assert "(CPU 4.1 s):" in outcome_lines(attrs.evolve(GOOD, memory_bytes=None))[0]


def test_nodes_of_a_lost_shard_are_not_claimed() -> None:
    outcome = attrs.evolve(GOOD, lost=(LOST,))
    assert outcome.converged is False
    assert outcome_lines(outcome)[0].endswith(
        ": 133 of 200 FIBs are exactly what the datastore asks for; 67 nodes down"
    )
    assert lost_line(LOST) == (
        "shard 2 was killed by SIGKILL: 67 nodes went down with it: node-068, node-069 … node-134"
    )


def test_a_failure_shows_the_first_differences_with_their_reason() -> None:
    bad = attrs.evolve(
        GOOD,
        converged_seconds=None,
        sessions_established=19_899,
        routes_missing=2,
        routes_extra=1,
        elapsed=30.0,
        differences=(MISSING,),
    )
    assert outcome_lines(bad) == [
        "not converged after 30.0 s (CPU 4.1 s, 190 MB): 19,899 of 19,900 sessions Established, "
        "2 of 40,400 routes missing or wrong, 1 too many",
        "  node-003: 192.168.4.64/26: expected via 10.77.0.17, found nothing: no session with node-017",
    ]


def test_a_cluster_that_had_not_begun_says_so() -> None:
    none = attrs.evolve(GOOD, converged_seconds=None, start_seconds=None, sessions_established=0, elapsed=1.0)
    assert ": the nodes were still starting, 0 of 19,900 sessions Established" in outcome_lines(none)[0]


def test_the_next_commands_are_about_a_node_that_exists() -> None:
    names = [f"node-{i:03}" for i in range(1, 201)]
    assert next_line(names, cluster="default") == (
        "next: ./run status · ./run node status node-017 · ./run birdc node-017 show route · "
        "./run ip route node-017 · Ctrl-C or ./run down"
    )
    assert "node status --name lab b" in next_line(["a", "b"], cluster="lab")


def test_the_json_object_has_what_scripts_need() -> None:
    made = json.loads(json.dumps(json_object(attrs.evolve(GOOD, differences=(MISSING,), lost=(LOST,)))))
    assert made["sessions"] == {"expected": 19_900, "established": 19_900}
    assert made["routes"] == {"expected": 40_400, "programmed": 40_400, "missing": 0, "extra": 0}
    assert made["seconds"] == {"start": 0.512, "sessions": 1.7, "converged": 1.96}
    assert (made["nodes"], made["shards"], made["topology"]) == (200, 3, "full mesh")
    assert (made["cpu_seconds"], made["memory_mb"]) == (4.13, 190.4)
    assert made["differences"] == [attrs.asdict(MISSING)]
    assert made["lost_shards"][0]["shard"] == 2
    assert json_object(attrs.evolve(GOOD, converged_seconds=None))["seconds"]["converged"] is None


def test_pods_without_an_address_are_named_or_counted() -> None:
    assert pod_failure_lines([]) == []
    assert pod_failure_lines(["a: full"]) == ["pod without an address: a: full"]
    assert len(pod_failure_lines(["a: full"] * 10)) == 10
    assert pod_failure_lines(["a: full"] * 11)[-1] == "and 1 more pod without an address"
    assert pod_failure_lines(["a: full"] * 2010)[10:] == ["and 2,000 more pods without an address"]
