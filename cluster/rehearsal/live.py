"""A stage on the real clock: a coordinator in this process and shards of its own, as ``up`` has them, without screen
and API.

Owns ``Live`` and ``run_live``, from what was prepared to nothing. All nodes are started together, with a barrier, and
``Live`` is there when they have begun to dial; ``off`` are those that have no power yet.

    run_live ─► fork the shards ─► trio: Coordinator ─► play(Live) ─► everything is killed and reaped

Left out: what is played (``play``).
"""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from agents.dataplane.fib import FibRoute, Routes
from cluster.convergence import QUIET
from cluster.coordinator import Coordinator
from cluster.datastore.memory import Change, MemoryStore
from cluster.faults import State
from cluster.launch import Prepared, Refused
from cluster.oracle.tables import unspell
from cluster.processes import CannotStart, Processes, ShardProcess
from cluster.rehearsal.stage import SessionView, Settled
from cluster.shard import PROGRESS_INTERVAL
from cluster.shard import serve as serve_shard
from cluster.spec import HOSTED, addresses_of
from cluster.workloads import pod_names
from protocol.prefix import Prefix, format_address, format_prefix
from protocol.sync.messages import Document
from protocol.v3.codec import decode
from protocol.v3.workload import WorkloadEndpoint

if TYPE_CHECKING:
    from cluster.loss.account import Account

T = TypeVar("T")

LOOK: Final = 0.02
"""Seconds between two looks at a cluster that is waited for; the shards' reports are as far apart."""


class Live:
    """A ``Stage``. Made in the coordinator's trio.run, when it has booted."""

    def __init__(
        self, coordinator: Coordinator, store: MemoryStore, shards: Sequence[ShardProcess], born: float
    ) -> None:
        self.coordinator = coordinator
        self.shards = shards
        self.store = store
        self.account: Account | None = None
        self._born = born
        self._touched = time.monotonic()
        """When something was last done here."""
        self._ups = 0
        self._routes = Routes()
        store.watch(self._written)

    def _written(self, change: Change) -> None:
        self._touched = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._born

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)
        await self._catch_up()

    def members(self) -> Sequence[str]:
        return sorted(document["metadata"]["name"] for kind in HOSTED for document in self.store.list(kind))

    # --- faults -----------------------------------------------------------------------------------------------------

    async def start(self, name: str) -> None:
        await self._act("start", name)

    async def stop(self, name: str) -> None:
        await self._act("stop", name)

    async def power_off(self, name: str) -> None:
        await self._act("power-off", name)

    async def freeze(self, name: str) -> None:
        await self._act("freeze", name)

    async def thaw(self, name: str) -> None:
        await self._act("thaw", name)

    async def cut(self, one: str, other: str) -> None:
        await self._act("cut", one, other)

    async def heal(self, one: str, other: str) -> None:
        await self._act("heal", one, other)

    async def _act(self, action: str, *names: str) -> None:
        for name in names:
            await self._hosted(name)
        await self.coordinator.fault(action, names)
        self._touched = time.monotonic()

    async def _hosted(self, name: str) -> None:
        """Until a node that was created is hosted. Raises KeyError for one that is not there."""
        while name not in self.coordinator.hosts:
            if name not in self.members():
                raise KeyError(name)
            await trio.sleep(LOOK)

    # --- pods -------------------------------------------------------------------------------------------------------

    async def add_pods(self, name: str, count: int) -> Sequence[str]:
        await self._hosted(name)
        taken = {document["spec"].get("pod") for document in self._endpoints(name)}
        pods = [pod for pod in pod_names(name, count + len(taken)) if pod not in taken][:count]
        if name in self.coordinator.faults.states:
            return [f"{name} does not run"]
        problems: list[str] = await self.coordinator.ask(name, "add_named_pods", pods)
        return problems

    async def delete_pods(self, name: str, count: int) -> int:
        await self._hosted(name)
        if name in self.coordinator.faults.states:
            return 0  # there is nobody to do it
        found = sorted(
            (document["metadata"]["name"], document["metadata"]["namespace"], document["spec"]["pod"])
            for document in self._endpoints(name)
        )[:count]
        deleted: int = await self.coordinator.ask(
            name, "delete_pods", [[pod, namespace] for _, namespace, pod in found]
        )
        return deleted

    def _endpoints(self, name: str) -> list[Document]:
        return [
            document
            for document in self.store.list(WorkloadEndpoint.kind)
            if document["spec"]["node"] == name
        ]

    # --- what there is ----------------------------------------------------------------------------------------------

    async def sessions(self, of: Collection[str] | None = None) -> Sequence[SessionView]:
        names = {
            address: document["metadata"]["name"]
            for kind in HOSTED
            for document in self.store.list(kind)
            for address in addresses_of(decode(document)).values()
        }
        rows: list[Any] = []
        self._ups = 0
        for some, ups in await self.coordinator.ask_all("sessions"):
            rows += some
            self._ups += ups
        return [
            SessionView(
                node=node,
                peer=peer,
                neighbour=names.get(address) or format_address(address),
                family=family,
                state=state,
                error=error,
            )
            for node, peer, address, family, state, error in sorted(
                rows, key=lambda row: (row[0], row[3], row[1])
            )
            if of is None or node in of
        ]

    def ups(self) -> int:
        """How many ends of sessions had come up when somebody last asked for ``sessions``."""
        return self._ups

    async def routes(self, name: str) -> Mapping[Prefix, FibRoute]:
        await self._hosted(name)
        if self.coordinator.faults.states.get(name) is State.OFF:
            return {}
        table: dict[Prefix, FibRoute] = {}
        for (kind, gateways, device), prefixes in await self.coordinator.ask(name, "fib"):
            table.update(dict.fromkeys(prefixes, unspell(kind, gateways, device, self._routes.via)))
        return table

    # --- judgement --------------------------------------------------------------------------------------------------

    async def settle(self, within: float) -> Settled:
        with trio.move_on_after(within):
            while not self._is_settled():  # noqa: ASYNC110  # reports have no event of their own
                await trio.sleep(LOOK)
        settled = self._is_settled()
        await self._catch_up()
        if settled:
            return self._settled()
        verdict = self.coordinator.jury.verdict
        differences = [str(each) for each in verdict.differences]
        more = verdict.missing + verdict.extra - len(differences)
        if more > 0:
            differences.append(f"and {more:,} more")
        if not differences:
            differences.append(f"after {within:g} s something still moves")
        return self._settled(*differences)

    def _settled(self, *differences: str) -> Settled:
        expectation = self.coordinator.expectation
        unsettled = {} if expectation is None else expectation.oracle.unsettled
        return Settled(
            differences=differences,
            at=self._moved_at() - self._born,
            unsettled=tuple(f"{format_prefix(prefix)}: {why}" for prefix, why in unsettled.items()),
        )

    def _is_settled(self) -> bool:
        coordinator = self.coordinator
        return (
            time.monotonic() - self._moved_at() >= QUIET
            and coordinator.converged
            and coordinator.jury.current
        )

    def _moved_at(self) -> float:
        return max(self._touched, self.coordinator.jury.moved_at)

    # --- loss -------------------------------------------------------------------------------------------------------

    async def watch_loss(self) -> Account:
        if self.account is None:
            self.account = await self.coordinator.losses.begin(origin=self._born)
        return self.account

    async def _catch_up(self) -> None:
        if self.account is not None:
            await self.coordinator.losses.catch_up()


def run_live(
    prepared: Prepared,
    play: Callable[[Live], Awaitable[T]],
    *,
    off: Collection[str] = (),
    shards: Sequence[tuple[str, ...]] | None = None,
    report_interval: float = PROGRESS_INTERVAL,
    shard_lost: Callable[[ShardProcess], None] = lambda shard: None,
) -> T:
    """Start the cluster, play, end the cluster. ``shards``: who is where, if it is not as the plan says. ``shard_lost``
    is called in the midst of it when one has died; the rest goes on.

    Raises:
        Refused: it could not be started; nothing of it is left.
    """
    chosen = prepared.plan.shards if shards is None else shards

    def serve(index: int, stream: socket.socket) -> None:
        serve_shard(prepared.job(chosen[index], report_interval, off), stream)

    gc.freeze()  # so that no collection in a shard touches, and copies, what is shared
    try:
        with Processes(chosen, serve) as processes:
            processes.accept_signals()
            return trio.run(_run, prepared, processes.shards, play, off, shard_lost)
    except CannotStart as error:
        raise Refused(str(error)) from None


async def _run(
    prepared: Prepared,
    shards: Sequence[ShardProcess],
    play: Callable[[Live], Awaitable[T]],
    off: Collection[str],
    shard_lost: Callable[[ShardProcess], None],
) -> T:
    store = prepared.fill_store()
    born = time.monotonic()
    coordinator = prepared.coordinator(store, shards, clock=time.monotonic, shard_lost=shard_lost, off=off)
    result: list[T] = []
    error: Exception | KeyboardInterrupt | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(coordinator.run)
        try:
            await coordinator.started.wait()
            if coordinator.failure is not None:
                raise Refused(": ".join(coordinator.failure))
            result.append(await play(Live(coordinator, store, shards, born)))
        except (Exception, KeyboardInterrupt) as caught:
            error = caught
        nursery.cancel_scope.cancel()
    if error is not None:  # raised here, outside of the nursery, which would wrap it
        raise error
    return result[0]
