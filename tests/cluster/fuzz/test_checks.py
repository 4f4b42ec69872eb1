"""Each thing that must be so of a cluster that is left alone: where it is not, that is found, and called by its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from agents.speaker.groups import UpdateGroup
from agents.speaker.rib import Rib
from cluster.fuzz.checks import GRACE, Checks
from cluster.fuzz.draw import POOL
from cluster.fuzz.trial import attempt
from cluster.rehearsal.virtual import Virtual
from cluster.scenario.model import AddPods, Cluster, Delete, Patch, Restart, Scenario, Step
from protocol.bgp.errors import Code, RemoteProtocolError, UpdateError
from protocol.bgp.messages import Update
from protocol.bgp.session import Session
from protocol.prefix import IPV4, Prefix

CALM = Scenario(name="calm", seed=1, cluster=Cluster(nodes=3, pods_per_node=1))
REFLECTED = Scenario(name="reflected", seed=1, cluster=Cluster(nodes=4, route_reflectors=2, pods_per_node=1))
RESTARTED = Scenario(
    name="restarted",
    seed=1,
    cluster=Cluster(nodes=3, pods_per_node=1),
    steps=(Step(do=(Restart(("node-002",)),)),),
)
WITHDRAWN = Scenario(
    name="withdrawn",
    seed=1,
    cluster=Cluster(nodes=3, pods_per_node=1),
    steps=(Step(do=(Patch(("IPPool", "", POOL), {"spec": {"disableBGPExport": True}}),)),),
)
GROWN = Scenario(
    name="grown",
    seed=1,
    cluster=Cluster(nodes=3, pods_per_node=1),
    steps=(Step(do=(AddPods(("node-001",), 70),)),),
)
POOLLESS = Scenario(
    name="poolless",
    seed=1,
    cluster=Cluster(nodes=3, pods_per_node=1),
    steps=(Step(do=(Delete((("IPPool", "", POOL),)),)),),
)
"""Pods that are in no pool are reached by nobody, and so it is in Calico."""


@pytest.mark.parametrize(
    "scenario", [CALM, REFLECTED, RESTARTED, WITHDRAWN, GROWN, POOLLESS], ids=lambda each: each.name
)
def test_there_is_nothing_to_find(scenario: Scenario) -> None:
    assert attempt(scenario).findings == ()


# -- of the code ------------------------------------------------------------------------------------------------------


def test_a_task_that_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Rib, *facts: object, **more: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(Rib, "learn", wrong)
    findings = attempt(CALM).findings
    assert {each.kind for each in findings} == {"dead"}
    assert all(each.text.startswith("KeyError: 'planted' at test_checks.py:") for each in findings)


def test_tables_that_are_not_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UpdateGroup, "_withdrawals", lambda self, path_id, prefixes: ())
    assert {each.kind for each in attempt(WITHDRAWN).findings} == {"convergence"}


def test_who_speaks_bgp_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, when somebody hears of a fourth block."""
    seen: dict[Prefix, None] = {}

    def wrong(self: Session, message: Update) -> None:
        late = len(seen) == 3
        seen.update(dict.fromkeys(message.nlri))
        if late and len(seen) > 3:
            raise RemoteProtocolError("planted", Code.UPDATE, UpdateError.INVALID_NETWORK)

    monkeypatch.setattr(Session, "_check_update", wrong)
    findings = attempt(GROWN).findings
    assert {each.kind for each in findings} == {"notification"}
    assert findings[0].text.endswith("Invalid network")


def test_a_restart_that_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    right = UpdateGroup.__init__

    def wrong(self: UpdateGroup, *facts: object, **more: object) -> None:
        right(self, *facts, **more)  # type: ignore[arg-type]  # whatever it takes
        self._end_of_rib = b""

    monkeypatch.setattr(UpdateGroup, "__init__", wrong)
    findings = attempt(RESTARTED).findings
    assert {each.kind for each in findings} == {"restart"}
    assert findings[0].text.endswith("is back, and has never said End-of-RIB")


# -- of the cluster ---------------------------------------------------------------------------------------------------


async def session_is_off(stage: Virtual) -> None:
    """Another one has told the same."""
    speaker = stage.node("node-003").speakers[IPV4]
    speaker.disable(next(iter(speaker.peers)), stage.now())


async def address_leaks(stage: Virtual) -> None:
    [pod, *_] = stage.store.list("WorkloadEndpoint")
    stage.store.delete("WorkloadEndpoint", pod["metadata"]["name"], pod["metadata"]["namespace"])


async def packets_are_lost(stage: Virtual) -> None:
    """And no table says so."""
    account = await stage.watch_loss()
    account.set_cut(stage.now(), "node-001", "node-002", True)


async def somebody_restarts_later(stage: Virtual) -> None:
    await stage.sleep(GRACE + 100.0)
    await stage.stop("node-002")
    await stage.start("node-002")


@pytest.mark.parametrize(
    ("disturb", "scenario", "kind"),
    [
        (session_is_off, REFLECTED, "sessions"),
        (address_leaks, CALM, "address"),
        (packets_are_lost, CALM, "loop"),
        (somebody_restarts_later, CALM, "unrest"),
    ],
)
def test_what_is_wrong_has_a_name(
    disturb: Callable[[Virtual], Awaitable[None]],
    scenario: Scenario,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look = Checks.__call__

    async def disturbed(self: Checks, stage: Virtual) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disturb, stage)
            await look(self, stage)

    monkeypatch.setattr(Checks, "__call__", disturbed)
    assert {each.kind for each in attempt(scenario).findings} == {kind}
