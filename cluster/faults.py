"""What is wrong with a running cluster because somebody wanted it so.

Owns ``Faults``: who is stopped, frozen or without power, which pairs are cut, and the order in which the shards are
told. ``cluster.rehearsal.stage`` says what each of them is in life.

    stop, freeze, thaw     the node's shard
    power_off              all shards first, whose nodes hear nothing from it any more; then its own, where it ends
    start                  after a power cut all shards first, who hear it again; then its own
    cut, heal              all shards

One after the other, and whole: a fault is in force when the call returns. A node that is deleted takes its faults
along. What a shard that died has taken down is no fault of this kind, and cannot be started again.

Left out: what a shard does (``cluster.lives``, ``cluster.rehearsal.weather``), what the oracle makes of it
(``coordinator``).
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import trio

from cluster.api.control import NoSuchNode
from cluster.hosting import Ask
from cluster.rehearsal.weather import ordered
from protocol.sync.errors import Invalid

AskAll = Callable[[str, Any], Awaitable[Any]]
"""A method and its parameters, to all shards that live."""


class State(enum.Enum):
    """Of a node that does not work."""

    STOPPED = "stopped"
    OFF = "without power"
    FROZEN = "frozen"


ACTIONS: Final = ("stop", "start", "power-off", "freeze", "thaw", "cut", "heal")


@attrs.define(kw_only=True)
class Faults:
    """``hosts`` has the shard of every node and router; ``changed`` is called when something is different."""

    hosts: Mapping[str, int]
    ask: Ask
    ask_all: AskAll
    changed: Callable[[], None]
    states: dict[str, State] = attrs.field(factory=dict)
    cuts: dict[tuple[str, str], None] = attrs.field(factory=dict)
    """Pairs in the order of their names."""
    linked: Callable[[str, str, bool], None] | None = None
    """Is told of every pair that is cut (False) or whole again."""
    _turn: trio.Lock = attrs.field(factory=trio.Lock)

    async def act(self, action: str, names: Sequence[str]) -> None:
        """One of ACTIONS; all names are looked at before anything is done.

        Raises NoSuchNode, Invalid, Unreachable.
        """
        if action in ("cut", "heal"):
            if action == "heal" and not names:
                for pair in [*self.cuts]:
                    await self.heal(*pair)
                return
            if len(names) != 2 or names[0] == names[1]:
                raise Invalid(f"{action} is of two nodes")
            self._check(*names)
            await (self.cut if action == "cut" else self.heal)(names[0], names[1])
            return
        single = {
            "stop": self.stop,
            "start": self.start,
            "power-off": self.power_off,
            "freeze": self.freeze,
            "thaw": self.thaw,
        }.get(action)
        if single is None:
            raise Invalid(f"no such fault: {action[:20]}; there are {', '.join(ACTIONS)}")
        if not names:
            raise Invalid(f"{action} of whom?")
        self._check(*names)
        for name in dict.fromkeys(names):
            await single(name)

    async def start(self, name: str) -> None:
        """Harmless for one that runs; one that is frozen runs."""
        async with self._turn:
            state = self._state_of(name)
            if state is State.OFF:
                await self.ask_all("weather", ["power_on", [name]])
            if state in (State.OFF, State.STOPPED):
                await self.ask(self.hosts[name], "boot", [name])
                self._is(name, None)

    async def stop(self, name: str) -> None:
        async with self._turn:
            if self._state_of(name) in (None, State.FROZEN):
                await self.ask(self.hosts[name], "stop", [name])
                self._is(name, State.STOPPED)

    async def power_off(self, name: str) -> None:
        async with self._turn:
            if self._state_of(name) is not State.OFF:
                await self.ask_all("weather", ["power_off", [name]])
                await self.ask(self.hosts[name], "power_off", [name])
                self._is(name, State.OFF)

    async def freeze(self, name: str) -> None:
        async with self._turn:
            if self._state_of(name) is None:
                await self.ask(self.hosts[name], "weather", ["freeze", [name]])
                self._is(name, State.FROZEN)

    async def thaw(self, name: str) -> None:
        async with self._turn:
            if self._state_of(name) is State.FROZEN:
                await self.ask(self.hosts[name], "weather", ["thaw", [name]])
                self._is(name, None)

    async def cut(self, one: str, other: str) -> None:
        async with self._turn:
            self._check(one, other)
            pair = ordered(one, other)
            if pair not in self.cuts:
                await self.ask_all("weather", ["cut", [*pair]])
                self.cuts[pair] = None
                self._linked(pair, False)

    async def heal(self, one: str, other: str) -> None:
        async with self._turn:
            self._check(one, other)
            pair = ordered(one, other)
            if pair in self.cuts:
                await self.ask_all("weather", ["heal", [*pair]])
                self.cuts.pop(pair, None)
                self._linked(pair, True)

    async def evicted(self, name: str) -> None:
        """The node is no more, and whatever has befallen it is over; who comes with the same name is somebody else."""
        async with self._turn:
            pairs = [pair for pair in self.cuts if name in pair]
            if name in self.states or pairs:
                self.states.pop(name, None)
                for pair in pairs:
                    del self.cuts[pair]
                await self.ask_all("weather", ["removed", [name]])
                for pair in pairs:
                    self._linked(pair, True)

    @property
    def down(self) -> list[str]:
        """Who speaks no BGP, whatever its kernel does."""
        return [*self.states]

    def names_of(self, state: State) -> list[str]:
        return sorted(name for name, each in self.states.items() if each is state)

    @property
    def lines(self) -> list[str]:
        """All of them, in words."""
        found = []
        for state in State:
            names = self.names_of(state)
            if names:
                found.append(f"{state.value}: {', '.join(names)}")
        if self.cuts:
            found.append(f"cut: {', '.join(f'{one} from {other}' for one, other in sorted(self.cuts))}")
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "stopped": self.names_of(State.STOPPED),
            "off": self.names_of(State.OFF),
            "frozen": self.names_of(State.FROZEN),
            "cut": [[*pair] for pair in sorted(self.cuts)],
        }

    def _state_of(self, name: str) -> State | None:
        self._check(name)
        return self.states.get(name)

    def _check(self, *names: str) -> None:
        missing = [repr(name) for name in names if name not in self.hosts]
        if missing:
            raise NoSuchNode(f"no node {', '.join(missing)} in this cluster")

    def _is(self, name: str, state: State | None) -> None:
        self.states.pop(name, None)
        if state is not None and name in self.hosts:  # it may have been deleted meanwhile
            self.states[name] = state
        self.changed()

    def _linked(self, pair: tuple[str, str], works: bool) -> None:
        if self.linked is not None:
            self.linked(*pair, works)
        self.changed()
