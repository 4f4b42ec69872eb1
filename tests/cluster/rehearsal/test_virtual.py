"""The stage in virtual time: what befalls nodes, what settles, and that a seed is a run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.eventlog import EventLog
from cluster.rehearsal.virtual import Virtual
from protocol.prefix import parse_address
from tests.conftest import Golden
from tests.strategies.clusters import bgp_configuration, bgp_peer, node, pool

ROOT = Path(__file__).parents[3]
NAMES = [f"node-{number}" for number in range(1, 6)]
ONE, TWO, THREE = NAMES[:3]
Story = Callable[[Virtual], Awaitable[None]]


async def boot(nursery: trio.Nursery, size: int = 5, seed: int = 1, **facts: Any) -> Virtual:
    stage = Virtual(nursery, seed, **facts)
    stage.apply(pool("default", "192.168.0.0/16", blockSize=26))
    stage.apply(bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=True))
    for number, name in enumerate(NAMES[:size], 1):
        stage.apply(node(name, f"10.77.0.{number}/24"))
    assert await stage.boot(1) == []
    assert (await stage.settle(60)).differences == ()
    return stage


def tell(story: Story, *, size: int = 5, seed: int = 1, **facts: Any) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await story(await boot(nursery, size, seed, **facts))
            nursery.cancel_scope.cancel()

    run_virtual(main, seed)


async def settled(stage: Virtual, within: float = 600) -> float:
    """When it was, from now."""
    began = stage.now()
    found = await stage.settle(within)
    assert found.differences == ()
    return found.at - began


async def established(stage: Virtual, one: str, other: str) -> set[str]:
    """The states of both ends."""
    ends = {(one, other), (other, one)}
    return {view.state for view in await stage.sessions() if (view.node, view.neighbour) in ends}


# --- what befalls nodes -------------------------------------------------------------------------------------------


def test_a_node_that_stops_in_the_midst_of_deleting_pods() -> None:
    async def story(stage: Virtual) -> None:
        await stage.add_pods(ONE, 3)
        async with trio.open_nursery() as nursery:
            begun = trio.Event()
            stage.store.watch(lambda change: begun.set() if change.new is None else None)
            nursery.start_soon(stage.delete_pods, ONE, 4)
            await begun.wait()
            await stage.stop(ONE)
        assert 0 < len(stage.store.list("WorkloadEndpoint")) - 4 < 4
        await stage.start(ONE)
        await settled(stage)

    tell(story)


@pytest.mark.parametrize("vouches", [True, False])
def test_silence_is_noticed_after_two_thirds_of_the_hold_time_at_the_earliest(vouches: bool) -> None:
    """Whether keepalives were really sent until then makes no difference."""

    async def story(stage: Virtual) -> None:
        await stage.sleep(1000)
        for begin, end in (("power_off", "start"), ("freeze", "thaw")):
            await getattr(stage, begin)(ONE)
            assert 37.5 <= await settled(stage) <= 90
            assert len(await stage.routes(TWO)) == 5, "its own block and pod, and three others"
            assert bool(await stage.routes(ONE)) is (begin == "freeze")
            await getattr(stage, end)(ONE)
            assert await settled(stage) < 15
            assert await established(stage, ONE, TWO) == {"Established"}
            await stage.sleep(100)

    tell(story, vouches=vouches)


def test_a_short_silence_is_not_noticed() -> None:
    """37 s, with a hold time of 90: nobody's session ends."""

    async def story(stage: Virtual) -> None:
        for begin, end, who in (
            (stage.freeze, stage.thaw, (TWO,)),
            (stage.cut, stage.heal, (TWO, THREE)),
        ):
            await begin(*who)
            await stage.sleep(37)
            await end(*who)
            await stage.sleep(1000)
        assert {view.state for view in await stage.sessions()} == {"Established"}
        for each in stage.host.nodes.values():
            assert not [event for _, event in each.journal if event.reason == "SessionDown"]

    tell(story)


def test_two_who_froze_together_for_long_have_lost_each_other() -> None:
    """Their sessions with others ended meanwhile; theirs ends when they thaw."""

    async def story(stage: Virtual) -> None:
        await stage.freeze(ONE)
        await stage.freeze(TWO)
        await stage.sleep(500)
        assert await established(stage, ONE, TWO) == {"Established"}
        await stage.thaw(ONE)
        await stage.thaw(TWO)
        await stage.sleep(1)
        assert await established(stage, ONE, TWO) != {"Established"}
        await settled(stage)
        assert await established(stage, ONE, TWO) == {"Established"}

    tell(story)


def test_a_node_that_stops_leaves_its_kernel_and_finds_it_again() -> None:
    async def story(stage: Virtual) -> None:
        before = dict(await stage.routes(ONE))
        await stage.stop(ONE)
        await stage.sleep(500)
        assert await stage.routes(ONE) == before
        assert not stage.is_running(ONE)
        await stage.start(ONE)
        await settled(stage)
        assert await stage.routes(ONE) == before
        await stage.power_off(ONE)
        assert await stage.routes(ONE) == {}

    tell(story)


def test_a_cut_is_between_two_and_heals() -> None:
    async def story(stage: Virtual) -> None:
        await stage.cut(ONE, TWO)
        assert 37.5 <= await settled(stage) <= 90
        assert await established(stage, ONE, TWO) != {"Established"}
        assert await established(stage, ONE, THREE) == {"Established"}
        await stage.heal(TWO, ONE)
        assert await settled(stage) < 15
        assert await established(stage, ONE, TWO) == {"Established"}

    tell(story)


def test_names_that_are_not_there() -> None:
    async def story(stage: Virtual) -> None:
        for ask in (stage.start, stage.stop, stage.power_off, stage.freeze, stage.thaw, stage.routes):
            with pytest.raises(KeyError):
                await ask("nobody")
        with pytest.raises(KeyError):
            await stage.cut(ONE, "nobody")
        with pytest.raises(KeyError):
            await stage.add_pods("nobody", 1)

    tell(story, size=1)


# --- the datastore is followed ------------------------------------------------------------------------------------


def test_nodes_come_and_go_with_their_resources() -> None:
    async def story(stage: Virtual) -> None:
        assert stage.members() == [ONE, TWO]
        await stage.cut(ONE, TWO)
        stage.apply(node(THREE, "10.77.0.3/24"))
        await settled(stage)
        assert await stage.add_pods(THREE, 2) == []
        await settled(stage)
        assert len(await stage.routes(ONE)) == 3, "its own block and pod, and one block of node-3"
        stage.store.delete("Node", TWO)
        await settled(stage)
        assert stage.members() == [ONE, THREE]
        assert not stage.is_running(TWO)
        assert stage.weather.is_fair, "what befell it is gone with it"
        assert await stage.delete_pods(THREE, 5) == 2

    tell(story, size=2)


def test_a_node_that_is_deleted_takes_its_leave() -> None:
    """Of calico's nodes each knows by itself; a router is told, and keeps nothing for a neighbour that does not restart."""

    async def story(stage: Virtual) -> None:
        neighbour = {"peerIP": "10.77.0.2", "asNumber": 64512}
        spec = {"addresses": ["10.77.9.1/24"], "asNumber": 64512, "neighbors": [neighbour]}
        stage.apply(
            {"apiVersion": "lab.tortie/v1", "kind": "Router", "metadata": {"name": "tor"}, "spec": spec}
        )
        stage.apply(bgp_peer("tor", peerIP="10.77.9.1", asNumber=64512))
        await settled(stage)
        gateways = {route.gateways for route in (await stage.routes("tor")).values()}
        assert gateways == {(parse_address("10.77.0.2"),)}
        stage.store.delete("Node", TWO)
        await stage.sleep(0.1)
        assert not stage.is_running(TWO)
        assert [event.message for _, event in stage.node("tor").journal if event.warning] == [
            "Lab_10_77_0_2: Received: Peer de-configured"
        ]
        assert await stage.routes("tor") == {}

    tell(story, size=2)


def test_who_boots_among_others_waits_for_them_unless_it_is_a_router() -> None:
    async def story(stage: Virtual) -> None:
        spec = {"addresses": ["10.77.9.1/24"], "asNumber": 64512, "neighbors": [{"peerIP": "10.77.0.2"}]}
        stage.apply(
            {"apiVersion": "lab.tortie/v1", "kind": "Router", "metadata": {"name": "tor"}, "spec": spec}
        )
        stage.apply(bgp_peer("tor", peerIP="10.77.9.1", asNumber=64512))
        stage.apply(node("node-3", "10.77.0.3/24"))
        await settled(stage)
        for name in ("tor", ONE):
            await stage.power_off(name)
            await stage.sleep(100)
            await stage.start(name)
            await settled(stage)
        recovered = {
            name: any(event.reason == "Recovery" for _, event in stage.node(name).journal)
            for name in stage.members()
        }
        assert recovered == {ONE: True, TWO: False, "node-3": True, "tor": False}

    tell(story, size=2)


def test_pods_that_find_no_address_are_told_and_get_one_when_there_is_a_pool() -> None:
    async def story(stage: Virtual) -> None:
        stage.delete(pool("default", "192.168.0.0/16"))
        [problem] = await stage.add_pods(ONE, 1)
        assert problem.startswith("node-1: node-1-pod-2: ")
        [another] = await stage.add_pods(ONE, 1)
        assert another.startswith("node-1: node-1-pod-3: ")
        stage.apply(pool("default", "192.168.0.0/16", blockSize=26))
        await settled(stage)
        assert len(stage.view.of_node("WorkloadEndpoint", ONE)) == 3
        await stage.stop(ONE)
        assert await stage.add_pods(ONE, 1) == ["node-1 does not run"]

    tell(story, size=2)


# --- settling -----------------------------------------------------------------------------------------------------


def test_settle_says_what_is_wrong_when_there_is_no_more_time() -> None:
    async def story(stage: Virtual) -> None:
        await stage.power_off(ONE)
        began = stage.now()
        found = await stage.settle(10)
        assert stage.now() == began + 10
        assert found.at == began
        assert "node-2: " in found.differences[0]
        assert "a route that was never withdrawn" in found.differences[0]

    tell(story, size=2)


def test_the_oracle_is_asked_seldom() -> None:
    async def story(stage: Virtual) -> None:
        asked = 0
        expected = stage.expected

        def count() -> Any:
            nonlocal asked
            asked += 1
            return expected()

        stage.expected = count  # type: ignore[method-assign]  # listens in
        await stage.power_off(ONE)
        await settled(stage)
        # Once when nothing moves at first, and not twice for each of those who notice in turn.
        assert 2 <= asked <= 2 + 4

    tell(story)


# --- loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_account_is_fed() -> None:
    async def story(stage: Virtual) -> None:
        account = await stage.watch_loss()
        assert await stage.watch_loss() is account
        await settled(stage)
        assert account.failing(stage.now()) == {}
        await stage.power_off(ONE)
        await stage.sleep(1)
        assert account.failing(stage.now()) == {}, "an end without power is not lost"
        await settled(stage)
        await stage.start(ONE)
        await settled(stage)
        assert account.failing(stage.now()) == {}
        began = stage.now()
        await stage.cut(ONE, TWO)
        await stage.sleep(7)
        assert set(account.failing(stage.now())) == {(ONE, TWO), (TWO, ONE)}
        await stage.heal(ONE, TWO)
        await stage.sleep(1)
        report = account.report(stage.now(), since=began)
        assert lost(report) == {(ONE, TWO): 7, (TWO, ONE): 7}

    tell(story)


def test_what_was_so_when_counting_begins_is_counted() -> None:
    async def story(stage: Virtual) -> None:
        await stage.cut(ONE, TWO)
        await stage.power_off(THREE)
        account = await stage.watch_loss()
        await stage.sleep(7)
        report = account.report(stage.now())
        assert lost(report) == {(ONE, TWO): 7, (TWO, ONE): 7}
        assert [*report.powerless] == [THREE]

    tell(story)


def lost(report: Any) -> dict[tuple[str, str], float]:
    return {(each.source, each.destination): each.seconds for each in report.pairs}


# --- a seed is a run ----------------------------------------------------------------------------------------------


async def eventful(stage: Virtual) -> None:
    """A bit of everything whose order could depend on something that is no business of the seed."""
    await stage.add_pods(ONE, 3)
    stage.apply(bgp_peer("reflectors", nodeSelector="all()", peerSelector="has(reflector)"))
    stage.apply(node(THREE, "10.77.0.3/24", cluster="244.0.0.1", labels={"reflector": "yes"}))
    await stage.power_off(TWO)
    await stage.settle(200)
    stage.apply(bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=False))
    await stage.sleep(3)
    stage.apply(pool("default", "192.168.0.0/16", blockSize=26, ipipMode="Always"))
    await stage.start(TWO)
    await stage.stop(ONE)
    await stage.sleep(30)
    await stage.start(ONE)
    await stage.freeze(THREE)
    await stage.cut(ONE, TWO)
    await stage.sleep(100)
    await stage.thaw(THREE)
    await stage.heal(ONE, TWO)
    stage.apply(pool("six", "fd00:10::/64", blockSize=122, vxlanMode="Always"))
    for number, name in enumerate(NAMES, 1):
        text = node(name, f"10.77.0.{number}/24")
        text["spec"]["bgp"]["ipv6Address"] = f"fd77::{number}/64"
        stage.apply(text)
    await stage.settle(300)
    for name in NAMES:
        await stage.add_pods(name, 2)
    await stage.delete_pods(ONE, 4)
    stage.store.delete("Node", NAMES[4])
    await stage.settle(300)


def log_of(story: Story, seed: int = 1) -> str:
    parts: list[str] = []
    log = EventLog(parts.append)
    tell(story, seed=seed, log=log)
    digest = log.digest()
    assert digest == hashlib.sha256("".join(parts).encode()).hexdigest()
    return "".join(parts)


def test_a_story_in_lines(golden: Golden) -> None:
    async def story(stage: Virtual) -> None:
        await stage.power_off(TWO)
        await settled(stage)
        await stage.start(TWO)
        await settled(stage)

    parts: list[str] = []
    log = EventLog(parts.append)
    tell(story, size=2, log=log)
    log.flush()
    golden("virtual", "".join(parts))


def test_another_seed_is_another_run() -> None:
    assert log_of(eventful, 1) != log_of(eventful, 2)


@pytest.mark.slow
def test_the_same_seed_is_the_same_run_in_any_process_whatever_its_hashes() -> None:
    here = log_of(eventful)
    assert here.count("\n") > 300
    code = f"from {__name__} import eventful, log_of; print(log_of(eventful), end='')"
    for hash_seed in ("0", "4711"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout == here
