"""Faults of a running cluster: who is told, in which order, and what is known of it afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from cluster.api.control import NoSuchNode
from cluster.faults import ACTIONS, Faults, State
from protocol.sync.errors import Invalid, Unreachable

NAMES = "n1", "n2", "n3"


class World:
    """Three nodes on two shards, which note what they are asked; ``dead`` ones are gone."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, str, Any]] = []
        self.dead: set[int] = set()
        self.changes = 0
        self.links: list[tuple[str, str, bool]] = []
        self.hosts = {"n1": 1, "n2": 1, "n3": 2}
        self.faults = Faults(
            hosts=self.hosts,
            ask=self.ask,
            ask_all=self.ask_all,
            changed=self.changed,
            linked=lambda *link: self.links.append(link),
        )

    async def ask(self, shard: int, method: str, params: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if shard in self.dead:
            raise Unreachable(f"shard {shard} is gone")
        self.asked.append((shard, method, params))

    async def ask_all(self, method: str, params: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append(("all", method, params))

    def changed(self) -> None:
        self.changes += 1

    def take(self) -> list[tuple[Any, str, Any]]:
        asked, self.asked = self.asked, []
        return asked


async def test_everybody_is_deaf_to_a_machine_before_its_sockets_close() -> None:
    world = World()
    await world.faults.power_off("n3")
    assert world.take() == [("all", "weather", ["power_off", ["n3"]]), (2, "power_off", ["n3"])]
    assert (world.faults.down, world.changes) == (["n3"], 1)
    await world.faults.start("n3")
    assert world.take() == [("all", "weather", ["power_on", ["n3"]]), (2, "boot", ["n3"])]
    assert world.faults.down == []


async def test_a_container_that_is_killed_is_its_shards_business() -> None:
    world = World()
    await world.faults.stop("n1")
    await world.faults.start("n1")
    assert world.take() == [(1, "stop", ["n1"]), (1, "boot", ["n1"])]


async def test_what_is_so_already_is_not_done_again() -> None:
    world = World()
    for action in "start", "thaw":
        await world.faults.act(action, ["n1"])
    await world.faults.heal("n1", "n2")
    assert world.take() == []
    for action in "freeze", "stop", "power-off":
        await world.faults.act(action, ["n1"])
        assert world.take() != []
        await world.faults.act(action, ["n1", "n1"])
        assert world.take() == []
    await world.faults.act("freeze", ["n1"])
    assert world.faults.to_json() == {"stopped": [], "off": ["n1"], "frozen": [], "cut": []}


async def test_who_is_frozen_and_stopped_does_not_run_in_between() -> None:
    world = World()
    await world.faults.freeze("n1")
    await world.faults.stop("n1")
    assert world.take()[1:] == [(1, "stop", ["n1"])]
    assert world.faults.names_of(State.STOPPED) == ["n1"]


async def test_a_cut_has_no_direction() -> None:
    world = World()
    await world.faults.act("cut", ["n2", "n1"])
    await world.faults.act("cut", ["n1", "n2"])
    await world.faults.act("cut", ["n3", "n1"])
    assert world.faults.lines == ["cut: n1 from n2, n1 from n3"]
    await world.faults.act("heal", ["n1", "n2"])
    await world.faults.act("heal", [])
    assert [params for _, _, params in world.take()] == [
        ["cut", ["n1", "n2"]], ["cut", ["n1", "n3"]], ["heal", ["n1", "n2"]], ["heal", ["n1", "n3"]],
    ]  # fmt: skip
    assert world.links == [("n1", "n2", False), ("n1", "n3", False), ("n1", "n2", True), ("n1", "n3", True)]
    assert world.faults.lines == []


@pytest.mark.parametrize(
    ("action", "names", "error"),
    [
        ("stop", ["n1", "nobody"], NoSuchNode),
        ("cut", ["n1", "nobody"], NoSuchNode),
        ("cut", ["n1"], Invalid),
        ("cut", ["n1", "n1"], Invalid),
        ("heal", ["n1"], Invalid),
        ("stop", [], Invalid),
        ("explode", ["n1"], Invalid),
    ],
)
async def test_what_cannot_be_done_does_nothing(
    action: str, names: list[str], error: type[Exception]
) -> None:
    world = World()
    with pytest.raises(error):
        await world.faults.act(action, names)
    assert (world.take(), world.faults.lines) == ([], [])


async def test_all_names_that_nobody_has_are_said_at_once() -> None:
    with pytest.raises(NoSuchNode, match=r"^no node 'nobody', 'no-one' in this cluster$"):
        await World().faults.act("stop", ["nobody", "n1", "no-one"])


async def test_a_shard_that_is_gone_leaves_its_nodes_as_they_were() -> None:
    world = World()
    world.dead.add(2)
    with pytest.raises(Unreachable):
        await world.faults.stop("n3")
    assert world.faults.down == []


async def test_a_node_that_is_deleted_takes_its_faults_along() -> None:
    world = World()
    await world.faults.power_off("n1")
    await world.faults.freeze("n2")
    await world.faults.cut("n1", "n2")
    world.take()
    await world.faults.evicted("n1")
    assert world.faults.lines == ["frozen: n2"]
    assert world.take() == [("all", "weather", ["removed", ["n1"]])]
    assert world.links[-1] == ("n1", "n2", True)
    await world.faults.evicted("n3")
    assert world.take() == [], "nothing had befallen it"


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.permutations(NAMES))))
def test_any_history_leaves_each_node_in_its_last_state_and_the_turns_are_whole(
    history: list[tuple[str, list[str]]],
) -> None:
    async def main() -> None:
        world = World()
        for action, names in history:
            await world.faults.act(action, names[: 2 if action in ("cut", "heal") else 1])
        deaf: dict[str, bool] = {}
        running = dict.fromkeys(NAMES, True)
        for _, method, params in world.take():
            match method, params:
                case "weather", ["power_off" | "power_on" as what, [name]]:
                    assert deaf.get(name, False) is (what == "power_on")
                    deaf[name] = what == "power_off"
                case "power_off" | "stop" | "boot", [name]:
                    running[name] = method == "boot"
                    assert deaf.get(name, False) is (method == "power_off")
        silent = {name for name, is_deaf in deaf.items() if is_deaf}
        assert silent == {*world.faults.names_of(State.OFF)}
        off = {*world.faults.names_of(State.STOPPED), *silent}
        assert off == {name for name, runs in running.items() if not runs}

    trio.run(main)
