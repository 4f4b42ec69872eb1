"""Which pools serve whom, what is reserved, and the walk."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ipam.blocks import size_of
from agents.ipam.errors import NoPoolError
from agents.ipam.pools import Pools
from protocol.prefix import IPV4, IPV6, contains, format_prefix, parse_address, parse_prefix
from protocol.v3.ippool import IPPool
from tests.strategies.ipam import names, pool, reservation


def selected(pools: list[IPPool], family: int = IPV4, **request: Any) -> list[str]:
    asked: dict[str, Any] = {"use": "Workload", "node": "node-001", "node_labels": {}, "namespace_labels": {}}
    return [one.name for one in Pools(pools, []).select(family, **(asked | request))]


def test_pools_come_in_order_of_their_names() -> None:
    assert selected([pool("10.1.0.0/16", "b"), pool("10.0.0.0/16", "c"), pool("10.2.0.0/16", "a")]) == [
        "a",
        "b",
        "c",
    ]


def test_only_pools_that_serve_the_node_and_the_namespace() -> None:
    pools = [
        pool("10.0.0.0/16", "any"),
        pool("10.1.0.0/16", "east", node_selector="zone == 'east'"),
        pool("10.2.0.0/16", "gold", namespace_selector="tier == 'gold'"),
        pool("10.3.0.0/16", "manual", assignment_mode="Manual"),
        pool("10.4.0.0/16", "off", disabled=True),
        pool("fd00::/64", "six"),
    ]
    assert selected(pools) == ["any"]
    assert selected(pools, node_labels={"zone": "east"}) == ["any", "east"]
    assert selected(pools, namespace_labels={"tier": "gold"}) == ["any", "gold"]
    assert selected(pools, IPV6) == ["six"]


def test_pools_asked_for_by_name_need_no_selector() -> None:
    pools = [
        pool("10.1.0.0/16", "east", node_selector="zone == 'east'"),
        pool("10.3.0.0/16", "manual", assignment_mode="Manual"),
        pool("10.4.0.0/16", "off", disabled=True),
    ]
    assert selected(pools, names=("manual", "east")) == ["manual", "east"]
    for missing in ("off", "no-such-pool"):
        with pytest.raises(
            NoPoolError, match=rf"the given pool \({missing}\) does not exist, or is not enabled"
        ):
            selected(pools, names=("east", missing))


def test_a_pool_serves_the_uses_it_allows() -> None:
    pools = [pool("10.0.0.0/16", "tunnels", allowed_uses=("Tunnel",)), pool("10.1.0.0/16", "all")]
    assert selected(pools) == ["all"]
    assert selected(pools, use="Tunnel") == ["all", "tunnels"]
    with pytest.raises(NoPoolError, match="tunnels allows the use Workload"):
        selected(pools[:1])


def test_no_pool_at_all() -> None:
    with pytest.raises(NoPoolError, match=r"no configured Calico pools for node node-001 \(IPv6\)"):
        selected([pool()], IPV6)


def test_an_address_is_in_the_block_of_its_pool() -> None:
    pools = Pools([pool("10.0.0.0/16", "a", block_size=24), pool("fd00::/64", "b", disabled=True)], [])
    assert pools.block_of(parse_address("10.0.7.9")) == parse_prefix("10.0.7.0/24")
    assert pools.block_of(parse_address("fd00::7f")) == parse_prefix("fd00::40/122")
    assert pools.block_of(parse_address("10.1.0.0")) is None


def test_what_is_reserved_of_a_block() -> None:
    pools = Pools(
        [pool()], [reservation("192.168.0.62/31", "192.168.0.64/32"), reservation("192.168.1.0/24")]
    )
    assert pools.reserved(parse_prefix("192.168.0.0/26")) == {62, 63}
    assert pools.reserved(parse_prefix("192.168.0.64/26")) == {0}
    assert pools.reserved(parse_prefix("192.168.0.128/26")) == frozenset()
    assert pools.reserved(parse_prefix("192.168.1.64/26")) == frozenset(range(64))


reservations = st.lists(
    st.builds(
        lambda host, length: (
            f"10.0.{host >> (32 - length) << (32 - length) >> 8}."
            f"{host >> (32 - length) << (32 - length) & 255}/{length}"
        ),
        st.integers(0, 1023),
        st.integers(23, 32),
    ),
    max_size=6,
)


@given(cidrs=reservations, name=st.sampled_from(names(40)), size=st.integers(24, 31))
def test_the_walk_meets_every_block_once_but_for_those_reserved_whole(
    cidrs: list[str], name: str, size: int
) -> None:
    pools = Pools([pool("10.0.0.0/22", block_size=size)], [reservation(*cidrs)])
    (one,) = pools.select(IPV4, use="Workload", node=name, node_labels={}, namespace_labels={})
    walked = list(pools.walk(one, name, 0.0))
    blocks = [one.block_at(index) for index in range(one.block_count)]
    assert sorted(walked) == [block for block in blocks if len(pools.reserved(block)) < size_of(block)]
    distances = [one.distance(block, name, 0.0) for block in walked]
    assert distances == sorted(set(distances))
    for index, block in enumerate(blocks):
        assert one.owns(block)
        assert contains(one.prefix, block)
        assert one.index_of(block) == index


def test_the_walk_jumps_over_what_nobody_could_walk_through() -> None:
    kept = [reservation("fd00::/65"), reservation("fd00:0:0:0:8000::/66")]
    pools = Pools([pool("fd00::/64")], kept)
    (one,) = pools.select(IPV6, use="Workload", node="n", node_labels={}, namespace_labels={})
    assert format_prefix(next(pools.walk(one, "n", 0.0))) == "fd00::c000:0:0:0/122"


def test_a_node_starts_at_the_same_block_every_time_and_numbered_nodes_at_different_ones() -> None:
    pools = Pools([pool()], [])
    (one,) = pools.select(IPV4, use="Workload", node="n", node_labels={}, namespace_labels={})
    starts = [one.start(name, 0.0) for name in names(200)]
    assert starts == [one.start(name, 99.0) for name in names(200)]
    assert len(set(starts)) == 200


def test_blocks_of_one_address_are_taken_from_anywhere() -> None:
    pools = Pools([pool(block_size=32)], [])
    (one,) = pools.select(IPV4, use="Workload", node="n", node_labels={}, namespace_labels={})
    assert len({one.start("n", float(second)) for second in range(50)}) > 40
