"""Two OPENs side by side: both ends come to the same."""

from __future__ import annotations

import itertools

import pytest

from protocol.bgp.messages import AddPath, Capabilities
from protocol.bgp.negotiation import agreed_add_path
from protocol.prefix import IPV4, IPV6

MODES = (None, *AddPath)


def offering(mode: AddPath | None) -> Capabilities:
    return Capabilities(add_path=() if mode is None else ((IPV6, AddPath.BOTH), (IPV4, mode)))


@pytest.mark.parametrize(("ours", "theirs"), [*itertools.product(MODES, MODES)])
def test_one_sends_several_paths_exactly_when_the_other_receives_them(
    ours: AddPath | None, theirs: AddPath | None
) -> None:
    here, there = offering(ours), offering(theirs)
    sends = agreed_add_path(here, there, IPV4, AddPath.SEND)
    assert sends == (
        ours in (AddPath.SEND, AddPath.BOTH) and theirs in (AddPath.RECEIVE, AddPath.BOTH)
    )  # RFC 7911 section 4
    assert sends == agreed_add_path(there, here, IPV4, AddPath.RECEIVE)


def test_what_is_said_of_one_family_says_nothing_of_another() -> None:
    assert not agreed_add_path(offering(AddPath.BOTH), Capabilities(), IPV6, AddPath.SEND)
    assert not agreed_add_path(Capabilities(), offering(AddPath.BOTH), IPV6, AddPath.SEND)
    only_four = Capabilities(add_path=((IPV4, AddPath.BOTH),))
    assert not agreed_add_path(offering(AddPath.BOTH), only_four, IPV6, AddPath.SEND)
