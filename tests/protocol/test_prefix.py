"""Addresses and prefixes: text and octets, and containment against the standard library."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.prefix import (
    IPV4,
    IPV6,
    Address,
    Cover,
    Prefix,
    address_family,
    contains,
    family_of,
    format_address,
    format_prefix,
    host_prefix,
    is_valid,
    make_prefix,
    network_address,
    network_int,
    overlaps,
    parse_address,
    parse_prefix,
    sort_key,
)
from tests.strategies.bgp import any_addresses, any_prefixes, families, prefixes

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(prefix: Prefix) -> Network:
    return ipaddress.ip_network((prefix[1:], prefix[0]))


def inside(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)


@given(any_addresses)
def test_an_address_survives_its_text(address: Address) -> None:
    text = format_address(address)
    assert parse_address(text) == address
    assert ipaddress.ip_address(text).packed == address
    assert address_family(address) == (IPV4 if "." in text and ":" not in text else IPV6)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("FD00:0:0:0:0:0:0:1", "fd00::1"),
        ("::", "::"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),  # the longer run of zeros
        ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),  # one group of zeros is not shortened
    ],
)
def test_addresses_are_written_as_rfc_5952_has_it(text: str, canonical: str) -> None:
    assert format_address(parse_address(text)) == canonical


@given(any_prefixes)
def test_a_prefix_survives_its_text(prefix: Prefix) -> None:
    assert parse_prefix(format_prefix(prefix)) == prefix
    assert network(prefix).prefixlen == prefix[0]
    assert network_address(prefix) == network(prefix).network_address.packed
    assert network_int(prefix) == int(network(prefix).network_address)


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.256", "010.0.0.1", "1.2.3.4/32", "fe80::1%eth0", "::1::"]
)
def test_what_is_no_address_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IP address") as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0/33",
        "fd00::/129",
        "10.0.0.0/-1",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.255.255.255",
        "fe80::%1/64",
    ],
)
def test_what_is_no_cidr_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="is not a CIDR") as caught:
        parse_prefix(text)
    assert repr(text) in str(caught.value)


def test_host_bits_are_refused_with_the_network_in_the_words() -> None:
    with pytest.raises(
        ValueError, match=r"'10\.0\.0\.1/26' has host bits set: 10\.0\.0\.0/26 is the network"
    ):
        parse_prefix("10.0.0.1/26")


@given(any_addresses)
def test_a_bare_address_is_its_host_prefix(address: Address) -> None:
    assert parse_prefix(format_address(address)) == host_prefix(address)


@given(families, st.data())
def test_made_prefixes_have_no_host_bits(family: int, data: st.DataObject) -> None:
    bits = 32 if family == IPV4 else 128
    value = data.draw(st.integers(0, 2**bits - 1))
    for length in range(bits + 1):
        prefix = make_prefix(value, length, family)
        assert is_valid(prefix)
        assert family_of(prefix) == family
        assert network_int(prefix) == value & ~((1 << (bits - length)) - 1)


@given(st.binary(max_size=18) | any_prefixes.map(bytes) | st.binary(min_size=5, max_size=5))
def test_a_strangers_bytes_are_valid_exactly_when_the_library_agrees(value: bytes) -> None:
    expected = False
    if len(value) in (5, 17):
        try:
            ipaddress.ip_network((value[1:], value[0]))
            expected = True
        except ValueError:
            pass
    assert is_valid(value) is expected


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Prefix, Prefix]:
    """Two prefixes, mostly related."""
    one = draw(any_prefixes)
    if draw(st.booleans()):
        return one, draw(any_prefixes)
    family = family_of(one)
    length = draw(st.integers(0, 32 if family == IPV4 else 128))
    flipped = network_int(one) ^ draw(st.sampled_from((0, 0, 1 << draw(st.integers(0, 31)))))
    return one, make_prefix(flipped, length, family)


@given(pairs())
def test_containment_is_the_librarys(pair: tuple[Prefix, Prefix]) -> None:
    one, other = pair
    assert contains(one, other) is inside(network(other), network(one))
    assert overlaps(one, other) is (contains(one, other) or contains(other, one)) is overlaps(other, one)


@given(st.lists(pairs(), max_size=4), st.data())
def test_the_first_of_a_list_that_contains_it(
    drawn: list[tuple[Prefix, Prefix]], data: st.DataObject
) -> None:
    listed = [prefix for pair in drawn for prefix in pair]
    asked = data.draw(st.sampled_from(listed) if listed else any_prefixes)
    around = make_prefix(network_int(asked), data.draw(st.integers(0, asked[0])), family_of(asked))
    for each in ([*listed, around], [around, *listed], listed[1:], []):
        first = next((outer for outer in each if contains(outer, asked)), None)
        assert Cover(each).first(asked) == first


@given(st.lists(any_prefixes, max_size=8))
def test_people_see_families_then_networks_then_lengths(some: list[Prefix]) -> None:
    by_library = sorted(some, key=lambda p: (network(p).version, int(network(p).network_address), p[0]))
    assert sorted(some, key=sort_key) == by_library


@given(prefixes(IPV4), prefixes(IPV6))
def test_families_never_mix(four: Prefix, six: Prefix) -> None:
    assert not overlaps(four, six)
    assert four != six
