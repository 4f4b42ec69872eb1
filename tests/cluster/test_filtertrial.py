"""Routes as people write them, and what a BGPFilter makes of one."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.filtertrial import RouteText, as_json, asks_peer_type, read_route, rows, try_filter
from protocol.bgp.attributes import AS_SEQUENCE, Attributes, Origin
from protocol.prefix import parse_address, parse_prefix
from protocol.v3.bgp import AddCommunity, BGPFilter, BGPFilterSpec, FilterOperation, FilterRuleV4
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.metadata import Metadata


def bgp_filter(**lists: Any) -> BGPFilter:
    return BGPFilter(Metadata(name="f"), spec=BGPFilterSpec(**lists))


def pool(name: str, cidr: str, **facts: Any) -> IPPool:
    return IPPool(Metadata(name=name), spec=IPPoolSpec(cidr=cidr, **facts))


def test_a_route_with_everything() -> None:
    text = """
    prefix: 10.1.0.0/24
    asPath: [65001, "1.5"]
    communities: [65000:10, 65000:1:2]
    localPref: 7
    med: 3
    origin: egp
    nextHop: 10.0.0.9
    interface: eth1
    source: Local
    """
    assert read_route(text, "export") == RouteText(
        prefix=parse_prefix("10.1.0.0/24"),
        attributes=Attributes(
            next_hop=parse_address("10.0.0.9"), as_path=((AS_SEQUENCE, (65001, 65541)),), local_pref=7, med=3,
            origin=Origin.EGP, communities=(65000 << 16 | 10,), large_communities=((65000, 1, 2),),
        ),
        learned=False,
        interface="eth1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("direction", "text", "learned", "preference"),
    [
        ("import", "{prefix: 10.0.0.0/8}", True, 100),
        ("export", "{prefix: 10.0.0.0/8}", False, 2147482623),
        ("export", "{prefix: 10.0.0.0/8, asPath: 65001}", True, 100),
        ("export", "{prefix: 10.0.0.0/8, source: RemotePeers}", True, 100),
        ("export", "{prefix: 10.0.0.0/8, priority: 512}", False, 2147483135),
    ],
)
def test_what_is_not_said(direction: Any, text: str, learned: bool, preference: int) -> None:
    route = read_route(text, direction)
    assert (route.learned, route.attributes.local_pref) == (learned, preference)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a route is a mapping"),
        ("[1]", "a route is a mapping"),
        ("{prefix: 10.0.0.0/8}\n---\n{prefix: 10.0.0.0/8}", "a route is a mapping"),
        ("{", "invalid YAML"),
        ("{asPath: 1}", "prefix: required"),
        ("{prefix: 10.0.0.1/8}", "prefix: .* 10.0.0.0/8 is the network"),
        ("{prefix: [10.0.0.0/8]}", "prefix: a mapping or a list"),
        ("{prefix: 10.0.0.0/8, prefix: 10.0.0.0/8}", "prefix: stands here twice"),
        ("{prefix: 10.0.0.0/8, as_path: 1}", "as_path: unknown field; a route has prefix, asPath"),
        ("{prefix: 10.0.0.0/8, asPath: x}", "asPath: 'x'"),
        ("{prefix: 10.0.0.0/8, asPath: [0]}", "asPath: "),
        ("{prefix: 10.0.0.0/8, communities: [1:70000]}", "communities: '1:70000' is not a community"),
        ("{prefix: 10.0.0.0/8, localPref: -1}", "localPref: -1 is not a number in 0..4294967295"),
        ("{prefix: 10.0.0.0/8, localPref: x}", "localPref: 'x' is not a number"),
        ("{prefix: 10.0.0.0/8, priority: 0}", "priority: 0 is not a number in 1..2147483646"),
        ("{prefix: 10.0.0.0/8, priority: 1, localPref: 1}", "localPref and priority are one thing"),
        ("{prefix: 10.0.0.0/8, origin: BGP}", "origin: 'BGP' is not one of"),
        ("{prefix: 10.0.0.0/8, source: Static}", "source: 'Static' is not one of RemotePeers, Local"),
        ("{prefix: 10.0.0.0/8, source: Local}", "source: what is imported comes from a remote peer"),
        ("{prefix: 'fd00::/64', nextHop: 10.0.0.1}", "nextHop: of another address family"),
        ("x" * 70000, "more than 64 KiB"),
    ],
)  # fmt: skip
def test_bad_routes(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_route(text, "import")


@given(st.text(alphabet="{}[]:, \n-&*'\"prefix10./8asPthcomuniels", max_size=80))
def test_any_text_is_a_route_or_a_complaint(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert read_route(text, "export").prefix


def test_what_is_shown_can_be_read_again() -> None:
    text = '{prefix: "fd00::/64", asPath: [1, 2], communities: ["1:2", "1:2:3"], med: 0, origin: Incomplete, nextHop: "fd00::1"}'
    route = read_route(text, "import")
    again = RouteText(
        prefix=route.prefix, attributes=route.attributes, learned=route.learned, interface=route.interface
    )
    shown = str(as_json(route))
    assert read_route(shown, "import") == again
    assert dict(rows(route))["communities"] == "1:2 1:2:3"
    assert dict(rows(read_route("{prefix: 10.0.0.0/8, priority: 256}", "export")))["localPref"] == (
        "2147483391 (priority 256)"
    )


REJECT_EBGP = FilterRuleV4(action="Reject", peer_type="eBGP")
TAG = FilterRuleV4(
    action="Accept", cidr="10.1.0.0/16", match_operator="In",
    operations=(FilterOperation(add_community=AddCommunity(value="1:2")),),
)  # fmt: skip


def test_a_rule_decides() -> None:
    resource = bgp_filter(import_v4=(REJECT_EBGP, TAG))
    route = read_route("{prefix: 10.1.2.0/24}", "import")
    ibgp, ebgp = (try_filter(resource, "import", route, internal=each, pools=()) for each in (True, False))
    assert (ibgp.accepted, ibgp.rules, ibgp.index) == (True, "importV4", 1)
    assert ibgp.route.attributes.communities == (1 << 16 | 2,)
    assert (ebgp.accepted, ebgp.index) == (False, 0)
    assert asks_peer_type(resource.spec.import_v4) == 0
    assert asks_peer_type((TAG,)) is None


@pytest.mark.parametrize(
    ("direction", "prefix", "accepted", "reason"),
    [
        ("import", "10.9.0.0/24", True, "no rule of importV4 holds; Calico imports"),
        ("import", "fd00::/64", True, "BGPFilter f has no importV6; Calico imports"),
        ("export", "192.168.4.0/26", True, "exports what is in IPPool open"),
        ("export", "172.16.0.0/26", False, "nothing of IPPool closed: disableBGPExport"),
        ("export", "10.9.0.0/24", False, "no IPPool of these files holds it"),
    ],
)
def test_calicos_default(direction: Any, prefix: str, accepted: bool, reason: str) -> None:
    resource = bgp_filter(import_v4=(TAG,), export_v4=(TAG,))
    pools = [pool("open", "192.168.0.0/16"), pool("closed", "172.16.0.0/16", disable_bgp_export=True)]
    route = read_route(f'{{prefix: "{prefix}"}}', direction)
    outcome = try_filter(resource, direction, route, internal=True, pools=pools)
    assert (outcome.accepted, outcome.index, outcome.route) == (accepted, None, route)
    assert reason in outcome.reason
