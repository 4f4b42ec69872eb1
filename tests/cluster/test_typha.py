"""The datastore at the end of streams: requests, control, and that no shard waits for another."""

from __future__ import annotations

import gc
import socket
import weakref

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

from agents.channel import HIGH_WATER
from agents.syncer import Datastore, Syncer, View
from cluster.typha import Connection, Typha
from protocol.sync.errors import Conflict, NotFound, Unreachable
from protocol.sync.messages import Call, Deltas, InSync, Snapshot, Watch
from protocol.sync.wire import Decoder, Encoder
from tests.cluster.shards import (
    check_datastore,
    contents,
    dripping_pair,
    expected,
    make_store,
    put,
    serving,
    unasked,
)
from tests.strategies.sync import affinity, node, pool


async def test_the_datastore_over_a_stream() -> None:
    async with serving() as cluster:
        await check_datastore(cluster.shard(()).syncer)


async def test_the_view_has_what_a_write_changed_when_it_returns() -> None:
    """Even when everything between the two is a read of its own."""
    async with serving() as cluster:
        shard = cluster.shard(["ant"], dripping_pair)
        await shard.syncer.in_sync.wait()
        made = await shard.syncer.create(affinity("a", "ant"))
        assert shard.view.get("BlockAffinity", "a") == made
        await shard.syncer.delete(made)
        assert shard.view.get("BlockAffinity", "a") is None


async def test_a_shard_watches_every_node_while_felix_routes_to_them() -> None:
    mine, other = affinity("a", "ant"), affinity("b", "bee")
    async with serving(mine, other, pool(tunnel=False)) as cluster:
        shard = cluster.shard(["ant"])
        await shard.syncer.in_sync.wait()
        for tunnel, seen in [(False, {"a"}), (True, {"a", "b"}), (True, {"a", "b"}), (False, {"a"})]:
            put(cluster.store, pool(tunnel=tunnel))
            await wait_all_tasks_blocked()
            assert {name for _, _, name in shard.view.all("BlockAffinity")} == seen
            made = await shard.syncer.create(affinity("c", "ant"))
            assert shard.view.get("BlockAffinity", "c") == made
            await shard.syncer.delete(made)


@pytest.mark.slow
@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**32))
def test_nothing_is_lost_when_tasks_of_many_shards_compare_and_swap(
    shards: int, tasks: int, seed: int
) -> None:
    """Each adds one to the same label, with retries: the sum is the number of tasks."""

    async def add(datastore: Datastore, wins: list[str]) -> None:
        while True:
            current = await datastore.get("Node", "counter")
            value = str(int(current.metadata.labels["value"]) + 1)
            metadata = attrs.evolve(current.metadata, labels={"value": value})
            try:
                await datastore.update(attrs.evolve(current, metadata=metadata))
            except Conflict:
                continue
            wins.append(value)
            return

    async def main() -> None:
        wins: list[str] = []
        async with serving(node("counter", value="0")) as cluster:
            ends = [cluster.shard(()) for _ in range(shards)]
            async with trio.open_nursery() as nursery:
                for number in range(shards * tasks):
                    nursery.start_soon(add, ends[(number + seed) % shards].syncer, wins)
            assert cluster.store.revision == 1 + shards * tasks
            await wait_all_tasks_blocked()
            for shard in ends:
                assert contents(shard.view) == expected(cluster.store, ())
        assert sorted(wins, key=int) == [str(number + 1) for number in range(shards * tasks)]

    trio.run(main)


async def test_control_calls_and_reports() -> None:
    async with serving() as cluster:
        shard = cluster.shard(())
        got: dict[int, object] = {}

        async def ask(number: int) -> None:
            got[number] = await shard.connection.call("query", {"n": number})

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, number)
        assert got == {number: ["query", {"n": number}] for number in range(10)}
        with pytest.raises(NotFound, match=r"^no such node$"):
            await shard.connection.call("refuse")
        await shard.syncer.report("converged", [1, 2])
        await wait_all_tasks_blocked()
        assert shard.reports == [("converged", [1, 2])]


async def test_a_stalled_shard_delays_nobody_and_gets_a_snapshot_when_it_is_back() -> None:
    async with serving(node("ant")) as cluster:
        stalled, ends = cluster.raw(lockstep_stream_pair)
        await stalled.send_all(Encoder().encode(Watch(frozenset(["ant"]))))
        shard = cluster.shard(["ant"], lockstep_stream_pair)
        await shard.syncer.in_sync.wait()
        for number in range(5000):
            put(cluster.store, node(f"n{number}"))
        made = await shard.syncer.create(affinity("a", "ant"))
        assert shard.view.get("BlockAffinity", "a") == made
        assert len(shard.view.all("Node")) == 5001
        decoder, view, kinds = Decoder(), View(), []
        while view.revision < cluster.store.revision:
            for message in decoder.receive(await stalled.receive_some()):
                assert isinstance(message, Snapshot | InSync | Deltas)
                kinds.append(type(message))
                view.apply(message)
        assert Deltas not in kinds
        assert contents(view) == contents(shard.view)
        assert ends == []


async def test_a_shard_that_asks_and_does_not_read_is_not_read_from() -> None:
    async with serving(node("ant", value="x" * 100_000)) as cluster:
        greedy, _ = cluster.raw(lockstep_stream_pair)
        call = Encoder().encode(Call(1, "get", ["Node", "ant", ""]))
        sent = 0
        with trio.move_on_after(60) as asking:
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    nonlocal sent
                    while True:
                        await greedy.send_all(call)
                        sent += 1

                nursery.start_soon(ask)
                await wait_all_tasks_blocked()
                asking.cancel()
        assert 10 <= sent <= HIGH_WATER // 100_000 + 3
        shard = cluster.shard(())
        assert (await shard.syncer.get("Node", "ant")).metadata.name == "ant"


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (b"", "end of stream"),
        (b"\x94\x05", "end of stream inside a message"),
        (b"\x00", "protocol error: not a message: int"),
        (Encoder().encode(InSync(1)), "protocol error: InSync from a shard"),
    ],
)
async def test_the_end_of_a_shard_is_reported_and_the_others_go_on(last: bytes, reason: str) -> None:
    async with serving(node("ant")) as cluster:
        stream, ends = cluster.raw()
        shard = cluster.shard(())
        await stream.send_all(Encoder().encode(Watch(frozenset())) + last)
        await wait_all_tasks_blocked()
        await stream.aclose()
        await wait_all_tasks_blocked()
        assert ends == [reason]
        made = await shard.syncer.create(node("bee"))
        assert shard.view.get("Node", "bee") == made


async def test_nothing_is_kept_for_a_shard_that_is_gone() -> None:
    async with serving() as cluster:
        shard = cluster.shard(["ant"])
        await shard.syncer.in_sync.wait()
        connection = weakref.ref(shard.connection)
        shard.process.cancel()
        await wait_all_tasks_blocked()
        del shard
        gc.collect()
        assert connection() is None
        put(cluster.store, affinity("a", "ant"))


async def test_calls_to_a_shard_that_is_gone() -> None:
    async with serving() as cluster:
        shard = cluster.shard(())

        async def ask() -> None:
            with pytest.raises(Unreachable, match=r"^connection is lost: end of stream$"):
                await shard.connection.call("wait")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            shard.process.cancel()
        await wait_all_tasks_blocked()
        assert shard.ends == ["end of stream"]
        await ask()


def test_over_a_real_socket_pair_with_a_stalled_one_beside_it() -> None:
    """Enough to fill every buffer: 500 large nodes, three times; then one end is closed while it is written to."""

    async def main() -> None:
        pairs = [socket.socketpair() for _ in range(2)]
        streams = [[trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in pair] for pair in pairs]
        (theirs, mine), (others, stalled) = streams
        store = make_store(*(node(f"n{number}") for number in range(500)))
        typha = Typha(store)
        ends: list[str] = []

        async def run(connection: Connection) -> None:
            ends.append(await connection.run())

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, typha.connect(others, lambda *_: None))
                await stalled.send_all(Encoder().encode(Watch(frozenset())))
                nursery.start_soon(run, typha.connect(theirs, lambda *_: None))
                view = View()
                syncer = Syncer(mine, view, changed=lambda keys: None, handle=unasked)
                nursery.start_soon(syncer.run)
                syncer.watch(["ant"])
                await syncer.in_sync.wait()
                for turn in range(3):
                    for number in range(500):
                        put(store, node(f"n{number}", value=f"{turn}" * 500))
                    await syncer.create(affinity(f"a{turn}", "ant"))
                assert contents(view) == expected(store, ["ant"])
                assert ends == []
                await stalled.aclose()
                while not ends:
                    await trio.lowlevel.checkpoint()
                assert ends[0] in ("end of stream", "connection reset")
                assert await syncer.get("Node", "n7") == view.get("Node", "n7")
                nursery.cancel_scope.cancel()

    trio.run(main)


async def test_reports_wait_while_the_coordinator_is_busy() -> None:
    theirs, mine = lockstep_stream_pair()
    syncer = Syncer(mine, View(), changed=lambda keys: None, handle=unasked)
    reports: list[int] = []
    connection = Typha(make_store()).connect(theirs, lambda subject, params: reports.append(params[0]))
    sent = 0

    async def report() -> None:
        nonlocal sent
        for number in range(40):
            await syncer.report("large", [number, "x" * 100_000])
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(syncer.run)
        nursery.start_soon(report)
        await wait_all_tasks_blocked()
        assert sent <= HIGH_WATER // 100_000 + 2
        nursery.start_soon(connection.run)
        await wait_all_tasks_blocked()
        assert reports == [*range(40)]
        nursery.cancel_scope.cancel()
