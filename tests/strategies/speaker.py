"""Speakers and their parts, in a world small enough that everything collides; and a wire without trio that joins them.

Owns the values that the decision process and the RIBs meet (``attributes``, ``candidates``, ``neighbour``), and
``SpeakerNet``: any number of pure Speakers whose connections are queues. Nothing happens there by itself: a test delivers what
is pending, piece by piece or all at once, fires timers, breaks connections and changes configurations, in any order.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import attrs
from hypothesis import strategies as st

from agents.dataplane.fib import Fib, FibRoute, Routes, device
from agents.speaker.config import (
    MAX_PRIORITY,
    Block,
    ExportPolicy,
    PeerConfig,
    PeerKind,
    SpeakerConfig,
    StaticRoute,
    Timers,
)
from agents.speaker.decision import PREFERENCE_BGP, PREFERENCE_STATIC, Path
from agents.speaker.links import HIGH_WATER, Link, LinkChange, LinkEvent
from agents.speaker.peer import Peer
from agents.speaker.policy import ImportPolicy
from agents.speaker.speaker import Speaker
from protocol.bgp.attributes import AS_SEQUENCE, LLGR_STALE, Attributes, Origin
from protocol.bgp.messages import Capabilities, Notification
from protocol.bgp.negotiation import SessionConfig
from protocol.bgp.session import Session
from protocol.bgp.wire import Codec, split
from protocol.prefix import Address, Prefix, parse_prefix

LOCAL_AS = 64512
ELEVATED = MAX_PRIORITY - 512
"""LOCAL_PREF of a workload that migrates: its routes get the preference of static ones."""


def host(number: int) -> Address:
    return Address(bytes((10, 77, 0, number)))


def block(number: int) -> Prefix:
    return parse_prefix(f"192.168.{number}.0/26")


POOL = parse_prefix("192.168.0.0/16")


# --- one speaker's neighbours and what they tell ------------------------------------------------------------------


def neighbour(
    number: int,
    *,
    peer_as: int = LOCAL_AS,
    rr_client: bool = False,
    cluster_id: Address | None = None,
    identifier: Address | None = None,
) -> Peer:
    """A neighbour at 10.77.0.<number> whose session need not run."""
    config = PeerConfig(
        name=f"Mesh_10_77_0_{number}",
        kind=PeerKind.MESH,
        address=host(number),
        local_address=host(9),
        local_as=LOCAL_AS,
        peer_as=peer_as,
        rr_client=rr_client,
        cluster_id=cluster_id,
    )
    of_session = SessionConfig(
        local_as=LOCAL_AS, peer_as=peer_as, identifier=host(9), capabilities=Capabilities()
    )
    policy = ImportPolicy(config, router_id=host(9), intern=lambda attributes: attributes)
    peer = Peer(config, Session(of_session, Codec(), random.Random(0), b""), policy, 0.0)
    peer.identifier = host(number) if identifier is None else identifier
    return peer


def as_path(*numbers: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    return ((AS_SEQUENCE, numbers),) if numbers else ()


def attributes() -> st.SearchStrategy[Attributes]:
    """Few values of each kind, and often but one that differs, so that every step of the decision process gets its ties."""
    plain = st.builds(Attributes, next_hop=st.integers(1, 3).map(host), local_pref=st.just(100))
    return plain | st.builds(
        Attributes,
        next_hop=st.integers(1, 3).map(host),
        origin=st.sampled_from((Origin.IGP, Origin.IGP, Origin.IGP, Origin.EGP)),
        as_path=st.sampled_from(((), (), as_path(1), as_path(2), as_path(1, 2))),
        med=st.sampled_from((None, None, 0, 5, 10)),
        local_pref=st.sampled_from((None, 100, 100, 100, 200, ELEVATED)),
        communities=st.sampled_from(((), (), (), (LLGR_STALE,))),
        originator_id=st.sampled_from((None, None, host(1), host(2), host(3))),
        cluster_list=st.sampled_from(((), (), (host(1),), (host(2),), (host(1), host(2)))),
    )


@st.composite
def candidates(draw: st.DrawFn, *, min_size: int = 1, max_size: int = 5) -> list[Path]:
    """Paths to one prefix: at most one of each neighbour."""
    numbers = draw(st.lists(st.integers(1, 6), min_size=min_size, max_size=max_size, unique=True))
    found = []
    for number in numbers:
        peer = neighbour(
            number,
            peer_as=draw(st.sampled_from((LOCAL_AS, LOCAL_AS, 1, 2))),
            identifier=draw(st.integers(1, 3).map(host)),
        )
        said = draw(attributes())
        preference = PREFERENCE_STATIC if said.local_pref == ELEVATED else PREFERENCE_BGP
        found.append(Path(peer, said, (said.next_hop,), preference))
    return found


# --- speakers without trio ----------------------------------------------------------------------------------------


class WireLink(Link):
    """One end of a connection; ``pending`` is what has not been delivered to it."""

    __slots__ = ("closed", "failed", "other", "owner", "pending")

    def __init__(self, owner: Address, remote: Address) -> None:
        super().__init__(remote)
        self.owner = owner
        self.other: WireLink | None = None
        self.pending: deque[bytes | LinkChange] = deque()
        self.closed = False  # by its owner
        self.failed = False  # and its owner has been told, or is about to be

    @property
    def gone(self) -> bool:
        return self.closed or self.failed

    def pending_bytes(self) -> int:
        return sum(len(what) for what in self.pending if isinstance(what, bytes))


def peer_config(
    local: int,
    remote: int,
    *,
    local_as: int = LOCAL_AS,
    peer_as: int = LOCAL_AS,
    passive: bool = False,
    cluster_id: Address | None = None,
    port: int | None = None,
) -> PeerConfig:
    return PeerConfig(
        name=f"Node_10_77_0_{remote}",
        kind=PeerKind.NODE,
        address=host(remote),
        local_address=host(local),
        local_as=local_as,
        peer_as=peer_as,
        passive=passive,
        rr_client=cluster_id is not None,
        cluster_id=cluster_id,
        port=port,
    )


def local_blocks(cidrs: Iterable[Prefix]) -> tuple[Block, ...]:
    return tuple(Block(cidr=cidr, state="confirmed") for cidr in cidrs)


def speaker_config(
    number: int,
    peers: Iterable[PeerConfig] = (),
    *,
    blocks: Iterable[Prefix] = (),
    pools: Iterable[Prefix] = (POOL,),
    local_as: int = LOCAL_AS,
    router_id: Address | None = None,
    timers: Timers | None = None,
) -> SpeakerConfig:
    blocks = tuple(sorted(blocks))
    return SpeakerConfig(
        node=f"node-{number:03}",
        address=host(number),
        router_id=host(number) if router_id is None else router_id,
        local_as=local_as,
        peers=tuple(sorted(peers, key=lambda peer: peer.name)),
        policy=ExportPolicy(blocks=local_blocks(blocks), pools=tuple(pools)),
        statics=tuple(StaticRoute(prefix=block) for block in blocks),
        timers=Timers() if timers is None else timers,
    )


@attrs.define
class SpeakerNet:
    """Speakers by their addresses, the connections between them and the time. See the module."""

    now: float = 0.0
    seed: int = 0
    clog: int | None = None
    """Bytes on the way to a speaker above which its neighbour sees a link that is full; None: never."""
    speakers: dict[Address, Speaker] = attrs.field(factory=dict)
    fibs: dict[Address, Fib] = attrs.field(factory=dict)
    ends: list[WireLink] = attrs.field(factory=list)
    codec: Codec = attrs.field(factory=Codec)
    dials: int = 0
    notifications: list[tuple[Address, Notification]] = attrs.field(factory=list)
    """All that were sent, and by whom."""

    def add(self, config: SpeakerConfig, *, start: bool = True) -> Speaker:
        fib = self.fibs[config.address] = Fib()
        rng = random.Random(f"{self.seed}/{config.node}")
        speaker = Speaker(config, fib=fib, routes=Routes(), codec=self.codec, rng=rng, now=self.now)
        self.speakers[config.address] = speaker
        if start:
            self.start(config.address)
        return speaker

    def start(self, *addresses: Address) -> None:
        for address in addresses:
            self.speakers[address].start(self.now)
            self.act(address)

    def configure(self, config: SpeakerConfig) -> None:
        self.speakers[config.address].configure(config, self.now)
        self.act(config.address)

    def set_kernel(self, address: Address, routes: Mapping[Prefix, FibRoute]) -> None:
        self.speakers[address].set_kernel(routes, self.now)
        self.act(address)

    def set_workloads(self, address: Address, prefixes: Iterable[Prefix]) -> None:
        """Pods of this node, each behind the same interface."""
        self.set_kernel(address, dict.fromkeys(prefixes, device("cali7")))

    # --- what the shell does ----------------------------------------------------------------------------------------

    def act(self, address: Address) -> None:
        """Send, close and dial what a speaker wants."""
        effects = self.speakers[address].take_effects()
        for link, data in effects.sends.items():
            assert isinstance(link, WireLink)
            assert not link.closed, "sent on a connection that it had closed"
            self._note_notifications(address, data)
            if link.other is not None and not link.failed and not link.other.gone and data:
                link.other.pending.append(data)
                self._measure(link)
            elif link.other is not None and link.other.closed and LinkChange.FAILED not in link.pending:
                self._fail(
                    link, "Connection reset by peer"
                )  # the other end has rebooted, and knows nothing of it
        for link in effects.closes:
            assert isinstance(link, WireLink)
            assert not link.closed, "closed twice"
            self._close(link, "Connection closed")
        for session, remote, _ in effects.dials:
            self.dials += 1
            link = WireLink(address, remote)
            self.ends.append(link)
            self.speakers[address].dialled(session, link)
            if remote not in self.speakers:
                link.error = "Connection refused"
                link.pending.append(LinkChange.FAILED)
                continue
            link.other = WireLink(remote, address)
            link.other.other = link
            self.ends.append(link.other)
            link.pending.append(LinkChange.CONNECTED)
            link.other.pending.append(LinkChange.ACCEPTED)

    def _note_notifications(self, sender: Address, data: bytes) -> None:
        frames, _ = split(data)
        for message in map(self.codec.decode, frames):
            if isinstance(message, Notification):
                self.notifications.append((sender, message))

    def _measure(self, sender: WireLink) -> None:
        if self.clog is None or sender.other is None:
            return
        waiting = sender.other.pending_bytes()
        was, sender.queued = sender.queued, HIGH_WATER + waiting if waiting > self.clog else 0
        if was and not sender.queued and not sender.gone:
            sender.pending.append(LinkChange.DRAINED)

    def _close(self, link: WireLink, why: str) -> None:
        link.closed = True
        link.pending.clear()
        if link.failed:
            return  # in one batch with other events: the network knew first
        self.ends.remove(link)
        if link.other is not None and not link.other.gone:
            self._fail(link.other, why)

    @staticmethod
    def _fail(link: WireLink, why: str) -> None:
        link.error = why
        link.pending.append(LinkChange.FAILED)

    # --- what a test decides ----------------------------------------------------------------------------------------

    def waiting(self) -> list[WireLink]:
        return [link for link in self.ends if link.pending]

    def take(self, link: WireLink, size: int | None = None) -> LinkEvent:
        """The next thing to arrive at an end: at most ``size`` bytes of it."""
        what = link.pending.popleft()
        if isinstance(what, bytes) and size is not None and size < len(what):
            link.pending.appendleft(what[size:])
            what = what[:size]
        if what is LinkChange.FAILED:
            link.failed = True
            link.pending.clear()
            self.ends.remove(link)
        elif isinstance(what, bytes) and link.other is not None:
            self._measure(link.other)
        return link, what

    def handle(self, address: Address, events: Sequence[LinkEvent] = ()) -> None:
        self.speakers[address].handle(list(events), self.now)
        self.act(address)

    def deliver(self, link: WireLink, size: int | None = None) -> None:
        self.handle(link.owner, [self.take(link, size)])

    def deliver_batch(self, address: Address) -> None:
        """All that waits for one speaker, in one call, as a poller hands it over."""
        mine = [link for link in self.waiting() if link.owner == address]
        events = []
        for link in mine:
            while link.pending:
                events.append(self.take(link))
        self.handle(address, events)

    def deliver_all(self) -> None:
        """Until nothing is on its way. All in step at first; who are still not done may be answering each other in step for ever,
        as no network does, and so are heard in any order then.
        """
        rng = random.Random(self.seed)
        for round_ in range(10_000):
            busy = {link.owner for link in self.waiting()}
            busy |= {address for address, speaker in self.speakers.items() if speaker.next_timer() < self.now}
            if not busy:
                return
            for address in sorted(busy) if round_ < 100 else [rng.choice(sorted(busy))]:
                self.deliver_batch(address)
        raise AssertionError("there is no end to it")

    def break_connection(self, link: WireLink) -> None:
        """Both ends find out when they look; what was on its way is lost."""
        for end in (link, link.other):
            if end is not None and not end.gone:
                end.pending.clear()
                end.error = "Connection reset by peer"
                end.pending.append(LinkChange.FAILED)

    def next_timer(self) -> float:
        return min(speaker.next_timer() for speaker in self.speakers.values())

    def advance(self, until: float) -> None:
        """Time passes, every timer on the way fires, and what is sent arrives at once."""
        self.deliver_all()
        while (due := self.next_timer()) <= until:
            self.now = max(self.now, due)
            for address in sorted(self.speakers):
                if self.speakers[address].next_timer() <= self.now:
                    self.handle(address)
            self.deliver_all()
        self.now = max(self.now, until)

    def settle(self, sessions: int, *, within: float = 600.0) -> None:
        """Until so many session ends are Established and all is said; AssertionError when that does not come about."""
        limit = self.now + within
        self.deliver_all()
        while self.established() != sessions:
            due = self.next_timer()
            assert due <= limit, f"{self.established()} session ends are Established and not {sessions}"
            self.advance(due)

    def established(self) -> int:
        return sum(speaker.established for speaker in self.speakers.values())

    def peer(self, local: int, remote: int) -> Peer:
        speaker = self.speakers[host(local)]
        return next(peer for peer in speaker.peers.values() if peer.address == host(remote))

    def restart(self, address: Address, *, kernel_lives: bool) -> None:
        """The daemon, or the machine: then nobody hears of it before he speaks to it, or it to him."""
        before = self.speakers[address]
        for link in [end for end in self.ends if end.owner == address]:
            if kernel_lives:
                self._close(link, "Connection closed")
            else:
                link.closed = True
                self.ends.remove(link)
        fib = self.fibs[address] = self.fibs[address] if kernel_lives else Fib()
        self.speakers[address] = Speaker(
            before.config, fib=fib, routes=Routes(), codec=self.codec, now=self.now, recovering=kernel_lives,
            rng=random.Random(f"{self.seed}/{before.config.node}/{self.now}"),
        )  # fmt: skip
        self.set_kernel(address, before._learned)
        self.start(address)

    def break_some(self, index: int) -> None:
        if self.ends:
            self.break_connection(self.ends[index % len(self.ends)])


steps = st.one_of(
    st.tuples(st.just("deliver"), st.integers(0, 40), st.sampled_from((1, 5, 7, 30, 100_000))),
    st.tuples(st.just("batch"), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("timer"), st.just(0), st.just(0)),
    st.tuples(st.just("break"), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("restart"), st.integers(0, 40), st.sampled_from((0, 1))),
)
"""What can happen to a SpeakerNet by itself."""


def step(net: SpeakerNet, verb: str, index: int, size: int) -> None:
    waiting = net.waiting()
    if verb == "deliver" and waiting:
        net.deliver(waiting[index % len(waiting)], size)
    elif verb == "batch":
        net.deliver_batch(sorted(net.speakers)[index % len(net.speakers)])
    elif verb == "break":
        net.break_some(index)
    elif verb == "restart":
        net.restart(sorted(net.speakers)[index % len(net.speakers)], kernel_lives=bool(size))
    elif verb == "timer" and (due := net.next_timer()) < float("inf"):
        net.now = max(net.now, due)
        for address in sorted(net.speakers):
            net.handle(address)


def pairs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    return list(itertools.combinations(numbers, 2))
