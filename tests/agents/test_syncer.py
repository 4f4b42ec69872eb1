"""The shard's side: what the View makes of a stream, and the calls in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from agents.syncer import Syncer, View
from protocol.sync.errors import Conflict, NotFound, RemoteProtocolError, Unreachable
from protocol.sync.messages import Call, Deltas, InSync, Message, Report, Return, Snapshot, Watch, node_of
from protocol.sync.wire import Decoder, Encoder
from protocol.v3.codec import KINDS, encode
from protocol.v3.metadata import Key, Resource
from tests.strategies.sync import affinity, endpoint, node, resources

State = dict[Key, Resource]


def at(resource: Resource, revision: int) -> Resource:
    return attrs.evolve(resource, metadata=attrs.evolve(resource.metadata, resource_version=str(revision)))


def documents(*some: Resource) -> tuple[dict[str, Any], ...]:
    return tuple(map(encode, some))


def contents(view: View) -> State:
    return {key: resource for kind in KINDS for key, resource in view.all(kind).items()}


def assert_holds(view: View, state: State) -> None:
    """By every way of reading."""
    assert contents(view) == state
    for (kind, namespace, name), resource in state.items():
        assert view.get(kind, name, namespace) == resource
    for kind in "BlockAffinity", "WorkloadEndpoint":
        for where in "ant", "bee", "cat":
            mine = {key: r for key, r in state.items() if key[0] == kind and node_of(encode(r)) == where}
            assert view.of_node(kind, where) == mine


def snapshot(view: View, revision: int, *some: Resource) -> list[Key]:
    assert view.apply(Snapshot(revision, documents(*some))) == []
    return view.apply(InSync(revision))


steps = st.lists(
    st.tuples(
        st.lists(st.tuples(st.booleans(), resources), max_size=5), st.sampled_from(["deltas", "snapshot"])
    ),
    max_size=8,
)


@given(steps, st.data())
def test_a_view_is_what_the_datastore_was_at_its_revision(
    steps: list[tuple[list[tuple[bool, Resource]], str]], data: st.DataObject
) -> None:
    """However it was told; and what it reports is exactly what changed."""
    view = View()
    state: State = {}
    revision = 0
    snapshot(view, revision)
    for writes, way in steps:
        before = dict(state)
        versions = {kind: view.version(kind) for kind in KINDS}
        for put, resource in writes:
            revision += 1
            if put:
                state[resource.key] = at(resource, revision)
            else:
                state.pop(resource.key, None)
        different = {key for key in {*before, *state} if before.get(key) != state.get(key)}
        if way == "deltas":
            gone = tuple(resource.key for _, resource in writes if resource.key not in state)
            changed = view.apply(
                Deltas(revision, documents(*(state[k] for k in sorted(different & {*state}))), gone)
            )
        else:
            everything = data.draw(st.permutations([*state.values()]))
            middle = data.draw(st.integers(0, len(everything)))
            view.apply(Snapshot(revision, documents(*everything[:middle])))
            assert contents(view) == before, "half a snapshot is nothing"
            changed = snapshot(view, revision, *everything[middle:])
        assert_holds(view, state)
        assert len(changed) == len(different)
        assert {*changed} == different
        assert view.revision == revision
        kinds = {key[0] for key in different}
        assert {kind for kind in KINDS if view.version(kind) != versions[kind]} == kinds
        assert all(view.version(kind) >= revision for kind in kinds)


def test_a_snapshot_at_the_same_revision_with_other_contents_is_another_version() -> None:
    """A new filter brings changes without a new revision; what was derived must not be believed."""
    view = View()
    snapshot(view, 5, at(affinity("a", "ant"), 3))
    first = view.version("BlockAffinity")
    assert snapshot(view, 5, at(affinity("a", "ant"), 3)) == []
    assert view.version("BlockAffinity") == first
    assert len(snapshot(view, 5, at(affinity("b", "bee"), 4))) == 2
    second = view.version("BlockAffinity")
    view.apply(Deltas(6, documents(at(affinity("c", "bee"), 6)), ()))
    assert first < second < view.version("BlockAffinity")


def test_nodes_touched_by_several_messages_are_all_named_once() -> None:
    """What one read brings may be many messages; whoever wakes nodes hears of them together."""
    view = View()
    snapshot(view, 1)
    view.apply(Deltas(2, documents(at(affinity("a", "cat"), 2)), ()))
    view.apply(Deltas(3, documents(at(endpoint("p", "ant"), 3)), ()))
    view.apply(Deltas(4, documents(at(node("bee"), 4)), ()))
    assert list(view.take_touched()) == ["cat", "ant"]
    assert list(view.take_touched()) == []


def test_mappings_are_live() -> None:
    view = View()
    snapshot(view, 1, at(node("ant"), 1))
    nodes = view.all("Node")
    view.apply(Deltas(2, documents(at(node("bee"), 2)), ()))
    assert {name for _, _, name in nodes} == {"ant", "bee"}


@pytest.mark.parametrize(
    "messages",
    [
        [Deltas(1, (), ())],
        [InSync(1)],
        [Snapshot(1, ()), Deltas(1, (), ())],
        [Snapshot(1, ()), InSync(1), Snapshot(2, ()), Deltas(2, (), ())],
        [Snapshot(1, ()), InSync(1), InSync(1)],
    ],
)
def test_messages_out_of_turn(messages: list[Deltas | InSync | Snapshot]) -> None:
    view = View()
    for message in messages[:-1]:
        view.apply(message)
    with pytest.raises(RemoteProtocolError):
        view.apply(messages[-1])


class Coordinator:
    """The other end, by hand."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._decoder = Decoder()
        self._encoder = Encoder()

    async def receive(self) -> list[Message]:
        """All that comes in one read: what was sent at once, as the memory stream keeps it together."""
        await wait_all_tasks_blocked()
        return list(self._decoder.receive(await self.stream.receive_some()))

    async def send(self, *messages: Message) -> None:
        await self.stream.send_all(b"".join(map(self._encoder.encode, messages)))
        await wait_all_tasks_blocked()


@attrs.define
class Shard:
    syncer: Syncer
    coordinator: Coordinator
    view: View
    changed: list[list[Key]]
    reason: str = ""  # of the end


@asynccontextmanager
async def running(handle: Callable[[str, Any], Awaitable[object]] | None = None) -> AsyncIterator[Shard]:
    async def refuse(method: str, params: Any) -> object:
        raise AssertionError(method)

    mine, theirs = memory_stream_pair()
    view = View()
    changed: list[list[Key]] = []
    shard = Shard(
        Syncer(mine, view, changed=changed.append, handle=handle or refuse),
        Coordinator(theirs),
        view,
        changed,
    )

    async def run() -> None:
        shard.reason = await shard.syncer.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield shard
        nursery.cancel_scope.cancel()


async def test_calls_of_one_tick_go_out_in_one_send_and_are_answered_in_any_order() -> None:
    async with running() as shard:
        got: dict[str, str] = {}

        async def ask(name: str) -> None:
            resource = await shard.syncer.get("Node", name)
            got[name] = resource.metadata.resource_version

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, f"n{number}")
            calls = await shard.coordinator.receive()
            assert len(calls) == 50
            answers = []
            for number, call in enumerate(calls):
                assert isinstance(call, Call)
                kind, name, namespace = call.params
                assert (call.method, kind, namespace) == ("get", "Node", "")
                answers.append(Return(call.id, encode(at(node(name), 100 + number))))
            await shard.coordinator.send(*answers[::-1][:20])
            await shard.coordinator.send(*answers[:30])
        assert len({*got.values()}) == 50


async def test_the_datastore_methods_and_their_requests() -> None:
    async with running() as shard:
        mine = endpoint("p", "ant")
        stamps = ["7", "uid-7", "2027-01-15T08:00:00Z"]
        results: list[object] = []

        async def work() -> None:
            written = await shard.syncer.create(mine)
            results.append(written)
            results.append(await shard.syncer.update(written))
            await shard.syncer.delete(written)
            results.append(await shard.syncer.list("WorkloadEndpoint"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            seen = []
            for answer in stamps, ["8", *stamps[1:]], None, [encode(mine)]:
                [call] = await shard.coordinator.receive()
                assert isinstance(call, Call)
                seen.append((call.method, call.params))
                await shard.coordinator.send(Return(call.id, answer))
        metadata = attrs.evolve(
            mine.metadata, resource_version="7", uid="uid-7", creation_timestamp="2027-01-15T08:00:00Z"
        )
        written = attrs.evolve(mine, metadata=metadata)
        assert results == [written, at(written, 8), [mine]]
        assert seen == [
            ("create", [encode(mine)]),
            ("update", [encode(written)]),
            ("delete", ["WorkloadEndpoint", "p", "default", "7"]),
            ("list", ["WorkloadEndpoint"]),
        ]


async def test_a_refusal_is_raised_where_it_was_asked() -> None:
    async with running() as shard:

        async def ask() -> None:
            with pytest.raises(NotFound, match=r"^resource does not exist: Node\(x\)$"):
                await shard.syncer.get("Node", "x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            [call] = await shard.coordinator.receive()
            assert isinstance(call, Call)
            await shard.coordinator.send(
                Return(call.id, fault=("NotFound", "resource does not exist: Node(x)"))
            )


async def test_a_cancelled_call_leaves_the_others_alone() -> None:
    async with running() as shard:
        with trio.CancelScope() as given_up:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(shard.syncer.get, "Node", "a")
                [call] = await shard.coordinator.receive()
                given_up.cancel()
        assert isinstance(call, Call)
        await shard.coordinator.send(Return(call.id, encode(node("a"))), Return(999, None))
        got: list[Resource] = []

        async def ask() -> None:
            got.append(await shard.syncer.get("Node", "b"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            [call] = await shard.coordinator.receive()
            assert isinstance(call, Call)
            await shard.coordinator.send(Return(call.id, encode(node("b"))))
        assert got == [node("b")]


async def test_what_a_write_changed_is_known_when_it_returns() -> None:
    async with running() as shard:
        shard.syncer.watch(["ant", "bee"])
        assert await shard.coordinator.receive() == [Watch(frozenset({"ant", "bee"}))]
        assert not shard.syncer.in_sync.is_set()
        await shard.coordinator.send(Snapshot(1, documents(at(node("ant"), 1))), InSync(1))
        assert shard.syncer.in_sync.is_set()
        assert shard.changed == [[("Node", "", "ant")]]
        order: list[object] = []

        async def write() -> None:
            await shard.syncer.create(affinity("x", "ant"))
            order.append((shard.view.get("BlockAffinity", "x") is not None, len(shard.changed)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            [call] = await shard.coordinator.receive()
            assert isinstance(call, Call)
            # Two deltas of one read are one notification; a key that changed twice is in it once.
            await shard.coordinator.send(
                Deltas(2, documents(at(affinity("x", "ant"), 2)), ()),
                Deltas(3, documents(at(affinity("x", "bee"), 3)), (("Node", "", "ant"), ("Node", "", "?"))),
                Return(call.id, ["2", "u", "t"]),
            )
        assert order == [(True, 2)]
        assert shard.changed[1] == [("BlockAffinity", "", "x"), ("Node", "", "ant")]


async def test_the_coordinators_calls_are_answered_a_task_each() -> None:
    release = trio.Event()

    async def handle(method: str, params: Any) -> object:
        if method == "slow":
            await release.wait()
        if method == "refuse":
            raise Conflict("no")
        return [method, params]

    async with running(handle) as shard:
        await shard.coordinator.send(Call(1, "slow"), Call(2, "judge", {"x": 1}), Call(3, "refuse"))
        answers = await shard.coordinator.receive()
        assert sorted(answers, key=repr) == [
            Return(2, ["judge", {"x": 1}]),
            Return(3, None, ("Conflict", "no")),
        ]
        release.set()
        assert await shard.coordinator.receive() == [Return(1, ["slow", None])]


async def test_reports_arrive_in_order() -> None:
    async with running() as shard:
        for number in range(3):
            await shard.syncer.report("progress", number)
        seen: list[Message] = []
        while len(seen) < 3:
            seen += await shard.coordinator.receive()
        assert seen == [Report("progress", number) for number in range(3)]


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (b"", "end of stream"),
        (Encoder().encode(Call(1, "judge"))[:-1], "end of stream inside a message"),
        (b"\xc1", "protocol error: not msgpack"),
        (Encoder().encode(Report("progress", 1)), "protocol error: Report from the datastore"),
        (Encoder().encode(InSync(1)), "protocol error: in sync without a snapshot"),
    ],
)
async def test_the_end_of_the_stream_is_reported_and_ends_all_calls(last: bytes, reason: str) -> None:
    async def never(method: str, params: Any) -> object:
        await trio.sleep_forever()

    async with running(never) as shard:
        await shard.coordinator.send(Call(1, "wait"))

        async def ask() -> None:
            with pytest.raises(Unreachable, match=f"^connection is lost: {reason}"):
                await shard.syncer.get("Node", "x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await shard.coordinator.receive()
            if last:
                await shard.coordinator.stream.send_all(last)
            await shard.coordinator.stream.aclose()
        await wait_all_tasks_blocked()
        assert shard.reason.startswith(reason)
        await ask()  # and so does every later one
