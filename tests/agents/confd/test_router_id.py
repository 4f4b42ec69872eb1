"""The router ID: the environment's, the node's, or a hash."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.confd.router_id import hashed
from protocol.prefix import IPV4, IPV6, format_address, parse_address
from tests.strategies.confd import config_of, node

DUAL = node("dual", "10.77.0.1/16", ipv6="fd00:77::1/64")
SIX = node("six", ipv6="fd00:77::6/64")


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_it_is_the_ipv4_address_in_both_families(family: int) -> None:
    assert config_of("dual", DUAL, family=family).router_id == parse_address("10.77.0.1")


@pytest.mark.parametrize("name", ["dual", "six"])
def test_the_environment_can_give_it_or_ask_for_a_hash(name: str) -> None:
    for wanted, expected in (("1.2.3.4", parse_address("1.2.3.4")), ("hash", hashed(name))):
        config = config_of(name, DUAL, SIX, family=IPV6, env={"CALICO_ROUTER_ID": wanted})
        assert config.router_id == expected
        assert config.notes == ()


@pytest.mark.parametrize("wanted", ["fd00::1", "HASH", "1.2.3"])
def test_anything_else_in_the_environment_is_not_used_and_that_is_said(wanted: str) -> None:
    config = config_of("dual", DUAL, env={"CALICO_ROUTER_ID": wanted})
    assert config.router_id == parse_address("10.77.0.1")
    assert config.notes == (f'CALICO_ROUTER_ID: {wanted!r} is neither an IPv4 address nor "hash": not used',)


def test_with_ipv6_alone_and_nothing_said_it_is_a_hash_and_that_is_said() -> None:
    config = config_of("six", SIX, family=IPV6)
    assert config.router_id == hashed("six")
    assert config.notes == (
        "Node/six: no IPv4 address and no CALICO_ROUTER_ID: the router ID is a hash of the name",
    )
    assert config_of("six", SIX, family=IPV4).notes == ()


@given(st.text(max_size=20))
def test_a_hash_is_the_name_s_and_no_multicast_address(name: str) -> None:
    first, *rest = hashlib.sha256(name.encode()).digest()[:4]
    found = hashed(name)
    assert found[1:] == bytes(rest)
    assert found[0] in (first, first - 32)
    assert found[0] < 224, format_address(found)
