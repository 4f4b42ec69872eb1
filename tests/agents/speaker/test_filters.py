"""BGPFilters: every condition and operation, first match, and the memory that policy may have of them."""

from __future__ import annotations

from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.speaker.config import MAX_PRIORITY, Filter
from agents.speaker.filters import Decision, Facts, FilterChain, interface_pattern
from protocol.bgp.attributes import AS_SEQUENCE, AS_SET, Attributes
from protocol.prefix import IPV4, IPV6, parse_prefix
from protocol.v3.bgp import (
    AddCommunity,
    CommunityMatch,
    FilterOperation,
    FilterRuleV4,
    FilterRuleV6,
    PrefixLengthV4,
    PrefixLengthV6,
    PrependASPath,
    SetPriority,
)
from tests.strategies.speaker import as_path, host

BARE = Attributes(next_hop=host(1), local_pref=100)
TAGGED = attrs.evolve(BARE, communities=(65000 << 16 | 7,), large_communities=((65000, 1, 2),))


def rule(action: Literal["Accept", "Reject"] = "Accept", **conditions: Any) -> FilterRuleV4:
    return FilterRuleV4(action=action, **conditions)


def chain(*rules: FilterRuleV4 | FilterRuleV6, internal: bool = True, family: int = IPV4) -> FilterChain:
    return FilterChain([Filter(name="f", direction="export", family=family, rules=rules)], internal=internal)


def verdict(
    filters: FilterChain,
    prefix: str = "10.1.0.0/24",
    attributes: Attributes = BARE,
    *,
    learned: bool = True,
    interface: str = "",
) -> Decision | None:
    return filters.run(filters.match(parse_prefix(prefix)), Facts(attributes, learned, interface))


def holds(condition: FilterRuleV4 | FilterRuleV6, *given: Any, **facts: Any) -> bool:
    family = IPV4 if isinstance(condition, FilterRuleV4) else IPV6
    return verdict(chain(condition, family=family), *given, **facts) is not None


# --- the prefix ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "matching"),
    [
        ("Equal", ["10.1.0.0/16"]),
        ("NotEqual", ["10.0.0.0/8", "10.1.2.0/24", "10.2.0.0/16"]),
        ("In", ["10.1.0.0/16", "10.1.2.0/24"]),
        ("NotIn", ["10.0.0.0/8", "10.2.0.0/16"]),
    ],
)
def test_operators(operator: Any, matching: list[str]) -> None:
    condition = rule(cidr="10.1.0.0/16", match_operator=operator)
    routes = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16"]
    assert [prefix for prefix in routes if holds(condition, prefix)] == matching


@pytest.mark.parametrize(
    ("low", "high", "matching"),
    [
        (None, None, [16, 24, 26, 32]),
        (24, None, [24, 26, 32]),
        (None, 24, [16, 24]),
        (24, 26, [24, 26]),
        (8, 24, [16, 24]),  # less than the CIDR's own length is that length
        (26, 24, []),
    ],
)
def test_lengths(low: int | None, high: int | None, matching: list[int]) -> None:
    bounds = PrefixLengthV4(min=low, max=high)
    inside = rule(cidr="10.1.0.0/16", match_operator="In", prefix_length=bounds)
    assert [length for length in (8, 16, 24, 26, 32) if holds(inside, f"10.1.0.0/{length}" if length > 8 else "10.0.0.0/8")] == matching  # fmt: skip
    outside = attrs.evolve(inside, match_operator="NotIn")
    assert [length for length in (16, 24, 26, 32) if not holds(outside, f"10.1.0.0/{length}")] == matching
    assert holds(outside, "10.2.0.0/24")


def test_a_prefix_is_never_equal_to_a_set_of_them() -> None:
    bounds = PrefixLengthV4(min=16, max=32)
    equal = rule(cidr="10.1.0.0/16", match_operator="Equal", prefix_length=bounds)
    assert not holds(equal, "10.1.0.0/16")
    assert holds(attrs.evolve(equal, match_operator="NotEqual"), "10.1.0.0/16")


def test_ipv6_has_longer_prefixes() -> None:
    inside = FilterRuleV6(
        action="Accept", cidr="fd00::/48", match_operator="In", prefix_length=PrefixLengthV6(min=122)
    )
    assert [each for each in ("fd00::/48", "fd00::/122", "fd00::1/128") if holds(inside, each)] == [
        "fd00::/122", "fd00::1/128",
    ]  # fmt: skip


def test_host_bits_of_a_cidr_are_not_looked_at() -> None:
    assert holds(rule(cidr="10.1.2.3/16", match_operator="In"), "10.1.9.0/24")


# --- the rest -----------------------------------------------------------------------------------------------------


def test_source_is_what_bgp_taught() -> None:
    condition = rule(source="RemotePeers")
    assert holds(condition, learned=True)
    assert not holds(condition, learned=False)


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("eth0", ["eth0"]),
        ("*", ["", "eth0", "cali0", "wireguard.cali"]),
        ("*.cali", ["wireguard.cali"]),
        ("cali?", ["cali0"]),
        ("et*0", ["eth0"]),
    ],
)
def test_interfaces(pattern: str, matching: list[str]) -> None:
    condition = rule(interface=pattern)
    found = [name for name in ("", "eth0", "cali0", "wireguard.cali") if holds(condition, interface=name)]
    assert found == matching


def test_a_dot_in_a_pattern_is_a_dot() -> None:
    assert not interface_pattern("*.cali").fullmatch("xcali")


@pytest.mark.parametrize(
    ("value", "matches"),
    [("65000:7", True), ("65000:8", False), ("65000:1:2", True), ("65000:1:3", False)],
)
def test_communities(value: str, *, matches: bool) -> None:
    condition = rule(communities=CommunityMatch(values=(value,)))
    assert holds(condition, attributes=TAGGED) is matches
    assert not holds(condition, attributes=BARE), "none is an empty list"


@pytest.mark.parametrize(
    ("head", "path", "matches"),
    [
        ((1,), as_path(1, 2), True),
        ((1, 2), as_path(1, 2), True),
        ((1, 2), as_path(1), False),
        ((2,), as_path(1, 2), False),
        ((1,), as_path(), False),
        ((1, 3), ((AS_SEQUENCE, (1,)), (AS_SET, (2, 3))), True),
        ((1, 2, 3), ((AS_SEQUENCE, (1,)), (AS_SET, (2, 3))), False),
    ],
)
def test_as_path_prefix(head: tuple[int, ...], path: Any, *, matches: bool) -> None:
    assert holds(rule(as_path_prefix=head), attributes=attrs.evolve(BARE, as_path=path)) is matches


@pytest.mark.parametrize(
    ("preference", "matches"), [(MAX_PRIORITY - 512, True), (MAX_PRIORITY - 513, False), (100, False)]
)
def test_priority(preference: int, *, matches: bool) -> None:
    assert holds(rule(priority=512), attributes=attrs.evolve(BARE, local_pref=preference)) is matches


def test_no_local_preference_is_the_default_one() -> None:
    assert holds(rule(priority=MAX_PRIORITY - 100), attributes=attrs.evolve(BARE, local_pref=None))


@pytest.mark.parametrize(("kind", "internal"), [("iBGP", True), ("eBGP", False)])
def test_peer_type(kind: Any, *, internal: bool) -> None:
    assert verdict(chain(rule(peer_type=kind), internal=internal))
    assert not verdict(chain(rule(peer_type=kind), internal=not internal))


def test_all_conditions_must_hold() -> None:
    both = rule(cidr="10.1.0.0/16", match_operator="In", source="RemotePeers")
    assert holds(both, "10.1.0.0/24", learned=True)
    assert not holds(both, "10.1.0.0/24", learned=False)
    assert not holds(both, "10.2.0.0/24", learned=True)


# --- the action ---------------------------------------------------------------------------------------------------


def test_the_first_rule_that_holds_decides() -> None:
    filters = chain(
        rule("Reject", cidr="10.1.2.0/24", match_operator="Equal"),
        rule(cidr="10.1.0.0/16", match_operator="In"),
        rule("Reject"),
    )
    found = [verdict(filters, prefix) for prefix in ("10.1.2.0/24", "10.1.3.0/24", "10.9.0.0/24")]
    assert [(each.index, each.attributes) for each in found if each] == [(0, None), (1, BARE), (2, None)]


def test_filters_follow_each_other_until_one_decides() -> None:
    first = Filter(
        name="first", direction="import", family=IPV4, rules=(rule(cidr="10.1.0.0/16", match_operator="In"),)
    )
    second = Filter(name="second", direction="import", family=IPV4, rules=(rule("Reject"),))
    filters = FilterChain([first, second], internal=True)
    inside, outside = verdict(filters, "10.1.0.0/16"), verdict(filters, "10.2.0.0/16")
    assert inside is not None
    assert outside is not None
    assert (inside.filter.name, outside.filter.name) == ("first", "second")


def test_nothing_holds() -> None:
    assert verdict(chain(rule(source="RemotePeers")), learned=False) is None
    assert not FilterChain([], internal=True)


def test_operations_in_their_order() -> None:
    operations = (
        FilterOperation(add_community=AddCommunity(value="65000:9")),
        FilterOperation(prepend_as_path=PrependASPath(prefix=(1, 2))),
        FilterOperation(add_community=AddCommunity(value="65000:1:1")),
        FilterOperation(prepend_as_path=PrependASPath(prefix=(3,))),
        FilterOperation(set_priority=SetPriority(value=256)),
        FilterOperation(add_community=AddCommunity(value="65000:7")),  # which it has
    )
    said = attrs.evolve(TAGGED, as_path=as_path(9))
    found = verdict(chain(rule(operations=operations)), attributes=said)
    assert found is not None
    assert found.attributes == Attributes(
        next_hop=host(1),
        as_path=as_path(3, 1, 2, 9),
        local_pref=2147483391,
        communities=(65000 << 16 | 7, 65000 << 16 | 9),
        large_communities=((65000, 1, 1), (65000, 1, 2)),
    )


# --- what may be remembered ---------------------------------------------------------------------------------------

PREFIXES = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16", "10.1.2.3/32")


@st.composite
def rules(draw: st.DrawFn) -> FilterRuleV4:
    cidr = draw(st.sampled_from(("", *PREFIXES)))
    return rule(
        draw(st.sampled_from(("Accept", "Reject"))),
        cidr=cidr,
        match_operator=draw(st.sampled_from(("Equal", "NotEqual", "In", "NotIn"))) if cidr else None,
        source=draw(st.sampled_from((None, None, "RemotePeers"))),
        peer_type=draw(st.sampled_from((None, None, "iBGP", "eBGP"))),
        communities=draw(st.sampled_from((None, None, CommunityMatch(values=("65000:7",))))),
    )


@given(
    st.lists(rules(), max_size=6), st.booleans(), st.booleans(), st.sampled_from((BARE, TAGGED)),
    st.permutations(PREFIXES),
)  # fmt: skip
def test_what_match_says_is_all_that_counts_of_a_prefix(
    drawn: list[FilterRuleV4], internal: bool, learned: bool, said: Attributes, order: list[str]
) -> None:
    """The same bits, the same end; and each rule asked alone, in order, comes to the same."""
    filters = chain(*drawn, internal=internal)
    facts = Facts(said, learned)
    ends: dict[int, Decision | None] = {}
    for prefix in order:
        matched = filters.match(parse_prefix(prefix))
        end = filters.run(matched, facts)
        assert ends.setdefault(matched, end) == end
        alone = [verdict(chain(each, internal=internal), prefix, said, learned=learned) for each in drawn]
        first = next((number for number, found in enumerate(alone) if found), None)
        assert (end.index if end else None) == first
    if not filters.by_prefix:
        assert len(ends) == 1
