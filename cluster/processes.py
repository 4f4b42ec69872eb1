"""Shard processes: made by fork, ended without a trace.

Owns the processes and their end, however this one ends.

    coordinator ── fork ──► shard 0      one socket pair each: the stream of ``protocol.sync``
         │ └────── fork ──► shard 1      its end is how either side learns that the other is gone
         └── with Processes(...) as shards: ... ──► every exit kills and reaps all of them

They are forked and not started anew: the imports are made once (0.2 s of CPU and 25 MB a process saved), and what a
shard is told before it runs is simply there. So they are forked before trio runs and before there is any thread.

When the system refuses one, there are none (``CannotStart``).

Nothing survives: leaving the ``with`` kills and reaps; a coordinator that is itself killed takes them along by the
end of its socket pairs and, on Linux, by PR_SET_PDEATHSIG. Shards do not listen to Ctrl-C, which a terminal sends to
the whole process group: they would only die before they could be told. A kill is what a shard expects (the end
of its nodes), so there is no polite way before it.

Left out: what a shard does (``shard``), and what is done about one that died (``coordinator``).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType

import attrs

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1

_ADVICE = {
    errno.EAGAIN: "raise the limit of processes (ulimit -u) or give fewer --shards",
    errno.ENOMEM: "free some memory or start a smaller cluster",
    errno.EMFILE: "raise the limit of open files (ulimit -n) or give fewer --shards",
    errno.ENFILE: "the whole system is out of open files: close some, or give fewer --shards",
}


class CannotStart(Exception):
    """The system refuses a process, or the sockets to it. Those that had been made are gone; the text is for the user."""


@attrs.define(eq=False)
class ShardProcess:
    """One process. ``socket`` is this side's end of the pair."""

    number: int  # from 1, as people count
    nodes: tuple[str, ...]
    pid: int
    socket: socket.socket
    ended: str | None = None  # how, in words, once it is reaped

    def look(self) -> bool:
        """Whether it has ended; reaps it then."""
        if self.ended is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.ended = describe_end(os.waitstatus_to_exitcode(status))
        return self.ended is not None

    def kill(self) -> None:
        if self.ended is None:
            os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Wait for its end."""
        if self.ended is None:
            _, status = os.waitpid(self.pid, 0)
            self.ended = describe_end(os.waitstatus_to_exitcode(status))


def describe_end(exit_code: int) -> str:
    """``"was killed by SIGKILL"``, ``"ended with status 1"``."""
    if exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"ended with status {exit_code}"


class Processes:
    """The shards of one cluster. ``serve`` runs in each: it gets the shard's place in ``nodes`` and its stream."""

    def __init__(self, nodes: Sequence[tuple[str, ...]], serve: Callable[[int, socket.socket], None]) -> None:
        self.shards: list[ShardProcess] = []
        self._nodes = nodes
        self._serve = serve
        self._mask: set[int | signal.Signals] = set()

    def __enter__(self) -> Processes:
        sys.stdout.flush()  # what is still buffered would be in every child, too
        sys.stderr.flush()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            for index, nodes in enumerate(self._nodes):
                self._fork(index, nodes)
        except OSError as error:
            self._end()
            self.accept_signals()
            raise CannotStart(
                f"cannot make the process of shard {len(self.shards) + 1} of {len(self._nodes)}: {error.strerror}; "
                + _ADVICE.get(error.errno or 0, "give fewer --shards")
            ) from error
        except BaseException:
            self._end()
            self.accept_signals()
            raise
        return self

    def accept_signals(self) -> None:
        """Let SIGINT and SIGTERM come. They wait from the first fork to this call, which is for whoever has found a
        way to deal with them: a shard nobody knows of cannot be killed."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            self._end()
        finally:
            self.accept_signals()

    def _fork(self, index: int, nodes: tuple[str, ...]) -> None:
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            ours.close()
            for shard in self.shards:
                shard.socket.close()  # or the end of the coordinator would not be the end of the stream
            _be_shard(lambda: self._serve(index, theirs), parent, self._mask)
        theirs.close()
        self.shards.append(ShardProcess(index + 1, nodes, pid, ours))

    def _end(self) -> None:
        for shard in self.shards:
            shard.kill()
        for shard in self.shards:
            shard.reap()
            shard.socket.close()


def _be_shard(serve: Callable[[], None], parent: int, mask: set[int | signal.Signals]) -> None:
    """The rest of a child's life. Never returns: what is above it on the stack is the coordinator's."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _die_with(parent)
        serve()
        status = 0
    except BaseException as error:  # whatever it is, it must not run on as a second coordinator
        print(describe_crash(error), file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def describe_crash(error: BaseException) -> str:
    """The traceback of the first error in a tree of groups, and how many more there are: one bug in a thousand
    nodes need not fill the screen."""
    leaves = [error]
    while isinstance(leaves[0], BaseExceptionGroup):
        leaves[:1] = leaves[0].exceptions
    more = f"(and {len(leaves) - 1:,} more)\n" if len(leaves) > 1 else ""
    return "".join(traceback.format_exception(leaves[0])) + more


def _die_with(parent: int) -> None:
    """Linux: be killed when the parent ends. Elsewhere the end of the stream does, a moment later."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # a libc without prctl
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before that
            os._exit(1)
