"""Pods come and go, and what fails half-way leaves nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ipam.errors import IPAMError
from agents.syncer import Datastore, Resources
from cluster.datastore.local import LocalDatastore
from cluster.rehearsal.clock import run_virtual
from protocol.prefix import IPV4, IPV6
from protocol.sync.errors import AlreadyExists, DatastoreError, NotFound
from protocol.v3.core import Namespace
from protocol.v3.metadata import Metadata, Resource
from tests.strategies.ipam import World, ipam, names, node, nodes, pool


def world_of_one() -> World:
    return World(pool("192.168.4.0/26"), node("node-001"))


class Failing(Datastore):
    """The call of one number is refused."""

    def __init__(self, datastore: Datastore, number: int) -> None:
        self._datastore = datastore
        self._left = number

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise DatastoreError("not today")

    async def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        self._count()
        return await self._datastore.get(kind, name, namespace)

    async def list(self, kind: str) -> Resources:
        self._count()
        return await self._datastore.list(kind)

    async def create(self, resource: Resource) -> Resource:
        self._count()
        return await self._datastore.create(resource)

    async def update(self, resource: Resource) -> Resource:
        self._count()
        return await self._datastore.update(resource)

    async def delete(self, resource: Resource) -> None:
        self._count()
        await self._datastore.delete(resource)


async def test_a_pod_gets_an_endpoint_as_calico_names_it() -> None:
    world = world_of_one()
    endpoint = await world.cni("node-001").add("web-1", "shop")
    assert (endpoint.metadata.namespace, endpoint.metadata.name) == ("shop", "node--001-k8s-web--1-eth0")
    assert endpoint.metadata.labels["projectcalico.org/namespace"] == "shop"
    spec = endpoint.spec
    assert (spec.orchestrator, spec.node, spec.pod, spec.endpoint) == ("k8s", "node-001", "web-1", "eth0")
    assert spec.ip_networks == ("192.168.4.0/32",)
    assert spec.interface_name == "cali751425ce827"  # sha1 of "shop.web-1"
    assert spec.profiles == ("kns.shop",)
    assert world.handles() == {f"k8s-pod-network.{spec.container_id}": {"192.168.4.0/26": 1}}
    (block,) = world.blocks().values()
    assert block.spec.attributes[0].secondary == {"pod": "web-1", "namespace": "shop", "node": "node-001"}
    assert world.all("WorkloadEndpoint") == [endpoint]


async def test_a_pod_costs_three_calls() -> None:
    world = world_of_one()
    cni = world.cni("node-001")
    await cni.add("first")
    world.calls.made.clear()
    await cni.add("second")
    assert world.calls.made == [
        ("create", "IPAMHandle"),
        ("update", "IPAMBlock"),
        ("create", "WorkloadEndpoint"),
    ]


async def test_a_deleted_pod_leaves_nothing() -> None:
    world = world_of_one()
    cni = world.cni("node-001")
    await cni.add("web")
    await cni.delete("web")
    assert (world.all("WorkloadEndpoint"), world.handles(), world.owners()) == ([], {}, {})
    with pytest.raises(NotFound):
        await cni.delete("web")


async def test_two_families_two_addresses() -> None:
    world = World(pool("192.168.4.0/26", "four"), pool("fd00:4::/122", "six"), node("node-001"))
    cni = world.cni("node-001", families=(IPV4, IPV6))
    endpoint = await cni.add("web")
    assert endpoint.spec.ip_networks == ("192.168.4.0/32", "fd00:4::/128")
    assert [*world.handles().values()] == [{"192.168.4.0/26": 1, "fd00:4::/122": 1}]
    await cni.delete("web")
    assert world.owners() == {}


async def test_a_pod_is_added_once() -> None:
    world = world_of_one()
    cni = world.cni("node-001")
    await cni.add("web")
    with pytest.raises(AlreadyExists):
        await cni.add("web")
    assert len(world.owners()) == len(world.handles()) == 1
    assert world.audit() == []


async def test_a_pod_without_an_address_is_no_pod() -> None:
    world = World(pool("192.168.4.0/31", block_size=31), ipam(strict_affinity=True), *nodes(names(2)))
    await world.cni("node-001").add("web")
    with pytest.raises(IPAMError, match=r"^Assigned 0 out of 1 .*strict affinity"):
        await world.cni("node-002").add("db")
    assert len(world.all("WorkloadEndpoint")) == len(world.handles()) == 1


@given(number=st.integers(1, 7), first=st.booleans())
def test_an_add_that_fails_anywhere_leaves_nothing_and_the_next_one_succeeds(
    number: int, first: bool
) -> None:
    world = world_of_one()

    async def main() -> None:
        if not first:
            await world.cni("node-001").add("before")
        before = world.owners()
        cni = world.cni("node-001", datastore=Failing(LocalDatastore(world.store), number), seed=1)
        failed = False
        try:
            await cni.add("web")
        except DatastoreError:
            failed = True
            assert world.owners() == before
            assert len(world.handles()) == len(before)
            await cni.add("web")
        assert failed == (number <= (6 if first else 5))
        assert len(world.owners()) == len(before) + 1

    run_virtual(main, 0)
    assert world.audit() == []


def test_the_same_seed_makes_the_same_containers() -> None:
    def containers(seed: int) -> list[str]:
        world = world_of_one()

        async def main() -> list[str]:
            cni = world.cni("node-001", seed=seed)
            return [(await cni.add(f"pod-{n}")).spec.container_id for n in range(3)]

        return run_virtual(main, 0)

    assert containers(1) == containers(1) != containers(2)
    assert all(len(one) == 64 for one in containers(1))


async def test_a_pool_serves_the_namespaces_that_it_selects() -> None:
    world = World(
        pool("10.1.0.0/26", "gold", namespace_selector="tier == 'gold'"),
        pool("10.2.0.0/26", "lab", namespace_selector="kubernetes.io/metadata.name == 'lab'"),
        pool(
            "10.3.0.0/26", "others", namespace_selector="!has(tier) && kubernetes.io/metadata.name != 'lab'"
        ),
        Namespace(Metadata("rich", labels={"tier": "gold"})),
        node("node-001"),
    )
    cni = world.cni("node-001")

    async def network(pod: str, namespace: str) -> str:
        (text,) = (await cni.add(pod, namespace)).spec.ip_networks
        return text.rpartition(".")[0]

    assert await network("a", "rich") == "10.1.0"
    assert await network("b", "lab") == "10.2.0", "nobody has to write down what is only a name"
    assert await network("c", "poor") == "10.3.0"
    (old,) = world.store.list("Namespace")
    world.store.update({**old, "metadata": {**old["metadata"], "labels": {}}})
    assert await network("d", "rich") == "10.3.0"
