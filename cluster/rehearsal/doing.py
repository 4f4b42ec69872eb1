"""What a scenario's actions do to a cluster.

Owns ``Doing``: one action at a time, on any ``Stage``; and who is meant by ``Names``. Resources go the way of the API
(``cluster.writing``), faults are the stage's, and what takes its time here (a rolling restart, a link that flaps) is
made of those.

What does not work is returned in words and no exception: a document that is refused, a name that nobody has, a pod
without an address. The rest of the action is done all the same, as calicoctl goes on with the next resource.

Left out: when (``play``), what is expected (``judging``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

import attrs

from cluster.api import patches
from cluster.cleanup import Cleanup
from cluster.rehearsal.stage import SessionView, Stage
from cluster.rehearsal.weather import ordered
from cluster.scenario import model
from cluster.scenario.model import Action, Names
from cluster.scenario.names import UnknownName, pick
from cluster.scenario.write import listed, span
from cluster.spec import HOSTED
from cluster.writing import Writing
from protocol.sync.errors import DatastoreError
from protocol.sync.messages import Document
from protocol.v3.codec import encode
from protocol.v3.metadata import Key
from protocol.v3.validate import InvalidResource

_PATCHES: Final = {"merge": patches.MERGE, "strategic": patches.STRATEGIC, "json": patches.JSON}
FIRST_LOOK: Final = 0.05
SELDOM: Final = 1.0
"""Seconds between looks at something that is waited for: they grow from the one to the other."""

BOOT: Final = 0.001
"""Seconds in which a node that was created is started, and one that is frozen comes to stand still, in virtual time:
what is done next finds it so.
"""

Problems = list[str]


def members_of(names: Names, stage: Stage) -> list[str]:
    """Who is meant now. Raises UnknownName."""
    return pick(names, stage.members(), {each["metadata"]["name"]: each for each in stage.store.list("Node")})


async def until(
    stage: Stage, seconds: float, holds: Callable[[], Awaitable[bool]], *, seldom: float = SELDOM
) -> bool:
    """Look until it holds, or the time is over; whether it did."""
    deadline = stage.now() + seconds
    pause = FIRST_LOOK
    while not await holds():
        left = deadline - stage.now()
        if left <= 0:
            return False
        await stage.sleep(min(pause, left))
        pause = min(pause * 1.5, seldom)
    return True


@attrs.define
class Doing:
    """``wall`` is Unix time."""

    stage: Stage
    wall: Callable[[], float]
    cuts: dict[tuple[str, str], None] = attrs.field(factory=dict)
    """Pairs in the order of their names."""
    _writing: Writing = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._writing = Writing(self.stage.store, Cleanup(self.stage.store, wall=self.wall))

    async def do(self, action: Action) -> Problems:
        """Returns what did not work."""
        problems: Problems = []
        try:
            await self._do(action, problems)
        except UnknownName as error:
            problems.append(str(error))
        return problems

    async def _do(self, action: Action, problems: Problems) -> None:
        match action:
            case model.Apply() | model.Delete() | model.Patch() | model.Label():
                await self._write(action, problems)
            case model.AddPods(names=names, count=count):
                for name in members_of(names, self.stage):
                    problems += await self.stage.add_pods(name, count)
            case model.DeletePods(names=names, count=count):
                for name in members_of(names, self.stage):
                    found = await self.stage.delete_pods(name, count)
                    if found < count:
                        problems.append(f"{name} had {found} pods, and not {count}")
            case model.Stop(names=names):
                await self._each(names, self.stage.stop)
            case model.Start(names=names):
                await self._each(names, self.stage.start)
            case model.PowerOff(names=names):
                await self._each(names, self.stage.power_off)
            case model.Freeze(names=names):
                await self._each(names, self.stage.freeze)
                await self.stage.sleep(BOOT)
            case model.Thaw(names=names):
                await self._each(names, self.stage.thaw)
            case model.Restart():
                await self._restart(action, problems)
            case model.Partition(one=one, other=other):
                for pair in self._pairs(one, other):
                    await self._cut(pair)
            case model.Heal(one=one, other=other):
                for pair in self._pairs(one, other) if one or other else [*self.cuts]:
                    await self._heal(pair)
            case model.Flap():
                await self._flap(action)
            case model.Wait(seconds=seconds):
                await self.stage.sleep(seconds)

    # --- resources --------------------------------------------------------------------------------------------------

    async def _write(
        self, action: model.Apply | model.Delete | model.Patch | model.Label, problems: Problems
    ) -> None:
        match action:
            case model.Apply(resources=resources):
                for resource in resources:
                    document = encode(resource)
                    self._try(resource.key, problems, partial(self._writing.apply, document))
                if any(resource.kind in HOSTED for resource in resources):
                    await self.stage.sleep(BOOT)
            case model.Patch(key=key, patch=patch, type=type_):
                self._try(key, problems, partial(self._writing.patch, key, _PATCHES[type_], patch))
            case model.Label(names=names, labels=labels, kind=kind, namespace=namespace):
                change = {"metadata": {"labels": dict(labels)}}
                for name in members_of(names, self.stage) if kind == "Node" else names:
                    key = kind, namespace, name
                    self._try(key, problems, partial(self._writing.patch, key, patches.MERGE, change))
            case model.Delete(keys=keys):
                for key in keys:
                    try:
                        await self._writing.delete(key)
                    except DatastoreError as error:
                        problems.append(_refused(key, str(error)))

    def _try(self, key: Key, problems: Problems, write: Callable[[], Document]) -> None:
        try:
            write()
        except InvalidResource as error:
            problems += (_refused(key, str(fault)) for fault in error.faults)
        except patches.BadPatch as error:
            problems.append(_refused(key, f"the patch cannot be applied: {error}"))
        except DatastoreError as error:
            problems.append(_refused(key, str(error)))

    # --- faults -----------------------------------------------------------------------------------------------------

    async def _each(self, names: Names, strike: Callable[[str], Awaitable[None]]) -> None:
        for name in members_of(names, self.stage):
            await strike(name)

    def _pairs(self, one: Names, other: Names) -> list[tuple[str, str]]:
        left, right = members_of(one, self.stage), members_of(other, self.stage)
        pairs = [ordered(here, there) for here in left for there in right if here != there]
        return [*dict.fromkeys(pairs)]

    async def _cut(self, pair: tuple[str, str]) -> None:
        await self.stage.cut(*pair)
        self.cuts[pair] = None

    async def _heal(self, pair: tuple[str, str]) -> None:
        self.cuts.pop(pair, None)
        if {*pair} <= {*self.stage.members()}:  # one that was deleted has taken its cuts along
            await self.stage.heal(*pair)

    async def _flap(self, flap: model.Flap) -> None:
        pair = ordered(*members_of((flap.one, flap.other), self.stage))
        began = self.stage.now()
        for number in range(flap.times):
            await self.stage.sleep(max(0.0, began + number * flap.every - self.stage.now()))
            await self._cut(pair)
            await self.stage.sleep(flap.down)
            await self._heal(pair)

    async def _restart(self, restart: model.Restart, problems: Problems) -> None:
        names = members_of(restart.names, self.stage)
        for first in range(0, len(names), restart.window):
            window = names[first : first + restart.window]
            up = established(await self.stage.sessions(window))
            for name in window:
                await self.stage.stop(name)
            await self.stage.sleep(restart.down)
            for name in window:
                await self.stage.start(name)

            async def again(up: frozenset[End] = up, window: Sequence[str] = window) -> bool:
                return up <= established(await self.stage.sessions(window))

            if not await until(self.stage, restart.within, again):
                lacking = up - established(await self.stage.sessions(window))
                which = sorted(f"{node} with {peer}" for node, peer, _ in lacking)
                problems.append(
                    f"{span(restart.within)} after the restart there is no session of {listed(which)}"
                )
                return


End = tuple[str, str, int]
"""Of a session: whose, with whom, the family."""


def established(sessions: Iterable[SessionView]) -> frozenset[End]:
    return frozenset(
        (each.node, each.neighbour, each.family) for each in sessions if each.state == "Established"
    )


def _refused(key: Key, why: str) -> str:
    return f"{key[0]}/{key[2]}: {why}"
