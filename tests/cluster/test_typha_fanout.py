"""What each shard is told, without streams: filters, deltas, snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.syncer import View
from cluster.datastore.local import follow
from cluster.datastore.memory import MemoryStore
from cluster.typha import PART, Fanout, Feed, answer
from protocol.sync.errors import DatastoreError
from protocol.sync.messages import Deltas, InSync, Snapshot, Watch
from protocol.sync.wire import Decoder, Encoder
from protocol.v3.codec import encode
from protocol.v3.metadata import Key, Resource
from tests.cluster.shards import contents, expected, make_store, put
from tests.strategies.sync import affinity, cut, endpoint, handle, node, watches, writes


def write(store: MemoryStore, verb: str, resource: Resource) -> None:
    if verb == "put":
        put(store, resource)
    elif store.find(resource.key) is not None:
        store.delete(resource.kind, resource.metadata.name, resource.metadata.namespace)


class Follower:
    """A View at the end of a feed, by way of bytes in pieces."""

    def __init__(self, fanout: Fanout, nodes: frozenset[str], *, every_node: bool = False) -> None:
        self.view = View()
        self.asked = Watch(nodes, every_node)
        self.woken = 0
        self.received: list[object] = []
        self._fanout = fanout
        self._decoder = Decoder()
        self._feed = self._open()

    def _open(self) -> Feed:
        def wake() -> None:
            self.woken += 1

        return self._fanout.open(self.asked, wake)

    def watch(self, asked: Watch) -> None:
        self.close()
        self.asked = asked
        self._feed = self._open()

    def close(self) -> None:
        self._fanout.close(self._feed)

    def frames(self) -> list[bytes]:
        return self._feed.take()

    def catch_up(self, sizes: Iterable[int] = ()) -> list[Key]:
        changed = []
        self.received = []
        for piece in cut(b"".join(self.frames()), [*sizes]):
            for message in self._decoder.receive(piece):
                assert isinstance(message, Snapshot | InSync | Deltas)
                self.received.append(message)
                changed += self.view.apply(message)
        return changed


actions = st.lists(
    st.one_of(
        st.tuples(st.just("write"), writes),
        st.tuples(st.just("catch up"), st.integers(0, 1), st.lists(st.integers(0, 300), max_size=4)),
        st.tuples(st.just("watch"), st.integers(0, 1), watches),
    ),
    max_size=30,
)


@given(st.lists(writes, max_size=5), st.tuples(watches, watches), st.integers(1, 4), actions)
def test_a_view_that_caught_up_is_the_filtered_store(
    before: list[tuple[str, Resource]],
    filters: tuple[Watch, Watch],
    limit: int,
    actions: list[tuple[Any, ...]],
) -> None:
    """Under any filters, cuts and limits (a small one forces snapshots), whatever happened between two looks."""
    store = make_store()
    for verb, resource in before:
        write(store, verb, resource)
    fanout = Fanout(store, Encoder(), limit)
    followers = [Follower(fanout, asked.nodes, every_node=asked.every_node) for asked in filters]
    twins = [View() for _ in filters]
    cancels = [
        follow(store, twin, asked.nodes, lambda keys: None)
        for twin, asked in zip(twins, filters, strict=True)
    ]
    for action in [*actions, ("catch up", 0, ()), ("catch up", 1, ())]:
        match action:
            case "write", (verb, resource):
                write(store, verb, resource)
            case "watch", which, asked:
                followers[which].watch(asked)
                cancels[which]()
                twins[which] = View()
                cancels[which] = follow(store, twins[which], asked.nodes, lambda keys: None)
            case "catch up", which, sizes:
                follower = followers[which]
                then = contents(follower.view)
                changed = follower.catch_up(sizes)
                now = expected(store, follower.asked.nodes, every_node=follower.asked.every_node)
                assert contents(follower.view) == now
                assert {*changed} == {key for key in {*then, *now} if then.get(key) != now.get(key)}
                assert follower.catch_up() == []
                assert follower.received == [], "nothing is said twice"
        tunnels = any(document["spec"].get("vxlanMode") == "Always" for document in store.list("IPPool"))
        for twin, follower in zip(twins, followers, strict=True):
            wanted = expected(store, follower.asked.nodes, every_node=tunnels)
            assert contents(twin) == wanted, "the in-process twin is never behind, and looks around by itself"


def test_a_resource_that_changed_often_is_told_once() -> None:
    store = make_store(node("ant"))
    follower = Follower(Fanout(store, Encoder()), frozenset())
    follower.catch_up()
    woken = follower.woken
    for number in range(10):
        put(store, node("ant", value=str(number)))
    store.create(encode(handle("h")))
    assert follower.woken == woken + 1
    follower.catch_up()
    [deltas] = follower.received
    assert isinstance(deltas, Deltas)
    assert [document["metadata"]["labels"] for document in deltas.updated] == [{"value": "9"}]
    assert (deltas.revision, deltas.deleted) == (12, ())


def test_only_the_shard_that_hosts_a_node_hears_of_its_blocks_and_endpoints() -> None:
    store = make_store()
    fanout = Fanout(store, Encoder())
    followers = {name: Follower(fanout, frozenset([name])) for name in ("ant", "bee", "cat")}
    for follower in followers.values():
        follower.catch_up()
        follower.woken = 0
    put(store, affinity("a", "ant"))
    put(store, endpoint("p", "bee"))
    assert [follower.woken for follower in followers.values()] == [1, 1, 0]
    for follower in followers.values():
        follower.catch_up()
    put(store, affinity("a", "cat"))  # moves
    assert [follower.catch_up() for follower in followers.values()] == [
        [("BlockAffinity", "", "a")],
        [],
        [("BlockAffinity", "", "a")],
    ]
    assert not followers["ant"].view.all("BlockAffinity")
    store.delete("BlockAffinity", "a")
    assert [bool(follower.catch_up()) for follower in followers.values()] == [False, False, True]


def test_a_feed_above_its_limit_owes_a_snapshot() -> None:
    store = make_store()
    follower = Follower(Fanout(store, Encoder(), limit=3), frozenset())
    follower.catch_up()
    for count, kinds in (3, [Deltas]), (4, [Snapshot, InSync]):
        for number in range(count):
            put(store, node(f"n{number}", value=str(count)))
        follower.catch_up()
        assert [type(message) for message in follower.received] == kinds
        assert contents(follower.view) == expected(store, ())


def test_large_snapshots_come_in_parts_and_large_deltas_as_snapshots() -> None:
    store = make_store()
    follower = Follower(Fanout(store, Encoder()), frozenset())
    follower.catch_up()
    for number in range(5):
        put(store, node(f"n{number}", value="x" * (PART // 2)))
    follower.catch_up()
    assert [type(message) for message in follower.received] == [Snapshot, Snapshot, Snapshot, InSync]
    assert contents(follower.view) == expected(store, ())


def test_a_document_for_all_is_packed_once() -> None:
    class Counting(Encoder):
        packed: list[str]

        def __init__(self) -> None:
            super().__init__()
            self.packed = []

        def document(self, document: dict[str, Any]) -> bytes:
            self.packed.append(document["metadata"]["name"])
            return super().document(document)

    encoder = Counting()
    store = make_store(node("ant"), node("bee"))
    fanout = Fanout(store, encoder)
    followers = [Follower(fanout, frozenset()) for _ in range(5)]
    for _ in range(2):
        for follower in followers:
            follower.catch_up()
    put(store, node("ant", value="2"))
    for follower in followers:
        follower.catch_up()
        follower.watch(Watch(frozenset()))  # a snapshot
        follower.catch_up()
    assert encoder.packed == ["ant", "bee", "ant"]


def test_a_closed_feed_is_told_nothing() -> None:
    store = make_store()
    fanout = Fanout(store, Encoder())
    follower = Follower(fanout, frozenset(["ant"]))
    follower.catch_up()
    follower.close()
    follower.woken = 0
    put(store, node("ant"))
    put(store, affinity("a", "ant"))
    other = Follower(fanout, frozenset())
    fanout.stop()
    other.catch_up()
    put(store, node("bee"))
    assert (follower.woken, other.woken) == (0, 1)


odd = st.sampled_from([None, 7, "", "a", b"a", [], ["a"], {}, {"name": "a"}, {"node": "a"}, {"node": ["a"]}])
almost = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["Node", "BlockAffinity", "BlockAffinity", 7]),
        "metadata": odd | st.just({"name": "a"}),
    },
    optional={"spec": odd},
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["get", "list", "create", "update", "delete", "?"]),
            odd | st.lists(odd | almost, max_size=4),
        )
    )
)
def test_no_call_of_a_shard_breaks_the_datastore(calls: list[tuple[str, object]]) -> None:
    store = make_store()
    follower = Follower(Fanout(store, Encoder()), frozenset(["a"]))
    for method, params in calls:
        try:
            answer(store, method, params)
        except DatastoreError:
            pass
    assert follower.frames()
