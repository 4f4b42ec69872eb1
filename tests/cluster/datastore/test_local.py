"""The datastore without a stream."""

from __future__ import annotations

import trio

from agents.syncer import View
from cluster.datastore.local import LocalDatastore, follow
from protocol.v3.metadata import Key
from tests.cluster.shards import check_datastore, contents, expected, make_store, put
from tests.strategies.sync import affinity, handle, node


async def test_it_is_a_datastore() -> None:
    await check_datastore(LocalDatastore(make_store()))


async def test_every_request_is_a_checkpoint() -> None:
    """So that in virtual time, too, others run between a read and the write that depends on it."""
    datastore = LocalDatastore(make_store())
    made = await datastore.create(node("ant"))
    for request in (
        datastore.get("Node", "ant"),
        datastore.list("Node"),
        datastore.create(node("bee")),
        datastore.update(made),
        datastore.delete(made),
    ):
        with trio.CancelScope() as scope:
            scope.cancel()
            await request
        assert scope.cancelled_caught
    assert await datastore.list("Node") == [made], "and a cancelled one did nothing"


def test_a_view_follows_inside_the_write() -> None:
    store = make_store(node("ant"), affinity("a", "ant"), affinity("b", "bee"))
    view = View()
    seen: list[list[Key]] = []
    cancel = follow(store, view, ["ant"], seen.append)
    assert view.in_sync
    assert contents(view) == expected(store, ["ant"])
    for write, keys in (
        (affinity("b", "ant"), [("BlockAffinity", "", "b")]),  # comes
        (affinity("a", "cat"), [("BlockAffinity", "", "a")]),  # goes
        (affinity("a", "bee"), []),
        (handle("h"), []),
        (node("ant", value="1"), [("Node", "", "ant")]),
    ):
        seen.clear()
        put(store, write)
        assert seen == ([keys] if keys else [])
        assert contents(view) == expected(store, ["ant"])
    store.delete("BlockAffinity", "b")
    assert contents(view) == expected(store, ["ant"])
    cancel()
    seen.clear()
    put(store, node("bee"))
    assert seen == []
