"""What reaches the kernel, and by which way."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, UNREACHABLE, FibRoute, Routes, device, via
from agents.speaker.config import KernelPolicy, KernelPool, PoolRoutes
from agents.speaker.decision import (
    PREFERENCE_BGP,
    PREFERENCE_DIRECT,
    PREFERENCE_KERNEL,
    PREFERENCE_STATIC,
    Path,
    RouteSource,
)
from agents.speaker.kernel import KernelExport
from protocol.bgp.attributes import Attributes
from protocol.prefix import Address, Prefix, parse_address, parse_prefix
from tests.strategies.speaker import host, neighbour

BLOCK = parse_prefix("192.168.4.0/26")
FAR = parse_address("10.78.0.1")
POLICY = KernelPolicy(subnet=parse_prefix("10.77.0.0/24"))


def own(source: RouteSource, *hops: Address, preference: int = PREFERENCE_STATIC, ifname: str = "") -> Path:
    return Path(None, Attributes(next_hop=host(9)), hops, preference, source=source, ifname=ifname)


def learned(*hops: Address, next_hop: Address | None = None) -> Path:
    said = Attributes(next_hop=next_hop or host(1))
    return Path(neighbour(1), said, hops, PREFERENCE_BGP)


def programmed(path: Path, prefix: Prefix = BLOCK, **policy: Any) -> FibRoute | None:
    kernel = KernelExport(attrs.evolve(POLICY, **policy), Routes())
    [(found, route)] = kernel.export([prefix], path)
    assert list(found) == [prefix]
    return route


def pool(routes: PoolRoutes, cidr: str = "192.168.0.0/16") -> dict[str, Any]:
    return {"pools": (KernelPool(cidr=parse_prefix(cidr), routes=routes),)}


def test_a_route_goes_where_the_table_says() -> None:
    assert programmed(learned(host(1))) == via((host(1),))
    assert programmed(learned(host(2), host(1))) == via((host(1), host(2)))
    assert programmed(learned(FAR, next_hop=host(1))) == via((FAR,)), "the gateway, and not the NEXT_HOP"
    assert programmed(learned()) == UNREACHABLE
    assert programmed(own(RouteSource.STATIC)) == BLACKHOLE
    assert programmed(own(RouteSource.STATIC, ifname="eth0")) == device("eth0")
    assert programmed(own(RouteSource.STATIC, host(3))) == via((host(3),))


def test_what_the_kernel_had_stays_its_own() -> None:
    assert programmed(own(RouteSource.KERNEL, preference=PREFERENCE_KERNEL)) is None
    assert programmed(own(RouteSource.DIRECT, preference=PREFERENCE_DIRECT)) is None


def test_services_are_in_no_kernel() -> None:
    rejected = (parse_prefix("10.96.0.0/12"),)
    for path in (learned(host(1)), own(RouteSource.STATIC)):
        assert programmed(path, parse_prefix("10.96.0.10/32"), rejected=rejected) is None
        assert programmed(path, rejected=rejected) is not None


@pytest.mark.parametrize(
    ("routes", "near", "far", "blackhole"),
    [
        (PoolRoutes.DIRECT, via((host(1),)), via((FAR,)), True),
        (PoolRoutes.TUNNEL, via((host(1),), "tunl0"), via((FAR,), "tunl0"), True),
        (PoolRoutes.CROSS_SUBNET, via((host(1),)), via((FAR,), "tunl0"), True),
        (PoolRoutes.VXLAN, None, None, False),
        (PoolRoutes.FELIX, None, None, False),
    ],
)
def test_pools(routes: PoolRoutes, near: FibRoute | None, far: FibRoute | None, *, blackhole: bool) -> None:
    facts = pool(routes)
    assert programmed(learned(host(1)), **facts) == near
    assert programmed(learned(FAR, next_hop=FAR), **facts) == far
    assert programmed(own(RouteSource.STATIC), **facts) == (BLACKHOLE if blackhole else None)
    assert programmed(learned(host(1)), parse_prefix("10.0.0.0/8"), **facts) == via((host(1),)), "outside"


def test_a_tunnel_ends_at_the_next_hop() -> None:
    assert programmed(learned(host(5), next_hop=FAR), **pool(PoolRoutes.TUNNEL)) == via((FAR,), "tunl0")


def test_of_equal_paths_all_gateways() -> None:
    both = via((host(1), host(2)), "tunl0")
    assert programmed(learned(host(1), host(2)), **pool(PoolRoutes.TUNNEL)) == both


def test_wireguard_has_its_own_routes() -> None:
    wireguard = (host(1),)
    assert programmed(learned(host(1)), wireguard=wireguard) is None
    assert programmed(learned(host(2), next_hop=host(2)), wireguard=wireguard) == via((host(2),))
    assert programmed(learned(host(1), host(2), next_hop=host(2)), wireguard=wireguard) == via((host(2),))
    assert programmed(own(RouteSource.STATIC), wireguard=wireguard) == BLACKHOLE


def test_the_first_pool_that_holds_it_counts() -> None:
    pools = (
        KernelPool(cidr=parse_prefix("192.168.4.0/24"), routes=PoolRoutes.DIRECT),
        KernelPool(cidr=parse_prefix("192.168.0.0/16"), routes=PoolRoutes.VXLAN),
    )
    assert programmed(learned(host(1)), pools=pools) == via((host(1),))
    assert programmed(learned(host(1)), parse_prefix("192.168.5.0/26"), pools=pools) is None


def test_without_a_policy_all_is_programmed() -> None:
    kernel = KernelExport(None, Routes())
    assert list(kernel.export([BLOCK], learned(host(1)))) == [([BLOCK], via((host(1),)))]


@given(st.permutations([parse_prefix(f"{10 + octet}.0.0.0/8") for octet in range(6)]))
def test_a_change_of_many_prefixes_is_parted_by_route(order: list[Prefix]) -> None:
    policy = attrs.evolve(
        POLICY,
        rejected=(parse_prefix("10.0.0.0/7"),),
        pools=(KernelPool(cidr=parse_prefix("12.0.0.0/8"), routes=PoolRoutes.TUNNEL),),
    )
    kernel = KernelExport(policy, Routes())
    whole = {prefix: route for found, route in kernel.export(order, learned(host(1))) for prefix in found}
    assert whole == {prefix: programmed(learned(host(1)), prefix, **attrs.asdict(policy, recurse=False)) for prefix in order}  # fmt: skip
    assert len(list(kernel.export(order, learned(host(1))))) == 3
