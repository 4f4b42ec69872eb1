"""Any cluster, played out: from documents to every FIB.

Owns ``General``. What is kept between two questions is only saved work: resources that were decoded, configurations
that were derived.

    documents ─► View ─┬─ Confd ─► SpeakerConfig ─► Daemon ─► graph.connect ─┐
                       └─ Felix ─► its routes ─► own routes of each daemon ──┴─► Fixpoint ─► kernel export ─┐
                              └──────────────────────────────────────────────────────────────────────────┴─► Tables

A node has a daemon for each family, and one table. For a prefix that both have, Felix's route wins, as in the kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from agents.confd.derive import Confd
from agents.dataplane.fib import FibRoute, Routes
from agents.speaker.config import SpeakerConfig, Timers
from agents.speaker.decision import Path
from agents.speaker.kernel import KernelExport
from agents.speaker.own import OwnRoutes
from agents.syncer import View
from cluster.oracle.felix import Felix
from cluster.oracle.fixpoint import Fixpoint
from cluster.oracle.graph import Daemon, connect
from cluster.oracle.solver import Table
from cluster.oracle.tables import Spelled, Tables, spell
from protocol.bgp.attributes import Attributes
from protocol.prefix import IPV4, IPV6, Address, Prefix, family_of
from protocol.sync.messages import Document, InSync, Snapshot
from protocol.v3.lab import Router
from protocol.v3.node import Node

FAMILIES = IPV4, IPV6


class General:
    """``env`` is what the nodes' confd has as environment."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._view = View()
        self._confd = Confd(self._view, Timers(), env)
        self._revision = 0

    def solve(
        self,
        documents: Mapping[str, Sequence[Document]],
        *,
        down: Collection[str] = (),
        cut: Iterable[tuple[str, str]] = (),
    ) -> Tables:
        self._revision += 1
        everything = tuple(document for kind in documents.values() for document in kind)
        self._view.apply(Snapshot(self._revision, everything))
        self._view.apply(InSync(self._revision))
        names = sorted(key[2] for kind in (Node.kind, Router.kind) for key in self._view.all(kind))
        cuts = [[one, other] for one, other in cut]
        answer = _Answer(living=[name for name in names if name not in down])
        felix = Felix(self._view)
        local = {name: felix.routes(name) for name in answer.living}
        for family in FAMILIES:
            daemons = self._daemons(names, family, down)
            connect(daemons, {frozenset(pair) for pair in cuts})
            own = {
                daemon.name: own_routes(daemon.config, local[daemon.name])
                for daemon in daemons
                if daemon.alive
            }
            answer.add(daemons, own)
        for name, routes in local.items():
            answer.tables[name].update(routes)
        return answer.told(down=down, cut=cuts)

    def _daemons(self, names: Sequence[str], family: int, down: Collection[str]) -> list[Daemon]:
        daemons: list[Daemon] = []
        for name in names:
            config = self._confd.derive(name, family)
            if config is not None:
                alive = config.enabled and name not in down
                daemons.append(Daemon(len(daemons), name, config, alive))
        return daemons


def own_routes(config: SpeakerConfig, kernel: Mapping[Prefix, FibRoute]) -> dict[Prefix, list[Path]]:
    """The routes of a daemon that no neighbour told it; of several to a prefix the best first."""
    own = OwnRoutes(Attributes(next_hop=config.address))
    learned = {prefix: route for prefix, route in kernel.items() if family_of(prefix) == config.family}
    found: dict[Prefix, list[Path]] = {}
    for routes in (own.direct(config), own.statics(config), own.kernel(learned)):
        for prefix, path in routes.items():
            found.setdefault(prefix, []).append(path)
    return found


@attrs.define(kw_only=True)
class _Answer:
    """What becomes Tables, family by family."""

    living: list[str]
    tables: dict[str, Table] = attrs.Factory(dict)
    sessions: dict[str, list[str]] = attrs.Factory(dict)
    announced: dict[Prefix, list[str]] = attrs.Factory(dict)
    addresses: dict[Address, str] = attrs.Factory(dict)
    unsettled: dict[Prefix, str] = attrs.Factory(dict)
    routes: Routes = attrs.Factory(Routes)

    def __attrs_post_init__(self) -> None:
        for name in self.living:
            self.tables[name] = {}
            self.sessions[name] = []

    def add(self, daemons: Sequence[Daemon], own: Mapping[str, Mapping[Prefix, Sequence[Path]]]) -> None:
        """One address family."""
        exports = {}
        for daemon in daemons:
            if daemon.config.address:
                self.addresses.setdefault(daemon.config.address, daemon.name)
            if daemon.alive:
                self.sessions[daemon.name] += [end.there.name for end in daemon.ends]
                exports[daemon.name] = KernelExport(daemon.config.kernel, self.routes)
                for prefix in own[daemon.name]:
                    self.announced.setdefault(prefix, []).append(daemon.name)
        fixpoint = Fixpoint(daemons, own)
        for prefix in fixpoint.prefixes:
            settled = fixpoint.settle(prefix)
            if settled.trouble:
                self.unsettled[prefix] = settled.trouble
            for site, path in settled.best:
                for _, route in exports[site.name].export((prefix,), path):
                    if route is not None:
                        self.tables[site.name][prefix] = route

    def told(self, *, down: Collection[str], cut: list[list[str]]) -> Tables:
        announced: dict[tuple[str, ...], list[Prefix]] = {}
        for prefix, names in self.announced.items():
            announced.setdefault(tuple(names), []).append(prefix)
        return Tables(
            routes={name: _spelled(table, self.unsettled) for name, table in self.tables.items()},
            sessions=self.sessions,
            announced=[([*names], prefixes) for names, prefixes in announced.items()],
            names=self.addresses,
            down=sorted(down),
            cut=cut,
            unsettled=self.unsettled,
        )


def _spelled(table: Table, unsettled: Collection[Prefix]) -> list[tuple[Spelled, list[Prefix]]]:
    """By route; without what nobody can know."""
    found: dict[FibRoute, list[Prefix]] = {}
    for prefix, route in table.items():
        if prefix not in unsettled:
            found.setdefault(route, []).append(prefix)
    return [(spell(route), prefixes) for route, prefixes in found.items()]
