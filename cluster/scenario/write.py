"""``Scenario`` values to the text of a scenario file, which says all that there is to say: no other file is needed.

Owns ``write`` (``parse(write(scenario)).scenario == scenario``) and ``words`` (an action, a condition or a clause in a
line, for reports; ``span`` is a time in them). Left out of the file is what would be so anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import attrs

from cluster.scenario import model
from cluster.scenario.model import ALL, Scenario
from cluster.scenario.read import KIND
from protocol.v3 import yamltext
from protocol.v3.codec import encode
from protocol.v3.fields import json_name
from protocol.v3.lab import LAB
from protocol.v3.metadata import Key

Document = dict[str, Any]


def write(scenario: Scenario) -> str:
    """One Scenario, and behind it a document for every resource of the cluster."""
    documents = [document(scenario), *map(encode, scenario.cluster.resources)]
    return "---\n".join(yamltext.dump(each, in_order=True) for each in documents)


def document(scenario: Scenario) -> Document:
    """The Scenario document, without the cluster's resources."""
    spec: Document = {}
    if scenario.description:
        spec["description"] = scenario.description
    if scenario.seed:
        spec["seed"] = scenario.seed
    if scenario.hold_time != Scenario(name="").hold_time:
        spec["holdTime"] = duration(scenario.hold_time)
    cluster = _fields(scenario.cluster, leave=("resources",))
    if cluster:
        spec["cluster"] = cluster
    if scenario.steps:
        spec["steps"] = [_step(step) for step in scenario.steps]
    if scenario.expect != Scenario(name="").expect:
        spec["expect"] = [_clause(clause) for clause in scenario.expect]
    return {"apiVersion": LAB, "kind": KIND, "metadata": {"name": scenario.name}, "spec": spec}


def duration(seconds: float) -> str:
    """``90s``; exactly the number that it is."""
    return f"{Decimal(repr(float(seconds))).normalize():f}s"


def _fields(value: Any, *, leave: Sequence[str] = ()) -> Document:
    """What differs from the default, by its name in the file."""
    return {
        json_name(field.name): list(found) if isinstance(found, tuple) else found
        for field in attrs.fields(type(value))
        if field.name not in leave and (found := getattr(value, field.name)) != field.default
    }


def _step(step: model.Step) -> Document:
    written: Document = {}
    if step.name:
        written["name"] = step.name
    for field in ("at", "after"):
        moment = getattr(step, field)
        if moment is not None:
            written[field] = duration(moment)
    if step.when:
        written["when"] = [words(condition) for condition in step.when]
        written["within"] = duration(step.within)
    if step.do:
        written["do"] = [_action(action) for action in step.do]
    if step.expect:
        written["expect"] = [_clause(clause) for clause in step.expect]
    return written


_VERBS: Final[Mapping[type, str]] = {
    model.Apply: "apply",
    model.Delete: "delete",
    model.Patch: "patch",
    model.Label: "label",
    model.AddPods: "add-pods",
    model.DeletePods: "delete-pods",
    model.Stop: "stop",
    model.Start: "start",
    model.PowerOff: "power-off",
    model.Freeze: "freeze",
    model.Thaw: "thaw",
    model.Restart: "restart",
    model.Partition: "partition",
    model.Heal: "heal",
    model.Flap: "link",
    model.Wait: "wait",
}


def _action(action: model.Action) -> Document:
    return {_VERBS[type(action)]: _said(action)}


def _said(action: model.Action) -> Any:
    match action:
        case model.Apply(resources=resources):
            return [encode(resource) for resource in resources]
        case model.Delete(keys=keys):
            return [_ref(key) for key in keys]
        case model.Patch(key=key, patch=patch, type=type_):
            return {**_ref(key), "type": type_, "patch": patch}
        case model.Label(names=names, labels=labels, kind=kind, namespace=namespace):
            of = {"namespace": namespace} if namespace else {}
            return {"kind": kind, "name": [*names], **of, "labels": {**labels}}
        case model.AddPods(names=names, count=count) | model.DeletePods(names=names, count=count):
            return {"nodes": [*names], "count": count}
        case model.Restart(names=names, window=window, down=down, within=within):
            return {
                "nodes": [*names],
                "window": window,
                "down": duration(down),
                "within": duration(within),
            }
        case model.Partition(one=one, other=other):
            return {"between": [[*one], [*other]]}
        case model.Heal(one=one, other=other):
            return {"between": [[*one], [*other]]} if one or other else ALL
        case model.Flap(one=left, other=right, down=down, every=every, times=times):
            return {
                "between": [left, right],
                "down": duration(down),
                "every": duration(every),
                "times": times,
            }
        case model.Wait(seconds=seconds):
            return duration(seconds)
        case _:
            return [*action.names]


def _ref(key: Key) -> Document:
    kind, namespace, name = key
    return {"kind": kind, "name": name, **({"namespace": namespace} if namespace else {})}


def _clause(clause: model.Clause) -> Any:
    match clause:
        case model.Converged(within=within):
            return {"converged": {"within": duration(within)}}
        case model.Loss(pair=pair, total=total, since=since):
            limits = {"pair": pair, "total": total}
            said = {name: duration(limit) for name, limit in limits.items() if limit is not None}
            return {"loss": {**said, "since": since}}
        case model.Routes(names=names, present=present, absent=absent, within=within):
            wanted = [
                {"prefix": each.prefix, "via": [*each.via]} if each.via else each.prefix for each in present
            ]
            return {
                "routes": {
                    "nodes": [*names],
                    **({"present": wanted} if wanted else {}),
                    **({"absent": [*absent]} if absent else {}),
                    "within": duration(within),
                }
            }
        case model.Sessions(names=names, peer=peer, state=state, error=error, count=count, within=within):
            return {
                "sessions": {
                    "nodes": [*names],
                    **({"peer": peer} if peer else {}),
                    **({"error": error} if error else {"state": state}),
                    **({} if count is None else {"count": count}),
                    "within": duration(within),
                }
            }
        case model.SoundIpam():
            return {"ipam": "sound"}
        case model.Refused(text=text):
            return {"refused": text}
        case model.UnsettledAllowed():
            return {"unsettled": "allowed"}


# -- in a line --------------------------------------------------------------------------------------------------------

MANY: Final = 4


def span(seconds: float) -> str:
    """``90 s``, ``1.87 s``, ``0.5 ms``: as exact as anybody needs it."""
    if seconds < 0.1:
        return f"{round(seconds * 1000, 1):g} ms" if seconds else "0 s"
    return f"{seconds:,.0f} s" if seconds >= 1000 else f"{round(seconds, 2):g} s"


def words(value: model.Action | model.Clause | model.Condition) -> str:
    """As it is called in reports; a condition exactly as it stands in a file."""
    match value:
        case model.WhenConverged():
            return "converged"
        case model.WhenSession(node=node, peer=peer, state=state, negated=negated):
            return f"session {node} {peer} is {'not ' if negated else ''}{state}"
        case model.Apply(resources=resources):
            return f"apply {listed([_short(resource.key) for resource in resources])}"
        case model.Delete(keys=keys):
            return f"delete {listed([*map(_short, keys)])}"
        case model.Patch(key=key, patch=patch):
            return f"patch {_short(key)}: {_flat(patch)}"
        case model.Label(names=names, labels=labels, kind=kind):
            changes = [key if text is None else f"{key}={text}" for key, text in labels.items()]
            removed = " (removed)" if None in labels.values() else ""
            return f"label {kind} {listed(names)}: {', '.join(changes)}{removed}"
        case model.AddPods(names=names, count=count):
            return f"add {count} {'pod' if count == 1 else 'pods'} to {listed(names)}"
        case model.DeletePods(names=names, count=count):
            return f"delete {count} {'pod' if count == 1 else 'pods'} of {listed(names)}"
        case model.Restart(names=names, window=window, down=down):
            return f"restart {listed(names)}, {window} at a time, down for {span(down)}"
        case model.Partition(one=one, other=other):
            return f"cut {listed(one)} from {listed(other)}"
        case model.Heal(one=one, other=other):
            return f"heal {listed(one)} and {listed(other)}" if one or other else "heal all"
        case model.Flap(one=left, other=right, down=down, every=every, times=times):
            often = f", {times} times, every {span(every)}" if times > 1 else ""
            return f"cut the link {left} – {right} for {span(down)}{often}"
        case model.Wait(seconds=seconds):
            return f"wait {span(seconds)}"
        case model.Stop() | model.Start() | model.PowerOff() | model.Freeze() | model.Thaw():
            return f"{_VERBS[type(value)].replace('-', ' ')} {listed(value.names)}"
        case _:
            return _clause_words(value)


def _clause_words(clause: model.Clause) -> str:
    match clause:
        case model.Converged(within=within):
            return f"converged within {span(within)}"
        case model.Loss(pair=pair, total=total, since=since):
            limits = []
            if pair is not None:
                limits.append(f"no pair loses more than {span(pair)}")
            if total is not None:
                limits.append(f"all pairs together lose at most {span(total)}")
            return f"{' and '.join(limits)}{' in this step' if since == 'step' else ''}"
        case model.Routes(names=names, present=present, absent=absent):
            parts = []
            if present:
                wanted = [
                    f"{each.prefix}{' via ' + listed(each.via) if each.via else ''}" for each in present
                ]
                parts.append(f"{listed(wanted)} on {listed(names)}")
            if absent:
                parts.append(f"no {listed(absent)} on {listed(names)}")
            return f"routes: {', '.join(parts)}"
        case model.Sessions(names=names, peer=peer, state=state, error=error, count=count):
            which = f"of {listed(names)}{' with ' + peer if peer else ''}"
            how = f"down, {error!r}" if error else state
            return f"sessions {which}: {'all' if count is None else f'{count:,}'} {how}"
        case model.SoundIpam():
            return "IPAM is sound"
        case model.Refused(text=text):
            return f"refused: {text!r}" if text else "refused"
        case model.UnsettledAllowed():
            return "prefixes may be unsettled"


def listed(names: Sequence[str]) -> str:
    """The first few of them; nobody is left out alone."""
    few = len(names) if len(names) <= MANY + 1 else MANY
    shown = ", ".join(names[:few])
    return f"{shown} and {len(names) - few} more" if len(names) > few else shown


def _short(key: Key) -> str:
    return f"{key[0]}/{key[2]}"


def _flat(patch: Any) -> str:
    """``spec.asNumber=64513``, as far as it is so simple."""
    if isinstance(patch, Mapping):
        return listed([line for key, inner in patch.items() for line in _leaves(str(key), inner)])
    return f"{len(patch)} operations" if isinstance(patch, list) else str(patch)


def _leaves(path: str, value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [line for key, inner in value.items() for line in _leaves(f"{path}.{key}", inner)]
    return [f"{path}={_value(value)}"]


def _value(value: Any) -> str:
    """As YAML has it in one line."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case None:
            return "null"
        case _:
            return str(value).lower() if isinstance(value, bool) else str(value)
