"""The Rib against a model that remembers what everybody said last and computes everything from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.speaker.config import UPLINK
from agents.speaker.decision import (
    PREFERENCE_BGP,
    PREFERENCE_DIRECT,
    PREFERENCE_KERNEL,
    PREFERENCE_STATIC,
    UNKNOWN_METRIC,
    Path,
    PathKey,
    RouteSource,
    reasons,
    select,
)
from agents.speaker.peer import Peer
from agents.speaker.rib import Rib
from protocol.bgp.attributes import Attributes, AttributeTable
from protocol.prefix import Address, Prefix, parse_prefix
from tests.strategies.speaker import ELEVATED, LOCAL_AS, as_path, attributes, block, host, neighbour

PREFIXES = [block(number) for number in range(4)]
OWN = Attributes(next_hop=host(9))
STATIC = Path(None, OWN, (), PREFERENCE_STATIC, source=RouteSource.STATIC)
KERNEL = Path(None, OWN, (), PREFERENCE_KERNEL, source=RouteSource.KERNEL, ifname="cali7")
DIRECT = Path(None, OWN, (), PREFERENCE_DIRECT, source=RouteSource.DIRECT, ifname=UPLINK)
VIA = Path(None, OWN, (host(200),), PREFERENCE_STATIC, source=RouteSource.STATIC)

Said = tuple[PathKey, Attributes, tuple[Address, ...], int]


def said(path: Path) -> Said:
    return path.key, path.attributes, path.hops, path.preference


prefix_lists = st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=4, unique=True)
numbers = st.integers(0, 4)
path_ids = st.sampled_from((0, 0, 0, 1, 2))
steps = st.one_of(
    st.tuples(st.just("learn"), numbers, path_ids, prefix_lists, attributes()),
    st.tuples(st.just("withdraw"), numbers, path_ids, prefix_lists, st.none()),
    st.tuples(st.just("forget"), numbers, st.just(0), st.just([]), st.none()),
    st.tuples(st.just("static"), st.just(0), st.just(0), st.lists(st.sampled_from(PREFIXES)), st.none()),
    st.tuples(st.just("kernel"), st.just(0), st.just(0), st.lists(st.sampled_from(PREFIXES)), st.none()),
    st.tuples(st.just("way"), st.integers(0, 3), st.just(0), st.just([]), st.none()),
    st.tuples(st.just("take"), st.just(0), st.just(0), st.just([]), st.none()),
)
Told = dict[tuple[Peer, int], dict[Prefix, Attributes]]


@given(script=st.lists(steps, max_size=25))
def test_any_history_is_what_a_computation_from_scratch_says(
    script: list[tuple[str, int, int, list[Prefix], Attributes | None]],
) -> None:
    """Neighbours with several paths, routes of our own, and a next hop whose way changes."""
    table = AttributeTable()
    peers = [neighbour(number, peer_as=LOCAL_AS if number < 3 else number) for number in range(5)]
    for peer in peers[::2]:
        peer.told_on = True
    rib = Rib(host(9))
    told: Told = {(peer, path_id): {} for peer in peers for path_id in range(3)}
    own: dict[RouteSource, dict[Prefix, Path]] = {}
    consumer: dict[Prefix, Path] = {}
    listener: dict[tuple[PathKey, Prefix], Path] = {}
    way = 0

    def resolved(next_hop: Address) -> tuple[tuple[Address, ...], int]:
        if next_hop != host(1) or way == 0:
            return (next_hop,), UNKNOWN_METRIC
        if way == 1:
            return (next_hop,), 0
        return ((), UNKNOWN_METRIC) if way == 2 else ((host(200),), UNKNOWN_METRIC)

    def candidates(prefix: Prefix) -> list[Path]:
        paths = []
        for (peer, path_id), routes in told.items():
            if prefix in routes:
                hops, metric = resolved(routes[prefix].next_hop)
                preference = PREFERENCE_STATIC if routes[prefix].local_pref == ELEVATED else PREFERENCE_BGP
                paths.append(Path(peer, routes[prefix], hops, preference, path_id, metric))
        return paths + [routes[prefix] for routes in own.values() if prefix in routes]

    def model(prefix: Prefix) -> Said | None:
        paths = candidates(prefix)
        if not paths:
            return None
        assert {said(path) for path in paths} == {said(path) for path, _ in rib.explain(prefix)}
        best, hops = select(paths)
        assert said(reasons(paths)[0][0]) == said(best)
        return best.key, best.attributes, hops, best.preference

    def take() -> None:
        _replay(consumer, rib.take_changes())
        best = {prefix: said(path) for prefix, path in rib.best.items() if prefix in PREFIXES}
        assert best == {prefix: found for prefix in PREFIXES if (found := model(prefix)) is not None}
        assert consumer == rib.best
        for key, prefixes, path in rib.take_paths():
            for prefix in prefixes:
                if path is None:
                    listener.pop((key, prefix), None)
                else:
                    listener[key, prefix] = path
        # Which way a next hop is changes nothing of what is told on.
        assert {each: path.attributes for each, path in listener.items() if each[1] in PREFIXES} == {
            (path.key, prefix): path.attributes
            for prefix in PREFIXES
            for path in candidates(prefix)
            if path.peer is None or path.peer.told_on
        }

    for verb, number, path_id, prefixes, tells in script:
        peer = peers[number]
        if tells is not None:
            told_attributes = table.intern(tells)
            told[peer, path_id].update(dict.fromkeys(prefixes, told_attributes))
            rib.learn(peer, tuple(prefixes), told_attributes, path_id)
        elif verb == "withdraw":
            for prefix in prefixes:
                told[peer, path_id].pop(prefix, None)
            rib.withdraw(peer, prefixes, path_id)
        elif verb == "forget":
            for each in range(3):
                told[peer, each].clear()
            rib.forget(peer)
        elif verb == "take":
            take()
        elif verb == "way":
            way = number
            net, on_the_way = parse_prefix("10.77.0.1/32"), (DIRECT, STATIC, VIA)
            own[RouteSource.DIRECT] = {net: on_the_way[way - 1]} if way else {}
            rib.set_local(RouteSource.DIRECT, own[RouteSource.DIRECT])
        else:
            source, path = (RouteSource.STATIC, STATIC) if verb == "static" else (RouteSource.KERNEL, KERNEL)
            own[source] = dict.fromkeys(prefixes, path)
            rib.set_local(source, own[source])
        in_rib = {(each, path_id): table for each in peers for path_id, table in each.adj_ribs_in()}
        assert {key: routes for key, routes in in_rib.items() if routes} == {
            key: routes for key, routes in told.items() if routes
        }
    take()
    assert rib.take_changes() == []
    assert rib.take_paths() == []


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
    rib.take_changes()
    assert rib.best[PREFIXES[0]].hops == (host(1), host(2))
    rib.withdraw(other, (PREFIXES[0],))
    rib.take_changes()
    assert rib.best[PREFIXES[0]].hops == (host(1),)


@pytest.mark.parametrize(
    "instead",
    [
        # What is best, again, reflected once more; a way that is longer; one that is preferred to nothing.
        {"next_hop": host(1), "originator_id": host(1), "cluster_list": (host(201), host(202))},
        {"as_path": as_path(1)},
        {"local_pref": 100},
    ],
)
def test_a_gateway_that_is_replaced_is_missed(instead: dict[str, Any]) -> None:
    rib, one, other = Rib(host(9)), neighbour(1), neighbour(2)
    first = Attributes(
        next_hop=host(1), local_pref=ELEVATED, originator_id=host(1), cluster_list=(host(201),)
    )
    second = attrs.evolve(first, next_hop=host(2), originator_id=host(2))
    rib.learn(one, (PREFIXES[0],), first)
    rib.learn(other, (PREFIXES[0],), second)
    rib.take_changes()
    assert rib.best[PREFIXES[0]].hops == (host(1), host(2))
    rib.learn(other, (PREFIXES[0],), attrs.evolve(second, **instead))
    rib.take_changes()
    assert rib.best[PREFIXES[0]].hops == (host(1),)


@pytest.mark.parametrize("instead", [None, as_path(3, 4)])
def test_who_won_by_med_is_missed_when_it_goes(
    instead: tuple[tuple[int, tuple[int, ...]], ...] | None,
) -> None:
    """Neither the best route nor one of its gateways goes, or is replaced, and yet the best route is another one."""
    rib = Rib(host(9))
    a, x, b = neighbour(3, peer_as=1), neighbour(1, peer_as=1), neighbour(2, peer_as=2)
    rib.learn(a, (PREFIXES[0],), Attributes(next_hop=host(1), as_path=as_path(1)))
    rib.learn(x, (PREFIXES[0],), Attributes(next_hop=host(1), as_path=as_path(1), med=5))
    rib.learn(b, (PREFIXES[0],), Attributes(next_hop=host(1), as_path=as_path(2)))
    rib.take_changes()
    assert rib.best[PREFIXES[0]].peer is b
    if instead is None:
        rib.withdraw(a, (PREFIXES[0],))
    else:
        rib.learn(a, (PREFIXES[0],), Attributes(next_hop=host(1), as_path=instead))
    rib.take_changes()
    assert rib.best[PREFIXES[0]].peer is x


def test_a_metric_that_alone_changes_counts_when_another_path_comes() -> None:
    rib = Rib(host(9))
    route = Attributes(next_hop=host(1), local_pref=100)
    rib.learn(neighbour(1), (PREFIXES[0],), route)
    rib.take_changes()
    rib.set_local(RouteSource.DIRECT, {parse_prefix("10.77.0.1/32"): DIRECT})
    rib.take_changes()
    rib.learn(neighbour(2), (PREFIXES[0],), route)
    rib.take_changes()
    best, _ = rib.explain(PREFIXES[0])[0]
    assert said(rib.best[PREFIXES[0]]) == said(best)


def test_a_learned_workload_becomes_a_block() -> None:
    """The same prefix, the same attributes, another protocol: the kernel must hear of it."""
    rib = Rib(host(9))
    rib.set_local(RouteSource.KERNEL, {PREFIXES[0]: KERNEL})
    assert rib.take_changes() == [((PREFIXES[0],), KERNEL)]
    rib.set_local(RouteSource.STATIC, {PREFIXES[0]: STATIC})
    assert rib.take_changes() == [((PREFIXES[0],), STATIC)]
    assert [path for path, _ in rib.explain(PREFIXES[0])] == [STATIC, KERNEL]


def test_what_two_paths_do_not_decide_is_decided_once_a_turn() -> None:
    """A hundred neighbours announce the same: one decision, one change."""
    rib = Rib(host(9))
    for number in range(1, 101):
        rib.learn(neighbour(number), (PREFIXES[0],), Attributes(next_hop=host(number), local_pref=100))
    assert [len(path.hops) if path is not None else 0 for _, path in rib.take_changes()] == [1, 16]
    assert len(rib.candidates(PREFIXES[0])) == 100


def test_an_empty_table_of_a_path_id_is_not_kept() -> None:
    rib, peer = Rib(host(9)), neighbour(1)
    for path_id in range(1, 100):
        rib.learn(peer, (PREFIXES[0],), Attributes(next_hop=host(1)), path_id)
        rib.withdraw(peer, (PREFIXES[0],), path_id)
    assert peer.more_adj_ribs_in == {}
