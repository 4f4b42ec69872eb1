"""What a form says, as the values of ``model``: times as numbers, kinds by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cluster.api import names as kinds
from cluster.scenario import model
from cluster.scenario.form import ClauseForm, ClusterForm, seconds, session
from protocol.v3.codec import KINDS
from protocol.v3.loader import DEFAULT_NAMESPACE
from protocol.v3.metadata import Key, Resource


def key_of(kind: str, namespace: str, name: str) -> Key:
    known = kinds.find(kind)
    assert known is not None  # the form has been checked
    return known.kind, (namespace or DEFAULT_NAMESPACE) if KINDS[known.kind].namespaced else "", name


def cluster_of(form: ClusterForm, resources: tuple[Resource, ...]) -> model.Cluster:
    return model.Cluster(
        nodes=form.nodes,
        route_reflectors=form.route_reflectors,
        pods_per_node=form.pods_per_node,
        blocks_per_node=form.blocks_per_node,
        ip_family=form.ip_family,
        resources=resources,
        off=form.off,
    )


def condition_of(text: str) -> model.Condition:
    found = session(text)
    if found is None:
        return model.WhenConverged()
    node, peer, negated, state = found
    return model.WhenSession(node, peer, state, negated)


_SIMPLE: Final[Mapping[str, Callable[[model.Names], model.Action]]] = {
    "stop": model.Stop,
    "start": model.Start,
    "power-off": model.PowerOff,
    "kill": model.PowerOff,
    "freeze": model.Freeze,
    "thaw": model.Thaw,
}


def action_of(verb: str, form: Any) -> model.Action:
    if verb in _SIMPLE:
        return _SIMPLE[verb](form)
    match verb:
        case "patch":
            return model.Patch(key_of(form.kind, form.namespace, form.name), form.patch, form.type)
        case "label":
            kind, namespace, _ = key_of(form.kind, form.namespace, "")
            return model.Label(form.name, form.labels, kind, namespace)
        case "add-pods":
            return model.AddPods(form.nodes, form.count)
        case "delete-pods":
            return model.DeletePods(form.nodes, form.count)
        case "restart":
            return model.Restart(form.nodes, form.window, seconds(form.down), seconds(form.within))
        case "partition":
            return model.Partition(*form.between)
        case "heal":
            return model.Heal(*form.between)
        case "link":
            return model.Flap(
                form.between[0], form.between[1], seconds(form.down), seconds(form.every), form.times
            )
        case _:
            assert verb == "wait"
            return model.Wait(seconds(form))


def clause_of(form: ClauseForm, since: model.Since) -> model.Clause:
    if form.converged is not None:
        return model.Converged(seconds(form.converged.within))
    if form.loss is not None:
        pair, total = form.loss.pair, form.loss.total
        return model.Loss(
            pair=None if pair is None else seconds(pair),
            total=None if total is None else seconds(total),
            since=form.loss.since or since,
        )
    if form.routes is not None:
        routes = form.routes
        return model.Routes(
            names=routes.nodes,
            present=tuple(model.Wanted(wanted.prefix, wanted.via) for wanted in routes.present),
            absent=routes.absent,
            within=seconds(routes.within),
        )
    if form.sessions is not None:
        ends = form.sessions
        return model.Sessions(
            names=ends.nodes,
            peer=ends.peer,
            state=ends.state or "Established",
            error=ends.error,
            count=ends.count,
            within=seconds(ends.within),
        )
    if form.ipam is not None:
        return model.SoundIpam()
    if form.refused is not None:
        return model.Refused(form.refused)
    return model.UnsettledAllowed()
