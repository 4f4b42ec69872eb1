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
most frames a process sees it has decoded before (1,000 nodes behind 4 reflectors: 15.8 s without, 4.3 s with). It
interns attributes, so equal ones are one object.

Everything a stranger can get wrong becomes a ``RemoteProtocolError`` with the NOTIFICATION of RFC 4271 section 6.
Left out: whether a message is welcome now (``session``), and what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from protocol.bgp.attributes import AS_SEQUENCE, AS_SET, Attributes, AttributeTable, Origin, Segment
from protocol.bgp.errors import Code, Header, OpenError, RemoteProtocolError, UpdateError
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
"""How many bytes of frames the cache remembers before it starts anew: 1,000 nodes behind 4 reflectors need 1 MB,
50 nodes with 1,000 routes each 0.4 MB."""

_OPEN, _UPDATE, _NOTIFICATION, _KEEPALIVE, _ROUTE_REFRESH = 1, 2, 3, 4, 5

_MAX_U32 = 0xFFFFFFFF


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Cut received bytes into whole frames and the undecoded tail.

    Raises RemoteProtocolError when a header is not one of ours or claims too long a body; what stood before it is
    lost with the session.
    """
    frames: list[bytes] = []
    position = 0
    size = len(data)
    while position < size:
        if data[position] != EXT32:
            raise RemoteProtocolError(
                f"a frame starts with octet {data[position]:#04x}", Code.HEADER, Header.NOT_SYNCHRONIZED
            )
        if size - position < HEADER_SIZE:
            break
        body = int.from_bytes(data[position + 1 : position + 5], "big")
        if body > MAX_BODY:
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
        self._pack: Callable[[object], bytes] = msgpack.Packer(use_bin_type=True).pack
        self._cache: dict[bytes, Message] = {}
        self._cached_bytes = 0

    def decode(self, frame: bytes) -> Message:
        """One whole frame, as ``split`` cuts them. Raises RemoteProtocolError."""
        message = self._cache.get(frame)
        if message is None:
            message = self._decode(frame)
            self._cached_bytes += len(frame)
            if self._cached_bytes > CACHE_BYTES:
                self._cache.clear()
                self._cached_bytes = len(frame)
            self._cache[frame] = message
        return message

    def _decode(self, frame: bytes) -> Message:
        kind = frame[5]
        if frame == KEEPALIVE:
            return Keepalive()
        if kind == _KEEPALIVE:
            raise _bad_body("a KEEPALIVE has no body", kind)
        decoder = _DECODERS.get(kind)
        if decoder is None:
            raise RemoteProtocolError(f"message type {kind}", Code.HEADER, Header.BAD_TYPE, bytes((kind,)))
        try:
            body = msgpack.unpackb(
                frame[HEADER_SIZE:], use_list=False, raw=False, strict_map_key=True, max_map_len=0, max_ext_len=0
            )
        except (ValueError, RecursionError) as error:
            raise _bad_body(f"the body is not msgpack: {error or type(error).__name__}", kind) from None
        return decoder(self, body)

    def encode(self, message: Message) -> bytes:
        """One frame. An Update must fit one: see ``update_frames`` for any number of prefixes."""
        if isinstance(message, Keepalive):
            return KEEPALIVE
        if isinstance(message, Update):
            attributes = None if message.attributes is None else _attribute_list(message.attributes)
            body = (message.family, message.path_id, message.withdrawn, attributes, message.nlri)
            return _frame(_UPDATE, self._pack(body))
        if isinstance(message, Open):
            return _frame(
                _OPEN,
                self._pack(
                    (
                        message.version,
                        message.asn,
                        message.hold_time,
                        message.identifier,
                        _capability_list(message.capabilities),
                    )
                ),
            )
        if isinstance(message, Notification):
            return _frame(_NOTIFICATION, self._pack((message.code, message.subcode, message.data)))
        return _frame(_ROUTE_REFRESH, self._pack((message.family,)))

    def update_frames(
        self, family: int, *, withdrawn: Sequence[Prefix] = (), nlri: Sequence[Prefix] = (),
        attributes: Attributes | None = None,
    ) -> list[bytes]:
        """As many UPDATE frames as the prefixes need: withdrawals first, then announcements."""
        room = MAX_NLRI[family]
        frames = [
            self.encode(Update(family=family, withdrawn=tuple(withdrawn[at : at + room])))
            for at in range(0, len(withdrawn), room)
        ]
        frames += [
            self.encode(Update(family=family, attributes=attributes, nlri=tuple(nlri[at : at + room])))
            for at in range(0, len(nlri), room)
        ]
        return frames


def _frame(kind: int, body: bytes) -> bytes:
    return b"\xc9" + len(body).to_bytes(4, "big") + bytes((kind,)) + body


KEEPALIVE = _frame(_KEEPALIVE, b"")


# --- OPEN -------------------------------------------------------------------------------------------------------

# Capability codes: RFC 4760, 2918, 4724, 6793, 7911.
_MULTIPROTOCOL, _REFRESH, _GRACEFUL, _AS4, _ADD_PATH = 1, 2, 64, 65, 69


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
    return values


def _decode_open(_: Codec, body: Any) -> Open:
    if not isinstance(body, tuple) or len(body) != 5:
        raise RemoteProtocolError("an OPEN has five fields", Code.OPEN)
    version, asn, hold_time, identifier, offered = body
    if version != 4:
        raise RemoteProtocolError(
            f"BGP version {version!r}", Code.OPEN, OpenError.UNSUPPORTED_VERSION, (4).to_bytes(2, "big")
        )
    if not _is_int(asn, 1, _MAX_U32):
        raise RemoteProtocolError(f"AS number {asn!r}", Code.OPEN, OpenError.BAD_PEER_AS)
    if not _is_int(hold_time, 0, 65535) or hold_time in (1, 2):
        raise RemoteProtocolError(
            f"hold time {hold_time!r}", Code.OPEN, OpenError.UNACCEPTABLE_HOLD_TIME
        )
    if not isinstance(identifier, bytes) or len(identifier) != 4 or identifier == b"\0\0\0\0":
        raise RemoteProtocolError(f"identifier {identifier!r}", Code.OPEN, OpenError.BAD_IDENTIFIER)
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
                families = tuple(_one_of(family, (IPV4, IPV6)) for family in value)
            elif code == _REFRESH:
                values["route_refresh"] = True
            elif code == _GRACEFUL:
                restarting, time, kept = value
                values["graceful_restart"] = GracefulRestart(
                    restarting=_one_of(restarting, (False, True)),
                    time=_one_of(time, range(4096)),
                    families=tuple((_one_of(f, (IPV4, IPV6)), _one_of(p, (False, True))) for f, p in kept),
                )
            elif code == _AS4:
                values["four_octet_as"] = _one_of(value, range(1, _MAX_U32 + 1))
            elif code == _ADD_PATH:
                values["add_path"] = tuple((_one_of(f, (IPV4, IPV6)), AddPath(mode)) for f, mode in value)
    except (TypeError, ValueError) as error:
        raise RemoteProtocolError(f"malformed capabilities: {error}", Code.OPEN) from None
    return Capabilities(families=families or (IPV4,), **values)


def _tuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise TypeError(f"{value!r} is not a list")
    return value


def _one_of(value: Any, allowed: Any) -> Any:
    if type(value) not in (int, bool) or value not in allowed:
        raise ValueError(f"{value!r} out of range")
    return value


# --- UPDATE -----------------------------------------------------------------------------------------------------

(
    _ORIGIN, _AS_PATH, _NEXT_HOP, _MED, _LOCAL_PREF, _ATOMIC, _AGGREGATOR, _COMMUNITIES, _ORIGINATOR_ID,
    _CLUSTER_LIST,
) = range(1, 11)
_LARGE_COMMUNITIES = 32


def _attribute_list(of: Attributes) -> list[object]:
    """Flat [type, value, ...] in ascending order of type (RFC 4271 section 5)."""
    values: list[object] = [_ORIGIN, int(of.origin), _AS_PATH, of.as_path, _NEXT_HOP, of.next_hop]
    if of.med is not None:
        values += (_MED, of.med)
    if of.local_pref is not None:
        values += (_LOCAL_PREF, of.local_pref)
    if of.atomic_aggregate:
        values += (_ATOMIC, None)
    if of.aggregator is not None:
        values += (_AGGREGATOR, of.aggregator)
    if of.communities:
        values += (_COMMUNITIES, of.communities)
    if of.originator_id is not None:
        values += (_ORIGINATOR_ID, of.originator_id)
    if of.cluster_list:
        values += (_CLUSTER_LIST, of.cluster_list)
    if of.large_communities:
        values += (_LARGE_COMMUNITIES, of.large_communities)
    return values


def _decode_update(codec: Codec, body: Any) -> Update:
    if not isinstance(body, tuple) or len(body) != 5:
        raise _malformed("an UPDATE has five fields")
    family, path_id, withdrawn, attributes, nlri = body
    if not _is_int(family, IPV4, IPV6) or family == 5:
        raise _malformed(f"address family {family!r}")
    if not _is_int(path_id, 0, _MAX_U32):
        raise _malformed(f"path ID {path_id!r}")
    _check_prefixes(withdrawn, family)
    _check_prefixes(nlri, family)
    if not nlri:
        if attributes is not None:
            raise _malformed("path attributes without NLRI")
        return Update(family=family, withdrawn=withdrawn, path_id=path_id)
    decoded = codec.attributes.intern(_decode_attributes(attributes, family))
    return Update(family=family, withdrawn=withdrawn, attributes=decoded, nlri=nlri, path_id=path_id)


def _check_prefixes(prefixes: Any, family: int) -> None:
    if not isinstance(prefixes, tuple):
        raise _malformed("a list of prefixes is not a list")
    size = 5 if family == IPV4 else 17
    for prefix in prefixes:
        if not isinstance(prefix, bytes) or len(prefix) != size or not is_valid(prefix):
            raise RemoteProtocolError(
                f"{prefix!r} is not an IPv{family} prefix", Code.UPDATE, UpdateError.INVALID_NETWORK
            )


def _decode_attributes(values: Any, family: int) -> Attributes:
    if not isinstance(values, tuple) or len(values) % 2:
        raise _malformed("path attributes are not [type, value, ...]")
    found: dict[str, Any] = {}
    last = 0
    for kind, value in zip(values[::2], values[1::2], strict=True):
        if not _is_int(kind, 1, 255) or kind <= last:
            # One octet each, ascending, none twice (RFC 4271 6.3: twice is a malformed list).
            raise _malformed(f"attribute type {kind!r} after {last}")
        last = kind
        reader = _ATTRIBUTES.get(kind)
        if reader is None:
            raise RemoteProtocolError(
                f"attribute type {kind}", Code.UPDATE, UpdateError.UNRECOGNIZED_WELL_KNOWN, bytes((kind,))
            )
        name, read = reader
        found[name] = read(value)
    for kind, name in ((_ORIGIN, "origin"), (_AS_PATH, "as_path"), (_NEXT_HOP, "next_hop")):
        if name not in found:
            raise RemoteProtocolError(
                f"no {name.upper()}", Code.UPDATE, UpdateError.MISSING_WELL_KNOWN, bytes((kind,))
            )
    if len(found["next_hop"]) != (4 if family == IPV4 else 16):
        raise RemoteProtocolError(
            "NEXT_HOP is of another family", Code.UPDATE, UpdateError.INVALID_NEXT_HOP, found["next_hop"]
        )
    return Attributes(**found)


def _read_origin(value: Any) -> Origin:
    if not _is_int(value, 0, 2):
        raise RemoteProtocolError(f"ORIGIN {value!r}", Code.UPDATE, UpdateError.INVALID_ORIGIN)
    return Origin(value)


def _read_as_path(value: Any) -> tuple[Segment, ...]:
    try:
        for segment in _tuple(value):
            kind, numbers = _tuple(segment)
            if kind not in (AS_SET, AS_SEQUENCE) or not 0 < len(_tuple(numbers)) <= 255:
                raise ValueError(f"segment {kind!r}")
            for number in numbers:
                _one_of(number, range(1, _MAX_U32 + 1))
    except (TypeError, ValueError) as error:
        raise RemoteProtocolError(
            f"AS_PATH: {error}", Code.UPDATE, UpdateError.MALFORMED_AS_PATH
        ) from None
    path: tuple[Segment, ...] = value
    return path


def _read_next_hop(value: Any) -> Address:
    # 0.0.0.0 and :: are nobody's address; multicast is never a next hop (RFC 4271 6.3).
    if not isinstance(value, bytes) or len(value) not in (4, 16) or not any(value) or value[0] == 0xFF or (
        len(value) == 4 and value[0] >= 224
    ):
        raise RemoteProtocolError(f"NEXT_HOP {value!r}", Code.UPDATE, UpdateError.INVALID_NEXT_HOP)
    return Address(value)


def _read_u32(value: Any) -> int:
    if not _is_int(value, 0, _MAX_U32):
        raise RemoteProtocolError(f"{value!r} is not 32 bits", Code.UPDATE, UpdateError.ATTRIBUTE_LENGTH)
    return int(value)


def _read_atomic(value: Any) -> bool:
    if value is not None:
        raise RemoteProtocolError("ATOMIC_AGGREGATE has a value", Code.UPDATE, UpdateError.ATTRIBUTE_LENGTH)
    return True


def _read_identifier(value: Any) -> Address:
    if not isinstance(value, bytes) or len(value) != 4:
        raise RemoteProtocolError(f"{value!r} is no identifier", Code.UPDATE, UpdateError.OPTIONAL_ATTRIBUTE)
    return Address(value)


def _read_aggregator(value: Any) -> tuple[int, Address]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise RemoteProtocolError("AGGREGATOR", Code.UPDATE, UpdateError.OPTIONAL_ATTRIBUTE)
    return _read_u32(value[0]), _read_identifier(value[1])


def _many(read: Callable[[Any], Any], ordered: bool) -> Callable[[Any], tuple[Any, ...]]:
    def read_many(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple) or not value:
            raise RemoteProtocolError("an empty list", Code.UPDATE, UpdateError.OPTIONAL_ATTRIBUTE)
        items = tuple(read(item) for item in value)
        return tuple(sorted(set(items))) if ordered else items

    return read_many


def _read_large(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, tuple) or len(value) != 3:
        raise RemoteProtocolError("LARGE_COMMUNITY", Code.UPDATE, UpdateError.OPTIONAL_ATTRIBUTE)
    return _read_u32(value[0]), _read_u32(value[1]), _read_u32(value[2])


_ATTRIBUTES: dict[int, tuple[str, Callable[[Any], Any]]] = {
    _ORIGIN: ("origin", _read_origin),
    _AS_PATH: ("as_path", _read_as_path),
    _NEXT_HOP: ("next_hop", _read_next_hop),
    _MED: ("med", _read_u32),
    _LOCAL_PREF: ("local_pref", _read_u32),
    _ATOMIC: ("atomic_aggregate", _read_atomic),
    _AGGREGATOR: ("aggregator", _read_aggregator),
    _COMMUNITIES: ("communities", _many(_read_u32, ordered=True)),
    _ORIGINATOR_ID: ("originator_id", _read_identifier),
    _CLUSTER_LIST: ("cluster_list", _many(_read_identifier, ordered=False)),
    _LARGE_COMMUNITIES: ("large_communities", _many(_read_large, ordered=True)),
}


# --- the rest ---------------------------------------------------------------------------------------------------


def _decode_notification(_: Codec, body: Any) -> Notification:
    # RFC 4271 6.1: nothing answers a bad NOTIFICATION, so it ends the session as an empty one.
    if (
        isinstance(body, tuple)
        and len(body) == 3
        and _is_int(body[0], 0, 255)
        and _is_int(body[1], 0, 255)
        and isinstance(body[2], bytes)
    ):
        return Notification(*body)
    return Notification(0)


def _decode_route_refresh(_: Codec, body: Any) -> RouteRefresh:
    if not isinstance(body, tuple) or len(body) != 1 or body[0] not in (IPV4, IPV6):
        raise _bad_body("a ROUTE-REFRESH names one address family", _ROUTE_REFRESH)
    return RouteRefresh(body[0])


_DECODERS: dict[int, Callable[[Codec, Any], Message]] = {
    _OPEN: _decode_open,
    _UPDATE: _decode_update,
    _NOTIFICATION: _decode_notification,
    _ROUTE_REFRESH: _decode_route_refresh,
}


def _is_int(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _malformed(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(reason, Code.UPDATE, UpdateError.MALFORMED_ATTRIBUTE_LIST)


def _bad_body(reason: str, kind: int) -> RemoteProtocolError:
    if kind == _OPEN:
        return RemoteProtocolError(reason, Code.OPEN)
    if kind == _UPDATE:
        return _malformed(reason)
    return RemoteProtocolError(reason, Code.HEADER, Header.BAD_LENGTH)
