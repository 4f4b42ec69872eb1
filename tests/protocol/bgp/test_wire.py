"""Frames: what we write we read, and whatever a stranger writes is a message or a NOTIFICATION."""

from __future__ import annotations

import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.bgp import wire
from protocol.bgp.attributes import Attributes
from protocol.bgp.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.bgp.messages import Keepalive, Message, Notification, Open, RouteRefresh, Update
from protocol.bgp.wire import HEADER_SIZE, KEEPALIVE, MAX_BODY, MAX_NLRI, Codec, split
from protocol.prefix import IPV4, IPV6, Address, make_prefix, parse_prefix
from tests.strategies.bgp import GOOD, flat, frame, frames, messages, packed, pieces, strangers

Error = tuple[int, int, bytes]


def hear(parts: list[bytes]) -> tuple[list[Message], Error | None]:
    """What a session would hear of these bytes: the messages up to the first mistake, and that."""
    codec, heard, tail = Codec(), list[Message](), b""
    try:
        for part in parts:
            whole, tail = split(tail + part)
            heard += map(codec.decode, whole)
            if whole and tail:
                split(tail)
    except RemoteProtocolError as error:
        return heard, (error.code, error.subcode, error.data)
    return heard, None


def answer(data: bytes) -> Error:
    error = hear([data])[1]
    assert error is not None, "this should have been a mistake"
    return error


# --- what we write ----------------------------------------------------------------------------------------------


@given(messages)
def test_every_message_survives_its_frame(message: Message) -> None:
    whole, tail = split(Codec().encode(message))
    assert tail == b""
    assert len(whole) == 1
    assert Codec().decode(whole[0]) == message


@given(st.lists(messages, max_size=4))
def test_a_conversation_is_plain_msgpack(said: list[Message]) -> None:
    codec = Codec()
    reader = msgpack.Unpacker()
    reader.feed(b"".join(map(codec.encode, said)))
    assert [item.code for item in reader] == [
        {Open: 1, Update: 2, Notification: 3, Keepalive: 4, RouteRefresh: 5}[type(message)]
        for message in said
    ]


@pytest.mark.parametrize("family", [IPV4, IPV6])
@pytest.mark.parametrize("count", [0, 1, 4096, 4097, 9000])
def test_any_number_of_prefixes_goes_out_in_frames_that_are_read(family: int, count: int) -> None:
    bits = 32 if family == IPV4 else 128
    gone = [make_prefix(n << 8, bits, family) for n in range(count)]
    told = [make_prefix(n << 8 | 1, bits, family) for n in range(count)]
    communities = tuple(range(2**31, 2**31 + wire.MAX_ATTRIBUTES // 5 - 10))  # as many as anybody may send
    attributes = Attributes(next_hop=Address(b"\1" * (bits // 8)), communities=communities)
    codec = Codec()
    written = codec.update_frames(family, withdrawn=gone, nlri=told, attributes=attributes, path_id=2**32 - 1)
    updates = [codec.decode(one) for one in written]
    assert all(len(one) - HEADER_SIZE <= MAX_BODY for one in written)
    assert all(
        isinstance(update, Update) and (update.family, update.path_id) == (family, 2**32 - 1)
        for update in updates
    )
    assert [p for u in updates if isinstance(u, Update) for p in u.withdrawn] == gone
    assert [p for u in updates if isinstance(u, Update) for p in u.nlri] == told
    # Withdrawals first, and no frame that is not needed.
    room = MAX_NLRI[family]
    assert [bool(u.nlri) for u in updates if isinstance(u, Update)] == [False] * -(-count // room) + [
        True
    ] * -(-count // room)


def test_what_does_not_fit_a_frame_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="65,529 is the limit"):
        Codec().encode(Notification(6, 2, bytes(MAX_BODY)))


# --- what anybody writes ----------------------------------------------------------------------------------------

streams = st.lists(frames | strangers, min_size=1, max_size=4).map(b"".join)


@settings(max_examples=300)
@given(streams, st.data())
def test_any_bytes_are_messages_or_one_remote_error_however_they_are_cut(
    stream: bytes, data: st.DataObject
) -> None:
    at_once = hear([stream])
    heard, error = at_once
    codec = Codec()
    for message in heard:
        assert Codec().decode(codec.encode(message)) == message, "what was read can be told on"
    if error is not None:
        # It can be sent as it is.
        owed = Notification(*error)
        assert Code(owed.code) in (Code.HEADER, Code.OPEN, Code.UPDATE)
        assert Codec().decode(codec.encode(owed)) == owed
    assert hear([stream[i : i + 1] for i in range(len(stream))]) == at_once
    assert hear(data.draw(pieces(stream))) == at_once


@given(st.integers(0, 255), st.binary(max_size=12))
def test_any_body_of_any_type_is_a_message_or_a_remote_error(kind: int, body: bytes) -> None:
    hear([frame(kind, body)])


NESTED = b"\x91" * 1000 + b"\xc0"


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        # Whoever shows the repr of such lists gets a RecursionError. (Hypothesis raises the limit: not a law.)
        (1, NESTED, 2), (2, NESTED, 3), (5, NESTED, 1),
        (1, b"\x95" + NESTED + b"\0\0\0\0", 2), (1, b"\x95\x04" + NESTED + b"\0\0\0", 2), (1, b"\x95\x04\x01" + NESTED + b"\0\0", 2),
        (1, b"\x95\x04\x01\x5a" + NESTED + b"\0", 2), (1, b"\x95\x04\x01\x5a\xc4\x04\1\1\1\1\x91\x92\x01" + NESTED, 2),
        (2, b"\x95" + NESTED + b"\0\0\0\0", 3), (2, b"\x95\x04" + NESTED + b"\0\0\0", 3), (2, b"\x95\x04\0\x91" + NESTED + b"\xc0\x90", 3),
        (2, b"\x95\x04\0\x90\x92" + NESTED + b"\0\x91\xc4\x05\x20\1\1\1\1", 3),
        *((2, b"\x95\x04\0\x90\x92" + bytes((attribute,)) + NESTED + b"\x91\xc4\x05\x20\1\1\1\1", 3) for attribute in range(1, 12)),
        (1, b"\xd4\xff\0", 2),  # an extension type
        (2, b"\x95\x04\0\x90\x98\1\0\2\x90\3\xc4\4\1\1\1\1\7\xd6\5\1\1\1\1\x91\xc4\x05\x20\1\1\1\1", 3),  # one like an AGGREGATOR
        (1, b"\xdd\xff\xff\xff\xff", 2),  # a list of 4,294,967,295
        (2, b"\xa1\xff", 3),  # not UTF-8
        (2, b"\x81\x90\0", 3),  # a list as a key
    ],
)  # fmt: skip
def test_bodies_made_to_hurt(kind: int, body: bytes, code: int) -> None:
    assert answer(frame(kind, body))[0] == code


# --- memory -----------------------------------------------------------------------------------------------------


def test_a_claim_of_four_gigabytes_is_answered_by_its_header_alone() -> None:
    claim = b"\xc9\xff\xff\xff\xff\x02"
    assert split(claim[:5]) == ([], claim[:5])
    assert answer(claim) == (1, 2, b"\xff\xff\xff\xff")
    assert answer(b"\xc9" + (MAX_BODY + 1).to_bytes(4, "big") + b"\x02") == (
        1,
        2,
        (MAX_BODY + 1).to_bytes(4, "big"),
    )


def test_half_a_frame_and_then_silence_costs_half_a_frame() -> None:
    half = b"\xc9" + MAX_BODY.to_bytes(4, "big") + b"\x02" + bytes(MAX_BODY - 1)
    whole, tail = split(KEEPALIVE + half)
    assert whole == [KEEPALIVE]
    assert tail == half


def test_the_longest_frame_is_read() -> None:
    longest = Notification(6, 2, bytes(MAX_BODY - 6))
    written = Codec().encode(longest)
    assert len(written) == HEADER_SIZE + MAX_BODY
    assert split(written) == ([written], b"")
    assert Codec().decode(written) == longest


def test_lists_in_lists_that_claim_to_be_long_are_cheap() -> None:
    nested = b"\xdc\xfd\x00" * 900
    hostile = frame(2, nested + b"\xc0" * (MAX_BODY - len(nested)))
    tracemalloc.start()
    try:
        assert answer(hostile) == (3, 1, b"")
        assert tracemalloc.get_traced_memory()[1] < 1000 * MAX_BODY * 8 / 4
    finally:
        tracemalloc.stop()


def test_the_cache_gives_the_same_object_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CACHE_BYTES", 5000)
    codec = Codec()
    first = codec.encode(Notification(6, 1))
    assert codec.decode(first) is codec.decode(bytes(bytearray(first)))
    for n in range(200):
        codec.decode(codec.encode(Notification(6, n, b"long")))
        assert sum(wire.DECODED * len(known) + wire.ENTRY_BYTES for known in codec._cache) <= 5000
    with pytest.raises(RemoteProtocolError):
        codec.decode(frame(9, b""))
    assert frame(9, b"") not in codec._cache


def test_equal_attributes_of_different_frames_are_one_object() -> None:
    codec = Codec()
    attributes = Attributes(next_hop=Address(b"\x0a\0\0\1"), local_pref=100)
    one, other = (
        codec.decode(codec.encode(Update(nlri=(parse_prefix(p),), attributes=attributes))) for p in ("1.0.0.0/8", "2.0.0.0/8")
    )  # fmt: skip
    assert isinstance(one, Update)
    assert isinstance(other, Update)
    assert one.attributes is other.attributes


# --- each mistake and its NOTIFICATION ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # RFC 4271 6.1
        pytest.param(b"\xff" * 19, (1, 1, b""), id="the marker of a BGP of octets"),
        pytest.param(b"\x93", (1, 1, b""), id="no extension object"),
        pytest.param(frame(4, b"x"), (1, 2, b"\0\0\0\1"), id="a KEEPALIVE with a body"),
        pytest.param(frame(0, b""), (1, 3, b"\0"), id="type 0"),
        pytest.param(frame(6, b"\x90"), (1, 3, b"\6"), id="type 6"),
        pytest.param(frame(255, b""), (1, 3, b"\xff"), id="type 255"),
        pytest.param(packed(5, ()), (1, 2, b"\0\0\0\1"), id="a ROUTE-REFRESH of nothing"),
        pytest.param(packed(5, (5,)), (1, 2, b"\0\0\0\2"), id="a ROUTE-REFRESH of family 5"),
        pytest.param(packed(5, (4.0,)), (1, 2, b"\0\0\0\x0a"), id="a ROUTE-REFRESH of family 4.0"),
        pytest.param(frame(5, b"\xc1"), (1, 2, b"\0\0\0\1"), id="a ROUTE-REFRESH that is not msgpack"),
    ],
)
def test_header_errors(data: bytes, expected: Error) -> None:
    assert answer(data) == expected


OPEN = (4, 64512, 90, b"\1\2\3\4", ())


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [  # RFC 4271 6.2
        (0, 3, (2, 1, b"\0\4")), (0, 5, (2, 1, b"\0\4")), (0, "4", (2, 1, b"\0\4")), (0, 4.0, (2, 1, b"\0\4")),
        (1, 0, (2, 2, b"")), (1, 2**32, (2, 2, b"")), (1, True, (2, 2, b"")), (1, None, (2, 2, b"")),
        (2, 1, (2, 6, b"")), (2, 2, (2, 6, b"")), (2, 65536, (2, 6, b"")), (2, -1, (2, 6, b"")), (2, 9.5, (2, 6, b"")),
        (3, b"\0\0\0\0", (2, 3, b"")), (3, b"\1\2\3", (2, 3, b"")), (3, 16909060, (2, 3, b"")),
        (4, None, (2, 0, b"")), (4, ((1, (5,)),), (2, 0, b"")), (4, ((1, 4),), (2, 0, b"")), (4, ((1,),), (2, 0, b"")),
        (4, ((64, (False, 4096, ())),), (2, 0, b"")), (4, ((64, (2, 1, ())),), (2, 0, b"")), (4, ((64, None),), (2, 0, b"")),
        (4, ((65, 0),), (2, 0, b"")), (4, ((69, ((4, 4),)),), (2, 0, b"")), (4, ((69, ((4, ()),)),), (2, 0, b"")),
    ],
)  # fmt: skip
def test_open_errors(field: int, value: object, expected: Error) -> None:
    body = list(OPEN)
    assert hear([packed(1, body)])[1] is None
    body[field] = value
    assert answer(packed(1, body)) == expected


@pytest.mark.parametrize("body", [None, (), OPEN[:4], (*OPEN, 1), {}, "abcde", b"abcde"])
def test_an_open_that_is_no_list_of_five(body: object) -> None:
    assert answer(packed(1, body)) == (2, 0, b"")


def test_unknown_capabilities_are_ignored() -> None:
    heard, error = hear([packed(1, (*OPEN[:4], ((1, (6,)), (73, "fqdn"), (6, None), ("x", b"y"))))])
    assert error is None
    assert isinstance(heard[0], Open)
    assert heard[0].capabilities.families == (IPV6,)
    assert not heard[0].capabilities.route_refresh


def update(attributes: object, nlri: object = (b"\x18\1\2\3\0",), family: object = 4) -> bytes:
    return packed(2, (family, 0, (), attributes, nlri))


@pytest.mark.parametrize(
    ("kind", "value", "subcode", "gives_back"),
    [
        # RFC 4271 6.3, in its order. Data is the attribute, where the RFC asks for it.
        pytest.param(99, b"x", 2, True, id="unrecognized"),
        pytest.param(200, None, 2, True, id="unrecognized, number of two octets"),
        pytest.param(4, 2**32, 5, True, id="MED of 33 bits"),
        pytest.param(4, "1", 5, True, id="MED of text"),
        pytest.param(5, -1, 5, True, id="LOCAL_PREF below zero"),
        pytest.param(5, True, 5, True, id="LOCAL_PREF true"),
        pytest.param(6, 0, 5, True, id="ATOMIC_AGGREGATE with a value"),
        pytest.param(8, (2**32,), 5, True, id="a community of 33 bits"),
        pytest.param(32, ((1, 2, "3"),), 5, True, id="a large community of text"),
        pytest.param(7, (2**32, b"\1\2\3\4"), 5, True, id="AGGREGATOR's AS of 33 bits"),
        pytest.param(1, 3, 6, True, id="ORIGIN 3"),
        pytest.param(1, None, 6, True, id="ORIGIN nil"),
        pytest.param(1, False, 6, True, id="ORIGIN false"),
        pytest.param(3, b"\0\0\0\0", 8, True, id="NEXT_HOP 0.0.0.0"),
        pytest.param(3, b"\xe0\0\0\1", 8, True, id="NEXT_HOP 224.0.0.1"),
        pytest.param(3, b"\xff\xff\xff\xff", 8, True, id="NEXT_HOP 255.255.255.255"),
        pytest.param(3, b"\1\2\3", 8, True, id="NEXT_HOP of three octets"),
        pytest.param(3, "1.2.3.4", 8, True, id="NEXT_HOP of text"),
        pytest.param(3, b"\xfd" + bytes(14) + b"\1", 8, True, id="NEXT_HOP of the other family"),
        pytest.param(7, (64512,), 9, True, id="AGGREGATOR without a router"),
        pytest.param(7, (64512, b"\1\2\3"), 9, True, id="AGGREGATOR with a short router"),
        pytest.param(8, (), 9, True, id="COMMUNITIES of none"),
        pytest.param(8, 5, 9, True, id="COMMUNITIES that are no list"),
        pytest.param(9, b"\1\2\3", 9, True, id="a short ORIGINATOR_ID"),
        pytest.param(10, (b"\1\2\3\4", b"\1"), 9, True, id="CLUSTER_LIST with a short one"),
        pytest.param(10, (), 9, True, id="CLUSTER_LIST of none"),
        pytest.param(32, ((1, 2),), 9, True, id="a large community of two"),
        pytest.param(2, None, 11, False, id="AS_PATH nil"),
        pytest.param(2, ((3, (1,)),), 11, False, id="AS_PATH with segment type 3"),
        pytest.param(2, ((True, (1,)),), 11, False, id="AS_PATH with segment type true"),
        pytest.param(2, ((2, ()),), 11, False, id="AS_PATH with an empty segment"),
        pytest.param(2, ((2, (0,)),), 11, False, id="AS_PATH with AS 0"),
        pytest.param(2, ((2, (True,)),), 11, False, id="AS_PATH with AS true"),
        pytest.param(2, ((2, (2**32,)),), 11, False, id="AS_PATH with an AS of 33 bits"),
        pytest.param(2, ((2, (1,) * 256),), 11, False, id="AS_PATH with a segment of 256"),
        pytest.param(2, ((2,),), 11, False, id="AS_PATH with half a segment"),
    ],
)
def test_attribute_errors(kind: int, value: object, subcode: int, gives_back: bool) -> None:
    data = msgpack.packb(kind) + msgpack.packb(value) if gives_back else b""
    assert hear([update(flat(GOOD))])[1] is None
    assert answer(update(flat(GOOD | {kind: value}))) == (3, subcode, data)


@pytest.mark.parametrize("kind", GOOD)
def test_a_missing_well_known_attribute_is_named(kind: int) -> None:
    assert answer(update(flat({k: v for k, v in GOOD.items() if k != kind}))) == (3, 3, bytes((kind,)))


@pytest.mark.parametrize(
    "attributes",
    [
        None, (), [1], {}, "text",
        [*flat(GOOD), 3, GOOD[3]],  # twice
        [2, GOOD[2], 1, 0, 3, GOOD[3]],  # out of order
        [0, 0, *flat(GOOD)], [*flat(GOOD), 256, 0], ["1", 0],
    ],
)  # fmt: skip
def test_a_malformed_attribute_list(attributes: object) -> None:
    expected = (3, 3, b"\1") if attributes == () else (3, 1, b"")
    assert answer(update(attributes)) == expected


@pytest.mark.parametrize(
    ("family", "prefix"),
    [
        (4, b"\x21\1\2\3\4"), (4, b"\x17\1\2\3\4"), (4, b"\x18\1\2\3"), (4, "1.2.3.0/24"), (4, b"\x18\1\2" + bytes(14)),
        (6, b"\x18\1\2\3\0"), (6, b"\x81" + bytes(16)), (6, b"\x10" + b"\xfd" * 16), (4, None),
    ],
)  # fmt: skip
def test_a_prefix_that_is_none_has_no_data(family: int, prefix: object) -> None:
    assert answer(packed(2, (family, 0, (), flat(GOOD), (prefix,)))) == (3, 10, b"")
    assert answer(packed(2, (family, 0, (prefix,), None, ()))) == (3, 10, b"")


@pytest.mark.parametrize(
    "body",
    [
        None, (), (4, 0, (), None), (4, 0, (), None, (), 1),
        (5, 0, (), None, ()), (True, 0, (), None, ()), (4.0, 0, (), None, ()),
        (4, -1, (), None, ()), (4, 2**32, (), None, ()),
        (4, 0, None, None, ()), (4, 0, (), None, None), (4, 0, b"", None, ()),
        (4, 0, (), flat(GOOD), ()),  # attributes of nothing
    ],
)  # fmt: skip
def test_an_update_of_another_shape(body: object) -> None:
    assert answer(packed(2, body)) == (3, 1, b"")


def test_more_attributes_than_could_be_told_on_are_refused() -> None:
    most = tuple(range(2**31, 2**31 + wire.MAX_ATTRIBUTES // 5))
    assert hear([update(flat(GOOD | {8: most[:-10]}))])[1] is None
    assert answer(update(flat(GOOD | {8: most}))) == (3, 1, b"")


def test_a_huge_wrong_attribute_is_given_back_in_part() -> None:
    code, subcode, data = answer(update(flat(GOOD | {9: bytes(20_000)})))
    assert (code, subcode) == (3, 9)
    assert data == (b"\x09" + msgpack.packb(bytes(20_000)))[: wire.MAX_ERROR_DATA]


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", msgpack.packb(None), msgpack.packb((6, 2)), msgpack.packb((256, 0, b""))]
)
def test_nothing_answers_a_bad_notification(body: bytes) -> None:
    # RFC 4271 6.4: there is no NOTIFICATION for an error in a NOTIFICATION.
    assert hear([frame(3, body)]) == ([Notification(0)], None)
