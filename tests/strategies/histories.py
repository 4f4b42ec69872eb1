"""Histories of speakers without trio: configurations one after the other, anything that can happen on the wires in between.

Owns ``Plan`` (who peers with whom and how, who has what), ``histories``, and ``play``, which plays one in a ``SpeakerNet``
and returns what is wrong in the end, in words. Who is right is the general oracle's fixpoint over the very configurations of
the last plan, which knows neither sessions nor messages.

ASes and families stay the same in a history, so that a NOTIFICATION is one of these: a Cease, or that somebody was silent for
too long, which he can only be when nothing was delivered.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import attrs
from hypothesis import assume
from hypothesis import strategies as st

from agents.dataplane.fib import FibRoute, Routes, device
from agents.speaker.config import Filter, PeerConfig, SpeakerConfig
from agents.speaker.decision import Path
from agents.speaker.kernel import KernelExport
from agents.speaker.peer import Peer
from agents.speaker.speaker import Speaker
from cluster.oracle.fixpoint import NEVER, Fixpoint, Settled
from cluster.oracle.general import own_routes
from cluster.oracle.graph import Daemon, connect
from protocol.bgp.errors import Code
from protocol.bgp.fsm import State
from protocol.prefix import IPV4, Prefix, format_prefix, parse_prefix
from protocol.v3.bgp import FilterOperation, FilterRuleV4, SetPriority
from tests.strategies.speaker import (
    LOCAL_AS,
    SpeakerNet,
    block,
    host,
    pairs,
    peer_config,
    speaker_config,
    step,
    steps,
)

_T = TypeVar("_T")


@attrs.frozen
class Plan:
    """What nodes 1 to ``size`` are told. ``ases``, ``add_path`` and ``clusters`` are by node.

    ``edges`` have what is done with what comes in at either end, and whether the first end waits for a dial.
    """

    ases: tuple[int, ...]
    add_path: tuple[bool, ...]
    clusters: tuple[int, ...]  # 0: no reflector
    edges: Mapping[tuple[int, int], tuple[str, str, bool]]
    blocks: tuple[int, ...]  # a bit for each
    shared: tuple[bool, ...]

    @property
    def numbers(self) -> range:
        return range(1, len(self.ases) + 1)

    def configuration(self, number: int) -> SpeakerConfig:
        peers = [
            self._peer(number, other, how[:2][edge.index(number)], passive=how[2] and edge[0] == number)
            for edge, how in self.edges.items()
            if number in edge
            for other in edge
            if other != number
        ]
        config = speaker_config(
            number, peers, blocks=map(block, self._blocks(number)), local_as=self.ases[number - 1]
        )
        return attrs.evolve(config, add_path=self.add_path[number - 1])

    def _peer(self, number: int, other: int, filters: str, *, passive: bool) -> PeerConfig:
        own, its = self.ases[number - 1], self.ases[other - 1]
        cluster = self.clusters[number - 1]
        client = own == its and cluster and self.clusters[other - 1] != cluster  # as confd has it
        config = peer_config(
            number,
            other,
            local_as=own,
            peer_as=its,
            passive=passive,
            cluster_id=host(200 + cluster) if client else None,
        )
        return attrs.evolve(config, import_filters=_FILTERS[filters]) if _FILTERS[filters] else config

    def _blocks(self, number: int) -> list[int]:
        return [2 * number + which for which in range(2) if self.blocks[number - 1] >> which & 1]

    def workloads(self, number: int) -> dict[Prefix, FibRoute]:
        """One in each block, and an address that several nodes may have."""
        found = [parse_prefix(f"192.168.{which}.1/32") for which in self._blocks(number)]
        return dict.fromkeys(found + [SHARED] * self.shared[number - 1], device("cali7"))


SHARED = parse_prefix("192.168.200.1/32")
_RULES = {
    "": (),
    "reject": (FilterRuleV4(action="Reject", cidr="192.168.4.0/24", match_operator="In"),),
    "prefer": (
        FilterRuleV4(action="Accept", operations=(FilterOperation(set_priority=SetPriority(value=512)),)),
    ),
}
_FILTERS = {
    name: (Filter(name=name, direction="import", family=IPV4, rules=rules),) if rules else ()
    for name, rules in _RULES.items()
}

History = list[tuple[Plan, list[tuple[str, int, int]]]]


@st.composite
def histories(draw: st.DrawFn, *, shape: str, most: int = 5) -> History:
    """``shape``: "internal" (one AS, anybody with anybody), "reflectors", "external" (an AS each), "mixed"."""
    ases, add_path, parts = _strategies(shape, draw(st.integers(2, most)))
    own = tuple(LOCAL_AS + number for number in draw(ases))
    several = draw(add_path)
    return [
        (Plan(own, several, clusters, edges, blocks, shared), script)
        for clusters, edges, blocks, shared, script in draw(parts)
    ]


@functools.cache  # made anew for each example they would cost as much as all that is drawn
def _strategies(shape: str, size: int) -> tuple[st.SearchStrategy[Any], ...]:
    """ASes, who tells every path, and the rest of each plan with what happens then."""

    def each(one: st.SearchStrategy[_T], *, unique: bool = False) -> st.SearchStrategy[tuple[_T, ...]]:
        if unique:
            return st.lists(one, min_size=size, max_size=size, unique_by=lambda value: value).map(tuple)
        return st.tuples(*[one] * size)

    reflects, filtered = shape in ("reflectors", "mixed"), shape in ("external", "mixed")
    ases = {"external": st.integers(1, 99), "mixed": st.sampled_from((1, 2))}.get(shape, st.just(0))
    filters = st.sampled_from(("", "", "", "reject", "prefer") if filtered else ("",))
    part = st.tuples(
        each(st.sampled_from((0, 1, 2, 3)) if reflects else st.just(0)),
        st.dictionaries(
            st.sampled_from(pairs(range(1, size + 1))), st.tuples(filters, filters, st.booleans())
        ),
        each(st.integers(0, 3)),
        each(st.booleans()),
        st.lists(steps, max_size=25),
    )
    return (
        each(ases, unique=shape == "external"),
        each(st.booleans()) if reflects else st.booleans().map(lambda all_paths: (all_paths,) * size),
        st.lists(part, min_size=1, max_size=3),
    )


# -- playing one --------------------------------------------------------------------------------------------------


def play(history: History, *, seed: int = 0, clog: int | None = None) -> list[str]:
    """What is wrong in the end. An example that has no end by the oracle is none."""
    final = Judge(history[-1][0])
    assume(not final.endless)
    net = SpeakerNet(seed=seed, clog=clog)
    for plan, script in history:
        for number in plan.numbers:
            config = plan.configuration(number)
            if config.address in net.speakers:
                net.configure(config)
            else:
                net.add(config)
            net.set_kernel(config.address, plan.workloads(number))
        for verb, index, size in script:
            step(net, verb, index, size)
    sessions = 2 * len(history[-1][0].edges)
    net.settle(sessions)
    so_far = len(net.notifications)
    net.advance(net.now + 100)
    flaps = [f"{sender[3]}: {each}, and nobody was silent" for sender, each in net.notifications[so_far:]]
    return [*flaps, *final.wrong(net), *unexplained(net), *untidy(net, sessions)]


class Judge:
    """What every speaker should hold in the end, by the oracle."""

    def __init__(self, plan: Plan) -> None:
        self._daemons = [
            Daemon(number, str(number), plan.configuration(number), alive=True) for number in plan.numbers
        ]
        self._strict = all(plan.add_path)
        connect(self._daemons)
        own = {each.name: own_routes(each.config, plan.workloads(each.number)) for each in self._daemons}
        fixpoint = Fixpoint(self._daemons, own)
        self._settled = {prefix: fixpoint.settle(prefix) for prefix in fixpoint.prefixes}

    @property
    def endless(self) -> bool:
        return any(settled.trouble == NEVER for settled in self._settled.values())

    def wrong(self, net: SpeakerNet) -> Iterator[str]:
        for daemon in self._daemons:
            best = net.speakers[daemon.config.address].rib.best
            table = net.fibs[daemon.config.address].routes
            for prefix in {**self._settled, **best}:
                settled = self._settled.get(prefix, Settled([]))
                if settled.trouble:
                    continue
                expected = next((path for site, path in settled.best if site.daemon is daemon), None)
                found = best.get(prefix)
                if self._said(expected) != self._said(found):
                    yield f"{daemon.name}: {format_prefix(prefix)}: {self._said(found)}, not {self._said(expected)}"
                route = None
                if expected is not None:
                    [(_, route)] = KernelExport(daemon.config.kernel, Routes()).export((prefix,), expected)
                if table.get(prefix) != route:
                    yield f"{daemon.name}: {format_prefix(prefix)}: {table.get(prefix)} in the FIB, not {route}"

    def _said(self, path: Path | None) -> tuple[Any, ...] | None:
        """What others can see of it. Where only best paths are told the oracle promises no more than the way."""
        if path is None:
            return None
        way = path.peer is None, path.source, path.hops
        if not self._strict:
            return way
        return *way, path.attributes, path.preference, path.peer and path.peer.address


def unexplained(net: SpeakerNet) -> Iterator[str]:
    """NOTIFICATIONs that nothing here is a reason for."""
    for sender, notification in net.notifications:
        if notification.code not in (Code.CEASE, Code.HOLD_TIMER_EXPIRED):
            yield f"{sender[3]}: {notification}"


def untidy(net: SpeakerNet, sessions: int) -> Iterator[str]:
    """What is kept and not needed, or needed and not kept; and what a neighbour holds that it was not told."""
    if net.established() != sessions or len(net.ends) != sessions:
        yield f"{net.established()} ends are up and {len(net.ends)} open, not {sessions}"
    for address, speaker in net.speakers.items():
        groups = {peer.group for peer in speaker.peers.values() if peer.group is not None}
        for peer in speaker.peers.values():
            name = f"{address[3]} with {peer.address[3]}"
            if peer.rival is not None or peer.session.state is not State.ESTABLISHED or not peer.up:
                yield f"{name}: {peer.session.state}, rival {peer.rival}"
            if peer.session.owner is not peer or peer.link is not peer.session.link:
                yield f"{name}: a connection of nobody"
            if peer.owed is not None or peer.end_of_rib_owed:
                yield f"{name}: owes {peer.owed}"
            if peer.up and peer.restart is not None:
                yield f"{name}: is back, and has never said End-of-RIB"
            yield from _looped(speaker, peer, name)
            if peer.up:
                yield from _unlike(net, address[3], peer, name)
        if any(group.lagging or group._pending or group._joining for group in groups):
            yield f"{address[3]}: a group has something left to say"
        if sum(len(group.members) for group in groups) != speaker.established:
            yield f"{address[3]}: members of groups are others than sessions"


def _looped(speaker: Speaker, peer: Peer, name: str) -> Iterator[str]:
    """What it holds, and has passed on itself (RFC 4271 9.1.2, RFC 4456 8)."""
    own = speaker.config
    for _, table in peer.adj_ribs_in():
        for prefix, attributes in table.items():
            if peer.config.cluster_id in attributes.cluster_list:
                yield f"{name}: {format_prefix(prefix)} comes from its own cluster"
            if attributes.originator_id == own.router_id:
                yield f"{name}: {format_prefix(prefix)} is its own"
            if any(own.local_as in segment for _, segment in attributes.as_path):
                yield f"{name}: {format_prefix(prefix)} comes from its own AS"


def _unlike(net: SpeakerNet, number: int, peer: Peer, name: str) -> Iterator[str]:
    there = net.peer(peer.address[3], number)
    assert peer.group is not None
    held = {
        (path_id, prefix): attributes
        for path_id, table in there.adj_ribs_in()
        for prefix, attributes in table.items()
    }
    told = {
        (path_id, prefix): admitted
        for path_id, table in enumerate(peer.group.adj_rib_out)
        for prefix, (attributes, source) in table.items()
        if source is not peer
        for _, admitted in there.import_policy.import_((prefix,), attributes)
        if admitted is not None
    }
    if held != told:
        yield f"{name}: told {told}, which holds {held}"
