"""Shard processes: forked in a process of their own, since a test runner has threads."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from cluster.processes import describe_crash, describe_end

ROOT = Path(__file__).parents[2]

PRELUDE = """
import os, signal, socket, sys, time
from cluster.processes import Processes

def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

def wait_for_end(shard):
    while not shard.look():
        time.sleep(0.001)
    return shard.ended
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def lines(script: str) -> list[str]:
    result = run(script)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, "was killed by SIGKILL"),
        (1, "ended with status 1"),
        (0, "ended with status 0"),
    ],
)
def test_ends_in_words(code: int, words: str) -> None:
    assert describe_end(code) == words


def test_a_crash_in_many_nodes_is_one_traceback() -> None:
    try:
        raise ValueError("the bug")
    except ValueError as caught:
        bug = caught
    text = describe_crash(ExceptionGroup("a", [ExceptionGroup("b", [bug, KeyError(1)]), KeyError(2)]))
    assert text.count("Traceback") == 1
    assert text.endswith("ValueError: the bug\n(and 2 more)\n")
    assert "more" not in describe_crash(bug)


@pytest.mark.slow
def test_each_shard_has_a_stream_of_its_own_and_leaving_ends_them() -> None:
    assert lines(
        """
        def serve(index, stream):
            stream.sendall(b"shard %d" % index)
            time.sleep(60)

        with Processes([("a",), ("b", "c")], serve) as processes:
            print(*(shard.socket.recv(99).decode() for shard in processes.shards), sep=", ")
            print(*(f"{shard.number}: {shard.nodes}" for shard in processes.shards), sep=", ")
        print([alive(shard.pid) for shard in processes.shards])
        """
    ) == ["shard 0, shard 1", "1: ('a',), 2: ('b', 'c')", "[False, False]"]


@pytest.mark.slow
def test_the_end_of_a_shard_is_the_end_of_its_stream_only() -> None:
    assert lines(
        """
        def serve(index, stream):
            stream.recv(1)

        with Processes([("a",), ("b",)], serve) as processes:
            one, other = processes.shards
            one.kill()
            print(one.socket.recv(1), wait_for_end(one))
            other.socket.shutdown(socket.SHUT_WR)
            print(wait_for_end(other))
        """
    ) == ["b'' was killed by SIGKILL", "ended with status 0"]


@pytest.mark.slow
def test_an_error_in_a_shard_ends_that_process_and_says_why() -> None:
    result = run(
        """
        def serve(index, stream):
            raise RuntimeError("the bug")

        with Processes([("a",)], serve) as processes:
            print(wait_for_end(processes.shards[0]))
        """
    )
    assert result.stdout == "ended with status 1\n"
    assert result.stderr.count("RuntimeError: the bug") == 1


@pytest.mark.slow
def test_a_signal_while_forking_waits_and_leaves_nothing() -> None:
    assert lines(
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        real = os.fork
        def fork():
            os.kill(os.getpid(), signal.SIGINT)
            return real()
        os.fork = fork
        processes = Processes([("a",), ("b",)], lambda index, stream: time.sleep(60))
        try:
            with processes:
                print("forked", len(processes.shards))
                processes.accept_signals()
        except KeyboardInterrupt:
            print("interrupted", [alive(shard.pid) for shard in processes.shards])
        """
    ) == ["forked 2", "interrupted [False, False]"]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["os.fork", "socket.socketpair"])
@pytest.mark.parametrize("code", ["EAGAIN", "ENOMEM", "EMFILE"])
def test_when_one_cannot_be_made_there_are_none(where: str, code: str) -> None:
    made, left, words = lines(
        f"""
        import errno
        from cluster.processes import CannotStart
        real, pids = {where}, []
        descriptors = len(os.listdir("/dev/fd"))
        def make():
            if len(processes.shards) == 2:
                pids.extend(shard.pid for shard in processes.shards)
                raise OSError(errno.{code}, os.strerror(errno.{code}))
            return real()
        {where} = make
        processes = Processes([("a",), ("b",), ("c",)], lambda index, stream: time.sleep(60))
        try:
            processes.__enter__()
        except CannotStart as error:
            print([alive(pid) for pid in pids])
            print(len(os.listdir("/dev/fd")) - descriptors, signal.pthread_sigmask(signal.SIG_BLOCK, []))
            print(error)
        """
    )
    assert (made, left) == ("[False, False]", "0 set()")
    assert words.startswith(f"cannot make the process of shard 3 of 3: {os.strerror(getattr(errno, code))}; ")


@pytest.mark.slow
def test_shards_end_with_a_killed_coordinator() -> None:
    result = run(
        """
        def serve(index, stream):
            sys.stdout.close()
            stream.recv(1)  # EOF when the coordinator is gone

        with Processes([("a",), ("b",)], serve) as processes:
            print(*(shard.pid for shard in processes.shards), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert result.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    for pid in result.stdout.split():
        while is_there(pid):
            assert time.monotonic() < deadline, f"shard {pid} is still there"


def is_there(pid: str) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
