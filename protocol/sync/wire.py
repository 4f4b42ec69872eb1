"""Messages as a stream of msgpack arrays.

Owns the byte format: a message is one array ``[tag, field, ...]``, and msgpack itself says where it ends, so there
is no frame around it. ``Encoder`` turns messages into bytes, ``Decoder`` bytes into messages, however the stream was
cut up; both belong to one stream or may be shared by the streams of one thread (Encoder only).

A document that many shards are to get is packed once (``Encoder.document``), and the frames of a snapshot or of
deltas are put together from such pieces by copying bytes.

Anything that is no message raises ``RemoteProtocolError``, and so does a message above the limit, the same for the
same bytes in one piece or one by one. Inside documents, params and results anything goes that msgpack can say: they
belong to whoever is addressed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgpack

from protocol.sync.errors import RemoteProtocolError
from protocol.sync.messages import Call, Deltas, Document, InSync, Message, Report, Return, Snapshot, Watch
from protocol.v3.metadata import Key

MAX_FRAME = 64 << 20
"""The largest message. Snapshots come in parts; what can grow is the answer to a list (100,000 blocks are 40 MB)
and a shard's answer to a query."""

MAX_ITEMS = 1 << 20
"""The largest array or map in a message. msgpack allocates what a header of five bytes claims before it has seen an
element; this bounds that to 8 MB."""

SLICE = 1 << 16
"""How much is fed to msgpack before messages are taken out, so that what it buffers stays below MAX_FRAME + SLICE."""

_WATCH, _SNAPSHOT, _IN_SYNC, _DELTAS, _CALL, _RETURN, _REPORT = range(1, 8)


class Encoder:
    """Not safe for threads: the packer's buffer is reused, which is what makes a small message cost 1 µs."""

    def __init__(self) -> None:
        self._packer = msgpack.Packer()

    def encode(self, message: Message) -> bytes:
        pack: Callable[[object], bytes] = self._packer.pack
        match message:
            case Return():
                return pack((_RETURN, message.id, message.result, message.fault))
            case Call():
                return pack((_CALL, message.id, message.method, message.params))
            case Deltas():
                return self.deltas(message.revision, [pack(doc) for doc in message.updated], message.deleted)
            case Snapshot():
                return self.snapshot(message.revision, [pack(doc) for doc in message.documents])
            case InSync():
                return pack((_IN_SYNC, message.revision))
            case Report():
                return pack((_REPORT, message.subject, message.params))
            case Watch():
                return pack((_WATCH, sorted(message.nodes), message.every_node))

    def document(self, document: Document) -> bytes:
        """A piece for ``snapshot`` and ``deltas``."""
        piece: bytes = self._packer.pack(document)
        return piece

    def snapshot(self, revision: int, pieces: Sequence[bytes]) -> bytes:
        packer = self._packer
        head = packer.pack_array_header(3) + packer.pack(_SNAPSHOT) + packer.pack(revision)
        return b"".join((head, packer.pack_array_header(len(pieces)), *pieces))

    def deltas(self, revision: int, pieces: Sequence[bytes], deleted: Sequence[Key]) -> bytes:
        packer = self._packer
        head = packer.pack_array_header(4) + packer.pack(_DELTAS) + packer.pack(revision)
        return b"".join((head, packer.pack_array_header(len(pieces)), *pieces, packer.pack(deleted)))


class Decoder:
    """One direction of one stream: bytes in, messages out."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=max_frame + SLICE,
            max_array_len=min(max_frame, MAX_ITEMS),
            max_map_len=min(max_frame, MAX_ITEMS),
            ext_hook=_no_extensions,
        )
        self._fed = 0
        self._taken = 0  # where the message that is under way began
        self._broken: str | None = None

    @property
    def partial(self) -> bool:
        """Whether the stream so far ends inside a message."""
        return self._fed > self._taken

    def receive(self, data: bytes | bytearray) -> Iterator[Message]:
        """The messages that ``data`` completes. A generator: nothing happens until it is iterated, to the end.

        Raises RemoteProtocolError after the last good message, and again on every later call.
        """
        if self._broken is not None:
            raise RemoteProtocolError(self._broken)
        unpacker = self._unpacker
        try:
            for start in range(0, len(data), SLICE):
                piece = data[start : start + SLICE] if len(data) > SLICE else data
                unpacker.feed(piece)
                self._fed += len(piece)
                for frame in unpacker:
                    end = unpacker.tell()
                    if end - self._taken > self._max_frame:
                        raise RemoteProtocolError(f"message of {end - self._taken} bytes")
                    self._taken = end
                    yield _message(frame)
                if self._fed - self._taken > self._max_frame:
                    raise RemoteProtocolError(f"message of more than {self._max_frame} bytes")
        except RemoteProtocolError as error:
            self._broken = str(error)
            raise
        except (ValueError, msgpack.UnpackException) as error:
            self._broken = f"not msgpack: {error or type(error).__name__}"
            raise RemoteProtocolError(self._broken) from error


def _no_extensions(code: int, data: bytes) -> object:
    raise ValueError(f"extension type {code}")


def _message(frame: object) -> Message:
    if type(frame) is not list or not frame:
        raise RemoteProtocolError(f"not a message: {type(frame).__name__}")
    tag = frame[0]
    decode = _DECODERS.get(tag) if type(tag) is int else None
    if decode is None:
        raise RemoteProtocolError(f"unknown message type {str(tag)[:40]}")
    message = decode(frame)
    if message is None:
        raise RemoteProtocolError(f"malformed message of type {tag}")
    return message


def _is_document(value: object) -> bool:
    """Enough of a document to know its key by; what the kind says of the rest is the codec's business."""
    if type(value) is not dict or type(value.get("kind")) is not str:
        return False
    metadata = value.get("metadata")
    if type(metadata) is not dict or type(metadata.get("name")) is not str:
        return False
    namespace = metadata.get("namespace")
    return namespace is None or type(namespace) is str


def _is_key(value: object) -> bool:
    return type(value) is list and len(value) == 3 and all(type(part) is str for part in value)


# One function per message, from the frame to the message, or None when the frame does not have its shape.


def _return(frame: list[Any]) -> Message | None:
    if len(frame) != 4 or type(frame[1]) is not int:
        return None
    fault = frame[3]
    if fault is None:
        return Return(frame[1], frame[2])
    if type(fault) is not list or len(fault) != 2 or not all(type(part) is str for part in fault):
        return None
    return Return(frame[1], frame[2], (fault[0], fault[1]))


def _call(frame: list[Any]) -> Message | None:
    if len(frame) != 4 or type(frame[1]) is not int or type(frame[2]) is not str:
        return None
    return Call(frame[1], frame[2], frame[3])


def _deltas(frame: list[Any]) -> Message | None:
    if (
        len(frame) != 4
        or type(frame[1]) is not int
        or type(frame[2]) is not list
        or type(frame[3]) is not list
    ):
        return None
    if not all(map(_is_document, frame[2])) or not all(map(_is_key, frame[3])):
        return None
    return Deltas(frame[1], tuple(frame[2]), tuple(map(tuple, frame[3])))


def _snapshot(frame: list[Any]) -> Message | None:
    if len(frame) != 3 or type(frame[1]) is not int or type(frame[2]) is not list:
        return None
    return Snapshot(frame[1], tuple(frame[2])) if all(map(_is_document, frame[2])) else None


def _in_sync(frame: list[Any]) -> Message | None:
    return InSync(frame[1]) if len(frame) == 2 and type(frame[1]) is int else None


def _watch(frame: list[Any]) -> Message | None:
    if len(frame) != 3 or type(frame[1]) is not list or type(frame[2]) is not bool:
        return None
    return Watch(frozenset(frame[1]), frame[2]) if all(type(node) is str for node in frame[1]) else None


def _report(frame: list[Any]) -> Message | None:
    return Report(frame[1], frame[2]) if len(frame) == 3 and type(frame[1]) is str else None


_DECODERS: Mapping[int, Callable[[list[Any]], Message | None]] = MappingProxyType(
    {
        _WATCH: _watch,
        _SNAPSHOT: _snapshot,
        _IN_SYNC: _in_sync,
        _DELTAS: _deltas,
        _CALL: _call,
        _RETURN: _return,
        _REPORT: _report,
    }
)
