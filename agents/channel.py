"""One end of a shard's stream: calls both ways, many under way, few system calls.

Owns the stream and the requests that wait for an answer. ``cluster.typha`` has one end, ``agents.syncer`` the other.

    any task ── call() ──► unsent ─┐                     ┌─► Return: the task that asked goes on
    anybody  ── send() ──► unsent ─┼─► writer ─► stream ─► reader
    prepare() (due now) ───────────┘                     └─► all others: received(messages of one read)

Two tasks a channel. The writer takes all that has come together since it last ran: trio runs every task that is
ready before it runs the writer again, so what one tick writes goes out in one send, and what comes while the stream
is full goes out together when it is free. ``prepare`` lets the owner decide at that moment what is due; it goes out
before everything that was queued, so that an answer never overtakes the change that it caused.

The end of the stream is an outcome and not an error: ``run`` returns why, and whoever still waits for an answer gets
``Unreachable``. That holds for an end in the middle of a message and for bytes that are none, too.

Bounds: a reader whose owner's answers pile up (HIGH_WATER) reads no more until they are gone, ``drained`` lets other
senders wait for the same.

Left out: what a message means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import attrs
import trio

from protocol.sync.errors import RemoteProtocolError, Unreachable, from_fault
from protocol.sync.messages import Call, Message, Return
from protocol.sync.wire import Decoder, Encoder

READ_SIZE = 1 << 18
"""A socket pair's buffer holds about 200 KB: one read empties it."""

HIGH_WATER = 1 << 20
"""Unsent bytes above which nothing more is taken on: a second's worth of answers."""


@attrs.define(eq=False)
class _Asked:
    """A task that waits in ``call``, and what it is woken with; None is the end of the stream."""

    task: trio.lowlevel.Task
    answer: Return | None = None


def _nothing_due() -> Iterable[bytes]:
    return ()


class Channel:
    """``received`` is called with the messages of one read, without the Returns, and must not block."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        encoder: Encoder,
        received: Callable[[list[Message]], None],
        prepare: Callable[[], Iterable[bytes]] = _nothing_due,
    ) -> None:
        self._stream = stream
        self._encoder = encoder
        self._received = received
        self._prepare = prepare
        self._ids = count(1)
        self._waiting: dict[int, _Asked] = {}
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._idle = trio.lowlevel.ParkingLot()  # where the writer waits for work
        self._full = trio.lowlevel.ParkingLot()  # where senders wait for the writer
        self._ended: str | None = None

    def wake(self) -> None:
        """Let the writer ask ``prepare`` what is due."""
        self._idle.unpark()

    def send(self, message: Message) -> None:
        """Queue a message. It is lost without a word when the stream has ended."""
        frame = self._encoder.encode(message)
        self._unsent.append(frame)
        self._unsent_bytes += len(frame)
        self._idle.unpark()

    async def drained(self) -> None:
        """Until less than HIGH_WATER bytes wait to be sent, or the stream has ended."""
        await trio.lowlevel.checkpoint()
        while self._unsent_bytes > HIGH_WATER and self._ended is None:
            await self._full.park()

    async def call(self, method: str, params: Any = None) -> Any:
        """The other end's result. Raises the DatastoreError it answers with, Unreachable when it is gone.

        When cancelled, the request may or may not be carried out; its answer is dropped.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ended is not None:
            raise Unreachable(f"connection is lost: {self._ended}")
        call_id = next(self._ids)
        self.send(Call(call_id, method, params))
        asked = self._waiting[call_id] = _Asked(trio.lowlevel.current_task())

        def abort(_: object) -> trio.lowlevel.Abort:
            del self._waiting[call_id]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)  # what an Event does, at a third of its cost
        answer = asked.answer
        if answer is None:
            raise Unreachable(f"connection is lost: {self._ended}")
        if answer.fault is not None:
            raise from_fault(answer.fault)
        return answer.result

    async def run(self) -> str:
        """Until the other end is gone. Returns why; the stream is closed then, and when this is cancelled."""
        reason = "stopped"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                reason = await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._end(reason)
            await trio.aclose_forcefully(self._stream)
        return reason

    async def _read(self) -> str:
        decoder = Decoder()
        try:
            while data := await self._stream.receive_some(READ_SIZE):
                messages = []
                for message in decoder.receive(data):
                    if type(message) is Return:
                        self._answered(message)
                    else:
                        messages.append(message)
                if messages:
                    self._received(messages)
                if self._unsent_bytes > HIGH_WATER:
                    await self.drained()
        except trio.BrokenResourceError:
            return "connection reset"
        except RemoteProtocolError as error:
            return f"protocol error: {error}"
        return "end of stream inside a message" if decoder.partial else "end of stream"

    async def _write(self) -> None:
        try:
            while True:
                frames = [*self._prepare(), *self._unsent]
                if not frames:
                    await self._idle.park()
                    continue
                taken = self._unsent_bytes
                self._unsent.clear()
                await self._stream.send_all(b"".join(frames))
                self._unsent_bytes -= taken  # not before: what is being sent is not sent
                self._full.unpark_all()
        except trio.BrokenResourceError:
            return  # the reader finds the end of the stream, after what came before it

    def _answered(self, message: Return) -> None:
        asked = self._waiting.pop(message.id, None)
        if asked is None:
            return  # cancelled meanwhile
        asked.answer = message
        trio.lowlevel.reschedule(asked.task)

    def _end(self, reason: str) -> None:
        self._ended = reason
        for asked in self._waiting.values():
            trio.lowlevel.reschedule(asked.task)
        self._waiting.clear()
        self._full.unpark_all()
