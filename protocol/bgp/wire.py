"""Frames: BGP messages as a stream of msgpack extension objects.

Owns the byte format of a conversation, both ways. A frame is one msgpack ``ext 32`` object: the octet 0xC9, a
length of four octets, the BGP message type where msgpack has its extension type, and the body, itself msgpack. So
the header is BGP's (length and type), and the whole stream is plain msgpack to any reader.

=============  =====================================================================================
OPEN           [version, AS, hold time, identifier, [[capability code, value], ...]]
UPDATE         [family, path id, [withdrawn ...], [attribute type, value, ...] or nil, [NLRI ...]]
NOTIFICATION   [code, subcode, data]
KEEPALIVE      empty
ROUTE-REFRESH  [family]
=============  =====================================================================================

``Codec`` is shared by all sessions of a process. It keeps a bounded cache from frame bytes to the decoded
message: in a mesh a node sends the same bytes to everybody, behind reflectors everybody hears the same bytes, so
most frames a process sees it has decoded before (1,000 nodes behind 4 reflectors: 28 s without, 5.3 s with). It
interns attributes, so equal ones are one object. Remembering whole received chunks as well was tried: 5 % of that run's CPU
for 40 MB more.

Everything a stranger can get wrong becomes a ``RemoteProtocolError`` with the NOTIFICATION of RFC 4271 section 6.
Left out: whether a message is welcome now (``session``), and what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from protocol.bgp import attribute_list
from protocol.bgp.attributes import Attributes, AttributeTable
from protocol.bgp.checks import MAX_U32, brief, is_int, one_of
from protocol.bgp.errors import (
    Code,
    Header,
    LocalProtocolError,
    OpenError,
    RemoteProtocolError,
    UpdateError,
)
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
from protocol.prefix import IPV4, IPV6, Address, Prefix, is_valid

EXT32 = 0xC9
HEADER_SIZE = 6

MAX_BODY = 65535 - HEADER_SIZE
"""A frame is at most as long as RFC 8654's extended message: a header that claims more is a bad length, and a
session never keeps more undecoded bytes than this."""

MAX_NLRI = {IPV4: 4096, IPV6: 2048}
"""Prefixes in one UPDATE that we send, by family: 7 or 19 octets each, which leaves 25,000 for the attributes."""

CACHE_BYTES = 16 << 20
"""How much memory the cache may take before it starts anew: frames of 1,000 nodes behind 4 reflectors are 1 MB, those of 50 nodes
with 1,000 routes each 0.4 MB."""

ENTRY_BYTES = 300
"""What an entry costs beside its frame (measured: 200 for a withdrawal, 550 for a route with attributes of its own).
Without it small frames of a long churn would make 16 MB of 300."""

DECODED = 8
"""Octets of memory for each of a frame: a prefix of IPv4 is 7 there, and an object of 40 in a tuple here. Without it somebody
who tells other attributes all the time would make 16 MB of 80."""

MAX_ATTRIBUTES = 25_000
"""Octets of attributes in one UPDATE that we take. More would not leave room for MAX_NLRI prefixes when they are told on."""

MAX_ERROR_DATA = 1024
"""How much of an erroneous attribute a NOTIFICATION gives back: it has to fit a frame, and nobody reads more."""

_OPEN, _UPDATE, _NOTIFICATION, _KEEPALIVE, _ROUTE_REFRESH = 1, 2, 3, 4, 5


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Cut received bytes into whole frames and the undecoded tail.

    Raises RemoteProtocolError when the first header is not one of ours or claims too long a body. Behind whole frames
    such a header stays in the tail, to be split once they were heard: how the network cut the bytes changes nothing.
    """
    frames: list[bytes] = []
    position = 0
    size = len(data)
    while position < size:
        if data[position] != EXT32:
            if frames:
                break
            raise RemoteProtocolError(
                f"a frame starts with octet {data[position]:#04x}", Code.HEADER, Header.NOT_SYNCHRONIZED
            )
        if size - position < HEADER_SIZE:
            break
        body = int.from_bytes(data[position + 1 : position + 5], "big")
        if body > MAX_BODY:
            if frames:
                break
            raise RemoteProtocolError(
                f"a frame claims a body of {body:,} octets, {MAX_BODY:,} is the limit",
                Code.HEADER,
                Header.BAD_LENGTH,
                data[position + 1 : position + 5],
            )
        end = position + HEADER_SIZE + body
        if end > size:
            break
        frames.append(data[position:end])
        position = end
    return frames, data[position:]


class Codec:
    """Frames to messages and back, for all sessions of one process."""

    def __init__(self) -> None:
        self.attributes = AttributeTable()
        self.pack: Callable[[object], bytes] = msgpack.Packer(use_bin_type=True).pack
        self._cache: dict[bytes, Message] = {}
        self._cached_bytes = 0

    def decode(self, frame: bytes) -> Message:
        """One whole frame, as ``split`` cuts them. Raises RemoteProtocolError."""
        message = self._cache.get(frame)
        if message is None:
            message = self._decode(frame)
            cost = ENTRY_BYTES + DECODED * len(frame)
            self._cached_bytes += cost
            if self._cached_bytes > CACHE_BYTES:
                self._cache.clear()
                self._cached_bytes = cost
            self._cache[frame] = message
        return message

    def _decode(self, frame: bytes) -> Message:
        kind = frame[5]
        if frame == KEEPALIVE:
            return Keepalive()
        if kind == _KEEPALIVE:
            raise _bad_body("a KEEPALIVE has no body", frame)
        decoder = _DECODERS.get(kind)
        if decoder is None:
            raise RemoteProtocolError(f"message type {kind}", Code.HEADER, Header.BAD_TYPE, bytes((kind,)))
        try:
            body = msgpack.unpackb(
                frame[HEADER_SIZE:],
                use_list=False,
                raw=False,
                strict_map_key=True,
                max_map_len=0,
                max_ext_len=0,
            )
        except (ValueError, RecursionError) as error:
            if kind == _NOTIFICATION:
                return Notification(0)
            raise _bad_body(f"the body is not msgpack: {error or type(error).__name__}", frame) from None
        return decoder(self, body, frame)

    def encode(self, message: Message) -> bytes:
        """One frame. An Update must fit one: see ``update_frames`` for any number of prefixes."""
        if isinstance(message, Keepalive):
            return KEEPALIVE
        if isinstance(message, Update):
            attributes = None if message.attributes is None else attribute_list.encode(message.attributes)
            body = (message.family, message.path_id, message.withdrawn, attributes, message.nlri)
            return _frame(_UPDATE, self.pack(body))
        if isinstance(message, Open):
            offered = _capability_list(message.capabilities)
            fields = (message.version, message.asn, message.hold_time, message.identifier, offered)
            return _frame(_OPEN, self.pack(fields))
        if isinstance(message, Notification):
            return _frame(_NOTIFICATION, self.pack((message.code, message.subcode, message.data)))
        return _frame(_ROUTE_REFRESH, self.pack((message.family,)))

    def update_frames(
        self,
        family: int,
        *,
        withdrawn: Sequence[Prefix] = (),
        nlri: Sequence[Prefix] = (),
        attributes: Attributes | None = None,
        path_id: int = 0,
    ) -> list[bytes]:
        """As many UPDATE frames as the prefixes need: withdrawals first, then announcements."""
        room = MAX_NLRI[family]
        updates = [
            Update(family=family, path_id=path_id, withdrawn=tuple(withdrawn[at : at + room]))
            for at in range(0, len(withdrawn), room)
        ] + [
            Update(family=family, path_id=path_id, attributes=attributes, nlri=tuple(nlri[at : at + room]))
            for at in range(0, len(nlri), room)
        ]
        return [self.encode(update) for update in updates]


def _frame(kind: int, body: bytes) -> bytes:
    if len(body) > MAX_BODY:
        raise LocalProtocolError(f"a body of {len(body):,} octets, {MAX_BODY:,} is the limit")
    return b"\xc9" + len(body).to_bytes(4, "big") + bytes((kind,)) + body


KEEPALIVE = _frame(_KEEPALIVE, b"")


# --- OPEN -------------------------------------------------------------------------------------------------------

# Capability codes: RFC 4760, 2918, 4724, 6793, 7911, 9494.
_MULTIPROTOCOL, _REFRESH, _GRACEFUL, _AS4, _ADD_PATH, _LONG_LIVED = 1, 2, 64, 65, 69, 71
MAX_STALE_TIME = (1 << 24) - 1


def _capability_list(offered: Capabilities) -> list[tuple[int, object]]:
    values: list[tuple[int, object]] = [(_MULTIPROTOCOL, offered.families)]
    if offered.route_refresh:
        values.append((_REFRESH, None))
    if offered.graceful_restart is not None:
        restart = offered.graceful_restart
        values.append((_GRACEFUL, (restart.restarting, restart.time, restart.families)))
    if offered.four_octet_as is not None:
        values.append((_AS4, offered.four_octet_as))
    if offered.add_path:
        values.append((_ADD_PATH, offered.add_path))
    if offered.long_lived is not None:
        values.append((_LONG_LIVED, offered.long_lived))
    return values


def _decode_open(_: Codec, body: Any, __: bytes) -> Open:
    if not isinstance(body, tuple) or len(body) != 5:
        raise RemoteProtocolError("an OPEN has five fields", Code.OPEN)
    version, asn, hold_time, identifier, offered = body
    if not is_int(version, 4, 4):
        raise RemoteProtocolError(
            f"BGP version {brief(version)}", Code.OPEN, OpenError.UNSUPPORTED_VERSION, (4).to_bytes(2, "big")
        )
    if not is_int(asn, 1, MAX_U32):
        raise RemoteProtocolError(f"AS number {brief(asn)}", Code.OPEN, OpenError.BAD_PEER_AS)
    if not is_int(hold_time, 0, 65535) or hold_time in (1, 2):
        raise RemoteProtocolError(
            f"hold time {brief(hold_time)}", Code.OPEN, OpenError.UNACCEPTABLE_HOLD_TIME
        )
    if not isinstance(identifier, bytes) or len(identifier) != 4 or identifier == b"\0\0\0\0":
        raise RemoteProtocolError(f"identifier {brief(identifier)}", Code.OPEN, OpenError.BAD_IDENTIFIER)
    return Open(
        asn=asn,
        hold_time=hold_time,
        identifier=Address(identifier),
        capabilities=_decode_capabilities(offered),
    )


def _decode_capabilities(offered: Any) -> Capabilities:
    families: tuple[int, ...] = ()
    values: dict[str, Any] = {"route_refresh": False}
    try:
        for code, value in offered:
            # What we do not know is ignored (RFC 5492 section 3).
            if code == _MULTIPROTOCOL:
                families = tuple(one_of(family, (IPV4, IPV6)) for family in value)
            elif code == _REFRESH:
                values["route_refresh"] = True
            elif code == _GRACEFUL:
                restarting, time, kept = value
                values["graceful_restart"] = GracefulRestart(
                    restarting=one_of(restarting, (False, True)),
                    time=one_of(time, range(4096)),
                    families=tuple((one_of(f, (IPV4, IPV6)), one_of(p, (False, True))) for f, p in kept),
                )
            elif code == _AS4:
                values["four_octet_as"] = one_of(value, range(1, MAX_U32 + 1))
            elif code == _ADD_PATH:
                values["add_path"] = tuple((one_of(f, (IPV4, IPV6)), AddPath(mode)) for f, mode in value)
            elif code == _LONG_LIVED:
                values["long_lived"] = tuple(
                    (
                        one_of(f, (IPV4, IPV6)),
                        one_of(p, (False, True)),
                        one_of(time, range(MAX_STALE_TIME + 1)),
                    )
                    for f, p, time in value
                )
    except (TypeError, ValueError) as error:
        raise RemoteProtocolError(f"malformed capabilities: {error}", Code.OPEN) from None
    return Capabilities(families=families or (IPV4,), **values)


# --- UPDATE -----------------------------------------------------------------------------------------------------


def _decode_update(codec: Codec, body: Any, frame: bytes) -> Update:
    if not isinstance(body, tuple) or len(body) != 5:
        raise _malformed("an UPDATE has five fields")
    family, path_id, withdrawn, attributes, nlri = body
    if not _is_family(family):
        raise _malformed(f"address family {brief(family)}")
    if not is_int(path_id, 0, MAX_U32):
        raise _malformed(f"path ID {brief(path_id)}")
    _check_prefixes(withdrawn, family)
    _check_prefixes(nlri, family)
    if not nlri:
        if attributes is not None:
            raise _malformed("path attributes without NLRI")
        return Update(family=family, withdrawn=withdrawn, path_id=path_id)
    if len(frame) - (len(nlri) + len(withdrawn)) * (len(nlri[0]) + 2) > MAX_ATTRIBUTES:
        raise _malformed(f"more than {MAX_ATTRIBUTES:,} octets of path attributes")
    try:
        decoded = codec.attributes.intern(attribute_list.decode(attributes, family))
    except attribute_list.WrongAttribute as error:
        raise _wrong_attribute(codec, error) from None
    return Update(family=family, withdrawn=withdrawn, attributes=decoded, nlri=nlri, path_id=path_id)


def _wrong_attribute(codec: Codec, error: attribute_list.WrongAttribute) -> RemoteProtocolError:
    """RFC 4271 6.3: the NOTIFICATION's data is the attribute itself, here as it stands in a frame."""
    data = codec.pack(error.kind)
    try:
        data += codec.pack(error.value)
    except ValueError:
        pass  # msgpack does not write lists as deep as it reads
    return RemoteProtocolError(str(error), Code.UPDATE, error.subcode, data[:MAX_ERROR_DATA])


def _check_prefixes(prefixes: Any, family: int) -> None:
    if not isinstance(prefixes, tuple):
        raise _malformed("a list of prefixes is not a list")
    size = 5 if family == IPV4 else 17
    for prefix in prefixes:
        if not isinstance(prefix, bytes) or len(prefix) != size or not is_valid(prefix):
            raise RemoteProtocolError(
                f"{brief(prefix)} is not an IPv{family} prefix", Code.UPDATE, UpdateError.INVALID_NETWORK
            )


# --- the rest ---------------------------------------------------------------------------------------------------


def _decode_notification(_: Codec, body: Any, __: bytes) -> Notification:
    # RFC 4271 6.1: nothing answers a bad NOTIFICATION, so it ends the session as an empty one.
    if (
        isinstance(body, tuple)
        and len(body) == 3
        and is_int(body[0], 0, 255)
        and is_int(body[1], 0, 255)
        and isinstance(body[2], bytes)
    ):
        return Notification(*body)
    return Notification(0)


def _decode_route_refresh(_: Codec, body: Any, frame: bytes) -> RouteRefresh:
    if not isinstance(body, tuple) or len(body) != 1 or not _is_family(body[0]):
        raise _bad_body("a ROUTE-REFRESH names one address family", frame)
    return RouteRefresh(body[0])


_DECODERS: dict[int, Callable[[Codec, Any, bytes], Message]] = {
    _OPEN: _decode_open,
    _UPDATE: _decode_update,
    _NOTIFICATION: _decode_notification,
    _ROUTE_REFRESH: _decode_route_refresh,
}


def _is_family(value: Any) -> bool:
    return type(value) is int and value in (IPV4, IPV6)


def _malformed(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(reason, Code.UPDATE, UpdateError.MALFORMED_ATTRIBUTE_LIST)


def _bad_body(reason: str, frame: bytes) -> RemoteProtocolError:
    if frame[5] == _OPEN:
        return RemoteProtocolError(reason, Code.OPEN)
    if frame[5] == _UPDATE:
        return _malformed(reason)
    return RemoteProtocolError(reason, Code.HEADER, Header.BAD_LENGTH, frame[1:5])
