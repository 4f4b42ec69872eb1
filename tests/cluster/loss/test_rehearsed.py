"""The account of whole nodes in virtual time: what a fault costs follows from timers that everybody knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from cluster.datastore.memory import MemoryStore
from cluster.loss.account import Account
from cluster.loss.report import LossReport
from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.virtual import Virtual

V3 = "projectcalico.org/v3"
NODES = 4
PAIRS = NODES * (NODES - 1)


def fill(store: MemoryStore) -> None:
    pool = {"cidr": "192.168.0.0/16", "ipipMode": "Never", "vxlanMode": "Never"}
    store.create({"apiVersion": V3, "kind": "IPPool", "metadata": {"name": "pool"}, "spec": pool})
    for number in range(1, NODES + 1):
        spec = {"bgp": {"ipv4Address": f"10.77.0.{number}/24"}}
        store.create({"apiVersion": V3, "kind": "Node", "metadata": {"name": f"node-{number}"}, "spec": spec})


def rehearse(story: Callable[[Virtual], Awaitable[None]]) -> LossReport:
    """Of a mesh that converged before, and is whole again in the end."""

    async def main() -> LossReport:
        async with trio.open_nursery() as nursery:
            virtual = Virtual(nursery, 1, fill=fill)
            await virtual.boot(pods=2)
            assert not (await virtual.settle(60)).differences
            account = await virtual.watch_loss()
            assert isinstance(account, Account)
            await story(virtual)
            assert not (await virtual.settle(600)).differences
            assert account.failing(virtual.now()) == {}
            report = account.report(virtual.now())
            nursery.cancel_scope.cancel()
        return report

    return run_virtual(main, 1)


@pytest.mark.slow
def test_a_cut_that_nobody_notices_lasts_as_long_as_it_lasts() -> None:
    async def story(virtual: Virtual) -> None:
        await virtual.cut("node-1", "node-3")
        await virtual.sleep(5)
        await virtual.heal("node-1", "node-3")

    report = rehearse(story)
    assert {(each.source, each.destination): each.seconds for each in report.pairs} == {
        ("node-1", "node-3"): pytest.approx(5),
        ("node-3", "node-1"): pytest.approx(5),
    }
    assert report.reasons == {"cut link": pytest.approx(10)}
    assert report.counted == PAIRS


@pytest.mark.slow
def test_calico_node_that_is_stopped_loses_nothing_and_a_machine_everything() -> None:
    async def story(virtual: Virtual) -> None:
        await virtual.stop("node-2")
        await virtual.sleep(10)
        await virtual.start("node-2")
        await virtual.settle(600)

    assert rehearse(story).total == 0.0  # RFC 4724: the kernel went on, and everybody kept its routes

    async def worse(virtual: Virtual) -> None:
        await virtual.power_off("node-2")
        await virtual.sleep(10)
        await virtual.start("node-2")

    report = rehearse(worse)
    assert report.off == pytest.approx(10 * 2 * (NODES - 1))
    assert report.total > 0
    # Everything that was lost was to it or from it, and after it was on again.
    [(begin, on)] = report.powerless["node-2"]
    assert on - begin == pytest.approx(10)
    for pair in report.pairs:
        assert "node-2" in (pair.source, pair.destination)
        assert all(each.start >= on for each in pair.intervals)


@pytest.mark.slow
def test_a_node_that_is_deleted_takes_its_faults_along() -> None:
    async def story(virtual: Virtual) -> None:
        await virtual.cut("node-1", "node-2")
        await virtual.power_off("node-3")
        await virtual.sleep(5)
        gone = [virtual.store.get("Node", name) for name in ("node-2", "node-3")]
        for node in gone:
            virtual.store.delete("Node", node["metadata"]["name"])
        await virtual.settle(600)
        for node in gone:
            virtual.apply({**node, "metadata": {"name": node["metadata"]["name"]}})
        await virtual.settle(600)

    report = rehearse(story)  # and there is no cut in the account that no packet meets
    [(begin, end)] = report.powerless["node-3"]
    assert end - begin == pytest.approx(5, abs=1)


@pytest.mark.slow
def test_pods_and_nodes_that_come_lose_nothing() -> None:
    async def story(virtual: Virtual) -> None:
        await virtual.add_pods("node-1", 70)  # another block
        spec = {"bgp": {"ipv4Address": "10.77.0.9/24"}}
        virtual.apply({"apiVersion": V3, "kind": "Node", "metadata": {"name": "node-9"}, "spec": spec})
        await virtual.settle(600)
        await virtual.add_pods("node-9", 1)

    report = rehearse(story)
    assert report.total == 0.0
    assert report.new > 0.0
    assert report.counted == (NODES + 1) * NODES
