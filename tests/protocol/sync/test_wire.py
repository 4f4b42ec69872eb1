"""The stream's bytes: there and back, in any pieces, and what is no message."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.sync.errors import RemoteProtocolError
from protocol.sync.messages import Call, InSync, Message, Return, Snapshot
from protocol.sync.wire import MAX_ITEMS, SLICE, Decoder, Encoder
from tests.strategies.sync import cut, documents, messages


def received(pieces: list[bytes], max_frame: int = 1 << 20) -> tuple[list[Message], bool]:
    """What a decoder makes of the pieces, and whether it broke."""
    decoder = Decoder(max_frame)
    result: list[Message] = []
    try:
        for piece in pieces:
            result.extend(decoder.receive(piece))
    except RemoteProtocolError:
        return result, True
    return result, False


def each_byte(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


@given(st.lists(messages, max_size=5), st.lists(st.integers(0, 30), max_size=10))
def test_what_is_sent_arrives_however_it_is_cut(sent: list[Message], sizes: list[int]) -> None:
    encoder = Encoder()
    stream = b"".join(map(encoder.encode, sent))
    assert received(cut(stream, sizes)) == (sent, False)


@given(st.binary(max_size=200))
@example(msgpack.packb([5, 1, "get", {1: 2}]))
@example(b"\x94\x05\x01\xa1x\xc7\x03\xffxxx")  # a timestamp of a size that there is not
@example(b"\x94\x05\x01\xa1x\xc7\x0c\xff" + b"\xff" * 12)  # and one of too many nanoseconds
@example(b"\x94\x05\x01\xa1\xff\xc0")  # not UTF-8
@example(b"\xc1")  # what msgpack never uses
@example(b"\x91" * 5000)  # too deep
def test_any_bytes_parse_or_raise_the_one_error(data: bytes) -> None:
    """And all at once is the same as byte by byte."""
    assert received([data]) == received(each_byte(data))


frames = st.recursive(
    st.none() | st.integers(0, 9) | st.text(max_size=3) | st.binary(max_size=3) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["kind", "metadata", "name"]), inner)
    ),
    max_leaves=12,
)


@given(st.integers(0, 8), st.lists(frames, max_size=4))
@example(2, [1, [{"kind": "Node", "metadata": {"name": "x", "namespace": 1}}]])
@example(2, [1, [{"kind": "Node", "metadata": {"name": ["x"]}}]])
@example(4, [1, [], [["Node", "", 3]]])
@example(6, [1, None, ["NotFound"]])
def test_any_array_is_a_message_or_the_one_error(tag: int, fields: list[object]) -> None:
    """What is accepted can be sent on as it is."""
    [*good], broken = received([msgpack.packb([tag, *fields])])
    if not broken:
        [message] = good
        assert received([Encoder().encode(message)]) == ([message], False)


@given(st.lists(messages, max_size=3), st.binary(min_size=1, max_size=5))
def test_what_came_before_the_garbage_counts(sent: list[Message], garbage: bytes) -> None:
    stream = b"".join(map(Encoder().encode, sent)) + b"\xc1" + garbage
    assert received([stream]) == received(each_byte(stream)) == (sent, True)


def test_a_broken_stream_stays_broken() -> None:
    decoder = Decoder()
    with pytest.raises(RemoteProtocolError, match="not a message"):
        list(decoder.receive(b"\x01"))
    with pytest.raises(RemoteProtocolError, match="not a message"):
        list(decoder.receive(Encoder().encode(InSync(1))))


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_is_the_same_for_every_cut(over: int) -> None:
    limit = 3000
    frame = Encoder().encode(Call(1, "x", b""))
    frame = Encoder().encode(
        Call(1, "x", b"." * (limit + over - len(frame) - 1))
    )  # bin 16 has one octet more
    assert len(frame) == limit + over
    small = Encoder().encode(InSync(1))
    for pieces in [small + frame], each_byte(small + frame), cut(small + frame, [len(small) + limit]):
        messages, broken = received(pieces, max_frame=limit)
        assert broken == bool(over)
        assert len(messages) == 2 - over


def test_a_message_that_grows_above_the_limit_is_refused_before_its_end() -> None:
    start = Encoder().encode(Call(1, "x", b"." * 5000))
    assert received([start[:3000]], max_frame=3000) == ([], False)
    assert received([start[:3001]], max_frame=3000) == ([], True)


def test_extension_types_are_not_of_this_protocol() -> None:
    assert received([msgpack.packb([5, 1, "get", msgpack.ExtType(5, b"x")])]) == ([], True)


def test_many_messages_above_the_limit_in_all_are_no_large_message() -> None:
    encoder = Encoder()
    many = [Return(number, "x" * 90) for number in range(SLICE // 50)]
    assert received([b"".join(map(encoder.encode, many))], max_frame=100) == (many, False)


def test_a_claim_of_many_items_is_refused_before_they_come() -> None:
    claim = b"\x94\x05\x01\xa1x\xdd" + (MAX_ITEMS + 1).to_bytes(4, "big")
    assert received([claim], max_frame=64 << 20) == ([], True)


@given(st.lists(documents, max_size=3))
def test_frames_from_packed_documents_are_the_same_frames(docs: list[dict[str, object]]) -> None:
    encoder = Encoder()
    pieces = [encoder.document(doc) for doc in docs]
    assert encoder.snapshot(300, pieces) == encoder.encode(Snapshot(300, tuple(docs)))


def test_partial_says_whether_a_message_is_under_way() -> None:
    frame = Encoder().encode(Call(1, "get", ["Node", "a", ""]))
    decoder = Decoder()
    assert not decoder.partial
    assert list(decoder.receive(frame + frame[:3])) == [Call(1, "get", ["Node", "a", ""])]
    assert decoder.partial
    assert len(list(decoder.receive(frame[3:]))) == 1
    assert not decoder.partial


def test_what_cannot_be_packed_is_our_own_bug_and_spoils_nothing() -> None:
    encoder = Encoder()
    with pytest.raises(TypeError):
        encoder.encode(Call(1, "get", ["Node", object()]))
    assert received([encoder.encode(InSync(7))]) == ([InSync(7)], False)
