"""Path attributes: rank, loop checks, prepending, interning."""

from __future__ import annotations

import pickle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bgp import attributes as module
from protocol.bgp.attributes import (
    AS_SEQUENCE,
    AS_SET,
    LLGR_STALE,
    Attributes,
    AttributeTable,
    Origin,
    Segment,
    prepend,
)
from protocol.prefix import IPV4, Address
from tests.strategies.bgp import as_numbers, attributes, segments

HOP = Address(b"\x0a\0\0\1")
PATHS = st.lists(segments, max_size=3).map(tuple)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        # RFC 4271 9.1.1: the degree of preference comes before anything else.
        (Attributes(next_hop=HOP, local_pref=101, as_path=((2, (1, 2)),)), Attributes(next_hop=HOP)),
        # RFC 9494 4.3: whatever is not stale.
        (Attributes(next_hop=HOP, local_pref=1), Attributes(next_hop=HOP, local_pref=200, communities=(LLGR_STALE,))),
        # 9.1.2.2 a): fewer AS numbers; b) the lower ORIGIN.
        (Attributes(next_hop=HOP, as_path=((2, (1,)),), origin=Origin.EGP), Attributes(next_hop=HOP, as_path=((2, (1, 2)),))),
        (Attributes(next_hop=HOP, as_path=((1, (1, 2, 3)),)), Attributes(next_hop=HOP, as_path=((2, (1, 2)),))),
        (Attributes(next_hop=HOP, as_path=((1, (1, 2)),)), Attributes(next_hop=HOP, as_path=((1, (1,)), (2, (2,))))),
        (Attributes(next_hop=HOP), Attributes(next_hop=HOP, origin=Origin.EGP)),
        (Attributes(next_hop=HOP, origin=Origin.EGP), Attributes(next_hop=HOP, origin=Origin.INCOMPLETE)),
    ],
)  # fmt: skip
def test_the_smaller_rank_wins(better: Attributes, worse: Attributes) -> None:
    assert better.rank < worse.rank


def test_a_route_without_local_pref_ranks_as_100() -> None:
    assert Attributes(next_hop=HOP).rank == Attributes(next_hop=HOP, local_pref=100).rank
    assert Attributes(next_hop=HOP) != Attributes(next_hop=HOP, local_pref=100)


@given(PATHS, as_numbers)
def test_prepending_puts_one_as_in_front(path: tuple[Segment, ...], asn: int) -> None:
    before, after = (
        Attributes(next_hop=HOP, as_path=path),
        Attributes(next_hop=HOP, as_path=prepend(path, asn)),
    )
    assert after.neighbour_as == asn
    assert after.as_count(asn) == before.as_count(asn) + 1
    assert after.rank[2] == before.rank[2] + 1
    assert [n for _, numbers in after.as_path for n in numbers][1:] == [
        n for _, numbers in path for n in numbers
    ]


def test_a_full_segment_is_not_lengthened() -> None:
    path: tuple[Segment, ...] = ()
    for _ in range(256):
        path = prepend(path, 7)
    assert [(kind, len(numbers)) for kind, numbers in path] == [(AS_SEQUENCE, 1), (AS_SEQUENCE, 255)]


@pytest.mark.parametrize(
    ("path", "neighbour"),
    [((), 0), (((AS_SEQUENCE, (5, 6)),), 5), (((AS_SET, (5, 6)), (AS_SEQUENCE, (7,))), 0)],
)
def test_the_neighbour_as_is_the_first_of_a_sequence(path: tuple[Segment, ...], neighbour: int) -> None:
    assert Attributes(next_hop=HOP, as_path=path).neighbour_as == neighbour


@given(attributes(IPV4))
def test_interning_makes_equal_ones_identical(one: Attributes) -> None:
    table = AttributeTable()
    twin = pickle.loads(pickle.dumps(one))
    assert twin is not one
    assert twin == one
    assert hash(twin) == hash(one)
    assert table.intern(one) is one
    assert table.intern(twin) is one
    assert len(table) == 1
    assert table.intern(attrs.evolve(one, med=(one.med or 0) ^ 1)) is not one


def test_a_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INTERNED", 10)
    table = AttributeTable()
    for med in range(100):
        table.intern(Attributes(next_hop=HOP, med=med))
        assert len(table) <= 10
