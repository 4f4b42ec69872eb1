"""A running cluster in this process, for benches that change it: the same coordinator and shards as ``up`` starts, without
screen and API.

Owns ``run``, from what was prepared to nothing, and ``Live``, the converged cluster in between, with the stop-watch. A
change is timed from before it is made

    until the shards' counts of routes show it in the last FIB                    ``shown``
    until the cluster has judged all tables exact                                 ``judged``

and the second is waited for in any case, so that a count which happened to be right is found out.

The shards report their counts ten times as often as they would for a person who watches: a report every 20 ms could
not time what takes as long. What these reports cost is in the time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from bench.rows import BenchError
from cluster.coordinator import Coordinator
from cluster.datastore.memory import MemoryStore
from cluster.launch import Prepared, Refused
from cluster.processes import ShardProcess
from cluster.rehearsal import live

PORT = 17902  # not up's, so that neither is in the other's way
REPORT_INTERVAL = 0.002
PATIENCE = 60.0
"""Seconds for a change to arrive; what takes longer is broken, not slow."""


@attrs.frozen
class Taken:
    """Seconds."""

    shown: float
    judged: float


@attrs.define
class Live:
    """A converged cluster."""

    coordinator: Coordinator
    store: MemoryStore
    shards: Sequence[ShardProcess]

    def routes(self, shards: Sequence[ShardProcess] | None = None) -> int:
        """In the FIBs of these shards; of all, when none are named."""
        chosen = self.shards if shards is None else shards
        return sum(self.coordinator.jury.progress_of(shard.number).routes for shard in chosen)

    async def time(
        self, change: Callable[[], object], routes: int, survivors: Sequence[ShardProcess] | None = None
    ) -> Taken:
        """``routes`` is how many there are after the change, in the shards that survive it (all, when none are named)."""
        lost = 0 if survivors is None else len(self.shards) - len(survivors)
        started = time.perf_counter()
        change()
        with trio.fail_after(PATIENCE):
            while self.routes(survivors) != routes:  # noqa: ASYNC110  # reports have no event of their own
                await trio.sleep(0.001)
            shown = time.perf_counter() - started
            # The verdict on what was before counts no more: the datastore is newer, or a shard is known to be dead.
            while len(self.coordinator.lost) < lost or not self.coordinator.converged:  # noqa: ASYNC110  # as above
                await trio.sleep(0.001)
        return Taken(shown, time.perf_counter() - started)


Measure = Callable[[Live], Awaitable[dict[str, float]]]


def run(prepared: Prepared, shards: Sequence[tuple[str, ...]], measure: Measure) -> dict[str, float]:
    """Starts the cluster, its nodes in these shards, measures, ends it.

    Raises:
        BenchError: it did not converge, or not again.
    """

    async def play(stage: live.Live) -> dict[str, float]:
        coordinator = stage.coordinator
        # Until the counts are those of the verdicts, too, which may be heard before them: the stop-watch goes by counts.
        settled = await stage.settle(prepared.spec.timeout)
        if settled.differences:
            raise BenchError(f"not converged: {settled.differences[0]}")
        try:
            return await measure(Live(coordinator, stage.store, stage.shards))
        except trio.TooSlowError:
            verdict = coordinator.jury.verdict
            failure = f"not converged: {verdict.missing} routes missing or wrong, {verdict.extra} too many"
            failure += "".join(f"; shard {shard.number} {shard.ended}" for shard in coordinator.lost)
            raise BenchError(failure) from None

    try:
        return live.run_live(prepared, play, shards=shards, report_interval=REPORT_INTERVAL)
    except Refused as error:
        raise BenchError(str(error)) from None
