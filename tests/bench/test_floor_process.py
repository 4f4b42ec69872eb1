"""One end of a floor's connection: the four messages, however they are cut."""

from __future__ import annotations

import socket
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.floor_process import EOR, KEEPALIVE, OPEN, UPDATE, End

CONVERSATION = OPEN + KEEPALIVE + UPDATE + EOR


@given(st.booleans(), st.sets(st.integers(1, len(CONVERSATION) - 1), max_size=8))
def test_however_the_messages_are_cut_the_answers_are_the_same(dialled: bool, cuts: set[int]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        end = End(ours, dialled=dialled)
        edges = [0, *sorted(cuts), len(CONVERSATION)]
        finished = []
        for start, stop in pairwise(edges):
            theirs.sendall(CONVERSATION[start:stop])
            finished.append(end.receive())
        assert finished == [False] * (len(finished) - 1) + [True]
        hello = b"" if dialled else OPEN
        assert theirs.recv(65536) == hello + KEEPALIVE + UPDATE + EOR
