"""What must be between the fields of a Scenario, each of which is right by itself."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from cluster.api import names as kinds
from cluster.scenario.form import ActionForm, ClauseForm, ScenarioForm, StepForm, is_name, one_of, seconds
from protocol.v3.fields import JSON
from protocol.v3.rules import Fault, Path


def faults_of(form: ScenarioForm) -> Iterator[Fault]:
    hold = seconds(form.spec.hold_time)
    if hold != 0 and not 3 <= hold <= 65535:
        yield Fault(("spec", "holdTime"), "must be 0 (no keepalives) or 3 to 65,535 seconds")
    latest = 0.0
    for index, step in enumerate(form.spec.steps):
        path = "spec", "steps", index
        yield from _step_faults(step, path)
        if step.at is not None:
            if seconds(step.at) < latest:
                yield Fault((*path, "at"), f"a step before this one is at {latest:g}s")
            latest = max(latest, seconds(step.at))
    yield from _clauses_faults(form.spec.expect or (), ("spec", "expect"))
    for index, clause in enumerate(form.spec.expect or ()):
        if clause.refused is not None:
            yield Fault(("spec", "expect", index, "refused"), "belongs to the step that does it")


def _step_faults(step: StepForm, path: Path) -> Iterator[Fault]:
    timed = [name for name in ("at", "after", "when") if getattr(step, name) not in (None, ())]
    if len(timed) > 1:
        yield Fault((*path, timed[1]), f"one of at, after and when; {timed[0]} is there too")
    if step.within is not None and not step.when:
        yield Fault((*path, "within"), "says how long `when` may take, and there is no `when`")
    if not (step.do or step.expect or timed):
        yield Fault(path, "nothing is done and nothing is expected")
    for index, action in enumerate(step.do):
        yield from _action_faults(action, (*path, "do", index))
    yield from _clauses_faults(step.expect, (*path, "expect"))


def _exactly_one(form: ActionForm | ClauseForm, path: Path, what: str) -> Iterator[Fault]:
    found = one_of(form)
    if len(found) != 1:
        known = ", ".join(field.metadata.get(JSON, field.name) for field in attrs.fields(type(form)))
        there = f"{' and '.join(name for name, _ in found)} are two" if found else "there is none"
        yield Fault(path, f"one {what} is asked for, {there}; known are {known}")


def _action_faults(action: ActionForm, path: Path) -> Iterator[Fault]:
    yield from _exactly_one(action, path, "action")
    if action.patch is not None:
        wanted = list if action.patch.type == "json" else dict
        if not isinstance(action.patch.patch, wanted):
            what = "a list of operations" if wanted is list else "an object"
            yield Fault((*path, "patch", "patch"), f"a patch of type {action.patch.type} is {what}")
    if action.label is not None:
        if not action.label.labels:
            yield Fault((*path, "label", "labels"), "no label")
        known = kinds.find(action.label.kind)
        if known is not None and known.kind != "Node":
            for text in action.label.name:
                if not is_name(text):
                    yield Fault((*path, "label", "name"), f"{text!r} is no name; only Nodes can be selected")
    if action.link is not None:
        link = action.link
        if link.times > 1 and seconds(link.every) <= seconds(link.down):
            yield Fault((*path, "link", "every"), f"must be longer than down, {seconds(link.down):g}s")
        if link.between[0] == link.between[1]:
            yield Fault((*path, "link", "between"), "one and the same")


def _clauses_faults(clauses: tuple[ClauseForm, ...], path: Path) -> Iterator[Fault]:
    for index, clause in enumerate(clauses):
        yield from _exactly_one(clause, (*path, index), "clause")
        if clause.loss is not None and clause.loss.pair is None and clause.loss.total is None:
            yield Fault((*path, index, "loss"), "pair or total is required")
        if clause.routes is not None and not (clause.routes.present or clause.routes.absent):
            yield Fault((*path, index, "routes"), "present or absent is required")
        if clause.sessions is not None and clause.sessions.state and clause.sessions.error:
            yield Fault(
                (*path, index, "sessions", "error"), "one of state and error; those with an error are down"
            )
