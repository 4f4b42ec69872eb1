"""What is attacked by fuzzing: three functions from bytes to nothing, that raise when something is wrong with tortie.

Owns ``TARGETS`` and the seeds to begin with (``seeds``):

    frames    the decoder: any bytes are messages or one RemoteProtocolError, the same however they are cut; what was decoded
              and can be said is decoded again from what we would say
    session   one Session, whose neighbour, network and clock do what the bytes say
    speaker   a Speaker with three neighbours, of whom the same is true; once all of them are gone nothing of theirs is left

Bytes are a script (``Script``): which input comes next, and with which octets. Half of what a neighbour says is right, and may
be cut or changed by an octet, since random octets never get past the OPEN. Any exception is a finding.

Nothing here needs the fuzzer (``wirefuzz``): hypothesis and a saved finding come in by the same door.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping

import attrs

from agents.dataplane.fib import Fib, Routes
from agents.speaker.config import ExportPolicy, PeerConfig, PeerKind, SpeakerConfig, StaticRoute
from agents.speaker.links import HIGH_WATER, Link, LinkChange, LinkEvent
from agents.speaker.speaker import Speaker
from protocol.bgp.attributes import AS_SEQUENCE, Attributes
from protocol.bgp.errors import Cease, LocalProtocolError, RemoteProtocolError
from protocol.bgp.fsm import State
from protocol.bgp.messages import (
    AddPath,
    Capabilities,
    GracefulRestart,
    Keepalive,
    Message,
    Notification,
    Open,
    RouteRefresh,
    Update,
)
from protocol.bgp.negotiation import SessionConfig
from protocol.bgp.session import Session
from protocol.bgp.signals import Signal
from protocol.bgp.wire import EXT32, HEADER_SIZE, KEEPALIVE, MAX_BODY, Codec, split
from protocol.prefix import Address, parse_prefix

Error = tuple[int, int]

LOCAL_AS = 64512
EXTERNAL_AS = 65001
US = Address(bytes((10, 77, 0, 9)))
NEIGHBOURS = tuple(Address(bytes((10, 77, 0, number))) for number in (1, 2, 3))
OWN = parse_prefix("192.168.9.0/26")
PREFIXES = tuple(
    parse_prefix(text) for text in ("192.168.1.0/26", "192.168.2.0/26", "10.0.0.0/8", "0.0.0.0/0")
)
MAX_STEPS = 200
"""Of one script: longer ones find nothing that two of them do not."""
LONG_AFTER = 1e6
PATIENCE = 1000
"""Calls in which a speaker that nobody disturbs must come to rest."""


class Script:
    """Octets, taken from the front; zeros when there are no more."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def octet(self) -> int:
        self._position += 1
        return self._data[self._position - 1] if self._position <= len(self._data) else 0

    def octets(self) -> bytes:
        """As many as the next octet says, at most."""
        size = self.octet()
        start, self._position = self._position, self._position + size
        return self._data[start : start + size]


# --- frames -------------------------------------------------------------------------------------------------------


def frames(data: bytes) -> None:
    """The first octet is the size of the pieces; then either a stream as it is or, behind a zero, a body behind a header."""
    if len(data) < 3:
        return
    rest = data[2:]
    stream = frame(data[1], rest) if data[1] else rest
    whole, error = hear([stream])
    size = data[0] % 16 + 1
    assert hear(stream[at : at + size] for at in range(0, len(stream), size)) == (whole, error)
    for message in whole:
        again(message)


def frame(kind: int, body: bytes) -> bytes:
    return bytes((EXT32,)) + len(body).to_bytes(4, "big") + bytes((kind,)) + body


def hear(chunks: Iterable[bytes]) -> tuple[list[Message], Error | None]:
    """What was said until the first mistake, and the mistake."""
    codec = Codec()
    messages: list[Message] = []
    tail = b""
    try:
        for chunk in chunks:
            found, tail = split(tail + chunk)
            messages.extend(map(codec.decode, found))
            if tail and found:
                split(tail)
            assert len(tail) <= MAX_BODY + HEADER_SIZE
    except RemoteProtocolError as error:
        return messages, (error.code, error.subcode)
    return messages, None


def again(message: Message) -> None:
    """What can be read can be written, if it fits, and reads the same."""
    codec = Codec()
    try:
        said = codec.encode(message)
    except LocalProtocolError:
        return
    assert codec.decode(said) == message


# --- what a neighbour says ----------------------------------------------------------------------------------------


def utterance(script: Script, codec: Codec, *, asn: int, identifier: Address) -> bytes:
    """Some octets of a neighbour's."""
    kind = script.octet()
    match kind % 8:
        case 0:
            return script.octets()
        case 1:
            return frame(script.octet() % 7, script.octets())
        case 2 | 3:
            said = codec.encode(_open(script.octet(), asn, identifier)) + KEEPALIVE
        case 4:
            said = KEEPALIVE
        case 5 | 6:
            said = codec.encode(_update(script.octet(), script.octet(), asn, identifier))
        case _:
            choice = script.octet()
            message = Notification(choice % 8, choice // 8 % 8) if choice % 3 else RouteRefresh()
            said = codec.encode(message)
    if kind & 64:
        changed = bytearray(said)
        changed[script.octet() % len(said)] ^= script.octet()
        said = bytes(changed)
    if kind & 128:
        said = said[: script.octet() % len(said)]
    return said


def _open(choice: int, asn: int, identifier: Address) -> Open:
    restart = GracefulRestart(
        restarting=bool(choice & 16), time=1 + choice % 4 * 40, families=((4, bool(choice & 32)),)
    )
    return Open(
        asn=asn,
        hold_time=(0, 3, 90, 240)[choice % 4],
        identifier=identifier,
        capabilities=Capabilities(
            families=(4,),
            four_octet_as=asn,
            add_path=((4, AddPath.BOTH),) if choice & 4 else (),
            graceful_restart=restart if choice & 8 else None,
            long_lived=() if choice & 64 else None,
        ),
    )


def _update(which: int, how: int, asn: int, identifier: Address) -> Update:
    prefixes = tuple(prefix for bit, prefix in enumerate(PREFIXES) if which & 1 << bit)
    path_id = how % 3
    if how & 128 or not prefixes:
        return Update(withdrawn=prefixes, path_id=path_id)
    attributes = Attributes(
        next_hop=identifier,
        as_path=((AS_SEQUENCE, (asn,)),) if asn != LOCAL_AS else (),
        local_pref=None if how & 64 else 100 + (how >> 3) % 4,
        med=how % 2 or None,
    )
    return Update(attributes=attributes, nlri=prefixes, path_id=path_id)


# --- one session --------------------------------------------------------------------------------------------------


def session(data: bytes) -> None:
    script = Script(data)
    choice = script.octet()
    codec = Codec()
    offered = Capabilities(
        four_octet_as=LOCAL_AS,
        add_path=((4, AddPath.BOTH),),
        graceful_restart=GracefulRestart(families=((4, True),)),
    )
    config = SessionConfig(
        local_as=LOCAL_AS,
        peer_as=LOCAL_AS,
        identifier=US,
        capabilities=offered,
        passive=bool(choice & 1),
        delay_open=5.0 if choice & 2 else 0.0,
        hold_time=0.0 if choice & 4 else 90.0,
    )
    ours = codec.encode(
        Open(asn=LOCAL_AS, hold_time=int(config.hold_time), identifier=US, capabilities=offered)
    )
    subject = Session(config, codec, random.Random(choice), ours)
    neighbour = NEIGHBOURS[0]
    now = 0.0
    there = False  # a connection
    subject.start(now)
    for _ in range(MAX_STEPS):
        if not script:
            break
        match script.octet() % 12:
            case 0:
                if not there and subject.state in (State.CONNECT, State.ACTIVE):
                    there = True
                    subject.connected(now, outgoing=subject.state is State.CONNECT)
            case 1:
                now += script.octet() * script.octet() / 100
            case 2:
                if there or subject.state is State.CONNECT:
                    there = False
                    subject.connection_failed("Connection reset by peer", now)
            case 3:
                subject.stop(Cease.ADMINISTRATIVE_SHUTDOWN, now)
            case 4:
                subject.start(now)
            case 5:
                subject.sent_update(now)
            case 6:
                subject.rest(now)
            case 7:
                subject.doubt(now)
            case _:
                if there:
                    subject.receive(utterance(script, codec, asn=LOCAL_AS, identifier=neighbour), now)
        there = there and Signal.CLOSE not in subject.events
        _is_proper(codec, subject.outbox)
        subject.events.clear()
        subject.handle_timer(now)
        assert subject.next_timer() > now, "a timer that is always due"
        there = there and Signal.CLOSE not in subject.events
        _is_proper(codec, subject.outbox)
        subject.events.clear()
        assert there or subject.state is not State.ESTABLISHED


def _is_proper(codec: Codec, said: list[bytes]) -> None:
    """Whatever the neighbour did, what we say is by the rules; and behind a NOTIFICATION nothing more."""
    messages = list(map(codec.decode, said))
    assert not any(isinstance(message, Notification) for message in messages[:-1])
    said.clear()


# --- a speaker ----------------------------------------------------------------------------------------------------


class _Wire(Link):
    """``connecting``: a dial of ours that nothing is known of. ``failed``: its owner is about to be told."""

    __slots__ = ("connecting", "failed")

    def __init__(self, remote: Address, *, connecting: bool) -> None:
        super().__init__(remote)
        self.connecting = connecting
        self.failed = False


@attrs.define
class _World:
    """The speaker's shell, its network and its neighbours."""

    speaker: Speaker
    fib: Fib
    codec: Codec
    now: float = 0.0
    links: list[_Wire] = attrs.field(factory=list)

    def handle(self, events: list[LinkEvent]) -> None:
        self.speaker.handle(events, self.now)
        self.act()

    def act(self) -> None:
        effects = self.speaker.take_effects()
        for link, said in effects.sends.items():
            assert isinstance(link, _Wire)
            assert link.failed or link in self.links, "said something on a connection that it had closed"
            found, tail = split(said)
            assert not tail
            _is_proper(self.codec, found)
        for closed in effects.closes:
            assert isinstance(closed, _Wire)
            if not closed.failed:  # else in one batch with other events: the network knew first
                self.links.remove(closed)  # ValueError: closed twice
        for of_session, remote, _ in effects.dials:
            link = _Wire(remote, connecting=True)
            self.links.append(link)
            self.speaker.dialled(of_session, link)

    def rest(self) -> None:
        """All that is due now."""
        for _ in range(PATIENCE):
            if self.speaker.next_timer() > self.now:
                return
            self.handle([])
        raise AssertionError("a timer that is always due, or somebody who can always be told more")


def speaker(data: bytes) -> None:
    world = _world()
    subject = world.speaker
    subject.start(world.now)
    world.act()
    before = dict(world.fib.routes)
    script = Script(data)
    for _ in range(MAX_STEPS):
        if not script:
            break
        events = []
        for _ in range(script.octet() % 4 + 1):
            events += _event(script, world)
        world.handle(events)
        world.rest()
    for peer in list(subject.peers):
        subject.disable(peer, world.now)
        world.act()
    assert not subject.established
    assert not any(peer.imported or peer.rival for peer in subject.peers.values())
    assert list(subject.rib.best) == [OWN]
    assert world.fib.routes == before
    world.now += LONG_AFTER
    world.rest()
    assert subject.next_timer() == math.inf


def _world() -> _World:
    peers = tuple(
        PeerConfig(
            name=f"Node_10_77_0_{address[3]}",
            kind=PeerKind.NODE,
            address=address,
            local_address=US,
            local_as=LOCAL_AS,
            peer_as=_as_of(address),
            rr_client=address == NEIGHBOURS[1],
            cluster_id=US if address == NEIGHBOURS[1] else None,
            passive=address == NEIGHBOURS[0],
        )
        for address in NEIGHBOURS
    )
    config = SpeakerConfig(
        node="node-9",
        address=US,
        router_id=US,
        local_as=LOCAL_AS,
        peers=peers,
        policy=ExportPolicy(pools=(parse_prefix("192.168.0.0/16"),)),
        statics=(StaticRoute(prefix=OWN),),
    )
    fib, codec = Fib(), Codec()
    subject = Speaker(config, fib=fib, routes=Routes(), codec=codec, rng=random.Random(0), now=0.0)
    return _World(subject, fib, codec)


def _as_of(address: Address) -> int:
    return EXTERNAL_AS if address == NEIGHBOURS[2] else LOCAL_AS


def _event(script: Script, world: _World) -> list[LinkEvent]:
    """Something that the network may do now."""
    what = script.octet()
    links = world.links
    if what % 8 == 0:
        who = NEIGHBOURS[script.octet() % 3] if what & 128 == 0 else Address(b"")
        link = _Wire(who, connecting=False)
        links.append(link)
        return [(link, LinkChange.ACCEPTED)]
    if what % 8 == 1:
        world.now += script.octet() * script.octet() / 100
        return []
    if not links:
        return []
    link = links[script.octet() % len(links)]
    if link.connecting:
        if what % 8 > 3:
            link.connecting = False
            return [(link, LinkChange.CONNECTED)]
        return _fails(link, world)
    match what % 8:
        case 2:
            return _fails(link, world)
        case 3:
            link.queued = 0 if link.queued else HIGH_WATER + 1
            return [] if link.queued else [(link, LinkChange.DRAINED)]
        case 4:
            return [(link, LinkChange.TRUSTED if what & 128 else LinkChange.DOUBTED)]
    said = utterance(
        script, world.codec, asn=_as_of(link.remote or NEIGHBOURS[0]), identifier=link.remote or NEIGHBOURS[0]
    )
    return [(link, said)] if said else []


def _fails(link: _Wire, world: _World) -> list[LinkEvent]:
    world.links.remove(link)
    link.failed = True
    link.error = "Connection reset by peer"
    return [(link, LinkChange.FAILED)]


# --- where to begin -----------------------------------------------------------------------------------------------

TARGETS: Mapping[str, Callable[[bytes], None]] = {"frames": frames, "session": session, "speaker": speaker}


def seeds(target: str) -> list[bytes]:
    """Scripts of an ordinary life, which the fuzzer cuts up and joins."""
    codec = Codec()
    identifier = NEIGHBOURS[0]
    if target == "frames":
        messages: list[Message] = [
            Keepalive(),
            Notification(6, 2, b"x"),
            RouteRefresh(),
            *(_open(choice, LOCAL_AS, identifier) for choice in (0, 0x7F)),
            *(_update(which, how, LOCAL_AS, identifier) for which in (1, 15) for how in (0, 65, 130)),
        ]
        said = list(map(codec.encode, messages))
        return [b"\0\0" + b"".join(said), *(bytes((3, each[5])) + each[HEADER_SIZE:] for each in said)]
    if target == "session":
        up = bytes((0, 0, 8, 2, 14, 9, 4))
        return [
            up + bytes((8, 5, 15, 1, 9, 5, 3, 130, 1, 30, 100, 6, 7, 2)),
            up + bytes((10, 66, 8, 9, 77, 3, 0, 4)),
        ]
    # Steps of one event each: a dial succeeds or a neighbour comes; an OPEN, an UPDATE; the connection breaks, time passes.
    dialled = bytes((0, 4, 0, 0, 5, 0, 2, 14, 0, 5, 0, 5, 15, 0))
    accepted = bytes((0, 0, 0, 0, 5, 2, 2, 10, 0, 5, 2, 5, 3, 16))
    lost = bytes((0, 2, 0, 0, 1, 250, 250))
    return [dialled, dialled + accepted, dialled + accepted + lost, dialled + lost + accepted + dialled]
