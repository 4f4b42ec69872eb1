"""An update group: whatever happens, each member has been told the group's table without its own routes, and no more."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.speaker import groups
from agents.speaker.config import ExportPolicy
from agents.speaker.decision import PREFERENCE_BGP, PREFERENCE_STATIC, Path, PathKey, RouteSource
from agents.speaker.groups import BEST, UpdateGroup
from agents.speaker.links import HIGH_WATER, Link
from agents.speaker.peer import Peer
from agents.speaker.policy import ExportClass, Exporter
from protocol.bgp.attributes import Attributes
from protocol.bgp.messages import Update
from protocol.bgp.wire import Codec, split
from protocol.prefix import IPV4, Address, Prefix
from tests.strategies.speaker import LOCAL_AS, as_path, block, host, neighbour

PREFIXES = [block(number) for number in range(6)]
REFUSED = PREFIXES[5]
POLICY = ExportPolicy(pools=tuple(PREFIXES[:5]))
CLASS = ExportClass(
    internal=True, local_as=LOCAL_AS, local_address=host(9), rr_client=True, cluster_id=Address(b"\1\1\1\1"),
    add_path=True,
)  # fmt: skip

View = dict[tuple[int, Prefix], Attributes]
"""By path ID and prefix."""


@attrs.define
class Member:
    """What one neighbour heard since its session came up."""

    view: View = attrs.field(factory=dict)
    ends_of_rib: int = 0
    announced: int = 0
    withdrawn: int = 0

    def routes(self) -> Counter[tuple[Prefix, Attributes]]:
        return Counter((prefix, said) for (_, prefix), said in self.view.items())

    @property
    def prefixes(self) -> set[Prefix]:
        return {prefix for _, prefix in self.view}


@attrs.define
class World:
    """One group, its neighbours and what they heard."""

    key: ExportClass = CLASS
    codec: Codec = attrs.field(factory=Codec)
    heard: dict[Peer, Member] = attrs.field(factory=dict)
    sent: list[tuple[Peer, bytes]] = attrs.field(factory=list)
    group: UpdateGroup = attrs.field(init=False)
    paths: dict[PathKey, dict[Prefix, Path]] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.group = self.new_group(self.key)

    def new_group(self, key: ExportClass) -> UpdateGroup:
        return UpdateGroup(key, self.exporter(key), family=IPV4, codec=self.codec, send=self._send)

    def exporter(self, key: ExportClass) -> Exporter:
        return Exporter(key, POLICY, router_id=host(9), intern=self.codec.attributes.intern)

    def _send(self, peer: Peer, data: bytes, announced: int, withdrawn: int) -> None:
        member = self.heard[peer]
        self.sent.append((peer, data))
        frames, tail = split(data)
        assert not tail
        assert frames, "nothing is not sent"
        counted = [0, 0]
        for frame in frames:
            update = self.codec.decode(frame)
            assert isinstance(update, Update)
            if not update.nlri and not update.withdrawn:
                member.ends_of_rib += 1
                assert member.view == self.owed_to(peer), "End-of-RIB comes after the routes of the moment"
            for prefix in update.withdrawn:
                assert (update.path_id, prefix) in member.view, "a withdrawal of what it was never told"
                del member.view[update.path_id, prefix]
            if update.attributes is not None:
                for prefix in update.nlri:
                    member.view[update.path_id, prefix] = update.attributes
            counted[0] += len(update.nlri)
            counted[1] += len(update.withdrawn)
        assert counted == [announced, withdrawn]

    def owed_to(self, peer: Peer) -> View:
        return {
            (path_id, prefix): said
            for path_id, table in enumerate(self.group.adj_rib_out)
            for prefix, (said, source) in table.items()
            if source is not peer
        }

    def exportable(self, peer: Peer) -> Counter[tuple[Prefix, Attributes]]:
        """From scratch: every path that may be told, or the best alone, but for the member's own."""
        exporter = self.exporter(self.group.key)
        return Counter(
            (prefix, said)
            for paths in self.paths.values()
            for prefix, path in paths.items()
            if path.peer is not peer and (said := exporter.export(prefix, path)) is not None
        )

    def route(self, prefix: Prefix, source: Peer | None, said: Attributes | None, path_id: int = 0) -> None:
        """This is the path of that source now, or there is none. Without add-path it is the best, whosever it is."""
        key: PathKey = (source or RouteSource.STATIC, path_id)
        if not self.key.add_path:
            key = (RouteSource.STATIC, 0)
        mine = self.paths.setdefault(key, {})
        path = mine.pop(prefix, None)
        if said is None and path is None:
            return
        path = None
        if said is not None:
            preference = PREFERENCE_STATIC if source is None else PREFERENCE_BGP
            path = Path(source, self.codec.attributes.intern(said), (), preference, path_id)
            mine[prefix] = path
            if source is not None:
                (source.more(path_id) if path_id else source.adj_rib_in)[prefix] = path.attributes
        self.group.note(key if self.key.add_path else BEST, (prefix,), path)

    def join(self, peer: Peer) -> Member:
        peer.up = True
        peer.link = Link(peer.address)
        self.heard[peer] = Member()
        self.group.joined(peer)
        return self.heard[peer]

    def leave(self, peer: Peer) -> None:
        peer.up = False
        peer.link = None
        del self.heard[peer]
        self.group.left(peer)
        for paths in list(self.paths.values()):
            for prefix, path in list(paths.items()):
                if path.peer is peer:
                    self.route(prefix, peer, None, path.path_id)

    def flush(self) -> None:
        self.group.flush()

    def drain(self) -> None:
        for peer in self.heard:
            assert peer.link is not None
            peer.link.queued = 0
        self.flush()
        while self.group.lagging:
            self.flush()


ATTRIBUTES = [
    Attributes(next_hop=host(1), local_pref=100),
    Attributes(next_hop=host(2), local_pref=100),
    Attributes(next_hop=host(1), local_pref=100, as_path=as_path(1)),
]


class UpdateGroupMachine(RuleBasedStateMachine):
    """Members 0-2 are clients, 3 is an iBGP neighbour of another group, 4 an eBGP neighbour of another."""

    key = CLASS

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.key)
        self.peers = [neighbour(number) for number in range(4)] + [neighbour(4, peer_as=1)]
        for peer in self.peers[3:]:
            peer.up = True
        self.just_left: set[Peer] = set()
        """A new session takes an exchange of OPENs, and there is a flush after every batch of events."""
        self.most = 1
        """Paths that a prefix ever had at a time."""

    members = st.integers(0, 2)
    sources = st.sampled_from((None, 0, 1, 2, 3, 4))
    path_ids = st.integers(0, 1)

    @rule(
        prefix=st.sampled_from(PREFIXES), source=sources, said=st.sampled_from(ATTRIBUTES), path_id=path_ids
    )
    def announce(self, prefix: Prefix, source: int | None, said: Attributes, path_id: int) -> None:
        peer = None if source is None else self.peers[source]
        if peer is None or peer.up:
            self.world.route(prefix, peer, said, path_id)
        self.most = max(self.most, sum(prefix in paths for paths in self.world.paths.values()))

    @rule(prefix=st.sampled_from(PREFIXES), source=sources, path_id=path_ids)
    def withdraw(self, prefix: Prefix, source: int | None, path_id: int) -> None:
        self.world.route(prefix, None if source is None else self.peers[source], None, path_id)

    @rule(member=members)
    def join_or_leave(self, member: int) -> None:
        peer = self.peers[member]
        if peer.up:
            self.world.leave(peer)
            self.just_left.add(peer)
        elif peer not in self.just_left:
            self.world.join(peer)

    @rule(member=members)
    def refresh(self, member: int) -> None:
        if self.peers[member].up:
            self.world.group.refresh(self.peers[member])

    @rule(member=members, full=st.booleans())
    def fill_or_empty_link(self, member: int, *, full: bool) -> None:
        link = self.peers[member].link
        if link is not None:
            link.queued = HIGH_WATER + 1 if full else 0

    @rule()
    def flush(self) -> None:
        self.world.flush()
        self.just_left.clear()

    @rule()
    def move_to_another_group(self) -> None:
        """All members get a new group, with path IDs of its own, as when their filters part from others'."""
        world, old = self.world, self.world.group
        world.group = world.new_group(world.key)
        for key, paths in reversed(world.paths.items()):
            for prefix, path in reversed(paths.items()):
                world.group.note(key if world.key.add_path else BEST, (prefix,), path)
        for peer in list(world.heard):
            world.group.take_over(peer, old)

    @precondition(lambda self: any(peer.up for peer in self.peers[:3]))
    @rule()
    def drain(self) -> None:
        world = self.world
        self.just_left.clear()
        world.drain()
        for peer, member in world.heard.items():
            assert member.view == world.owed_to(peer)
            assert member.routes() == world.exportable(peer)
            assert member.ends_of_rib == 1
            assert peer.owed is None
            assert world.group.from_member(peer) == sum(
                source is peer for table in world.group.adj_rib_out for _, source in table.values()
            )

    @invariant()
    def a_lagging_member_is_owed_no_more_than_the_table(self) -> None:
        for peer in self.world.group.lagging:
            assert peer.owed is not None
            assert all(owed.keys() <= set(PREFIXES) for owed in peer.owed.values())

    @invariant()
    def path_ids_are_as_small_as_can_be(self) -> None:
        assert len(self.world.group.adj_rib_out) <= self.most

    def teardown(self) -> None:
        self.drain()


class NoClientsMachine(UpdateGroupMachine):
    """The same without reflection: iBGP is not re-told."""

    key = attrs.evolve(CLASS, rr_client=False, cluster_id=None)


class BestAloneMachine(UpdateGroupMachine):
    """Clients without add-path: one path a prefix, which changes hands."""

    key = attrs.evolve(CLASS, add_path=False)


UpdateGroupMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
NoClientsMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40)
BestAloneMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestClients = pytest.mark.slow(UpdateGroupMachine.TestCase)
TestNoClients = NoClientsMachine.TestCase
TestBestAlone = pytest.mark.slow(BestAloneMachine.TestCase)


@pytest.fixture
def world() -> World:
    return World()


def test_unconcerned_members_get_the_same_bytes(world: World) -> None:
    peers = [neighbour(number) for number in range(4)]
    for peer in peers:
        world.join(peer)
    world.flush()
    assert len({id(data) for _, data in world.sent}) == 1
    world.sent.clear()
    world.route(PREFIXES[0], None, ATTRIBUTES[0])
    world.route(PREFIXES[1], peers[3], ATTRIBUTES[1])
    world.flush()
    to = dict(world.sent)
    assert to[peers[0]] is to[peers[1]] is to[peers[2]]
    assert len(to[peers[3]]) < len(to[peers[0]]), "its own route is not told back"


def test_the_source_of_everything_is_sent_nothing(world: World) -> None:
    only = neighbour(1)
    world.join(only)
    world.flush()
    world.sent.clear()
    world.route(PREFIXES[0], only, ATTRIBUTES[0])
    world.flush()
    world.route(PREFIXES[0], only, ATTRIBUTES[1])
    world.flush()
    world.route(PREFIXES[0], only, None)
    world.flush()
    assert world.sent == []


def test_a_route_that_changes_hands_is_withdrawn_from_the_new_hand() -> None:
    world = World(attrs.evolve(CLASS, add_path=False))
    one, other = neighbour(1), neighbour(2)
    heard = {peer: world.join(peer) for peer in (one, other)}
    for source in (one, other, None, other):
        world.route(PREFIXES[0], source, ATTRIBUTES[0])
        world.flush()
        assert [peer for peer in heard if PREFIXES[0] not in heard[peer].prefixes] == [source] * (
            source is not None
        )


def test_every_path_has_an_id_of_its_own_and_a_free_one_is_used_again(world: World) -> None:
    heard = world.join(neighbour(1))
    one, other, third = (neighbour(number) for number in (2, 3, 4))

    def ids() -> dict[int, Attributes]:
        world.flush()
        return {path_id: said for (path_id, _), said in sorted(heard.view.items())}

    world.route(PREFIXES[0], one, ATTRIBUTES[0])
    world.route(PREFIXES[0], other, ATTRIBUTES[1], path_id=7)
    world.flush()
    (first, second) = ids().values()
    assert (first.next_hop, second.next_hop) == (host(1), host(2))
    world.route(PREFIXES[0], one, None)
    assert ids() == {1: second}, "a path keeps its ID"
    world.route(PREFIXES[0], third, ATTRIBUTES[2])
    assert [(path_id, said.originator_id) for path_id, said in ids().items()] == [(0, host(4)), (1, host(3))]
    world.sent.clear()
    world.route(PREFIXES[0], third, None)
    world.route(PREFIXES[0], None, ATTRIBUTES[0])
    world.flush()
    [(_, data)] = world.sent
    update = world.codec.decode(data)
    assert isinstance(update, Update)
    assert (update.path_id, update.withdrawn) == (0, ()), "one UPDATE replaces the path that had the ID"


def test_its_own_path_is_left_out_and_the_others_are_not(world: World) -> None:
    peers = [neighbour(number) for number in (1, 2, 3)]
    heard = [world.join(peer) for peer in peers]
    for peer in peers:
        world.route(PREFIXES[0], peer, ATTRIBUTES[0])
    world.flush()
    assert [{said.originator_id for said in member.view.values()} for member in heard] == [
        {host(2), host(3)}, {host(1), host(3)}, {host(1), host(2)},
    ]  # fmt: skip


def test_a_flap_between_two_flushes_is_silence(world: World) -> None:
    world.join(neighbour(1))
    world.route(PREFIXES[0], None, ATTRIBUTES[0])
    world.flush()
    world.sent.clear()
    world.route(PREFIXES[0], None, None)
    world.route(PREFIXES[0], None, ATTRIBUTES[1])
    world.route(PREFIXES[0], None, ATTRIBUTES[0])
    world.flush()
    assert world.sent == []


def test_the_table_is_greeted_in_one_piece(world: World) -> None:
    for prefix in PREFIXES[:4]:
        world.route(prefix, None, ATTRIBUTES[0])
    world.flush()
    heard = world.join(neighbour(1))
    world.flush()
    assert (len(world.sent), len(heard.view), heard.ends_of_rib) == (1, 4, 1)


def test_refresh_tells_everything_again_and_withdraws_nothing(world: World) -> None:
    peer = neighbour(1)
    world.join(peer)
    world.route(PREFIXES[0], None, ATTRIBUTES[0])
    world.route(PREFIXES[1], peer, ATTRIBUTES[0])
    world.flush()
    world.sent.clear()
    world.group.refresh(peer)
    world.flush()
    [(_, data)] = world.sent
    update = world.codec.decode(data)
    assert isinstance(update, Update)
    assert (update.nlri, update.withdrawn) == ((PREFIXES[0],), ())


def test_refresh_before_the_greeting_adds_nothing_to_it(world: World) -> None:
    """The route goes in the same batch of events: it was never told, so it is not withdrawn."""
    world.route(PREFIXES[0], None, ATTRIBUTES[0])
    world.flush()
    peer = neighbour(1)
    heard = world.join(peer)
    world.group.refresh(peer)
    world.route(PREFIXES[0], None, None)
    world.flush()
    assert (heard.view, heard.ends_of_rib, len(world.sent)) == ({}, 1, 1)


def test_a_large_table_goes_out_in_portions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "HIGH_WATER", 20)
    monkeypatch.setattr(groups, "PUMP", 2)
    for prefix in PREFIXES[:5]:
        world.route(prefix, None, ATTRIBUTES[0])
    world.flush()
    peer = neighbour(1)
    heard = world.join(peer)
    world.flush()
    assert (len(heard.view), heard.ends_of_rib) == (2, 0)
    assert peer.link is not None
    peer.link.queued = 21
    world.flush()
    assert len(heard.view) == 2, "a full link is given no more"
    peer.link.queued = 20
    world.flush()
    assert (len(heard.view), heard.ends_of_rib) == (4, 0)
    # What changes meanwhile is told once, as it is then; what goes before it was told is never mentioned.
    [last] = set(PREFIXES[:5]) - heard.prefixes
    world.route(last, None, None)
    world.flush()
    assert (len(heard.view), heard.ends_of_rib) == (4, 1)


def test_churn_costs_a_full_link_nothing(world: World) -> None:
    peer = neighbour(1)
    world.join(peer)
    world.flush()
    world.sent.clear()
    assert peer.link is not None
    peer.link.queued = HIGH_WATER + 1
    for turn in range(50):
        world.route(PREFIXES[turn % 3], None, ATTRIBUTES[turn % 2])
        world.flush()
    assert world.sent == []
    assert peer.owed is not None
    assert len(peer.owed[0]) == 3
    peer.link.queued = 0
    world.flush()
    assert len(world.sent) == 1
