"""The sum before the start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.plan import FAMILY_DESCRIPTORS, PROCESS_RESERVE, Machine, NodeLoad, Plan, PlanError, make_plan

LAPTOP = Machine(descriptors=20_000, cores=2, memory=16 << 30)


def mesh(nodes: int) -> list[NodeLoad]:
    return [NodeLoad(name=f"node-{i:03}", sessions=nodes - 1, routes=nodes - 1) for i in range(1, nodes + 1)]


def plan(loads: list[NodeLoad], machine: Machine = LAPTOP, shards: int | None = None) -> Plan:
    return make_plan(loads, topology="full mesh", machine=machine, shards=shards)


def test_two_hundred_nodes_need_three_shards() -> None:
    result = plan(mesh(200))
    assert (result.sessions, result.sockets) == (19_900, 39_800)
    assert [len(shard) for shard in result.shards] == [67, 67, 66]
    assert result.shards[0][0] == "node-001"
    assert result.shards[1][0] == "node-068", "runs of nodes, in their order"


def test_a_thousand_nodes_need_as_many_as_the_descriptors_ask_for() -> None:
    assert 50 <= len(plan(mesh(1000)).shards) <= 56


@pytest.mark.parametrize(("nodes", "shards"), [(1, 1), (3, 1), (30, 1), (50, 2), (100, 2)])
def test_small_clusters_take_no_more_shards_than_work_and_cores(nodes: int, shards: int) -> None:
    assert len(plan(mesh(nodes)).shards) == shards


def test_a_second_family_is_a_second_listener() -> None:
    loads = [NodeLoad(name=f"n{number}", sessions=0, routes=0, families=2) for number in range(100)]
    tight = Machine(descriptors=PROCESS_RESERVE + 100 * FAMILY_DESCRIPTORS, cores=1, memory=None)
    assert len(plan(loads, tight).shards) == 2


def test_routers_are_no_nodes() -> None:
    result = plan([*mesh(3), NodeLoad(name="tor", sessions=3, routes=9, router=True)])
    assert (result.nodes, result.routers) == (3, 1)
    assert [name for shard in result.shards for name in shard][-1] == "tor"


def test_many_cores_are_used_where_there_is_work_for_them() -> None:
    big = Machine(descriptors=1_000_000, cores=16, memory=None)
    assert len(plan(mesh(200), big).shards) == 16
    assert len(plan(mesh(50), big).shards) == 2


def test_too_few_shards_are_refused_with_the_sum() -> None:
    with pytest.raises(PlanError) as caught:
        plan(mesh(200), shards=2)
    assert str(caught.value) == (
        "full mesh of 200 nodes needs ~39,800 sockets, the limit is 20,000 descriptors a process: "
        "at least 3 shards, 2 asked for (leave --shards out)"
    )


def test_a_node_too_big_for_a_process_is_refused_with_the_sum() -> None:
    with pytest.raises(PlanError) as caught:
        plan(mesh(1_000), Machine(descriptors=1_024, cores=2, memory=None))
    text = str(caught.value)
    assert "needs ~999,000 sockets" in text
    assert "node-001 alone 1,001 descriptors" in text
    assert "1,024 a process" in text


def test_more_shards_than_the_coordinator_has_descriptors_for_are_refused_with_the_sum() -> None:
    loads = [NodeLoad(name=f"n{number}", sessions=0, routes=0) for number in range(600)]
    small = Machine(descriptors=560, cores=2, memory=None)
    assert len(plan(loads, small, shards=48).shards) == 48
    with pytest.raises(
        PlanError, match=r"in 600 shards, and this process a descriptor for each.*560 a process"
    ):
        plan(loads, small, shards=600)


def test_too_little_memory_is_refused_with_the_sum() -> None:
    with pytest.raises(PlanError) as caught:
        plan(mesh(1_000), Machine(descriptors=20_000, cores=2, memory=4_000_000_000))
    assert "4.0 GB are available" in str(caught.value)
    assert "999,000 sockets of 8 KB" in str(caught.value)
    assert plan(mesh(1_000), Machine(descriptors=20_000, cores=2, memory=20 << 30)).nodes == 1_000


def test_more_shards_than_nodes_are_as_many_as_nodes() -> None:
    assert [len(shard) for shard in plan(mesh(3), shards=8).shards] == [1, 1, 1]


def test_reflectors_are_spread_over_the_shards() -> None:
    loads = [NodeLoad(name=f"node-{i:04}", sessions=999 if i <= 4 else 4, routes=0) for i in range(1, 1001)]
    shards = plan(loads, shards=4).shards
    assert [sum(name <= "node-0004" for name in shard) for shard in shards] == [1, 1, 1, 1]
    assert max(map(len, shards)) - min(map(len, shards)) <= 4


@given(
    sessions=st.lists(st.integers(0, 400), min_size=1, max_size=60),
    descriptors=st.integers(PROCESS_RESERVE + 402, PROCESS_RESERVE + 3_000),
    cores=st.integers(1, 8),
    shards=st.none() | st.integers(1, 40),
)
def test_a_plan_hosts_every_node_once_and_fits(
    sessions: list[int], descriptors: int, cores: int, shards: int | None
) -> None:
    loads = [NodeLoad(name=f"n{i}", sessions=count, routes=0) for i, count in enumerate(sessions)]
    machine = Machine(descriptors=descriptors, cores=cores, memory=None)
    try:
        result = plan(loads, machine, shards)
    except PlanError:
        assert shards is not None, "without --shards there is always a plan that fits"
        return
    assert sorted(name for shard in result.shards for name in shard) == sorted(load.name for load in loads)
    assert all(result.shards), "no empty shard"
    needs = {load.name: load.sessions + FAMILY_DESCRIPTORS for load in loads}
    for shard in result.shards:
        assert sum(needs[name] for name in shard) + PROCESS_RESERVE <= descriptors
