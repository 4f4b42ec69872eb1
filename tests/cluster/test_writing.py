"""How a cluster's resources are written: admitted and stored in one breath, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from cluster.api import patches
from cluster.cleanup import Cleanup
from cluster.datastore.memory import MemoryStore
from cluster.writing import Writing
from protocol.sync.errors import AlreadyExists, Conflict, NotFound
from protocol.v3.validate import InvalidResource
from tests.strategies.clusters import bgp_peer, node, pool

POOL = pool("pods", "10.48.0.0/16")
KEY = ("IPPool", "", "pods")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(wall=lambda: 0.0)


@pytest.fixture
def writing(store: MemoryStore) -> Writing:
    return Writing(store, Cleanup(store, wall=lambda: 0.0))


def test_apply_creates_replaces_and_leaves_alone(writing: Writing, store: MemoryStore) -> None:
    created = writing.apply(POOL)
    assert created["spec"]["blockSize"] == 26  # defaults are filled in
    assert writing.apply(POOL) is created
    assert store.revision == 1
    replaced = writing.apply(pool("pods", "10.48.0.0/16", natOutgoing=True))
    assert replaced["metadata"]["uid"] == created["metadata"]["uid"]
    assert store.revision == 2


def test_create_is_of_what_is_not_there(writing: Writing) -> None:
    writing.create(POOL)
    with pytest.raises(AlreadyExists):
        writing.create(pool("pods", "no cidr"))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (pool("pods", "10.49.0.0/16"), "IPPool CIDR cannot be modified"),
        (pool("more", "10.48.7.0/24"), "overlaps"),
        (bgp_peer("top", peerIP="10.0.0.1", filters=["none"]), "none"),
        (node("a", "10.0.0.300/16"), "10.0.0.300"),
    ],
)
def test_what_is_not_admitted_is_not_written(
    writing: Writing, store: MemoryStore, document: dict[str, Any], words: str
) -> None:
    writing.apply(POOL)
    with pytest.raises(InvalidResource, match=words):
        writing.apply(document)
    assert store.revision == 1


def test_who_names_a_revision_means_that_one(writing: Writing) -> None:
    first = writing.apply(POOL)
    second = writing.apply(pool("pods", "10.48.0.0/16", natOutgoing=True))
    with pytest.raises(Conflict):
        writing.apply(first)
    assert writing.apply(second) is second


def test_patches(writing: Writing) -> None:
    writing.apply(POOL)
    assert writing.patch(KEY, patches.MERGE, {"spec": {"natOutgoing": True}})["spec"]["natOutgoing"]
    operations = [{"op": "replace", "path": "/spec/natOutgoing", "value": False}]
    assert not writing.patch(KEY, patches.JSON, operations)["spec"].get("natOutgoing")
    with pytest.raises(NotFound):
        writing.patch(("IPPool", "", "none"), patches.MERGE, {})
    for away in ({"metadata": {"name": "x"}}, {"metadata": None}, {"kind": "Node"}):
        with pytest.raises(patches.BadPatch):
            writing.patch(KEY, patches.MERGE, away)
    with pytest.raises(InvalidResource):
        writing.patch(KEY, patches.MERGE, {"spec": {"cidr": None}})


async def test_a_delete_takes_along_what_hangs_on_it(writing: Writing, store: MemoryStore) -> None:
    writing.apply(node("a", "10.0.0.1/16"))
    writing.apply(bgp_peer("of-a", node="a", peerIP="10.0.0.9", asNumber=65000))
    with trio.fail_after(5):
        await writing.delete(("Node", "", "a"))
    assert store.list("BGPPeer") == []
    with pytest.raises(NotFound):
        await writing.delete(("Node", "", "a"))
