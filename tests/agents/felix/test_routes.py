"""Workloads to device routes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, device
from agents.felix.routes import device_routes, learned
from protocol.prefix import IPV4, IPV6, parse_prefix
from protocol.v3.workload import WorkloadEndpoint
from tests.strategies.workloads import workload, workloads


def test_every_address_of_a_workload_is_on_its_interface() -> None:
    web = workload("web", "192.168.4.3/32", "fd00:4::3/128", interface="cali1")
    db = workload("db", "192.168.4.4/32", interface="cali2")
    assert device_routes([web, db]) == {
        parse_prefix("192.168.4.3/32"): device("cali1"),
        parse_prefix("fd00:4::3/128"): device("cali1"),
        parse_prefix("192.168.4.4/32"): device("cali2"),
    }


def test_a_bare_address_is_its_host_prefix() -> None:
    assert device_routes([workload("web", "192.168.4.3", interface="cali1")]) == {
        parse_prefix("192.168.4.3/32"): device("cali1")
    }


def test_a_workload_without_interface_has_no_route_yet() -> None:
    assert device_routes([workload("web", "192.168.4.3/32", interface="")]) == {}


def test_the_first_by_namespace_and_name_has_a_contested_address() -> None:
    first = workload("z", "192.168.4.3/32", interface="cali1", namespace="a")
    second = workload("a", "192.168.4.3/32", interface="cali2", namespace="b")
    assert device_routes([second, first]) == {parse_prefix("192.168.4.3/32"): device("cali1")}
    assert device_routes([second]) == {parse_prefix("192.168.4.3/32"): device("cali2")}


@given(st.data(), workloads())
def test_the_order_of_arrival_does_not_matter(data: st.DataObject, endpoints: list[WorkloadEndpoint]) -> None:
    assert device_routes(data.draw(st.permutations(endpoints))) == device_routes(endpoints)


def test_bird_learns_the_routes_of_its_family() -> None:
    routes = device_routes([workload("web", "192.168.4.3/32", "fd00:4::3/128", interface="cali1")])
    table = {**routes, parse_prefix("192.168.4.0/26"): BLACKHOLE}
    ipv6 = parse_prefix("fd00:4::3/128")
    assert learned(table, IPV6) == {ipv6: device("cali1")}
    assert learned(table) == learned(table, IPV4) == {key: table[key] for key in table if key != ipv6}
