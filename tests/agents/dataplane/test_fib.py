"""The FIB against a plain model, and what it promises to its two writers."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.dataplane.fib import BLACKHOLE, TUNL0, Fib, FibRoute, Routes, device, via
from protocol.prefix import (
    IPV4,
    IPV6,
    Address,
    Prefix,
    family_of,
    format_address,
    format_prefix,
    parse_address,
    parse_prefix,
)
from tests.strategies.dataplane import addresses, bird_routes, felix_tables, prefixes


def gateway(text: str) -> FibRoute:
    return via((parse_address(text),))


POD = parse_prefix("192.168.4.3/32")
BLOCK = parse_prefix("192.168.4.0/26")
REMOTE = gateway("10.77.0.9")
VETH = device("cali12345")


def longest_match(routes: dict[Prefix, FibRoute], address: Address) -> tuple[Prefix, FibRoute] | None:
    """Brute force, by the standard library."""
    target = ipaddress.ip_address(format_address(address))
    holding = [prefix for prefix in routes if target in ipaddress.ip_network(format_prefix(prefix))]
    best = max(holding, key=lambda prefix: prefix[0], default=None)
    return None if best is None else (best, routes[best])


class FibModel(RuleBasedStateMachine):
    """Two tables, Felix's over BIRD's, is all a FIB is."""

    def __init__(self) -> None:
        super().__init__()
        self.fib = Fib()
        self.felix: dict[Prefix, FibRoute] = {}
        self.bird: dict[Prefix, FibRoute] = {}
        self.seen: dict[int, dict[Prefix, FibRoute]] = {}
        self.copied: dict[Prefix, FibRoute] = {}
        self.fib.watcher = self.copy

    def copy(self, prefixes: Iterable[Prefix]) -> None:
        for prefix in prefixes:
            route = self.fib.routes.get(prefix)
            if route is None:
                self.copied.pop(prefix, None)
            else:
                self.copied[prefix] = route

    @rule(routes=felix_tables())
    def set_felix(self, routes: dict[Prefix, FibRoute]) -> None:
        self.felix = dict(routes)
        self.fib.set_felix(routes)

    @rule(which=st.lists(prefixes(), max_size=8), route=bird_routes())
    def program(self, which: list[Prefix], route: FibRoute) -> None:
        self.bird.update(dict.fromkeys(which, route))
        self.fib.program(which, route)

    @rule(which=st.lists(prefixes(), max_size=8))
    def withdraw(self, which: list[Prefix]) -> None:
        for prefix in which:
            self.bird.pop(prefix, None)
        self.fib.program(which, None)

    @rule(family=st.sampled_from([IPV4, IPV6]))
    def forget(self, family: int) -> None:
        self.bird = {prefix: route for prefix, route in self.bird.items() if family_of(prefix) != family}
        self.fib.forget(family)

    @rule(family=st.sampled_from([IPV4, IPV6]), routes=st.dictionaries(prefixes(), bird_routes(), max_size=8))
    def replace(self, family: int, routes: dict[Prefix, FibRoute]) -> None:
        routes = {prefix: route for prefix, route in routes.items() if family_of(prefix) == family}
        others = {prefix: route for prefix, route in self.bird.items() if family_of(prefix) != family}
        stale = [prefix for prefix in self.bird if prefix not in others and prefix not in routes]
        self.bird = others | routes
        assert self.fib.replace(family, routes) == len(stale)

    @rule(address=addresses())
    def look_up(self, address: Address) -> None:
        assert self.fib.lookup(address) == longest_match(self.fib.routes, address)

    @invariant()
    def felix_lies_over_bird(self) -> None:
        assert self.fib.routes == {**self.bird, **self.felix}

    @invariant()
    def whoever_watches_hears_of_every_change(self) -> None:
        assert self.copied == self.fib.routes

    @invariant()
    def equal_versions_are_equal_tables(self) -> None:
        assert self.seen.setdefault(self.fib.version, dict(self.fib.routes)) == self.fib.routes


TestFibModel = FibModel.TestCase


def test_neither_writer_removes_the_other_s_route() -> None:
    fib = Fib()
    fib.set_felix({POD: VETH})
    fib.program([POD], None)
    assert fib.routes == {POD: VETH}
    fib.program([POD, BLOCK], REMOTE)
    fib.set_felix({})
    assert fib.routes == {POD: REMOTE, BLOCK: REMOTE}


def test_what_felix_hid_is_remembered_as_it_changes() -> None:
    fib = Fib()
    fib.program([POD], REMOTE)
    fib.set_felix({POD: VETH})
    assert fib.routes == {POD: VETH}
    fib.program([POD], BLACKHOLE)
    fib.set_felix({})
    assert fib.routes == {POD: BLACKHOLE}


def test_setting_the_same_workloads_again_changes_nothing() -> None:
    fib = Fib()
    fib.set_felix({POD: VETH})
    version = fib.version
    fib.set_felix({POD: device("cali12345")})
    assert fib.version == version


def test_the_callers_mapping_is_not_kept() -> None:
    fib = Fib()
    workloads = {POD: VETH}
    fib.set_felix(workloads)
    workloads.clear()
    fib.set_felix({POD: VETH})
    assert fib.routes == {POD: VETH}


def test_a_borrowed_address_beats_the_block_it_was_taken_from() -> None:
    fib = Fib()
    assert fib.lookup(parse_address("192.168.4.3")) is None
    fib.program([BLOCK], REMOTE)
    assert fib.lookup(parse_address("192.168.4.3")) == (BLOCK, REMOTE)
    fib.program([POD], gateway("10.77.0.8"))
    assert fib.lookup(parse_address("192.168.4.3")) == (POD, gateway("10.77.0.8"))
    assert fib.lookup(parse_address("192.168.4.4")) == (BLOCK, REMOTE)
    assert fib.lookup(parse_address("fd00::1")) is None


@given(st.lists(st.integers(0, 255), min_size=1, max_size=4, unique=True))
def test_equal_gateways_are_one_route_in_any_order(hosts: list[int]) -> None:
    routes = Routes()
    gateways = [Address(bytes((10, 77, 0, host))) for host in hosts]
    orders = [routes.via(order) for order in itertools.permutations(gateways)]
    assert all(route is orders[0] for route in orders)
    assert orders[0] == via(tuple(gateways))
    assert orders[0].gateways == tuple(sorted(gateways))
    tunnel = routes.via(tuple(gateways), TUNL0)
    assert tunnel is routes.via(tuple(reversed(gateways)), TUNL0)
    assert tunnel == via(tuple(gateways), TUNL0) != orders[0]
