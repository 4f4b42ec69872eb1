"""The decision process: one order for all, whoever came first; and for every step the reason it gives."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.speaker.decision import (
    BETTER,
    MAX_MULTIPATH,
    PREFERENCE_BGP,
    PREFERENCE_STATIC,
    UNDECIDED,
    WORSE,
    Path,
    compare,
    is_longer_way,
    reasons,
    select,
)
from protocol.bgp.attributes import LLGR_STALE, Attributes, Origin
from tests.strategies.speaker import ELEVATED, LOCAL_AS, as_path, candidates, host, neighbour

Facts = dict[str, Any]


def path(number: int, facts: Facts) -> Path:
    """A path from neighbour ``number``; what the facts do not say is the same for all."""
    facts = dict(facts)
    peer = neighbour(
        number, peer_as=facts.pop("peer_as", LOCAL_AS), identifier=facts.pop("identifier", host(100))
    )
    preference = facts.pop("preference", PREFERENCE_BGP)
    said = Attributes(**{"next_hop": host(50), "local_pref": 100, **facts})
    return Path(peer, said, (said.next_hop,), preference)


def short_cut(new: Path, best: Path) -> int:
    return compare(new, best)


# Each step once: the better one has the higher neighbour address, and is worse at the step after.
STEPS: list[tuple[str, Facts, Facts]] = [
    ("higher preference", {"preference": 200, "local_pref": ELEVATED, "med": 5}, {"local_pref": 300}),
    ("not LLGR_STALE", {"as_path": as_path(1, 2, 3)}, {"local_pref": 200, "communities": (LLGR_STALE,)}),
    ("higher LOCAL_PREF", {"local_pref": 200, "as_path": as_path(1, 2, 3)}, {"as_path": ()}),
    ("higher LOCAL_PREF", {"local_pref": None, "as_path": as_path(1, 2, 3)}, {"local_pref": 99}),
    ("shorter AS_PATH", {"as_path": as_path(1), "origin": Origin.INCOMPLETE}, {"as_path": as_path(1, 2)}),
    ("lower ORIGIN", {"origin": Origin.IGP, "med": 9}, {"origin": Origin.EGP}),
    ("lower MED", {"as_path": as_path(1), "med": 1}, {"as_path": as_path(1), "med": 2, "peer_as": 1}),
    ("lower MED", {"as_path": as_path(1)}, {"as_path": as_path(1), "med": 2, "peer_as": 1}),
    ("eBGP over iBGP", {"peer_as": 1, "identifier": host(101)}, {}),
    ("lower router ID", {"identifier": host(99), "cluster_list": (host(1),)}, {}),
    ("lower router ID", {"originator_id": host(99), "identifier": host(200), "cluster_list": (host(1),)}, {}),
    ("shorter CLUSTER_LIST", {"cluster_list": (host(1),)}, {"cluster_list": (host(1), host(2))}),
]


@pytest.mark.parametrize(("reason", "better", "worse"), STEPS)
def test_every_step_decides(reason: str, better: Facts, worse: Facts) -> None:
    winner, loser = path(20, better), path(10, worse)
    for order in ([winner, loser], [loser, winner]):
        assert select(order)[0] is winner
        assert reasons(order) == [(winner, reason), (loser, reason)]
    assert short_cut(winner, loser) in (BETTER, UNDECIDED)
    assert short_cut(loser, winner) in (WORSE, UNDECIDED)


def test_a_path_that_was_reflected_more_often_is_found_out_at_once() -> None:
    reflected = {"originator_id": host(30), "cluster_list": (host(1),)}
    best = path(20, reflected)
    for more, outcome in (
        ({}, True), ({"local_pref": 101}, False), ({"next_hop": host(51)}, False), ({"settled": True}, False),
    ):  # fmt: skip
        new = path(10, {**reflected, "cluster_list": (host(2), host(1)), **more})
        assert new.peer is not None
        assert is_longer_way(new.peer, new.attributes, best) is outcome
    other = path(10, {"peer_as": 1, **reflected, "cluster_list": (host(2), host(1))})
    assert other.peer is not None
    assert not is_longer_way(other.peer, other.attributes, best)


def test_the_neighbour_address_decides_last() -> None:
    low, high = path(10, {}), path(20, {})
    assert reasons([high, low]) == [(low, "lower neighbour address"), (high, "lower neighbour address")]
    assert (short_cut(low, high), short_cut(high, low)) == (BETTER, WORSE)


def test_reasons_tell_what_each_lost_on() -> None:
    best, second, third = path(10, {}), path(11, {}), path(12, {"as_path": as_path(1)})
    assert reasons([third, second, best]) == [
        (best, "lower neighbour address"),
        (second, "lower neighbour address"),
        (third, "shorter AS_PATH"),
    ]
    assert reasons([best]) == [(best, "the only route")]


def test_meds_of_different_ases_are_not_compared() -> None:
    one = path(10, {"as_path": as_path(1), "med": 9})
    other = path(20, {"as_path": as_path(2), "med": 1})
    assert reasons([one, other])[0] == (one, "lower neighbour address")


def test_a_lost_med_comparison_is_not_made_up_for() -> None:
    """RFC 4271 9.1.2.2 c): X beats B by address, but A, which B beats, rules it out first. Pairs have no order here."""
    a = path(30, {"as_path": as_path(1), "med": 0})
    x = path(10, {"as_path": as_path(1), "med": 5})
    b = path(20, {"as_path": as_path(2)})
    assert select([a, x, b])[0] is b
    assert select([x, b])[0] is x


def test_equal_paths_with_other_next_hops_are_used_together() -> None:
    paths = [path(number, {"next_hop": host(number)}) for number in (12, 10, 11)]
    assert select(paths) == (paths[1], (host(10), host(11), host(12)))
    # What the router ID decides has tied before; what LOCAL_PREF decides has not.
    better_id = path(13, {"next_hop": host(13), "identifier": host(1)})
    assert select([*paths, better_id]) == (better_id, (host(10), host(11), host(12), host(13)))
    preferred = path(13, {"next_hop": host(13), "local_pref": 101})
    assert select([*paths, preferred]) == (preferred, (host(13),))


def test_no_more_gateways_than_the_kernel_is_given() -> None:
    paths = [path(number, {"next_hop": host(number)}) for number in range(1, 20)]
    assert select(paths)[1] == tuple(host(number) for number in range(1, 1 + MAX_MULTIPATH))


def test_a_route_of_our_own_has_no_gateway() -> None:
    own = Path(None, Attributes(next_hop=host(9)), (), PREFERENCE_STATIC)
    assert select([path(10, {}), own]) == (own, ())


@pytest.mark.slow
@given(paths=candidates(), data=st.data())
def test_any_order_gives_the_same_best(paths: list[Path], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(paths))
    best, hops = select(paths)
    again, hops_again = select(shuffled)
    assert (again, hops_again) == (best, hops)
    assert reasons(shuffled)[0][0] is best
    assert {each for each, _ in reasons(shuffled)} == set(paths)


@pytest.mark.slow
@given(paths=candidates(min_size=2))
def test_the_short_cut_agrees_with_the_process(paths: list[Path]) -> None:
    *known, new = paths
    winner, hops = select(known)
    best = winner.through(hops)
    outcome = short_cut(new, best)
    if outcome == BETTER:
        assert select(paths) == (new, new.hops)
    elif outcome == WORSE:
        assert select(paths) == (winner, hops)


@pytest.mark.slow
@given(paths=candidates(min_size=2), data=st.data())
def test_a_longer_way_changes_nothing(paths: list[Path], data: st.DataObject) -> None:
    """The best path again, reflected once more than it was, and by anybody; without MEDs, as the Rib asks it."""
    plain = [path for path in paths if path.attributes.med is None]
    *known, new = plain or [path(10, {}), path(11, {})]
    if known:
        winner, hops = select(known)
        best = winner.through(hops)
        reflected = attrs.evolve(
            best.attributes,
            originator_id=best.attributes.originator_id or host(1),
            cluster_list=(host(77), *best.attributes.cluster_list),
        )
        said = data.draw(st.sampled_from((new.attributes, reflected)))
        assert new.peer is not None
        if is_longer_way(new.peer, said, best):
            again = Path(new.peer, said, (said.next_hop,), best.preference)
            assert select([*known, again]) == (winner, hops)


@pytest.mark.slow
@given(paths=candidates(min_size=2, max_size=2))
def test_the_short_cut_decides_the_common_cases(paths: list[Path]) -> None:
    new, best = paths
    one, other = new.attributes, best.attributes
    plain = not one.med and not other.med
    if plain and (one.rank != other.rank or new.internal != best.internal or one.next_hop == other.next_hop):
        assert short_cut(new, best) != UNDECIDED
