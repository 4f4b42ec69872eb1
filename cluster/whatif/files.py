"""A plan on disk: what it says, and all that it takes to make it again.

    plan.txt       what people read
    plan.json      all of it, by name
    state.json     the cluster as it was: ``plan --from DIR`` tries another change on it
    scenario.yaml  the same cluster and the change as a scenario: ``rehearse`` plays it

Owns the writing of all four, and the reading of a state. The scenario expects what a plan asks: that no pair loses
anything, if none has lost anything before.

A scenario begins with manifests, and so what manifests cannot say is said by its first step (who is stopped, what is
cut) or not at all: stamps, and who had an address first that two nodes have.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Final

import attrs

from cluster.scenario import model
from cluster.scenario.write import write
from cluster.spec import HOSTED
from cluster.whatif.change import Change
from cluster.whatif.plan import Plan, plan_text
from cluster.whatif.state import BadState, State
from protocol.sync.messages import key_of
from protocol.v3.codec import decode
from protocol.v3.metadata import Resource

STATE: Final = "state.json"


def read_state(path: Path) -> State | None:
    """Of a directory that a plan was written to, or of the file itself; None for what is something else. Raises
    BadState.
    """
    file = path / STATE if path.is_dir() else path
    if file.name != STATE or not file.is_file():
        return None
    try:
        return State.from_json(json.loads(file.read_bytes()))
    except (BadState, ValueError, RecursionError) as error:
        raise BadState(f"{file}: {error}") from None


def write_plan(directory: Path, plan: Plan, state: State, change: Change, seed: int) -> None:
    """Into a directory that is there; nobody else may read what is new, for Secrets are in it. Raises OSError."""
    for name, text in (
        ("plan.txt", plan_text(plan)),
        ("plan.json", json.dumps(plan.to_json(), indent=1, ensure_ascii=False) + "\n"),
        (STATE, json.dumps(state.to_json(), ensure_ascii=False) + "\n"),
        ("scenario.yaml", write(scenario_of(state, change, seed, whole=not plan.pairs.before))),
    ):
        file = directory / name
        file.touch(mode=0o600)
        file.write_text(text)


def scenario_of(state: State, change: Change, seed: int, *, whole: bool = True) -> model.Scenario:
    """``whole``: every pair has traffic before the change. Else nothing is expected of losses, since a step counts
    those too that go on from before.
    """
    documents = change.documents
    action: model.Action
    if change.delete:
        action = model.Delete(tuple(map(key_of, documents)))
    else:
        action = model.Apply(tuple(map(_unstamped, map(decode, documents))))
    steps = []
    members = {each["metadata"]["name"] for each in state.documents if each["kind"] in HOSTED}
    faults = _faults(state, members)
    if faults:
        steps.append(
            model.Step(
                name="as it was", when=(model.WhenConverged(),), do=tuple(faults), expect=(model.Converged(),)
            )
        )
    steps.append(
        model.Step(
            name="the change",
            when=(model.WhenConverged(),),
            do=(action,),
            expect=(model.Converged(), model.Loss(pair=0.0)) if whole else (model.Converged(),),
        )
    )
    return model.Scenario(
        name=f"plan-{state.name}",
        description=f"The cluster {state.name} as it was at revision {state.revision}, and what it was asked to become.",
        seed=seed,
        hold_time=state.hold_time,
        cluster=model.Cluster(
            pods_per_node=state.pods_per_node,
            resources=tuple(_unstamped(decode(document)) for document in state.documents),
            off=tuple(name for name in state.off if name in members),
        ),
        steps=tuple(steps),
    )


def _faults(state: State, members: Collection[str]) -> list[model.Fault]:
    found: list[model.Fault] = []
    stopped, frozen = (
        tuple(name for name in names if name in members) for names in (state.stopped, state.frozen)
    )
    if stopped:
        found.append(model.Stop(stopped))
    if frozen:
        found.append(model.Freeze(frozen))
    cut = [(one, other) for one, other in state.cut if one in members and other in members]
    return found + [model.Partition((one,), (other,)) for one, other in cut]


def _unstamped(resource: Resource) -> Resource:
    metadata = attrs.evolve(resource.metadata, uid="", resource_version="", creation_timestamp="")
    return attrs.evolve(resource, metadata=metadata)
