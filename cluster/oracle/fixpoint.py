"""BGP to its stable state, without messages, sessions or timers.

Owns ``Fixpoint``: the daemons of one address family, their standing sessions (``graph``) and own routes, and for each
prefix what everybody ends with. A prefix is settled alone, as nothing that BGP does to one depends on another: next
hops resolve through own routes only.

    own routes ─► candidates ─► export, by class ─► attributes told ─► import ─► candidates of the neighbours ─► …

One daemon at a time looks at its candidates and says what is to be said; whose candidates changed has its turn, until
nobody has anything new to say (``telling``).

Where only best paths are told, there may be no state that lasts, or several, depending on who spoke first. Both are
found (``bounds``; where that would take too long, by several orders of turns) and such a prefix is ``unsettled``.

Policy, decision and next hops are the speaker's own functions, applied to what a neighbour is here.

Left out: equal attributes as ways that differ in age.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import attrs

from agents.speaker.decision import Path, select
from agents.speaker.nexthop import NextHops
from agents.speaker.policy import ExportClass, Exporter, ImportPolicy
from cluster.oracle.bounds import TooWide, resting
from cluster.oracle.graph import Daemon, End
from cluster.oracle.telling import ROUNDS, Class, Ear, Mouth, Neighbour, Site, Table, candidates, spread
from protocol.bgp.attributes import Attributes
from protocol.prefix import Address, Prefix

if TYPE_CHECKING:
    from agents.speaker.peer import Peer

LUCKLESS = 4
"""Orders that are tried before a prefix that did not settle in one is taken to settle in none."""

_NOBODY = Address(b"")
NEVER = "its routes chase each other: no state of BGP lasts"
SEVERAL = "BGP has more than one stable state for it, and who speaks first decides"


@attrs.frozen
class Settled:
    """Best path at every site that has one, by name, with its ECMP gateways."""

    best: list[tuple[Site, Path]]
    trouble: str = ""


class Fixpoint:
    def __init__(self, daemons: Iterable[Daemon], own: Mapping[str, Mapping[Prefix, Sequence[Path]]]) -> None:
        """``own`` has every living daemon's routes by name; of several to a prefix the first is the best."""
        self._known: dict[Attributes, Attributes] = {}
        self.sites: list[Site] = []
        self._origins: dict[Prefix, list[Site]] = {}
        for daemon in daemons:
            if daemon.alive:
                routes = own[daemon.name]
                next_hops = NextHops(daemon.config.address)
                next_hops.set_routes({prefix: paths[0] for prefix, paths in routes.items()})
                site = Site(daemon, routes, next_hops)
                self.sites.append(site)
                for prefix in routes:
                    self._origins.setdefault(prefix, []).append(site)
        self._connect()
        self._best_only = any(not each.add_path for site in self.sites for each in site.classes)

    @property
    def prefixes(self) -> Iterable[Prefix]:
        """All that anybody has of its own."""
        return self._origins.keys()

    def settle(self, prefix: Prefix) -> Settled:
        if not self._best_only:
            return self._talk(prefix)
        settled: Settled | None = None
        try:
            for table in resting(prefix, self._origins[prefix], len(self.sites)):
                another = _settled(table)
                if settled is not None and _gateways(another) != _gateways(settled):
                    return Settled([], SEVERAL)
                settled = another
        except TooWide:
            return self._try_orders(prefix)
        return settled or Settled([], NEVER)

    def _try_orders(self, prefix: Prefix) -> Settled:
        settled = self._talk(prefix)
        for seed in range(2 if not settled.trouble else LUCKLESS):
            again = self._talk(prefix, random.Random(seed))
            if not again.trouble and _gateways(again) != _gateways(settled):
                return Settled([], SEVERAL)
        return settled

    def _talk(self, prefix: Prefix, rng: random.Random | None = None) -> Settled:
        table = Table(prefix, {})
        turns = ROUNDS * len(self.sites)
        if spread(table, self._origins[prefix], _tell_best, turns=turns, rng=rng):
            return _settled(table)
        return Settled([], NEVER)

    # -- once ---------------------------------------------------------------------------------------------------------

    def _intern(self, attributes: Attributes) -> Attributes:
        return self._known.setdefault(attributes, attributes)

    def _connect(self) -> None:
        by_number = {site.daemon.number: site for site in self.sites}
        neighbours = {
            (site.daemon.number, end.number): _neighbour(end)
            for site in self.sites
            for end in site.daemon.ends
        }
        policies: dict[tuple[object, ...], ImportPolicy] = {}
        for site in self.sites:
            here = site.daemon.number
            classes: dict[ExportClass, Class] = {}
            for end in site.daemon.ends:
                there = end.there.number
                key = ExportClass.of(end.stanza, add_path=end.add_path)
                found = classes.get(key)
                if found is None:
                    found = classes[key] = Class(self._exporter(site, key), end.add_path, [])
                ear = Ear(
                    by_number[there],
                    neighbours[there, end.number],
                    self._import_policy(end, end.there.config.router_id, policies),
                    self._import_policy(end, _NOBODY, policies),
                )
                found.mouths.append(Mouth(cast("Peer", neighbours[here, end.number]), ear))
            site.classes.extend(classes.values())

    def _exporter(self, site: Site, key: ExportClass) -> Exporter:
        config = site.daemon.config
        return Exporter(key, config.policy, router_id=config.router_id, intern=self._intern)

    def _import_policy(
        self, end: End, router_id: Address, known: dict[tuple[object, ...], ImportPolicy]
    ) -> ImportPolicy:
        """That of the other side, shared by all sessions that differ in nothing that it looks at."""
        config = end.theirs
        key = (
            router_id, config.local_as, config.internal, config.allow_local_as, config.rr_client, config.cluster_id,
            config.import_filters,
        )  # fmt: skip
        if key not in known:
            # Whose next hop the receiver is has not been said (_speak): so the policy can be shared.
            nobodys = attrs.evolve(config, local_address=_NOBODY)
            known[key] = ImportPolicy(nobodys, router_id=router_id, intern=self._intern)
        return known[key]


def _tell_best(_: Site, paths: Sequence[Path]) -> Sequence[Path]:
    return (select(paths)[0],)


def _settled(table: Table) -> Settled:
    best = []
    for site in table.heard:
        paths = candidates(site, table)
        if paths:
            path, hops = select(paths)
            best.append((site, path if hops == path.hops else path.through(hops)))
    return Settled(best)


def _neighbour(end: End) -> Neighbour:
    return Neighbour(end.stanza, end.stanza.internal, end.there.config.router_id, end.stanza.address)


def _gateways(settled: Settled) -> dict[str, tuple[object, ...]]:
    return {site.name: (path.peer is None, path.source, path.hops) for site, path in settled.best}
