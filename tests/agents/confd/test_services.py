"""Which routes of Services are announced, by which nodes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.confd.derive import Confd
from agents.speaker.config import StaticRoute, Timers
from protocol.prefix import IPV4, IPV6, format_prefix, parse_prefix
from protocol.v3.bgp import BGPConfiguration
from protocol.v3.metadata import Resource
from tests.strategies.confd import (
    Writer,
    affinity,
    bgp_configuration,
    cidrs,
    config_of,
    endpoints,
    node,
    service,
    services,
)

EXCLUDED: dict[str, Any] = {"node.kubernetes.io/exclude-from-external-load-balancers": "true"}
NODES = (node("one", "10.77.0.1/16", ipv6="fd00:77::1/64"), node("two", "10.77.0.2/16", ipv6="fd00:77::2/64"))


def settings(**spec: Any) -> BGPConfiguration:
    return bgp_configuration(**{"service_cluster_ips": cidrs("10.96.0.0/12", "fd00:96::/112"), **spec})


def announced(
    *resources: Resource, on: str = "one", family: int = IPV4, env: dict[str, str] | None = None
) -> list[str]:
    """What is let out and what is originated are the same."""
    config = config_of(on, *NODES, *resources, family=family, env=env)
    assert config.policy is not None
    prefixes = config.policy.services
    assert config.statics == tuple(StaticRoute(prefix=prefix) for prefix in prefixes)
    return list(map(format_prefix, prefixes))


def rejected(*resources: Resource, on: str = "one", family: int = IPV4) -> list[str]:
    config = config_of(on, *NODES, *resources, family=family)
    assert config.kernel is not None
    return list(map(format_prefix, config.kernel.rejected))


def test_cidrs_are_announced_by_all_and_refused_by_every_kernel_in_the_order_of_their_text() -> None:
    everything = bgp_configuration(
        service_cluster_ips=cidrs("10.96.0.0/12", "", "fd00:96::/112"),
        service_external_ips=cidrs("9.0.0.0/8", "100.64.0.7/16"),
        service_load_balancer_ips=cidrs("80.15.0.0/24", "10.96.0.0/12"),
    )
    for name in ("one", "two"):
        for looked_at in (announced, rejected):
            assert looked_at(everything, on=name) == [
                "10.96.0.0/12",
                "100.64.0.0/16",
                "80.15.0.0/24",
                "9.0.0.0/8",
            ]
            assert looked_at(everything, on=name, family=IPV6) == ["fd00:96::/112"]
    assert announced() == rejected() == []


def test_single_addresses_are_for_services_that_have_them() -> None:
    single = bgp_configuration(
        service_external_ips=cidrs("9.0.0.1/32", "9.1.0.0/16"),
        service_load_balancer_ips=cidrs("80.15.0.1/32", "fd00:80::1/128", "80.16.0.0/16"),
    )
    assert announced(single) == rejected(single) == ["80.16.0.0/16", "9.1.0.0/16"]
    assert announced(single, family=IPV6) == []


def test_load_balancer_cidrs_are_not_announced_without_aggregation() -> None:
    apart = settings(
        service_load_balancer_ips=cidrs("80.15.0.0/24"),
        service_external_ips=cidrs("9.0.0.0/8"),
        service_load_balancer_aggregation="Disabled",
    )
    assert announced(apart) == rejected(apart) == ["10.96.0.0/12", "9.0.0.0/8"]


def test_cluster_cidrs_of_the_environment_count_where_the_resource_has_none() -> None:
    env = {"CALICO_ADVERTISE_CLUSTER_IPS": "10.100.0.0/16, fd00:100::/112"}
    assert announced(env=env) == ["10.100.0.0/16"]
    assert announced(env=env, family=IPV6) == ["fd00:100::/112"]
    assert announced(settings(), env=env) == ["10.96.0.0/12"]
    assert announced(settings(service_cluster_ips=cidrs("")), env=env) == ["10.100.0.0/16"]
    bad = {"CALICO_ADVERTISE_CLUSTER_IPS": "10.100.0.0/16,10.101.0.0"}
    assert announced(env=bad) == ["10.100.0.0/16"]
    assert config_of("one", *NODES, env=bad).notes == (
        "CALICO_ADVERTISE_CLUSTER_IPS: '10.101.0.0' is not a CIDR: not used",
    )
    assert config_of("one", *NODES, settings(), env=bad).notes == ()


def test_settings_of_a_node_s_own_mean_nothing() -> None:
    assert announced(bgp_configuration("node.one", service_cluster_ips=cidrs("10.96.0.0/12"))) == []


LOCAL = {"cluster_ip": "10.96.0.7", "external_traffic_policy": "Local"}


def test_local_policy_is_announced_where_a_ready_endpoint_is() -> None:
    svc = service("web", **LOCAL)
    both = ["10.96.0.0/12", "10.96.0.7/32"]
    assert announced(settings(), svc) == ["10.96.0.0/12"]
    assert announced(settings(), svc, endpoints("web", "one")) == both
    assert announced(settings(), svc, endpoints("web", "one"), on="two") == ["10.96.0.0/12"]
    assert announced(settings(), svc, endpoints("web", "two"), endpoints("web", "one", number=2)) == both
    assert announced(settings(), svc, endpoints("web", "one", ready=True)) == both
    assert announced(settings(), svc, endpoints("web", "one", ready=False)) == ["10.96.0.0/12"]
    assert announced(settings(), svc, endpoints("other", "one")) == ["10.96.0.0/12"]
    # The kernel refuses what the CIDRs say and nothing else.
    assert rejected(settings(), svc, endpoints("web", "one")) == ["10.96.0.0/12"]


def test_endpoints_count_in_the_families_of_the_service() -> None:
    six = service("web", cluster_ip="fd00:96::7", external_traffic_policy="Local")
    four_there = endpoints("web", "one", family="IPv4")
    assert announced(settings(), six, four_there, family=IPV6) == ["fd00:96::/112"]
    six_there = endpoints("web", "one", family="IPv6")
    assert announced(settings(), six, six_there, family=IPV6) == ["fd00:96::/112", "fd00:96::7/128"]
    assert announced(settings(), six, six_there) == ["10.96.0.0/12"]


def test_a_dual_stack_service_has_an_address_of_each_family() -> None:
    dual = service("web", cluster_ips=("10.96.0.7", "fd00:96::7"), external_traffic_policy="Local")
    # One slice of either family is enough for both.
    there = endpoints("web", "one", family="IPv6")
    assert announced(settings(), dual, there) == ["10.96.0.0/12", "10.96.0.7/32"]
    assert announced(settings(), dual, there, family=IPV6) == ["fd00:96::/112", "fd00:96::7/128"]


def test_cluster_policy_is_the_cidr_s_job_while_aggregation_is_on() -> None:
    svc = service("web", cluster_ip="10.96.0.7")
    assert announced(settings(), svc, endpoints("web", "one")) == ["10.96.0.0/12"]


@pytest.mark.parametrize("type_", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_without_aggregation_cluster_policy_is_announced_by_all_once_there_is_an_endpoint(type_: str) -> None:
    apart, svc = (
        settings(service_load_balancer_aggregation="Disabled"),
        service("web", type=type_, cluster_ip="10.96.0.7"),
    )
    assert announced(apart, svc) == ["10.96.0.0/12"]
    assert announced(apart, svc, endpoints("web", "two", ready=False)) == ["10.96.0.0/12"]
    assert announced(apart, svc, endpoints("web", "two")) == ["10.96.0.0/12", "10.96.0.7/32"]


@pytest.mark.parametrize(
    "spec",
    [
        {**LOCAL, "type": "ExternalName"},
        {**LOCAL, "cluster_ip": "None"},
        {"external_traffic_policy": "Local", "external_ips": ("9.0.0.1",)},
    ],
)
def test_headless_services_and_those_without_address_or_of_another_type_are_not_announced(
    spec: dict[str, Any],
) -> None:
    external = settings(service_external_ips=cidrs("9.0.0.0/8"))
    found = announced(external, service("web", **spec), endpoints("web", "one"))
    assert found == ["10.96.0.0/12", "9.0.0.0/8"]


def test_all_addresses_that_are_allowed_go_together() -> None:
    svc = service("web", **LOCAL, external_ips=("9.0.0.1", "8.0.0.1"), ingress=("80.15.0.1", "90.15.0.1"))
    some = settings(service_external_ips=cidrs("9.0.0.0/24"), service_load_balancer_ips=cidrs("80.15.0.0/24"))
    assert announced(some, svc, endpoints("web", "one")) == [
        "10.96.0.0/12", "10.96.0.7/32", "80.15.0.0/24", "80.15.0.1/32", "9.0.0.0/24", "9.0.0.1/32",
    ]  # fmt: skip
    no_cluster = bgp_configuration(service_external_ips=cidrs("9.0.0.0/24"))
    assert announced(no_cluster, svc, endpoints("web", "one")) == ["9.0.0.0/24", "9.0.0.1/32"]
    elsewhere = bgp_configuration(service_cluster_ips=cidrs("10.200.0.0/16"))
    assert announced(elsewhere, svc, endpoints("web", "one")) == ["10.200.0.0/16", "10.96.0.7/32"]


@pytest.mark.parametrize(
    "spec",
    [
        {"ingress": ("80.15.0.1",)},
        {"load_balancer_ip": "80.15.0.1"},
        {"external_ips": ("9.0.0.1",)},
        {"external_ips": ("9.0.0.1",), "type": "ClusterIP"},
    ],
)
def test_a_single_address_takes_a_service_of_cluster_policy_to_all_nodes_without_endpoints(
    spec: dict[str, Any],
) -> None:
    single = settings(
        service_external_ips=cidrs("9.0.0.1/32"), service_load_balancer_ips=cidrs("80.15.0.1/32")
    )
    for name in ("one", "two"):
        assert "10.96.0.7/32" in announced(single, service("web", cluster_ip="10.96.0.7", **spec), on=name)
    local = service("web", **LOCAL, **spec)
    assert announced(single, local) == ["10.96.0.0/12"]


def test_a_load_balancer_s_single_address_is_nothing_to_other_types() -> None:
    single = settings(service_load_balancer_ips=cidrs("80.15.0.1/32"))
    svc = service("web", type="NodePort", cluster_ip="10.96.0.7", ingress=("80.15.0.1",))
    assert announced(single, svc) == ["10.96.0.0/12"]


def test_two_services_may_share_an_address() -> None:
    external = settings(service_external_ips=cidrs("9.0.0.0/24"))
    here = service("web", **LOCAL, external_ips=("9.0.0.1",))
    there = service("api", cluster_ip="10.96.0.8", external_traffic_policy="Local", external_ips=("9.0.0.1",))
    slices = endpoints("web", "one"), endpoints("api", "one")
    assert announced(external, here, there, *slices).count("9.0.0.1/32") == 1
    assert "9.0.0.1/32" in announced(external, there, *slices)


def test_an_excluded_node_announces_nothing_but_refuses_the_same() -> None:
    excluded = node("one", "10.77.0.1/16", **EXCLUDED)
    resources = (settings(), service("web", **LOCAL), endpoints("web", "one"), excluded)
    assert announced(*resources) == []
    assert rejected(*resources) == ["10.96.0.0/12"]
    not_quite: dict[str, Any] = dict.fromkeys(EXCLUDED, "yes")
    only_true_counts = node("one", "10.77.0.1/16", **not_quite)
    assert announced(*resources[:-1], only_true_counts) == ["10.96.0.0/12", "10.96.0.7/32"]


def test_a_reflector_passes_on_load_balancer_and_external_cidrs_as_they_are_listed() -> None:
    listed = bgp_configuration(
        service_cluster_ips=cidrs("10.96.0.0/12"),
        service_load_balancer_ips=cidrs("80.15.0.0/24", "70.0.0.1/32", "fd00:80::/64"),
        service_external_ips=cidrs("9.0.0.0/8", "", "80.15.0.0/24"),
        service_load_balancer_aggregation="Disabled",
    )

    def reflected(name: str, family: int = IPV4) -> list[str]:
        reflector = node("rr", "10.77.0.3/16", ipv6="fd00:77::3/64", cluster_id="244.0.0.1", **EXCLUDED)
        config = config_of(name, *NODES, reflector, listed, family=family)
        assert config.policy is not None
        return list(map(format_prefix, config.policy.reflected))

    assert reflected("rr") == ["80.15.0.0/24", "70.0.0.1/32", "9.0.0.0/8"]
    assert reflected("rr", IPV6) == ["fd00:80::/64"]
    assert reflected("one") == []


def test_statics_are_blocks_and_then_services() -> None:
    config = config_of("one", *NODES, settings(), affinity("one", "192.168.4.0/26"))
    assert [format_prefix(route.prefix) for route in config.statics] == ["192.168.4.0/26", "10.96.0.0/12"]


def test_an_endpoint_elsewhere_changes_nothing_here() -> None:
    writer = Writer(*NODES, settings(), service("web", **LOCAL))
    confd = Confd(writer.view, Timers())
    before = confd.derive("one"), confd.derive("two")
    writer.write(endpoints("web", "two"))
    after = confd.derive("one"), confd.derive("two")
    assert after[0] is before[0]
    assert after[1] != before[1]


@given(services(), st.sampled_from(("Enabled", "Disabled")), st.booleans())
def test_nobody_announces_what_is_not_allowed(
    resources: list[Resource], aggregation: str, single: bool
) -> None:
    allowed = cidrs("10.9.0.1/32") if single else cidrs("10.8.0.0/16")
    everything = settings(service_load_balancer_ips=allowed, service_load_balancer_aggregation=aggregation)
    starts = ("10.96.", "10.9.0.1/32" if single else "10.8.")
    writer = Writer(
        *(node(f"node-{host:03}", f"10.77.0.{host}") for host in range(8, 15)), everything, *resources
    )
    confd = Confd(writer.view, Timers())
    for host in range(8, 15):
        config = confd.derive(f"node-{host:03}")
        assert config is not None
        assert config.policy is not None
        found = [format_prefix(prefix) for prefix in config.policy.services]
        assert found == sorted(set(found))
        assert all(text.startswith(starts) for text in found)
        assert parse_prefix("10.96.0.0/12") in config.policy.services
