"""The Rib against a model that remembers what everybody said last and computes everything from scratch."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from hypothesis import given
from hypothesis import strategies as st

from agents.speaker.decision import (
    PREFERENCE_BGP,
    PREFERENCE_KERNEL,
    PREFERENCE_STATIC,
    Path,
    reasons,
    select,
)
from agents.speaker.peer import Peer
from agents.speaker.rib import Rib
from protocol.bgp.attributes import Attributes, AttributeTable
from protocol.prefix import Address, Prefix
from tests.strategies.speaker import ELEVATED, LOCAL_AS, as_path, attributes, block, host, neighbour

PREFIXES = [block(number) for number in range(4)]

Said = tuple[Peer | None, Attributes, tuple[Address, ...], int]


def said(path: Path) -> Said:
    return path.peer, path.attributes, path.hops, path.preference


prefix_lists = st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=4, unique=True)
numbers = st.integers(0, 4)
steps = st.one_of(
    st.tuples(st.just("learn"), numbers, prefix_lists, attributes()),
    st.tuples(st.just("withdraw"), numbers, prefix_lists, st.none()),
    st.tuples(st.just("forget"), numbers, st.just([]), st.none()),
    st.tuples(st.just("static"), st.just(0), st.lists(st.sampled_from(PREFIXES)), st.none()),
    st.tuples(st.just("kernel"), st.just(0), st.lists(st.sampled_from(PREFIXES)), st.none()),
    st.tuples(st.just("take"), st.just(0), st.just([]), st.none()),
)


@given(script=st.lists(steps, max_size=25))
def test_any_history_is_what_a_computation_from_scratch_says(
    script: list[tuple[str, int, list[Prefix], Attributes | None]],
) -> None:
    table = AttributeTable()
    own_attributes = Attributes(next_hop=host(9))
    static, kernel = (Path(None, own_attributes, (), each) for each in (PREFERENCE_STATIC, PREFERENCE_KERNEL))
    peers = [neighbour(number, peer_as=LOCAL_AS if number < 3 else number) for number in range(5)]
    rib = Rib(host(9))
    told: dict[Peer, dict[Prefix, Attributes]] = {peer: {} for peer in peers}
    own: dict[Prefix, Path] = {}
    consumer: dict[Prefix, Path] = {}

    def model(prefix: Prefix) -> Said | None:
        paths = [
            Path(
                peer,
                routes[prefix],
                (routes[prefix].next_hop,),
                PREFERENCE_STATIC if routes[prefix].local_pref == ELEVATED else PREFERENCE_BGP,
            )
            for peer, routes in told.items()
            if prefix in routes
        ]
        if prefix in own:
            paths.append(own[prefix])
        if not paths:
            return None
        assert {said(path) for path in paths} == {said(path) for path, _ in rib.explain(prefix)}
        best, hops = select(paths)
        assert said(reasons(paths)[0][0]) == said(best)
        return best.peer, best.attributes, hops, best.preference

    for verb, number, prefixes, tells in script:
        peer = peers[number]
        if tells is not None:
            told_attributes = table.intern(tells)
            told[peer].update(dict.fromkeys(prefixes, told_attributes))
            rib.learn(peer, tuple(prefixes), told_attributes)
        elif verb == "withdraw":
            for prefix in prefixes:
                told[peer].pop(prefix, None)
            rib.withdraw(peer, prefixes)
        elif verb == "forget":
            told[peer].clear()
            rib.forget(peer)
        elif verb == "take":
            _replay(consumer, rib.take_changes())
            assert consumer == rib.best
        else:
            own = dict.fromkeys(prefixes, static if verb == "static" else kernel)
            rib.set_local(own)
        best = {prefix: said(path) for prefix, path in rib.best.items()}
        assert best == {prefix: found for prefix in PREFIXES if (found := model(prefix)) is not None}
        assert {each: each.adj_rib_in for each in peers} == told

    _replay(consumer, rib.take_changes())
    assert consumer == rib.best
    assert rib.take_changes() == []


def _replay(table: dict[Prefix, Path], changes: Sequence[tuple[Sequence[Prefix], Path | None]]) -> None:
    for prefixes, path in changes:
        for prefix in prefixes:
            if path is None:
                del table[prefix]  # a prefix that had no route is not withdrawn
            else:
                table[prefix] = path


def test_nothing_new_is_no_change() -> None:
    rib, peer, other = Rib(host(9)), neighbour(1), neighbour(2)
    route = Attributes(next_hop=host(1), local_pref=100)
    rib.learn(peer, (PREFIXES[0],), route)
    rib.learn(other, (PREFIXES[0],), attrs.evolve(route, as_path=as_path(1)))
    rib.take_changes()
    rib.learn(peer, (PREFIXES[0],), route)
    rib.withdraw(other, PREFIXES)
    rib.withdraw(other, PREFIXES)
    rib.forget(other)
    assert rib.take_changes() == []


def test_a_fresh_update_is_one_change() -> None:
    """What nobody else announces costs one change, however many prefixes an UPDATE has."""
    rib, peer = Rib(host(9)), neighbour(1)
    rib.learn(peer, tuple(PREFIXES), Attributes(next_hop=host(1)))
    [(prefixes, path)] = rib.take_changes()
    assert (prefixes, path) == (tuple(PREFIXES), rib.best[PREFIXES[0]])


def test_a_gateway_that_goes_is_missed() -> None:
    rib, one, other = Rib(host(9)), neighbour(1), neighbour(2)
    for peer in (one, other):
        rib.learn(peer, (PREFIXES[0],), Attributes(next_hop=peer.address, local_pref=100))
    assert rib.best[PREFIXES[0]].hops == (host(1), host(2))
    rib.withdraw(other, (PREFIXES[0],))
    assert rib.best[PREFIXES[0]].hops == (host(1),)


def test_who_won_by_med_is_missed_when_it_goes() -> None:
    """Neither the best route nor one of its gateways goes here, and yet the best route is another one."""
    rib = Rib(host(9))
    a, x, b = neighbour(3, peer_as=1), neighbour(1, peer_as=1), neighbour(2, peer_as=2)
    rib.learn(a, (PREFIXES[0],), Attributes(next_hop=host(1), as_path=as_path(1)))
    rib.learn(x, (PREFIXES[0],), Attributes(next_hop=host(1), as_path=as_path(1), med=5))
    rib.learn(b, (PREFIXES[0],), Attributes(next_hop=host(1), as_path=as_path(2)))
    assert rib.best[PREFIXES[0]].peer is b
    rib.withdraw(a, (PREFIXES[0],))
    assert rib.best[PREFIXES[0]].peer is x


def test_a_learned_workload_becomes_a_block() -> None:
    """The same prefix, the same attributes, another protocol: the kernel must hear of it."""
    rib = Rib(host(9))
    said_by_us = Attributes(next_hop=host(9))
    kernel, static = (Path(None, said_by_us, (), each) for each in (PREFERENCE_KERNEL, PREFERENCE_STATIC))
    rib.set_local({PREFIXES[0]: kernel})
    rib.set_local({PREFIXES[0]: static})
    assert rib.take_changes() == [((PREFIXES[0],), kernel), ((PREFIXES[0],), static)]
