"""Prefixes, path attributes, messages, and bytes that a stranger might send."""

from __future__ import annotations

import msgpack
from hypothesis import strategies as st

from protocol.bgp.attributes import AS_SEQUENCE, AS_SET, Attributes, Origin, Segment
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
from protocol.bgp.wire import HEADER_SIZE, Codec
from protocol.prefix import IPV4, IPV6, Address, Prefix, make_prefix

u32 = st.sampled_from((0, 1, 2**32 - 1)) | st.integers(0, 2**32 - 1)
as_numbers = st.one_of(st.sampled_from((1, 64512, 65535, 65536, 2**32 - 1)), st.integers(1, 2**32 - 1))
families = st.sampled_from((IPV4, IPV6))
identifiers = st.binary(min_size=4, max_size=4).filter(any).map(Address)


def addresses(family: int) -> st.SearchStrategy[Address]:
    """Any address, the odd ones often: zeros in many places make the text of IPv6 interesting."""
    size = 4 if family == IPV4 else 16
    octets = st.lists(st.sampled_from((0, 0, 0, 1, 10, 255)), min_size=size, max_size=size).map(bytes)
    return st.one_of(octets, st.binary(min_size=size, max_size=size)).map(Address)


def prefixes(family: int) -> st.SearchStrategy[Prefix]:
    bits = 32 if family == IPV4 else 128
    return st.builds(make_prefix, st.integers(0, 2**bits - 1), st.integers(0, bits), st.just(family))


any_addresses = families.flatmap(addresses)
any_prefixes = families.flatmap(prefixes)


def next_hops(family: int) -> st.SearchStrategy[Address]:
    first = 223 if family == IPV4 else 254
    return addresses(family).filter(lambda address: any(address) and address[0] <= first)


segments: st.SearchStrategy[Segment] = st.tuples(
    st.sampled_from((AS_SET, AS_SEQUENCE)), st.lists(as_numbers, min_size=1, max_size=4).map(tuple)
)
communities = st.frozensets(u32, max_size=3).map(lambda values: tuple(sorted(values)))
large_communities = st.frozensets(st.tuples(u32, u32, u32), max_size=2).map(
    lambda values: tuple(sorted(values))
)


def attributes(family: int) -> st.SearchStrategy[Attributes]:
    return st.builds(
        Attributes,
        next_hop=next_hops(family),
        origin=st.sampled_from(Origin),
        as_path=st.lists(segments, max_size=3).map(tuple),
        med=st.none() | u32,
        local_pref=st.none() | u32,
        atomic_aggregate=st.booleans(),
        aggregator=st.none() | st.tuples(u32, identifiers),
        communities=communities,
        large_communities=large_communities,
        originator_id=st.none() | identifiers,
        cluster_list=st.lists(identifiers, max_size=3).map(tuple),
    )


def updates(family: int) -> st.SearchStrategy[Update]:
    some = st.lists(prefixes(family), max_size=4).map(tuple)
    only_withdrawn = st.builds(Update, family=st.just(family), withdrawn=some, path_id=u32)
    announcing = st.builds(
        Update,
        family=st.just(family),
        withdrawn=some,
        attributes=attributes(family),
        nlri=st.lists(prefixes(family), min_size=1, max_size=4).map(tuple),
        path_id=u32,
    )
    return only_withdrawn | announcing


capabilities = st.builds(
    Capabilities,
    families=st.sampled_from(((IPV4,), (IPV6,), (IPV4, IPV6))),
    route_refresh=st.booleans(),
    four_octet_as=st.none() | as_numbers,
    add_path=st.lists(st.tuples(families, st.sampled_from(AddPath)), max_size=2).map(tuple),
    graceful_restart=st.none()
    | st.builds(
        GracefulRestart,
        restarting=st.booleans(),
        time=st.integers(0, 4095),
        families=st.lists(st.tuples(families, st.booleans()), max_size=2).map(tuple),
    ),
    long_lived=st.none()
    | st.lists(st.tuples(families, st.booleans(), st.integers(0, (1 << 24) - 1)), max_size=2).map(tuple),
)
opens = st.builds(
    Open,
    asn=as_numbers,
    hold_time=st.just(0) | st.integers(3, 65535),
    identifier=identifiers,
    capabilities=capabilities,
)
notifications = st.builds(
    Notification, code=st.integers(0, 255), subcode=st.integers(0, 255), data=st.binary(max_size=20)
)
messages: st.SearchStrategy[Message] = st.one_of(
    opens,
    families.flatmap(updates),
    st.builds(Keepalive),
    notifications,
    st.builds(RouteRefresh, family=families),
)

values: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from((0, 1, 2, 4, 6, 90, 5.0, -1, "text", b"", b"\1\2\3\4", b"\x20\1\2\3\4", b"\1" * 16))
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=18),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.text(max_size=2) | st.integers(0, 9), inner, max_size=2)
    ),
    max_leaves=12,
)
"""Whatever msgpack can hold, with a liking for what almost is a field of a message."""

frames = messages.map(lambda message: Codec().encode(message))


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    """A valid frame with some octets of its body changed, taken out or put in; the header tells its true length."""
    frame = draw(frames)
    body = bytearray(frame[HEADER_SIZE:])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return frame[:1] + len(body).to_bytes(4, "big") + frame[5:6] + bytes(body)


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes as the network may cut them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def frame(kind: int, body: bytes) -> bytes:
    return b"\xc9" + len(body).to_bytes(4, "big") + bytes((kind,)) + body


def packed(kind: int, value: object) -> bytes:
    return frame(kind, msgpack.packb(value))


def flat(values: dict[int, object]) -> list[object]:
    return [item for kind in sorted(values) for item in (kind, values[kind])]


GOOD: dict[int, object] = {1: 0, 2: ((2, (64512,)),), 3: b"\x0a\0\0\1"}
"""The attributes that an UPDATE needs."""

headers = st.builds(frame, st.integers(0, 6), st.binary(max_size=40))
bodies = st.builds(packed, st.integers(1, 5), values)
lists_of_five = st.builds(packed, st.sampled_from((1, 2)), st.lists(values, min_size=5, max_size=5))
almost_opens = st.builds(
    lambda offered: packed(1, (4, 64512, 90, b"\1\2\3\4", offered)),
    values | st.lists(st.tuples(st.sampled_from((1, 2, 64, 65, 69, 70)), values), max_size=3),
)
almost_updates = st.builds(
    lambda family, attributes, nlri: packed(2, (family, 0, (), attributes, nlri)),
    families,
    st.dictionaries(st.integers(1, 11) | st.just(32), values, max_size=4).map(lambda some: flat(GOOD | some)),
    st.just((b"\x20\1\2\3\4",)) | values,
)  # fmt: skip
strangers = st.one_of(
    st.binary(max_size=60), headers, bodies, lists_of_five, almost_opens, almost_updates, damaged_frames(),
    frames.flatmap(lambda one: st.integers(0, len(one)).map(lambda at: one[:at])),
)  # fmt: skip
"""Bytes that are a little wrong, or very."""
