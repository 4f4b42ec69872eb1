"""A cluster on real TCP that gets no rest, for minutes; and whether anything stays behind.

Owns ``soak``. It goes in rounds: pods, nodes, links, sessions and the configuration are disturbed (``Disturbance``, drawn from
the seed), then everything is put back as it was at the start. At the end of each round

    every FIB is exact, every session is up that can be, IPAM's records are sound, no shard has died

and what the processes hold is counted (``cluster.census``). The first third of the rounds is warm-up: caches fill, journals
reach their length. Between its end and the last round nothing may have grown: no task, no descriptor, objects and memory by no
more than ``Limits`` says.

Left out: words and options (``bench.__main__``).
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence

import attrs
import trio

from bench.rows import BenchError
from cluster.addressing import generated_address
from cluster.census import Census, census
from cluster.launch import Refused, prepare
from cluster.rehearsal.doing import Doing, until
from cluster.rehearsal.live import Live, run_live
from cluster.scenario import model
from cluster.scenario.model import Action
from cluster.soundness import unsound
from cluster.spec import Spec
from protocol.v3.loader import parse
from protocol.v3.metadata import Resource

PORT = 17903  # no other bench's
HOLD_TIME = 12.0
"""Seconds: a machine without power, or behind a cut, is noticed within a round."""
PATIENCE = 120.0
"""Seconds in which a cluster that nobody disturbs any more must be right: error waits are up to 30."""
DISTURBANCES = 10
"""In one round."""
PAUSE = 0.4
"""Seconds between two of them, at most."""
EXTRA_PODS = 5
"""On a node at once, at most."""

CONFIGURATIONS = {
    "communities": """
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec:
  communities: [{name: soak, value: "64512:77"}]
  prefixAdvertisements: [{cidr: 192.168.0.0/16, communities: [soak]}]
""",
    "pool": """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: soak}
spec: {cidr: 10.250.0.0/24, blockSize: 29, disableBGPExport: true, nodeSelector: "has(soaked)"}
""",
    "stranger": """
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: soak}
spec:
  importV4: [{action: Reject, cidr: 192.168.0.64/26, matchOperator: Equal}]
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: soak}
spec: {peerIP: 10.78.0.1, asNumber: 65001, filters: [soak]}
""",
}
"""Each comes and goes; none of them ends a session of the mesh."""


@attrs.frozen(kw_only=True)
class Limits:
    """Growth since the warm-up that is none: what allocators make of the same load, and the ends of it that are bounded elsewhere.

    A journal has places for 100 events, a datastore for many thousand changes, and neither may be full yet.
    """

    objects: float = 0.01
    objects_of_node: int = 300
    objects_of_change: int = 10
    memory: float = 0.10
    memory_mb: float = 8.0


@attrs.frozen(kw_only=True)
class Round:
    """What was there at its end."""

    at: float  # seconds since the start
    took: float  # until all was right again, after the last disturbance
    sessions: int
    revision: int  # of the datastore
    coordinator: Census
    shards: Census

    @property
    def census(self) -> Census:
        return self.coordinator + self.shards

    @property
    def memory_mb(self) -> float:
        return self.census.memory / 1e6


@attrs.define
class Soaked:
    """``wrong``: in words; empty when nothing is."""

    rounds: list[Round] = attrs.field(factory=list)
    done: Counter[str] = attrs.field(factory=Counter)
    wrong: list[str] = attrs.field(factory=list)

    def as_text(self) -> str:
        lines = [
            f"{len(self.rounds) - 1} rounds in {self.rounds[-1].at:.0f} s: "
            + ", ".join(f"{kind} {count}" for kind, count in sorted(self.done.items())),
            f"right again after {statistics.median(each.took for each in self.rounds[1:]):.1f} s (median), "
            f"{max(each.took for each in self.rounds[1:]):.1f} s (most)",
        ]
        for when, each in (("after the first", self.rounds[1]), ("after the last ", self.rounds[-1])):
            count = each.census
            lines.append(
                f"{when}: {each.memory_mb:,.0f} MB, {count.objects:,} objects, {count.descriptors:,} descriptors, "
                f"{count.tasks:,} tasks"
            )
        return "\n".join([*lines, *(self.wrong or ["nothing wrong"])])

    def as_json(self) -> str:
        return json.dumps(attrs.asdict(self), indent=1)


def soak(
    nodes: int, seconds: float, seed: int, *, say: Callable[[str], None], limits: Limits = Limits()
) -> Soaked:
    """Raises BenchError: it could not be started."""
    try:
        prepared = prepare(Spec(nodes=nodes, hold_time=HOLD_TIME, bgp_port=PORT, seed=seed))
        return run_live(prepared, lambda live: _soak(live, seconds, seed, say, limits))
    except Refused as error:
        raise BenchError(str(error)) from None


async def _soak(live: Live, seconds: float, seed: int, say: Callable[[str], None], limits: Limits) -> Soaked:
    found = Soaked()
    disturbing = Disturbing(live, random.Random(seed), found.done)
    started = time.monotonic()
    await _rest(live, started, found, disturbing)
    while not found.wrong and (len(found.rounds) < 4 or time.monotonic() - started < seconds):
        for _ in range(DISTURBANCES):
            await disturbing.disturb()
            await disturbing.pause()
        await disturbing.mend()
        await _rest(live, started, found, disturbing)
        last = found.rounds[-1]
        say(
            f"{last.at:5.0f} s  round {len(found.rounds) - 1}: right after {last.took:.1f} s, {last.sessions:,} sessions, "
            f"{last.memory_mb:,.0f} MB, {last.census.objects:,} objects, {last.census.descriptors:,} descriptors, "
            f"{last.census.tasks} tasks"
        )
    found.wrong += disturbing.problems
    if not found.wrong:
        found.wrong += grown(found.rounds, len(live.members()), limits)
    return found


async def _rest(live: Live, started: float, found: Soaked, disturbing: Disturbing) -> None:
    """Until all is right; then what there is."""
    mended = time.monotonic()
    coordinator = live.coordinator
    settled = await live.settle(PATIENCE)
    found.wrong += settled.differences

    async def complete() -> bool:
        expectation = coordinator.expectation
        return expectation is not None and coordinator.jury.progress.session_ends >= expectation.session_ends

    if not await until(live, PATIENCE, complete):
        missing = [
            f"{each.node} {each.peer}: {each.state} {each.error}"
            for each in await live.sessions()
            if each.state != "Established" and each.neighbour in live.members()
        ]
        found.wrong.append(f"{len(missing)} ends of sessions are not up again: {'; '.join(missing[:3])}")
    found.wrong += unsound(live.store.list, interrupted=disturbing.struck)
    found.wrong += (f"shard {shard.number} {shard.ended}" for shard in coordinator.lost)
    shards = Census(0, 0, 0, 0)
    for each in await coordinator.ask_all("census"):
        shards += Census(*each)
    found.rounds.append(
        Round(
            at=time.monotonic() - started,
            took=time.monotonic() - mended,
            sessions=coordinator.jury.progress.session_ends // 2,
            revision=live.store.revision,
            coordinator=census(),
            shards=shards,
        )
    )


def grown(rounds: Sequence[Round], nodes: int, limits: Limits) -> list[str]:
    """What is more at the end than after the warm-up, in words. The least of the last rounds counts: a leak is in all of them."""
    third = max(1, len(rounds) // 3)
    before, after = rounds[third : 2 * third], rounds[-third:]
    changes = after[-1].revision - before[0].revision

    def compare(what: str, of: Callable[[Round], float], factor: float = 0.0, more: float = 0.0) -> list[str]:
        most, least = max(map(of, before)), min(map(of, after))
        if least <= most * (1 + factor) + more:
            return []
        return [f"{what}: {most:,.0f} after the warm-up, {least:,.0f} in the end"]

    return [
        *compare("tasks", lambda each: each.census.tasks),
        *compare("descriptors", lambda each: each.census.descriptors),
        *compare(
            "objects of the shards",
            lambda each: each.shards.objects,
            limits.objects,
            limits.objects_of_node * nodes,
        ),
        *compare(
            "objects of the coordinator",
            lambda each: each.coordinator.objects,
            limits.objects,
            limits.objects_of_change * changes,
        ),
        *compare("MB of memory", lambda each: each.memory_mb, limits.memory, limits.memory_mb),
    ]


class Disturbing:
    """What is done to the cluster, and undone. ``struck``: who was in the middle of something when the power went."""

    def __init__(self, live: Live, rng: random.Random, done: Counter[str]) -> None:
        self.struck: set[str] = set()
        self.problems: list[str] = []
        """What did not work, and no fault explains."""
        self._live = live
        self._rng = rng
        self._done = done
        self._doing = Doing(live, time.time)
        self._first = tuple(live.members())
        self._down: dict[str, Action] = {}
        """Who does not run, and what brings it back."""
        self._pods: Counter[str] = Counter()
        """More than at the start."""
        self._extra: dict[str, Resource] = {}
        """Nodes that were not there at the start."""
        self._written: dict[str, tuple[Resource, ...]] = {}
        self._born = 0
        self._documents = {name: parse(text, name).resources for name, text in CONFIGURATIONS.items()}

    async def pause(self) -> None:
        await trio.sleep(self._rng.random() * PAUSE)

    async def disturb(self) -> None:
        up = [name for name in self._first if name not in self._down]
        one, other = self._rng.sample(up, 2)
        kind = self._rng.choice(
            (
                "pods", "pods", "pods", "stop", "power", "freeze", "cut", "flap", "node",
                "configuration", "configuration", "label", "reset", "reset",
            )
        )  # fmt: skip
        self._done[kind] += 1
        match kind:
            case "pods":
                if self._pods[one]:
                    await self._do(model.DeletePods((one,), self._pods.pop(one)))
                else:
                    self._pods[one] = self._rng.randint(1, EXTRA_PODS)
                    await self._do(model.AddPods((one,), self._pods[one]))
            case "stop" | "power" | "freeze" if len(up) <= 3:
                await self._back(next(iter(self._down)))
            case "stop":
                await self._strike(one, model.Stop((one,)), model.Start((one,)))
            case "power":
                self.struck.add(one)
                await self._strike(one, model.PowerOff((one,)), model.Start((one,)))
            case "freeze":
                await self._strike(one, model.Freeze((one,)), model.Thaw((one,)))
            case "cut":
                await self._do(model.Partition((one,), (other,)))
            case "flap":
                await self._do(model.Flap(one, other, down=0.3, every=0.6, times=2))
            case "node":
                await self._node()
            case "configuration":
                await self._configure(self._rng.choice([*self._documents]))
            case "label":
                value = self._rng.choice(("yes", None))
                await self._do(model.Label((one,), {"soaked": value}))
            case _:
                await self._live.coordinator.birdc(one, 4, "restart all")

    async def mend(self) -> None:
        """Everything as it was."""
        await self._do(model.Heal())
        for name in [*self._down]:
            await self._back(name)
        for name, count in self._pods.items():
            if count:
                await self._do(model.DeletePods((name,), count))
        self._pods.clear()
        for name in [*self._written]:
            await self._configure(name)
        for name in [*self._extra]:
            await self._do(model.Delete((self._extra.pop(name).key,)))
        await self._do(model.Label((model.ALL,), {"soaked": None}))

    async def _do(self, action: Action) -> None:
        self.problems += await self._doing.do(action)

    async def _strike(self, name: str, action: Action, back: Action) -> None:
        self._down[name] = back
        await self._do(action)

    async def _back(self, name: str) -> None:
        await self._do(self._down.pop(name))

    async def _node(self) -> None:
        """One more, or one of those that came is deleted again."""
        if self._extra and self._rng.random() < 0.5:
            name = self._rng.choice([*self._extra])
            await self._do(model.Delete((self._extra.pop(name).key,)))
            return
        self._born += 1
        # Few addresses, used again: what a node leaves behind meets the next one.
        taken = {each.metadata.labels["slot"] for each in self._extra.values()}
        slot = next(number for number in range(len(self._extra) + 1) if str(number) not in taken)
        address = generated_address(len(self._first) + 10 + slot)
        name = f"soak-{self._born}"
        [node] = parse(
            f"apiVersion: projectcalico.org/v3\nkind: Node\n"
            f"metadata: {{name: {name}, labels: {{slot: '{slot}'}}}}\nspec: {{bgp: {{ipv4Address: {address}}}}}",
            name,
        ).resources
        self._extra[name] = node
        await self._do(model.Apply((node,)))

    async def _configure(self, name: str) -> None:
        """Another one comes, or goes."""
        if name in self._written:
            for resource in reversed(self._written.pop(name)):
                await self._do(model.Delete((resource.key,)))
        else:
            self._written[name] = self._documents[name]
            await self._do(model.Apply(self._documents[name]))
