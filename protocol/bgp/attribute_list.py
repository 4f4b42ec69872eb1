"""Path attributes as an UPDATE carries them: one flat list, [type, value, type, value, ...].

Owns both directions and which NOTIFICATION each mistake is owed (RFC 4271 section 6.3). Types are the RFCs' numbers in
ascending order, none twice. There are no flags: both ends know every attribute, so none is optional to understand.

Left out: prefixes and msgpack (``wire``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.bgp.attributes import AS_SEQUENCE, AS_SET, Attributes, Origin, Segment
from protocol.bgp.checks import MAX_U32, a_list, brief, is_int
from protocol.bgp.errors import Code, RemoteProtocolError, UpdateError
from protocol.prefix import IPV4, Address


class WrongAttribute(Exception):
    """A mistake that is answered with the attribute itself."""

    def __init__(self, subcode: UpdateError, kind: int, value: Any) -> None:
        super().__init__(f"attribute {kind}: {brief(value)}")
        self.subcode = subcode
        self.kind = kind
        self.value = value


(
    _ORIGIN,
    _AS_PATH,
    _NEXT_HOP,
    _MED,
    _LOCAL_PREF,
    _ATOMIC,
    _AGGREGATOR,
    _COMMUNITIES,
    _ORIGINATOR_ID,
    _CLUSTER_LIST,
) = range(1, 11)
_LARGE_COMMUNITIES = 32


def encode(of: Attributes) -> list[object]:
    """In ascending order of type (RFC 4271 section 5)."""
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


def decode(values: Any, family: int) -> Attributes:
    """Raises WrongAttribute, or RemoteProtocolError where the RFC asks for other data or none."""
    if not isinstance(values, tuple) or len(values) % 2:
        raise _malformed("path attributes are not [type, value, ...]")
    found: dict[str, Any] = {}
    last = 0
    for kind, value in zip(values[::2], values[1::2], strict=True):
        if not is_int(kind, 1, 255) or kind <= last:
            # One octet each, ascending, none twice (RFC 4271 6.3: twice is a malformed list).
            raise _malformed(f"attribute type {brief(kind)} after {last}")
        last = kind
        reader = _ATTRIBUTES.get(kind)
        if reader is None:
            raise WrongAttribute(UpdateError.UNRECOGNIZED_WELL_KNOWN, kind, value)
        name, read = reader
        try:
            found[name] = read(value)
        except _Wrong as error:
            raise WrongAttribute(error.subcode, kind, value) from None
    for kind, name in ((_ORIGIN, "origin"), (_AS_PATH, "as_path"), (_NEXT_HOP, "next_hop")):
        if name not in found:
            raise RemoteProtocolError(
                f"no {name.upper()}", Code.UPDATE, UpdateError.MISSING_WELL_KNOWN, bytes((kind,))
            )
    if len(found["next_hop"]) != (4 if family == IPV4 else 16):
        # The next hop of another family.
        raise WrongAttribute(UpdateError.INVALID_NEXT_HOP, _NEXT_HOP, found["next_hop"])
    return Attributes(**found)


def _malformed(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(reason, Code.UPDATE, UpdateError.MALFORMED_ATTRIBUTE_LIST)


class _Wrong(Exception):
    """From a reader, which does not know what it reads."""

    def __init__(self, subcode: UpdateError) -> None:
        self.subcode = subcode


def _read_origin(value: Any) -> Origin:
    if not is_int(value, 0, 2):
        raise _Wrong(UpdateError.INVALID_ORIGIN)
    return Origin(value)


def _read_as_path(value: Any) -> tuple[Segment, ...]:
    try:
        for segment in a_list(value):
            kind, numbers = a_list(segment)
            if not is_int(kind, AS_SET, AS_SEQUENCE) or not 0 < len(a_list(numbers)) <= 255:
                raise ValueError(f"a segment of type {brief(kind)}")
            for number in numbers:
                if not is_int(number, 1, MAX_U32):
                    raise ValueError(f"AS {brief(number)}")
    except (TypeError, ValueError) as error:
        raise RemoteProtocolError(f"AS_PATH: {error}", Code.UPDATE, UpdateError.MALFORMED_AS_PATH) from None
    path: tuple[Segment, ...] = value
    return path


def _read_next_hop(value: Any) -> Address:
    # 0.0.0.0 and :: are nobody's address; multicast is never a next hop (RFC 4271 6.3).
    if (
        not isinstance(value, bytes)
        or len(value) not in (4, 16)
        or not any(value)
        or value[0] == 0xFF
        or (len(value) == 4 and value[0] >= 224)
    ):
        raise _Wrong(UpdateError.INVALID_NEXT_HOP)
    return Address(value)


def _read_u32(value: Any) -> int:
    if not is_int(value, 0, MAX_U32):
        raise _Wrong(UpdateError.ATTRIBUTE_LENGTH)
    return int(value)


def _read_atomic(value: Any) -> bool:
    if value is not None:
        raise _Wrong(UpdateError.ATTRIBUTE_LENGTH)
    return True


def _read_identifier(value: Any) -> Address:
    if not isinstance(value, bytes) or len(value) != 4:
        raise _Wrong(UpdateError.OPTIONAL_ATTRIBUTE)
    return Address(value)


def _read_aggregator(value: Any) -> tuple[int, Address]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise _Wrong(UpdateError.OPTIONAL_ATTRIBUTE)
    return _read_u32(value[0]), _read_identifier(value[1])


def _many(read: Callable[[Any], Any], ordered: bool) -> Callable[[Any], tuple[Any, ...]]:
    def read_many(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple) or not value:
            raise _Wrong(UpdateError.OPTIONAL_ATTRIBUTE)
        items = tuple(read(item) for item in value)
        return tuple(sorted(set(items))) if ordered else items

    return read_many


def _read_large(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, tuple) or len(value) != 3:
        raise _Wrong(UpdateError.OPTIONAL_ATTRIBUTE)
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
