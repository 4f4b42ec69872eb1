"""The cluster always converges: any sequence of changes and faults ends with every FIB as the datastore asks for."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.deterministic import run_deterministic
from tests.sim.cluster import SimCluster

SIZE = 6
LONGER_THAN_HOLD_AND_RETRY = 400.0
"""Virtual seconds: a silent cut is noticed after the hold time of 90, then 30 of error wait, and a healed one redialled."""

nodes = st.integers(1, SIZE)
pairs = st.tuples(nodes, nodes).filter(lambda pair: pair[0] < pair[1])
steps = st.one_of(
    st.tuples(st.sampled_from(("add", "remove", "pod", "unpod", "crash", "reflector", "client")), nodes),
    st.tuples(st.sampled_from(("cut", "heal")), pairs),
    st.tuples(st.just("mesh"), st.booleans()),
    st.tuples(st.just("as"), st.tuples(nodes, st.sampled_from((64512, 64513)))),
    st.tuples(st.just("wait"), st.sampled_from((0.0, 0.001, 0.01, 1.0, 7.0, 95.0))),
)


async def take(cluster: SimCluster, verb: str, what: object) -> None:
    if verb == "wait":
        await trio.sleep(float(what))  # type: ignore[arg-type]  # the strategy pairs verbs and objects
        return
    if verb == "mesh":
        cluster.set_mesh(bool(what))
        return
    if isinstance(what, tuple):
        if verb == "as":
            if cluster.store.find(("Node", "", f"node-{what[0]:03}")):
                cluster.set_node(what[0], asn=what[1])
            return
        (cluster.cut if verb == "cut" else cluster.heal)(*what)
        return
    assert isinstance(what, int)
    running = cluster.is_running(what)
    if verb == "add" and not running:
        if cluster.store.find(("Node", "", f"node-{what:03}")) is None:
            cluster.set_node(what)
        await cluster.start(what)
    elif running and verb == "remove":
        await cluster.remove(what)
    elif running and verb == "crash":
        await cluster.crash(what)
    elif running and verb == "pod":
        await cluster.add_pod(what)
    elif running and verb == "unpod":
        await cluster.delete_pod(what)
    elif verb in ("reflector", "client") and cluster.store.find(("Node", "", f"node-{what:03}")):
        cluster.set_node(what, reflector=verb == "reflector")


def run(seed: int, script: list[tuple[str, object]]) -> list[str]:
    async def main() -> list[str]:
        async with trio.open_nursery() as nursery:
            cluster = SimCluster(nursery, seed, size=SIZE)
            for index in (1, 2, 3):
                cluster.set_node(index)
                await cluster.start(index)
                await cluster.add_pod(index)
            for verb, what in script:
                await take(cluster, verb, what)
            left = await cluster.converged(LONGER_THAN_HOLD_AND_RETRY)
            if not left:
                # And it stays so.
                await trio.sleep(100)
                left = cluster.differences()
            addresses = [
                each
                for document in cluster.store.list("WorkloadEndpoint")
                for each in document["spec"]["ipNetworks"]
            ]
            assert len(addresses) == len(set(addresses))
            nursery.cancel_scope.cancel()
        return left

    return run_deterministic(main, seed, trio.testing.MockClock(autojump_threshold=0))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), script=st.lists(steps, max_size=12))
def test_any_history_converges(seed: int, script: list[tuple[str, object]]) -> None:
    note(f"seed {seed}, script {script}")
    assert run(seed, script) == []


def test_same_seed_same_run() -> None:
    script: list[tuple[str, object]] = [
        ("reflector", 2),
        ("mesh", False),
        ("crash", 1),
        ("wait", 95.0),
        ("add", 1),
    ]
    assert run(7, script) == run(7, script) == []
