"""A change carried out is what the API would have made of it."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from cluster.cleanup import Cleanup
from cluster.datastore.memory import MemoryStore
from cluster.rehearsal.clock import run_virtual
from cluster.whatif.change import Change, Written, carry_out
from cluster.writing import Writing
from tests.strategies.clusters import Document, bgp_peer, node, pool

NODE = node("a", "10.77.0.1/16")


def written(there: Sequence[Document], *documents: Document, delete: bool = False) -> Sequence[Written]:
    store = MemoryStore(wall=lambda: 0.0)
    cleanup = Cleanup(store, wall=lambda: 0.0)
    for document in there:
        Writing(store, cleanup).create(document)
    places = tuple(f"change.yaml:{number}" for number, _ in enumerate(documents, 1))
    change = Change(documents=documents, places=places, delete=delete)

    async def main() -> Sequence[Written]:
        began = trio.current_time()
        found = await carry_out(change, store, cleanup)
        assert trio.current_time() > began, "requests take time"
        return found

    return run_virtual(main, 1)


def test_what_became_of_each() -> None:
    found = written([NODE], NODE, node("a", "10.77.0.1/16", asn=65001), node("b", "10.77.0.2/16"))
    assert [(each.subject, each.did) for each in found] == [
        ("Node/a", "unchanged"), ("Node/a", "replaced"), ("Node/b", "created"),
    ]  # fmt: skip


def test_what_is_refused_keeps_nobody_else_from_being_written() -> None:
    taken = node("b", "10.77.0.1/16")
    found = written(
        [NODE], taken, bgp_peer("p", filters=["nowhere"], peerIP="10.77.0.9"), node("c", "10.77.0.3/16")
    )
    assert [each.did for each in found] == ["refused", "refused", "created"]
    assert "10.77.0.1" in str(found[0].error)
    assert "nowhere" in str(found[1].error)
    assert found[0].place == "change.yaml:1"


def test_deletes() -> None:
    there = pool("pods", "10.1.0.0/24")
    found = written([there], there, NODE, delete=True)
    assert [(each.did, str(each.error or "")) for each in found] == [
        ("deleted", ""), ("refused", "resource does not exist: Node(a) with error: <nil>"),
    ]  # fmt: skip
