"""What a change would do: the difference between two pictures, as values, as JSON and in words.

Owns ``Plan``, made of a ``Trial`` by ``make_plan``; ``plan_text``, for people; ``Plan.to_json``, which has all of it by
name.

The verdict is about traffic alone: a session that starts again harms nobody when the routes stay, and is told all the
same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from cluster.rehearsal.stage import SessionView
from cluster.whatif.addresses import IpamChange, compare_ipam, ipam_lines
from cluster.whatif.change import Written
from cluster.whatif.pairs import Pairs, compare_pairs, pair_lines
from cluster.whatif.picture import Picture
from cluster.whatif.routes import RouteChange, compare_routes, homes, route_lines
from cluster.whatif.sessions import (
    Ends,
    Falls,
    SessionChange,
    compare_sessions,
    ends_of,
    session_lines,
    sessions_of,
)
from cluster.whatif.trial import SessionEvent, Trial
from cluster.whatif.words import counted, listed, seconds
from protocol.prefix import Address, Prefix, format_address

MANY = 8
"""So many warnings are shown; all of them are in the JSON."""


@attrs.frozen(kw_only=True)
class Plan:
    """Nodes are routers too; ``come`` and ``gone`` have names. ``settled``: seconds from the change to the last thing
    that moved. ``amiss``: what is not as the datastore asks for in the end; ``unsettled``: prefixes that have no stable
    state, or several. ``amiss_before``: the same of the copy before the change.
    """

    cluster: str
    nodes: int
    come: tuple[str, ...]
    gone: tuple[str, ...]
    written: tuple[Written, ...]
    sessions: tuple[SessionChange, ...]
    routes: tuple[RouteChange, ...]
    pairs: Pairs
    ipam: IpamChange
    warnings: tuple[str, ...]
    settled: float
    amiss: tuple[str, ...]
    unsettled: tuple[str, ...]
    amiss_before: tuple[str, ...]
    _names: Mapping[Address, str] = attrs.field(factory=dict, repr=False)
    _homes: Mapping[Prefix, set[str]] = attrs.field(factory=dict, repr=False)

    @property
    def harmless(self) -> bool:
        return not self.pairs.lost and not self.amiss

    @property
    def verdict(self) -> str:
        if self.amiss:
            return "the cluster does not converge after the change"
        lost, for_good = self.pairs.lost, self.pairs.for_good
        if for_good:
            return f"{counted(len(for_good), 'pair')} of nodes {'loses' if len(for_good) == 1 else 'lose'} traffic for good"
        if lost:
            longest = max(each.seconds for each in lost)
            return f"{counted(len(lost), 'pair')} of nodes {'loses' if len(lost) == 1 else 'lose'} traffic, none for more than {seconds(longest)}"
        return "no pair of nodes loses traffic"

    def to_json(self) -> dict[str, Any]:
        return {
            "cluster": self.cluster,
            "nodes": self.nodes,
            "nodesNew": [*self.come],
            "nodesGone": [*self.gone],
            "loss": not self.harmless,
            "verdict": self.verdict,
            "change": [
                {"resource": each.subject, "place": each.place, "does": each.did} for each in self.written
            ],
            "sessions": [each.to_json() for each in self.sessions],
            "routes": [each.to_json() for each in self.routes],
            "pairs": self.pairs.to_json(),
            "ipam": self.ipam.to_json(),
            "warnings": [*self.warnings],
            "settledSeconds": round(self.settled, 6),
            "notConverged": [*self.amiss],
            "unsettled": [*self.unsettled],
            "notConvergedBefore": [*self.amiss_before],
        }


def make_plan(cluster: str, trial: Trial) -> Plan:
    before, after = trial.before, trial.after
    names = {**before.names, **after.names}
    before, after = _named(before, names), _named(after, names)
    return Plan(
        cluster=cluster,
        nodes=len(before.tables),
        come=tuple(name for name in after.tables if name not in before.tables),
        gone=tuple(name for name in before.tables if name not in after.tables),
        written=trial.written,
        sessions=tuple(
            compare_sessions(
                sessions_of(before.sessions), sessions_of(after.sessions), _falls(trial.events, before, after)
            )
        ),
        routes=tuple(compare_routes(before.tables, after.tables)),
        pairs=compare_pairs(trial.loss, trial.changed),
        ipam=compare_ipam(before.ipam, after.ipam),
        warnings=tuple(each for each in after.problems if each not in {*before.problems}),
        settled=max(0.0, trial.settled.at - trial.changed),
        amiss=trial.settled.differences,
        unsettled=trial.settled.unsettled,
        amiss_before=trial.copied.differences,
        names=names,
        homes=homes(before.tables, after.tables),
    )


def _named(picture: Picture, names: Mapping[Address, str]) -> Picture:
    """A neighbour that is nobody's in one picture, and somebody's in the other, is the same one in both."""
    texts = {format_address(address): name for address, name in names.items()}
    views = [
        attrs.evolve(view, neighbour=texts[view.neighbour]) if view.neighbour in texts else view
        for view in picture.sessions
    ]
    return attrs.evolve(picture, sessions=views)


def _falls(events: Iterable[SessionEvent], before: Picture, after: Picture) -> Mapping[Ends, Falls]:
    """By whom a stanza leads to. One that is in neither picture came and went in between, and is no session's of
    either.
    """
    ends: dict[tuple[str, str], Ends] = {}
    for view in (*before.sessions, *after.sessions):
        ends[view.node, view.peer] = _ends(view)
    found: dict[Ends, Falls] = {}
    for event in events:
        whose = ends.get((event.node, event.peer))
        if whose is None:
            continue
        falls = found.get(whose)
        if falls is None:
            if event.up:
                continue  # it comes for the first time
            falls = found[whose] = Falls()
        falls.end(event.at, event.node, up=event.up)
    return found


def _ends(view: SessionView) -> Ends:
    return ends_of(view.node, view.neighbour, view.family)


# -- for people -------------------------------------------------------------------------------------------------------


def plan_text(plan: Plan) -> str:
    sections: list[tuple[str, list[str]]] = [
        ("change", [*_written_lines(plan.written)]),
        ("nodes", [*_node_lines(plan)]),
        ("sessions", [*session_lines(plan.sessions)]),
        ("routes", [*_route_lines(plan)]),
        ("pairs", [*pair_lines(plan.pairs)]),
        ("ipam", [*ipam_lines(plan.ipam)]),
        ("warnings", [*_some(plan.warnings)]),
        ("before", [f"the copy does not converge: {each}" for each in _some(plan.amiss_before)]),
        ("after", [*_some(plan.amiss), *(f"no stable state: {each}" for each in _some(plan.unsettled))]),
    ]
    silent = {"nodes", "warnings", "before", "after"}
    text = ""
    for title, lines in sections:
        for number, line in enumerate(lines or ([] if title in silent else ["no change"])):
            text += f"{'' if number else title:<9} {line}\n"
    if plan.amiss:
        return f"{text}\nnot settled: {plan.verdict}\n"
    return f"{text}\nsettled {seconds(plan.settled)} after the change: {plan.verdict}\n"


def _written_lines(written: Iterable[Written]) -> Iterator[str]:
    done: dict[str, list[str]] = {}
    for each in written:
        done.setdefault(each.did, []).append(each.subject)
    for did, subjects in done.items():
        yield f"{listed(subjects)}: {did}"


def _node_lines(plan: Plan) -> Iterator[str]:
    for verb, names in (("new", plan.come), ("gone", plan.gone)):
        if names:
            yield f"{verb}: {listed(names)}"


def _route_lines(plan: Plan) -> Iterator[str]:
    if plan.routes:
        entries = sum(len(change.nodes) for change in plan.routes)
        prefixes = len({change.prefix for change in plan.routes})
        nodes = len({node for change in plan.routes for node in change.nodes})
        entries_of = f"{counted(entries, 'entry', 'entries')} of {counted(prefixes, 'prefix', 'prefixes')}"
        yield f"{entries_of}, on {counted(nodes, 'node')}"

    def name_of(address: Address) -> str:
        return plan._names.get(address) or format_address(address)

    for line in route_lines(plan.routes, name_of, plan._homes):
        yield f"  {line}"


def _some(lines: tuple[str, ...]) -> Iterator[str]:
    yield from lines[:MANY]
    if len(lines) > MANY:
        yield f"and {len(lines) - MANY:,} more"
