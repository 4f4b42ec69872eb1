"""BGP to its stable state, without messages, sessions or timers.

Owns ``Fixpoint``: the daemons of one address family, their standing sessions (``graph``) and own routes, and for each
prefix what everybody ends with. A prefix is settled alone, as nothing that BGP does to one depends on another: next
hops resolve through own routes only.

    own routes ─► candidates ─► export, by class ─► attributes told ─► import ─► candidates of the neighbours ─► …

One daemon at a time looks at its candidates and says what is to be said; whose candidates changed has its turn, until
nobody has anything new to say. With add-path all paths are told, else the best; equal attributes from one neighbour are one path
here, whatever their path IDs, for they lead to the same. Work is done by export class, not by session, and what
a mesh neighbour hears costs two look-ups, since nobody in a mesh passes anything on.

Where only best paths are told, there may be no state that lasts, or several, depending on who spoke first. Both are
found (by giving up; by another order of turns) and such a prefix is ``unsettled``.

Policy, decision and next hops are the speaker's own functions, applied to what a neighbour is here.

Left out: equal attributes as ways that differ in age.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import attrs

from agents.speaker.config import MAX_PRIORITY
from agents.speaker.decision import PREFERENCE_BGP, PREFERENCE_STATIC, Path, select
from agents.speaker.nexthop import NextHops
from agents.speaker.policy import ExportClass, Exporter, ImportPolicy
from cluster.oracle.graph import Daemon, End
from protocol.bgp.attributes import Attributes
from protocol.prefix import Address, Prefix

if TYPE_CHECKING:
    from agents.speaker.config import PeerConfig
    from agents.speaker.peer import Peer

ROUNDS = 64
"""How often a daemon may change its mind about a prefix, on average, before it is taken to never stop."""

LUCKLESS = 4
"""Orders that are tried before a prefix that did not settle in one is taken to settle in none."""

_NOBODY = Address(b"")
Said = tuple[Attributes, ...]
NEVER = "its routes chase each other: no state of BGP lasts"
SEVERAL = "BGP has more than one stable state for it, and who speaks first decides"


@attrs.define(eq=False)
class Neighbour:
    """What policy and decision ask of an ``agents.speaker.peer.Peer``."""

    config: PeerConfig
    internal: bool
    identifier: Address
    address: Address


@attrs.define(eq=False)
class _Ear:
    """Where what is said on a session ends: the receiver, whom it takes the speaker for, and its import policy.

    ``common`` is the policy without the receiver's identifier, one for all who are configured alike: what was not reflected
    is the same for all of these.
    """

    receiver: Site
    neighbour: Neighbour
    policy: ImportPolicy
    common: ImportPolicy
    paths: dict[Attributes, Path] = attrs.Factory(dict)  # what was heard as the receiver holds it


@attrs.frozen(eq=False)
class _Mouth:
    """One session of an export class: ``to`` is the neighbour as its speaker knows it."""

    to: Peer
    ear: _Ear


@attrs.define(eq=False)
class _Class:
    exporter: Exporter
    add_path: bool
    mouths: list[_Mouth]


@attrs.define(eq=False)
class Site:
    """A living daemon and what is the same for all prefixes. ``own`` are its routes without BGP."""

    daemon: Daemon
    own: Mapping[Prefix, Sequence[Path]]
    next_hops: NextHops
    classes: list[_Class] = attrs.Factory(list)

    @property
    def name(self) -> str:
        return self.daemon.name


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
        settled = self._settle(prefix, None)
        if not self._best_only:
            return settled
        for seed in range(1 if not settled.trouble else LUCKLESS):
            again = self._settle(prefix, random.Random(seed))
            if not again.trouble and _gateways(again) != _gateways(settled):
                return Settled([], SEVERAL)
        return settled

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
            classes: dict[ExportClass, _Class] = {}
            for end in site.daemon.ends:
                there = end.there.number
                key = ExportClass.of(end.stanza, add_path=end.add_path)
                found = classes.get(key)
                if found is None:
                    found = classes[key] = _Class(self._exporter(site, key), end.add_path, [])
                ear = _Ear(
                    by_number[there],
                    neighbours[there, end.number],
                    self._import_policy(end, end.there.config.router_id, policies),
                    self._import_policy(end, _NOBODY, policies),
                )
                found.mouths.append(_Mouth(cast("Peer", neighbours[here, end.number]), ear))
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

    # -- a prefix -----------------------------------------------------------------------------------------------------

    def _settle(self, prefix: Prefix, rng: random.Random | None) -> Settled:
        """First come, first served; or whoever comes up, by ``rng``."""
        table = _Table()
        waiting = deque(self._origins[prefix])
        queued = {*waiting}
        table.heard.update((site, {}) for site in waiting)
        turns = 0
        while waiting:
            if rng is not None:
                waiting.rotate(rng.randrange(len(waiting)))
            site = waiting.popleft()
            queued.discard(site)
            turns += 1
            if turns > ROUNDS * len(self.sites):
                return Settled([], NEVER)
            for ear in _speak(site, prefix, _candidates(site, prefix, table), table):
                if ear.receiver not in queued:
                    queued.add(ear.receiver)
                    waiting.append(ear.receiver)
        best = []
        for site in table.heard:
            paths = _candidates(site, prefix, table)
            if paths:
                path, hops = select(paths)
                best.append((site, path if hops == path.hops else path.through(hops)))
        return Settled(best)


@attrs.define(eq=False)
class _Table:
    """How far a prefix is: what was said, by class and by session, and what came of it where it was heard."""

    exported: dict[_Class, list[tuple[Peer | None, Attributes]]] = attrs.Factory(dict)
    said: dict[_Mouth, Said] = attrs.Factory(dict)
    imported: dict[tuple[ImportPolicy, Attributes], Attributes | None] = attrs.Factory(dict)
    heard: dict[Site, dict[_Ear, list[Path]]] = attrs.Factory(dict)


def _candidates(site: Site, prefix: Prefix, table: _Table) -> list[Path]:
    paths = [*site.own.get(prefix, ())]
    for told in table.heard.get(site, {}).values():
        paths += told
    return paths


def _speak(site: Site, prefix: Prefix, paths: Sequence[Path], table: _Table) -> Iterable[_Ear]:
    """Says on every session what is to be said; the ears where that made a difference."""
    best: list[Path] | None = None
    for group in site.classes:
        told = paths
        if not group.add_path:
            if best is None:
                best = [select(paths)[0]] if paths else []
            told = best
        exporter = group.exporter
        exported = [
            (path.peer, attributes)
            for path in told
            if exporter.may_tell(path) and (attributes := exporter.export(prefix, path)) is not None
        ]
        if table.exported.get(group, []) == exported:
            continue
        table.exported[group] = exported
        everything = tuple(dict.fromkeys(attributes for _, attributes in exported))
        concerned = {source for source, _ in exported}, {attributes.next_hop for attributes in everything}
        for mouth in group.mouths:
            now = everything
            if mouth.to in concerned[0] or mouth.to.address in concerned[1]:
                # Nobody is told what it told itself, or a route of which it is the next hop.
                now = tuple(
                    dict.fromkeys(
                        attributes
                        for source, attributes in exported
                        if source is not mouth.to and attributes.next_hop != mouth.to.address
                    )
                )
            if table.said.get(mouth, ()) != now:
                table.said[mouth] = now
                if _hear(mouth.ear, prefix, now, table):
                    yield mouth.ear


def _hear(ear: _Ear, prefix: Prefix, said: Said, table: _Table) -> bool:
    paths = []
    for attributes in said:
        reflected = attributes.originator_id is not None or attributes.cluster_list
        policy = ear.policy if reflected else ear.common
        key = policy, attributes
        if key not in table.imported:
            ((_, table.imported[key]),) = policy.import_((prefix,), attributes)
        accepted = table.imported[key]
        if accepted is not None:
            paths.append(_path(ear, accepted))
    there = table.heard.setdefault(ear.receiver, {})
    if there.get(ear, []) == paths:
        return False
    if paths:
        there[ear] = paths
    else:
        del there[ear]
    return True


def _path(ear: _Ear, attributes: Attributes) -> Path:
    path = ear.paths.get(attributes)
    if path is None:
        site = ear.receiver
        hops, metric = site.next_hops.resolve(attributes.next_hop)
        policy = site.daemon.config.policy
        preference = attributes.local_pref
        elevated = (
            policy is not None
            and preference is not None
            and preference > MAX_PRIORITY - policy.normal_priority
            and not attributes.settled
        )
        path = ear.paths[attributes] = Path(
            cast("Peer", ear.neighbour),
            attributes,
            (attributes.next_hop,) if hops is None else hops,
            PREFERENCE_STATIC if elevated else PREFERENCE_BGP,
            metric=metric,
        )
    return path


def _neighbour(end: End) -> Neighbour:
    return Neighbour(end.stanza, end.stanza.internal, end.there.config.router_id, end.stanza.address)


def _gateways(settled: Settled) -> dict[str, tuple[object, ...]]:
    return {site.name: (path.peer is None, path.source, path.hops) for site, path in settled.best}
