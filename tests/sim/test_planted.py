"""The checks can fail: eight faults are planted in the real code, one at a time, and each is found.

What looks for them is what CI runs anyway: drawn histories of speakers, and drawn rehearsals; no more examples of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption

from agents.ipam.blocks import new_block
from agents.ipam.store import BlockStore
from agents.speaker import rib
from agents.speaker.config import PeerConfig
from agents.speaker.decision import BETTER, Path, compare
from agents.speaker.groups import UpdateGroup
from agents.speaker.peer import Peer
from agents.speaker.policy import ImportPolicies, ImportPolicy
from agents.speaker.rib import Rib
from cluster.fuzz.draw import scenarios
from cluster.fuzz.search import Search
from cluster.fuzz.trial import attempt
from cluster.scenario.model import Scenario
from protocol.bgp import session
from protocol.bgp.attributes import Attributes
from protocol.bgp.fsm import Action
from protocol.prefix import Prefix
from protocol.sync.errors import AlreadyExists
from protocol.v3.ipam import IPAMBlock
from tests.strategies.histories import History, histories, play

HISTORIES = 500
SHAPES = "reflectors", "mixed", "internal", "external"
REHEARSALS = 75
"""Examples of one test function in CI."""

Plant = Callable[[pytest.MonkeyPatch], None]
Example = tuple[History, int, int | None]


# -- the faults -------------------------------------------------------------------------------------------------------


def withdrawal_not_sent(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: UpdateGroup, path_id: int, prefixes: Sequence[Prefix]) -> Iterable[bytes]:
        return ()

    patch.setattr(UpdateGroup, "_withdrawals", wrong)


def stale_route_kept(patch: pytest.MonkeyPatch) -> None:
    """What a neighbour told outlives its session."""

    def wrong(self: Rib, peer: Peer) -> None: ...

    patch.setattr(Rib, "forget", wrong)


def block_claimed_without_compare_and_swap(patch: pytest.MonkeyPatch) -> None:
    """Who comes second writes over it."""
    right = BlockStore.create

    async def wrong(self: BlockStore, prefix: Prefix) -> IPAMBlock:
        try:
            return await right(self, prefix)
        except AlreadyExists:
            there = await self.read(prefix)
            mine = new_block(prefix, self._node, self._wall())
            return await self.write(prefix, attrs.evolve(mine, metadata=there.metadata))

    patch.setattr(BlockStore, "create", wrong)


def hold_timer_not_restarted(patch: pytest.MonkeyPatch) -> None:
    """By KEEPALIVEs."""
    patch.setitem(session._DO, Action.RESTART_HOLD, lambda _: None)


def preferred_by_arrival(patch: pytest.MonkeyPatch) -> None:
    """Of equally long ways the one that was there first stays."""

    def wrong(path: Path, present: Path) -> int:
        verdict = compare(path, present)
        same = path.preference == present.preference and path.attributes.as_path == present.attributes.as_path
        return -BETTER if same and verdict == BETTER else verdict

    patch.setattr(rib, "compare", wrong)


def cluster_list_not_checked(patch: pytest.MonkeyPatch) -> None:
    """In speakers: the oracle has its own import policies."""
    right = ImportPolicies.of

    class Careless(ImportPolicy):
        def _received(self, attributes: Attributes) -> Attributes | None:
            bare = attrs.evolve(attributes, cluster_list=())
            received = super()._received(bare)
            if received is None or not self._config.internal:
                return received
            return self._intern(attrs.evolve(received, cluster_list=attributes.cluster_list))

    def wrong(self: ImportPolicies, config: PeerConfig) -> ImportPolicy:
        policy = right(self, config)
        policy.__class__ = Careless
        return policy

    patch.setattr(ImportPolicies, "of", wrong)


def update_lost_on_back_pressure(patch: pytest.MonkeyPatch) -> None:
    """Who cannot take more now is owed nothing, unless it lags already."""
    right = UpdateGroup._fall_behind

    def wrong(self: UpdateGroup, peer: Peer, path_id: int, owed: dict[Prefix, bool]) -> None:
        if peer.owed is not None or peer in self._joining:
            right(self, peer, path_id, owed)

    patch.setattr(UpdateGroup, "_fall_behind", wrong)


def end_of_rib_not_sent(patch: pytest.MonkeyPatch) -> None:
    right = UpdateGroup.__init__

    def wrong(self: UpdateGroup, *facts: Any, **more: Any) -> None:
        right(self, *facts, **more)
        self._end_of_rib = b""

    patch.setattr(UpdateGroup, "__init__", wrong)


# -- who finds them ---------------------------------------------------------------------------------------------------


def by_histories(shapes: Sequence[str] = SHAPES) -> tuple[str, int]:
    """What is wrong, and how many it took."""
    wrong: list[str] = []

    def kinds(example: Example) -> Sequence[str]:
        history, seed, clog = example
        try:
            wrong[:] = play(history, seed=seed, clog=clog)
        except UnsatisfiedAssumption:
            wrong.clear()
        except AssertionError as error:
            wrong[:] = [str(error)]
        return ["wrong"] if wrong else []

    drawn = st.tuples(
        st.sampled_from(shapes).flatmap(lambda shape: histories(shape=shape)),
        st.integers(0, 1000),
        st.sampled_from((None, None, 0, 100)),
    )
    search: Search[Example] = Search(examples=drawn, kinds=kinds, seed=1, shrinking=0.0)
    found = search.next(most=HISTORIES)
    return (wrong[0] if found is not None else ""), search.tried


def by_histories_of_reflectors() -> tuple[str, int]:
    return by_histories(("reflectors",))


def by_rehearsals() -> tuple[str, int]:
    wrong: list[str] = []

    def kinds(scenario: Scenario) -> Sequence[str]:
        wrong[:] = map(str, attempt(scenario).findings)
        return ["wrong"] if wrong else []

    search: Search[Scenario] = Search(examples=scenarios(most=7), kinds=kinds, seed=1, shrinking=0.0)
    found = search.next(most=REHEARSALS)
    return (wrong[0] if found is not None else ""), search.tried


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("plant", "look"),
    [
        (withdrawal_not_sent, by_histories),
        (stale_route_kept, by_rehearsals),
        (block_claimed_without_compare_and_swap, by_rehearsals),
        (hold_timer_not_restarted, by_histories),
        (preferred_by_arrival, by_histories),
        (cluster_list_not_checked, by_histories_of_reflectors),
        (update_lost_on_back_pressure, by_histories),
        (end_of_rib_not_sent, by_rehearsals),
    ],
)
def test_each_planted_fault_is_found(
    plant: Plant, look: Callable[[], tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    wrong, tried = look()
    assert wrong, f"{plant.__name__} was not found in {tried} examples"
