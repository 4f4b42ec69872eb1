"""A converged mesh under attack: how long a change takes until the last table shows it, before and while it is attacked.

Owns ``siege``. One node is stopped, and the besieger (``besieger``) has its place: its address, its AS, everybody's
neighbour. Of each attack:

    churn      a block that is claimed, and released, at one node, until the last table shows it; the median and the most
    sessions   of all others, that went down
    memory     of the shards, more than before; and once more when the attack is over
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import attrs
import trio

from bench.besieger import ROUTES
from bench.churn import claim, free_block, release
from bench.rows import BenchError
from cluster.census import Census
from cluster.launch import Prepared, Refused, prepare
from cluster.rehearsal.live import Live, run_live
from cluster.spec import Spec
from protocol.v3.ippool import IPPool

ROOT = Path(__file__).parent.parent
PORT = 17904  # no other bench's
ATTACKS = ("strangers", "slow", "mute", "flood")
PATIENCE = 60.0
REPORT_INTERVAL = 0.002
FIRST = 3.0
"""Seconds until an attack is in full swing, at most."""
FORGETFUL = """
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeMeshMaxRestartTime: 1s}
"""
"""Nobody keeps the routes of the one who is stopped."""


@attrs.frozen(kw_only=True)
class Siege:
    """Seconds and MB. ``done``: what the besieger counted."""

    attack: str
    changes: int
    median: float
    most: float
    sessions_lost: int
    memory_mb: float
    memory_after_mb: float
    descriptors: int
    done: dict[str, int]

    @property
    def line(self) -> str:
        did = ", ".join(f"{count:,} {what}" for what, count in self.done.items() if count)
        return (
            f"{self.attack:9}  churn {self.median * 1000:6.1f} ms, {self.most * 1000:6.1f} at most ({self.changes} changes); "
            f"{self.sessions_lost} sessions lost; {self.memory_mb:+.1f} MB, {self.memory_after_mb:+.1f} after; "
            f"{self.descriptors:+d} descriptors{'; ' if did else ''}{did}"
        )


def siege(nodes: int, seconds: float, *, say: Callable[[str], None]) -> list[Siege]:
    """Nobody first, then each attack for so long. Raises BenchError."""
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(FORGETFUL)
            file.flush()
            prepared = prepare(Spec(nodes=nodes, bgp_port=PORT, manifests=(file.name,)))
        return run_live(
            prepared, lambda live: _siege(live, prepared, seconds, say), report_interval=REPORT_INTERVAL
        )
    except Refused as error:
        raise BenchError(str(error)) from None


async def _siege(live: Live, prepared: Prepared, seconds: float, say: Callable[[str], None]) -> list[Siege]:
    names = list(live.members())
    besieged, first = names[-1], names[0]
    settled = await live.settle(prepared.spec.timeout)
    if settled.differences:
        raise BenchError(f"not converged: {settled.differences[0]}")
    await live.stop(besieged)
    settled = await live.settle(PATIENCE)
    if settled.differences:
        raise BenchError(f"not converged without {besieged}: {settled.differences[0]}")
    found = []
    for attack in ("nobody", *ATTACKS):
        before, began = await count(live), time.time()
        with besieger(attack, prepared, besieged) as said:
            if attack == "flood":
                await full(live, ROUTES * (len(names) - 1))
            elif attack != "nobody":
                await trio.sleep(min(FIRST, seconds))
            times = await churn(live, prepared, first, len(names) - 1, seconds)
            during = await count(live)
            sessions_lost = await lost(live, besieged, began)
            done = said()
        await trio.sleep(min(FIRST, seconds))
        after = await count(live)
        found.append(
            Siege(
                attack=attack,
                changes=len(times),
                median=statistics.median(times),
                most=max(times),
                sessions_lost=sessions_lost,
                memory_mb=(during.memory - before.memory) / 1e6,
                memory_after_mb=(after.memory - before.memory) / 1e6,
                descriptors=during.descriptors - before.descriptors,
                done=done,
            )
        )
        say(found[-1].line)
    return found


async def count(live: Live) -> Census:
    total = Census(0, 0, 0, 0)
    for each in await live.coordinator.ask_all("census"):
        total += Census(*each)
    return total


async def lost(live: Live, besieged: str, since: float) -> int:
    """How many ends of sessions went down since then (Unix time), or are down; none of those with the besieger."""
    own = {each.peer for each in await live.sessions() if each.neighbour == besieged}
    down = {
        (each.node, each.peer)
        for each in await live.sessions()
        if each.state != "Established" and besieged not in (each.node, each.neighbour)
    }
    for row in await live.coordinator.events(None):
        name = next(iter(row["message"].split()), "").rstrip(":")
        if row["reason"] == "SessionDown" and row["time"] >= since and name not in own:
            down.add((row["node"], name))
    return len(down)


async def full(live: Live, more: int) -> None:
    """Until everybody has that many routes more."""
    routes = live.coordinator.jury.progress.routes + more
    with trio.move_on_after(PATIENCE):
        while live.coordinator.jury.progress.routes != routes:  # noqa: ASYNC110  # reports have no event of their own
            await trio.sleep(0.05)
        return
    raise BenchError(f"after {PATIENCE:.0f} s the flood has not reached everybody")


async def churn(live: Live, prepared: Prepared, node: str, nodes: int, seconds: float) -> list[float]:
    pool = next(prepared.world.of_kind(IPPool))
    cidr = free_block(pool, live.store)
    ended = time.monotonic() + seconds
    times = []
    while time.monotonic() < ended:
        routes = live.coordinator.jury.progress.routes
        times.append(await shown(live, lambda: claim(live.store, node, cidr), routes + nodes))
        times.append(await shown(live, lambda: release(live.store, node, cidr), routes))
        await trio.sleep(0.05)
    return times


async def shown(live: Live, change: Callable[[], object], routes: int) -> float:
    started = time.perf_counter()
    change()
    with trio.move_on_after(PATIENCE):
        while live.coordinator.jury.progress.routes != routes:  # noqa: ASYNC110  # reports have no event of their own
            await trio.sleep(0.001)
        return time.perf_counter() - started
    raise BenchError(
        f"a change did not arrive in {PATIENCE:.0f} s: {live.coordinator.jury.progress.routes} routes, not {routes}"
    )


@contextmanager
def besieger(attack: str, prepared: Prepared, besieged: str) -> Iterator[Callable[[], dict[str, int]]]:
    """A process; what it says is what it did so far."""
    if attack == "nobody":
        yield dict
        return
    addresses = prepared.world.addresses()
    endpoints = prepared.endpoints.table
    [own] = addresses[besieged]
    told = {
        "kind": attack,
        "address": ".".join(map(str, own)),
        "source": endpoints[own][0],
        "asn": 64512,
        "targets": [
            endpoints[address] for name, each in addresses.items() for address in each if name != besieged
        ],
    }
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.besieger"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(told).encode() + b"\n")
        process.stdin.flush()
        os.set_blocking(process.stdout.fileno(), False)
        try:
            yield lambda: _last(process)
        finally:
            process.kill()


def _last(process: subprocess.Popen[bytes]) -> dict[str, int]:
    output: IO[bytes] | None = process.stdout
    assert output is not None
    lines = (output.read() or b"").splitlines()
    if process.poll() is not None or not lines:
        raise BenchError("the besieger has given up")
    last: dict[str, int] = json.loads(lines[-1])
    return last
