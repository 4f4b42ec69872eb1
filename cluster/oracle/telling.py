"""What daemons tell each other about one prefix, and what becomes of it where it is heard.

Owns ``Site`` (a living daemon), ``Class`` (an export class of it), ``Mouth`` and ``Ear`` (the ends of a session), ``Table`` (what
was said and heard of a prefix so far) and ``spread``, in which they talk until nobody has anything new to say.

With add-path all paths are told, else what the caller chooses of them: the best, to be what BGP is. Equal attributes from
one neighbour are one path here, whatever their path IDs, for they lead to the same. Work is done by export class, not
by session, and what a mesh neighbour hears costs two look-ups, since nobody in a mesh passes anything on.

Left out: who has a session with whom (``fixpoint``), and whether what they end with is the only end (``bounds``).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import attrs

from agents.speaker.config import MAX_PRIORITY
from agents.speaker.decision import PREFERENCE_BGP, PREFERENCE_STATIC, Path
from agents.speaker.nexthop import NextHops
from agents.speaker.policy import Exporter, ImportPolicy
from cluster.oracle.graph import Daemon
from protocol.bgp.attributes import Attributes
from protocol.prefix import Address, Prefix

if TYPE_CHECKING:
    from agents.speaker.config import PeerConfig
    from agents.speaker.peer import Peer

ROUNDS = 64
"""How often a daemon may change its mind about a prefix, on average, before it is taken to never stop."""

Said = tuple[Attributes, ...]


@attrs.define(eq=False)
class Neighbour:
    """What policy and decision ask of an ``agents.speaker.peer.Peer``."""

    config: PeerConfig
    internal: bool
    identifier: Address
    address: Address


@attrs.define(eq=False)
class Ear:
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
class Mouth:
    """One session of an export class: ``to`` is the neighbour as its speaker knows it."""

    to: Peer
    ear: Ear


@attrs.define(eq=False)
class Class:
    exporter: Exporter
    add_path: bool
    mouths: list[Mouth]


@attrs.define(eq=False)
class Site:
    """A living daemon and what is the same for all prefixes. ``own`` are its routes without BGP."""

    daemon: Daemon
    own: Mapping[Prefix, Sequence[Path]]
    next_hops: NextHops
    classes: list[Class] = attrs.Factory(list)

    @property
    def name(self) -> str:
        return self.daemon.name


Imported = dict[tuple[ImportPolicy, Attributes], Attributes | None]
"""What import makes of attributes: the same however far a prefix is."""
Choose = Callable[[Site, Sequence[Path]], Sequence[Path]]
"""Which of all its paths a site tells where there is no add-path."""


@attrs.define(eq=False)
class Table:
    """How far a prefix is: what was said, by class and by session, and what came of it where it was heard."""

    prefix: Prefix
    imported: Imported
    exported: dict[Class, list[tuple[Peer | None, Attributes]]] = attrs.Factory(dict)
    said: dict[Mouth, Said] = attrs.Factory(dict)
    heard: dict[Site, dict[Ear, list[Path]]] = attrs.Factory(dict)


def spread(
    table: Table, start: Iterable[Site], choose: Choose, *, turns: int, rng: random.Random | None = None
) -> bool:
    """Whether they came to an end, within so many turns. First come, first served; or whoever comes up, by ``rng``."""
    waiting = deque(start)
    queued = {*waiting}
    table.heard.update((site, {}) for site in waiting)
    while waiting:
        if rng is not None:
            waiting.rotate(rng.randrange(len(waiting)))
        site = waiting.popleft()
        queued.discard(site)
        if not turns:
            return False
        turns -= 1
        for ear in _speak(site, candidates(site, table), choose, table):
            if ear.receiver not in queued:
                queued.add(ear.receiver)
                waiting.append(ear.receiver)
    return True


def candidates(site: Site, table: Table) -> list[Path]:
    paths = [*site.own.get(table.prefix, ())]
    for told in table.heard.get(site, {}).values():
        paths += told
    return paths


def _speak(site: Site, paths: Sequence[Path], choose: Choose, table: Table) -> Iterable[Ear]:
    """Says on every session what is to be said; the ears where that made a difference."""
    best: Sequence[Path] | None = None
    for group in site.classes:
        told = paths
        if not group.add_path:
            if best is None:
                best = choose(site, paths) if paths else ()
            told = best
        exporter = group.exporter
        exported = [
            (path.peer, attributes)
            for path in told
            if exporter.may_tell(path) and (attributes := exporter.export(table.prefix, path)) is not None
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
                if _hear(mouth.ear, now, table):
                    yield mouth.ear


def _hear(ear: Ear, said: Said, table: Table) -> bool:
    paths = []
    for attributes in said:
        reflected = attributes.originator_id is not None or attributes.cluster_list
        policy = ear.policy if reflected else ear.common
        key = policy, attributes
        if key not in table.imported:
            ((_, table.imported[key]),) = policy.import_((table.prefix,), attributes)
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


def _path(ear: Ear, attributes: Attributes) -> Path:
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
