"""Communities on advertised prefixes."""

from __future__ import annotations

from typing import Any

import pytest

from agents.confd.communities import community_value
from agents.speaker.config import CommunityValue
from protocol.prefix import IPV4, IPV6, format_prefix
from protocol.v3.bgp import BGPConfiguration, NamedCommunity, PrefixAdvertisement
from tests.strategies.confd import bgp_configuration, config_of, node

ONE = node("one", "10.77.0.1/16", ipv6="fd00:77::1/64")


def advertised(*pairs: tuple[str, tuple[str, ...]], **named: str) -> dict[str, Any]:
    return {
        "communities": tuple(NamedCommunity(name=name, value=value) for name, value in named.items()),
        "prefix_advertisements": tuple(
            PrefixAdvertisement(cidr=cidr, communities=communities) for cidr, communities in pairs
        ),
    }


def rules(*settings: BGPConfiguration, family: int = IPV4) -> list[tuple[str, list[CommunityValue]]]:
    policy = config_of("one", ONE, *settings, family=family).policy
    assert policy is not None
    return [(format_prefix(rule.cidr), list(rule.communities)) for rule in policy.communities]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0:0", 0),
        ("65000:1", 65000 << 16 | 1),
        ("65535:65535", 0xFFFFFFFF),
        ("1:2:4294967295", (1, 2, 0xFFFFFFFF)),
    ],
)
def test_values(text: str, value: CommunityValue) -> None:
    assert community_value(text) == value


def test_names_and_values_are_a_set_in_the_order_of_their_text() -> None:
    spec = advertised(
        ("192.168.0.0/16", ("large", "9:1", "10:1", "small", "10:1")), small="65000:1", large="100:5:7"
    )
    found = rules(bgp_configuration(**spec))
    assert found == [("192.168.0.0/16", [(100, 5, 7), 10 << 16 | 1, 65000 << 16 | 1, 9 << 16 | 1])]


def test_prefixes_keep_their_order_and_are_of_their_family() -> None:
    spec = advertised(
        ("192.168.9.0/24", ("1:1",)), ("fd00::/16", ("1:2",)), ("192.168.10.7/24", ("1:3",)), ("", ("1:4",))
    )
    assert [cidr for cidr, _ in rules(bgp_configuration(**spec))] == ["192.168.9.0/24", "192.168.10.0/24"]
    assert rules(bgp_configuration(**spec), family=IPV6) == [("fd00::/16", [1 << 16 | 2])]


def test_a_name_without_a_value_vanishes_and_is_said() -> None:
    settings = bgp_configuration(
        **advertised(("10.0.0.0/8", ("who", "1:1")), ("11.0.0.0/8", ("who", "70000:1")))
    )
    assert rules(settings) == [("10.0.0.0/8", [1 << 16 | 1])]
    said = "is neither a community nor the name of one: left out of"
    assert config_of("one", ONE, settings).notes == (
        f"BGPConfiguration/default: 'who' {said} 10.0.0.0/8",
        f"BGPConfiguration/default: 'who' {said} 11.0.0.0/8",
        f"BGPConfiguration/default: '70000:1' {said} 11.0.0.0/8",
    )
    assert config_of("one", ONE, settings, family=IPV6).notes == ()


def test_a_node_s_own_prefixes_replace_the_global_ones_of_both_families_with_names_of_their_own() -> None:
    everywhere = bgp_configuration(
        **advertised(("10.0.0.0/8", ("name",)), ("fd00::/16", ("name",)), name="1:1")
    )
    own = bgp_configuration("node.one", **advertised(("11.0.0.0/8", ("name",)), name="2:2"))
    assert rules(everywhere, own) == [("11.0.0.0/8", [2 << 16 | 2])]
    assert rules(everywhere, own, family=IPV6) == []
    for other in (
        bgp_configuration("node.two", **advertised(("11.0.0.0/8", ("2:2",)))),
        bgp_configuration("node.one"),
    ):
        assert rules(everywhere, other) == [("10.0.0.0/8", [1 << 16 | 1])]
