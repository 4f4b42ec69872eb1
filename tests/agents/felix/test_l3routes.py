"""Felix's routes to other nodes: by encapsulation, by who owns them; and the law of Felix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dataplane.fib import Routes
from agents.felix.l3routes import PACE, L3Routes
from agents.felix.pools import clusterwide
from agents.syncer import View
from protocol.prefix import format_address, format_prefix, parse_prefix
from protocol.sync.messages import Deltas, InSync, Snapshot
from protocol.v3.codec import encode
from protocol.v3.ippool import IPPool
from protocol.v3.metadata import Resource
from tests.strategies.felix import NAMES, affinity, clusters, endpoint, felix, node, pool

NODES = (node("ant", 1), node("bee", 2), node("cat", 3, subnet=1))


def numbered(resources: Iterable[Resource], first: int = 1) -> list[Resource]:
    return [
        attrs.evolve(each, metadata=attrs.evolve(each.metadata, resource_version=str(number)))
        for number, each in enumerate(resources, first)
    ]


def view(*resources: Resource) -> View:
    found = View()
    found.apply(Snapshot(1, tuple(map(encode, numbered(resources)))))
    found.apply(InSync(1))
    return found


def table(l3: L3Routes, name: str, now: float = 1e9) -> dict[str, str]:
    assert l3.refresh(now) == 0
    return {
        format_prefix(prefix): " ".join(
            [route.kind.value, *map(format_address, route.gateways), *filter(None, [route.device])]
        )
        for prefix, route in l3.of(name).items()
    }


def routes(name: str, *resources: Resource) -> dict[str, str]:
    return table(L3Routes(view(*resources), Routes()), name)


BLOCKS = (
    affinity("ant", "192.168.1.0/26"),
    affinity("bee", "192.168.2.0/26"),
    affinity("cat", "192.168.3.0/26"),
)


@pytest.mark.parametrize(
    ("modes", "near", "far"),
    [
        ({"vxlan_mode": "Always"}, "via 192.168.2.1 vxlan.calico", "via 192.168.3.1 vxlan.calico"),
        ({"vxlan_mode": "CrossSubnet"}, "via 10.0.0.2", "via 192.168.3.1 vxlan.calico"),
        ({"ipip_mode": "Always"}, "via 10.0.0.2 tunl0", "via 10.1.0.3 tunl0"),
        ({"ipip_mode": "CrossSubnet"}, "via 10.0.0.2", "via 10.1.0.3 tunl0"),
    ],
)
def test_encapsulations(modes: Any, near: str, far: str) -> None:
    found = routes("ant", pool("192.168.0.0/16", **modes), *NODES, *BLOCKS)
    assert found == {"192.168.1.0/26": "blackhole", "192.168.2.0/26": near, "192.168.3.0/26": far}


def test_without_a_tunnel_it_is_birds_unless_felix_is_told() -> None:
    plain = pool("192.168.0.0/16")
    assert routes("ant", plain, *NODES, *BLOCKS) == {}
    told = felix(program_cluster_routes="Enabled")
    assert routes("ant", plain, told, *NODES, *BLOCKS) == {
        "192.168.1.0/26": "blackhole", "192.168.2.0/26": "via 10.0.0.2", "192.168.3.0/26": "via 10.1.0.3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "classes"),
    [
        (None, "ipip vxlan"),
        ("Enabled", "ipip none vxlan"),
        ("Disabled", "vxlan"),
        ("EnabledIPIPOnly", "ipip vxlan"),
        ("EnabledNoEncapOnly", "none vxlan"),
    ],
)
def test_program_cluster_routes(value: Any, classes: str) -> None:
    pools = {
        "none": pool("192.168.0.0/16"),
        "ipip": pool("192.168.0.0/16", ipip_mode="Always"),
        "vxlan": pool("192.168.0.0/16", vxlan_mode="Always"),
    }
    told = felix(program_cluster_routes=value)
    for name, each in pools.items():
        wanted = name in classes.split()
        assert bool(routes("ant", each, told, *NODES, *BLOCKS)) is wanted
        assert clusterwide(view(each, told)) is wanted


def test_a_node_of_its_own_mind() -> None:
    resources = [
        pool("192.168.0.0/16", ipip_mode="Always"), felix(program_cluster_routes="Disabled"),
        felix("node.bee", program_cluster_routes="Enabled"), felix("node.cat", ipip_enabled=True), *NODES, *BLOCKS,
    ]  # fmt: skip
    assert [bool(routes(name, *resources)) for name in ("ant", "bee", "cat")] == [False, True, False]


@pytest.mark.parametrize(
    ("modes", "switch"),
    [({"vxlan_mode": "Always"}, "vxlan_enabled"), ({"ipip_mode": "Always"}, "ipip_enabled")],
)
def test_a_tunnel_that_is_switched_off(modes: Any, switch: str) -> None:
    resources = [pool("192.168.0.0/16", **modes), *NODES, *BLOCKS]
    off: dict[str, Any] = {switch: False}
    on: dict[str, Any] = {switch: True}
    assert routes("ant", *resources, felix(**off)) == {}
    assert routes("ant", *resources, felix(**off), felix("node.ant", **on))
    assert routes("ant", *resources, felix(**off), felix("node.ant", program_cluster_routes="Enabled")) == {}


def test_vxlan_needs_both_ends() -> None:
    vxlan = pool("192.168.0.0/16", vxlan_mode="Always")
    bare = node("bee", 2, tunnels=False)
    assert routes("ant", vxlan, NODES[0], bare, *BLOCKS) == {"192.168.1.0/26": "blackhole"}
    assert routes("bee", vxlan, NODES[0], bare, *BLOCKS) == {"192.168.2.0/26": "blackhole"}


def test_a_borrowed_address_has_a_route_of_its_own() -> None:
    ipip = pool("192.168.0.0/16", ipip_mode="Always")
    pods = (
        endpoint("x", "cat", "192.168.2.7/32"),
        endpoint("y", "bee", "192.168.2.8/32"),
        endpoint("z", "bee", "192.168.1.9/32"),
    )
    found = routes("ant", ipip, *NODES, *BLOCKS, *pods)
    assert {prefix: way for prefix, way in found.items() if prefix.endswith("/32")} == {
        "192.168.2.7/32": "via 10.1.0.3 tunl0",
        "192.168.1.9/32": "via 10.0.0.2 tunl0",
    }
    assert "192.168.2.7/32" not in routes("cat", ipip, *NODES, *BLOCKS, *pods), "there it has an interface"


def test_a_tunnel_may_be_at_a_borrowed_address() -> None:
    vxlan = pool("192.168.0.0/16", vxlan_mode="Always")
    found = routes("ant", vxlan, *NODES, affinity("cat", "192.168.2.0/26"))
    assert found["192.168.2.1/32"] == "via 192.168.2.1 vxlan.calico"


def test_a_block_of_one_address_needs_no_blackhole() -> None:
    ipip = pool("192.168.0.0/16", ipip_mode="Always", block_size=32)
    blocks = affinity("ant", "192.168.1.5/32"), affinity("bee", "192.168.2.5/32")
    nodes = node("ant", 1, tunnels=False), node("bee", 2, tunnels=False)
    assert routes("ant", ipip, *nodes, *blocks, endpoint("x", "ant", "192.168.1.5/32")) == {
        "192.168.2.5/32": "via 10.0.0.2 tunl0"
    }


@pytest.mark.parametrize(
    ("state", "routed"), [("confirmed", True), ("pendingDeletion", True), ("", True), ("pending", False)]
)
def test_states_of_blocks(state: str, *, routed: bool) -> None:
    ipip = pool("192.168.0.0/16", ipip_mode="Always")
    assert (
        "192.168.2.0/26" in routes("ant", ipip, *NODES, affinity("bee", "192.168.2.0/26", state))
    ) is routed


def test_ipv6_has_its_own_tunnel() -> None:
    nodes = node("ant", 1, dual=True), node("bee", 2, dual=True), node("cat", 3)
    vxlan = pool("fd00::/48", vxlan_mode="Always")
    blocks = affinity("bee", "fd00::2:0/122"), affinity("cat", "fd00::3:0/122")
    assert routes("ant", vxlan, *nodes, *blocks) == {"fd00::2:0/122": "via fd00::2:1 vxlan-v6.calico"}


def test_who_is_no_node_has_no_routes() -> None:
    assert routes("tor", pool("192.168.0.0/16", ipip_mode="Always"), *NODES, *BLOCKS) == {}


def test_routes_are_the_same_object_until_a_claim_moves() -> None:
    ipip = pool("192.168.0.0/16", ipip_mode="Always")
    seen = view(ipip, *NODES, *BLOCKS)
    l3 = L3Routes(seen, Routes())
    l3.refresh(0)
    before = l3.of("ant")
    steps: list[tuple[Resource, bool]] = [
        (endpoint("x", "bee", "192.168.2.7/32"), False),  # in a block of its own node
        (node("bee", 2, tunnels=False), False),  # no VXLAN here
        (node("bee", 5, tunnels=False), True),
        (node("dog", 4, tunnels=False), False),  # it claims nothing
        (endpoint("y", "cat", "192.168.2.9/32"), True),
        (endpoint("y", "cat", "192.168.2.10/32"), True),
    ]
    for number, (resource, moves) in enumerate(steps, 100):
        seen.apply(Deltas(number, tuple(map(encode, numbered([resource], number))), ()))
        assert l3.of("ant") is before, "nobody has looked yet"
        l3.refresh(number)
        assert (l3.of("ant") is not before) is moves
        before = l3.of("ant")
    assert parse_prefix("192.168.2.10/32") in before
    assert parse_prefix("192.168.2.9/32") not in before


def test_nobody_looks_twice_in_a_moment() -> None:
    seen = view(pool("192.168.0.0/16", ipip_mode="Always"), *NODES, *BLOCKS)
    l3 = L3Routes(seen, Routes())
    assert l3.refresh(10.0) == 0
    before = len(l3.of("ant"))
    seen.apply(Deltas(100, tuple(map(encode, numbered([affinity("bee", "192.168.7.0/26")], 100))), ()))
    assert l3.refresh(10.01) == pytest.approx(PACE - 0.01)
    assert len(l3.of("ant")) == before
    assert l3.refresh(10.0 + PACE) == 0
    assert len(l3.of("ant")) == before + 1
    assert l3.refresh(10.0 + PACE) == 0, "nothing new, nothing to wait for"


def test_the_last_tunnel_takes_all_routes_with_it_at_once() -> None:
    ipip = pool("192.168.0.0/16", ipip_mode="Always")
    seen = view(ipip, *NODES, *BLOCKS)
    l3 = L3Routes(seen, Routes())
    assert l3.wanted
    assert table(l3, "ant", 0)
    plain = attrs.evolve(ipip, spec=attrs.evolve(ipip.spec, ipip_mode="Never"))
    seen.apply(Deltas(100, tuple(map(encode, numbered([plain], 100))), ()))
    assert not l3.wanted
    assert table(l3, "ant", 0) == {}


# --- the law of Felix ---------------------------------------------------------------------------------------------


@given(clusters(), st.data())
def test_the_result_depends_on_the_state_alone(resources: list[Resource], data: st.DataObject) -> None:
    """Whatever order they came in, whatever was there before and has gone: the routes are those of what there is."""
    stamped = {each.key: each for each in numbered(resources)}
    found = list(stamped.values())
    fresh = L3Routes(view(*found), Routes())

    seen = View()
    seen.apply(Snapshot(1, ()))
    seen.apply(InSync(1))
    l3 = L3Routes(seen, Routes())
    revision = 1000
    for each in data.draw(st.permutations(found)):
        revision += 1
        passing = data.draw(st.sampled_from(found))
        seen.apply(Deltas(revision, (encode(each),), ()))
        if data.draw(st.booleans()):
            l3.refresh(revision)
            l3.of(data.draw(st.sampled_from(NAMES)))  # what it remembers must not matter
        if data.draw(st.booleans()) and not isinstance(passing, IPPool):
            seen.apply(
                Deltas(revision, (), (passing.key,) if seen.all(passing.kind).get(passing.key) else ())
            )
    revision += 1
    seen.apply(Deltas(revision, tuple(map(encode, found)), ()))
    for name in NAMES:
        assert table(l3, name) == table(fresh, name)
