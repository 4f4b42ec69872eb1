"""The files for BIRD, against expectations written by hand, and against BIRD itself."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from hypothesis import given, settings

from agents.confd.bird import files
from agents.confd.bird_filters import calls, definitions, function_name, statement
from agents.confd.derive import Confd
from agents.confd.still import StillView
from agents.speaker.config import (
    Block,
    Debug,
    ExportPolicy,
    Filter,
    KernelPolicy,
    KernelPool,
    NextHop,
    PeerConfig,
    PeerKind,
    PoolRoutes,
    PrefixCommunities,
    SpeakerConfig,
    StaticRoute,
    Timers,
)
from bench import bird16
from protocol.prefix import IPV4, IPV6, Address, parse_address, parse_prefix
from protocol.v3.bgp import (
    AddCommunity,
    CommunityMatch,
    FilterOperation,
    FilterRuleV4,
    FilterRuleV6,
    PrefixLengthV4,
    PrefixLengthV6,
    PrependASPath,
    SetPriority,
)
from protocol.v3.loader import parse
from protocol.v3.node import Node
from tests.conftest import Golden
from tests.strategies.manifests import Drawn, manifests

OWN = parse_address("172.20.0.11")
BIRD = bird16.find()
needs_bird16 = pytest.mark.skipif(BIRD is None, reason=bird16.INSTALL)


def config(**changes: Any) -> SpeakerConfig:
    plain = SpeakerConfig(node="edge-1", address=OWN, router_id=OWN, local_as=65010)
    return attrs.evolve(plain, **changes)


def peer(address: str = "172.20.0.12", **changes: Any) -> PeerConfig:
    fields: dict[str, Any] = {
        "name": "Node_" + address.replace(".", "_").replace(":", "_"),
        "kind": PeerKind.NODE,
        "address": parse_address(address),
        "local_address": OWN,
        "local_as": 65010,
        "peer_as": 65010,
    }
    return PeerConfig(**{**fields, **changes})


def statements(text: str) -> list[str]:
    """The lines without blank ones and comments."""
    return [line for each in text.splitlines() if (line := each.partition("#")[0].strip())]


def stanza(one: PeerConfig, **changes: Any) -> list[str]:
    """Of one peer, without the two filters."""
    lines = statements(files(config(peers=(one,), **changes))["bird.cfg"])
    lines = lines[lines.index(f"protocol bgp {one.name} from bgp_template {{") + 1 :]
    first, second = lines.index("import filter {"), lines.index("export filter {")
    end = lines.index("};", second)
    return [*lines[:first], *lines[end + 1 : lines.index("}", end)]]


def filter_of(*rules: FilterRuleV4, name: str = "guard", direction: Any = "import") -> Filter:
    return Filter(name=name, direction=direction, family=IPV4, rules=rules)


# -- the whole ----------------------------------------------------------------------------------------------------


def everything() -> SpeakerConfig:
    """A node with one of everything that a file of 1.6.8 can have."""
    guard = filter_of(
        FilterRuleV4(action="Accept", peer_type="iBGP", cidr="10.4.0.0/16", match_operator="In"),
        FilterRuleV4(action="Reject"),
        name="guard",
    )
    lift = filter_of(
        FilterRuleV4(
            action="Accept", operations=(FilterOperation(set_priority=SetPriority(value=300)),), priority=1024
        ),
        name="lift",
        direction="export",
    )
    return config(
        subnet=parse_prefix("172.20.0.0/24"),
        listen_port=1179,
        listen_address=OWN,
        ignored_interfaces=("docker*",),
        filters=(guard, lift),
        peers=(
            peer(
                "192.0.2.1",
                name="Global_192_0_2_1_port_1790",
                port=1790,
                peer_as=65020,
            ),
            peer(import_filters=(guard,), export_filters=(lift,), passive=True),
        ),
        policy=ExportPolicy(
            export_disabled=(parse_prefix("10.66.0.0/16"),),
            communities=(
                PrefixCommunities(
                    cidr=parse_prefix("10.4.0.0/16"), communities=((64512, 7, 9), 64512 << 16 | 7)
                ),
            ),
            blocks=(
                Block(cidr=parse_prefix("10.4.0.64/26"), state="confirmed"),
                Block(cidr=parse_prefix("10.4.1.0/26"), state="pendingDeletion"),
                Block(cidr=parse_prefix("10.5.0.1/32"), state=""),
            ),
            services=(parse_prefix("10.96.0.0/12"),),
            reflected=(parse_prefix("198.51.100.0/24"),),
            pools=(parse_prefix("10.4.0.0/16"), parse_prefix("10.5.0.0/16")),
        ),
        kernel=KernelPolicy(
            rejected=(parse_prefix("10.96.0.0/12"),),
            wireguard=(parse_address("172.20.0.13"),),
            pools=(
                KernelPool(cidr=parse_prefix("10.4.0.0/16"), routes=PoolRoutes.DIRECT),
                KernelPool(cidr=parse_prefix("10.5.0.0/16"), routes=PoolRoutes.VXLAN),
                KernelPool(cidr=parse_prefix("10.66.0.0/16"), routes=PoolRoutes.FELIX),
            ),
            subnet=parse_prefix("172.20.0.0/24"),
        ),
        statics=(
            StaticRoute(prefix=parse_prefix("10.4.0.64/26")),
            StaticRoute(prefix=parse_prefix("10.4.1.0/26")),
            StaticRoute(prefix=parse_prefix("10.96.0.0/12")),
            StaticRoute(prefix=parse_prefix("192.0.2.1/32"), via=parse_address("172.20.0.1")),
        ),
    )


@pytest.mark.parametrize("name", ["bird", "bird_aggr", "bird_ipam"])
def test_a_node_with_one_of_everything(golden: Golden, name: str) -> None:
    golden(f"render_{name}", files(everything())[f"{name}.cfg"])


def test_the_files_of_ipv6_are_named_and_include_each_other_by_those_names() -> None:
    texts = files(config(family=IPV6))
    assert set(texts) == {"bird6.cfg", "bird6_aggr.cfg", "bird6_ipam.cfg"}
    assert 'include "bird6_aggr.cfg";' in texts["bird6.cfg"]
    assert 'include "bird6_ipam.cfg";' in texts["bird6.cfg"]
    assert "router id 172.20.0.11;" in texts["bird6.cfg"]


# -- bird.cfg -----------------------------------------------------------------------------------------------------


def test_a_node_without_an_address_has_a_daemon_without_bgp() -> None:
    text = files(config(address=Address(b""), family=IPV6, peers=(peer(),)))["bird6.cfg"]
    assert "# IPv6 disabled on this node." in text
    assert "bgp_template" not in text
    assert "protocol direct from direct_template {" in text


def test_a_node_without_peers_says_so() -> None:
    text = files(config())["bird.cfg"]
    assert text.rstrip().endswith("# No BGP peers configured for this node")
    assert "# No v4 BGPFilters configured" in text
    assert "template bgp bgp_template {" in text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"listen_port": 1179}, "listen bgp port 1179;"),
        ({"listen_address": OWN}, "listen bgp address 172.20.0.11;"),
        ({"listen_address": OWN, "listen_port": 1179}, "listen bgp address 172.20.0.11 port 1179;"),
    ],
)
def test_where_to_listen(fields: dict[str, Any], expected: str) -> None:
    assert expected in statements(files(config(**fields))["bird.cfg"])
    assert not any("listen" in line for line in statements(files(config())["bird.cfg"]))


@pytest.mark.parametrize(
    ("debug", "expected"),
    [
        (Debug.NONE, []),
        (
            Debug.INFO,
            ["debug { states };", "debug { states };", "debug { states, routes, filters, events };"],
        ),
        (Debug.ALL, ["debug all;"] * 3),
    ],
)
def test_what_is_logged(debug: Debug, expected: list[str]) -> None:
    lines = statements(files(config(debug=debug))["bird.cfg"])
    assert [line for line in lines if line.startswith("debug")] == expected


def test_ignored_interfaces_come_first() -> None:
    text = files(config(ignored_interfaces=("docker*", "br-?")))["bird.cfg"]
    assert '  interface -"docker*", -"br-?", -"cali*", -"kube-ipvs*", "*";' in text.splitlines()


@pytest.mark.parametrize(
    ("fields", "before", "after"),
    [
        ({}, [], []),
        ({"passive": True}, [], ["passive on;"]),
        ({"restart_time": 17, "keepalive_time": 9}, [], ["graceful restart time 17;", "keepalive time 9;"]),
        (
            {"rr_client": True, "cluster_id": parse_address("244.0.0.1")},
            [],
            ["rr client;", "rr cluster id 244.0.0.1;"],
        ),
        (
            {"password": "s3cret", "next_hop": NextHop.KEEP, "allow_local_as": 2},
            [],
            ['password "s3cret";', "next hop keep;", "allow local as 2;"],
        ),
        ({"next_hop": NextHop.SELF}, [], ["next hop self;"]),
        ({"local_as_number": 65077, "local_as": 65077}, ["local as 65077;"], []),
    ],
)
def test_the_options_of_a_peer_in_their_order(
    fields: dict[str, Any], before: list[str], after: list[str]
) -> None:
    assert stanza(peer(**fields)) == [
        *before,
        "neighbor 172.20.0.12 as 65010;",
        "source address 172.20.0.11;",
        "ttl security off;",
        "multihop;",
        *after,
    ]


def test_a_peer_with_a_port_behind_a_ttl_and_without_a_source() -> None:
    assert stanza(peer(port=1790, ttl_security=3, source_address=False)) == [
        "neighbor 172.20.0.12 port 1790 as 65010;",
        "ttl security on;",
        "multihop 3;",
    ]


def test_whether_a_peer_is_internal_is_told_to_the_filters() -> None:
    """By the AS that this node has towards that peer."""
    text = files(config(peers=(peer(peer_as=65077, local_as_number=65077, local_as=65077),)))["bird.cfg"]
    assert "    calico_export_to_bgp_peers(true);" in text
    text = files(config(peers=(peer(peer_as=65011),)))["bird.cfg"]
    assert "    calico_export_to_bgp_peers(false);" in text


def test_priorities_are_local_preferences_below_the_largest_integer() -> None:
    text = files(config(peers=(peer(),), policy=ExportPolicy(normal_priority=2000)))["bird.cfg"]
    assert "(bgp_local_pref > 2147481647)" in text
    assert "if (!defined(krt_metric)) then { krt_metric = 2000; }" in text


# -- filters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (FilterRuleV4(action="Accept"), "accept;"),
        (
            FilterRuleV4(action="Reject", cidr="10.4.0.0/16", match_operator="NotEqual"),
            "if ((net != 10.4.0.0/16)) then { reject; }",
        ),
        (
            FilterRuleV4(
                action="Accept",
                cidr="10.4.0.0/16",
                match_operator="In",
                prefix_length=PrefixLengthV4(min=8, max=28),
            ),
            "if ((net ~ [ 10.4.0.0/16{16,28} ])) then { accept; }",
        ),
        (
            FilterRuleV6(
                action="Accept",
                cidr="fd00::/48",
                match_operator="NotIn",
                prefix_length=PrefixLengthV6(min=64),
            ),
            "if ((net !~ [ fd00::/48{64,128} ])) then { accept; }",
        ),
        (
            FilterRuleV4(action="Reject", source="RemotePeers", interface="eth*"),
            'if (((defined(source))&&(source ~ [ RTS_BGP ]))&&((defined(ifname))&&(ifname ~ "eth*"))) then { reject; }',
        ),
        (
            FilterRuleV4(action="Reject", communities=CommunityMatch(values=("64512:7",))),
            "if (((64512, 7) ~ bgp_community)) then { reject; }",
        ),
        (
            FilterRuleV4(action="Reject", communities=CommunityMatch(values=("64512:7:9",))),
            "if (((64512, 7, 9) ~ bgp_large_community)) then { reject; }",
        ),
        (
            FilterRuleV4(action="Accept", as_path_prefix=(65001,)),
            "if ((bgp_path ~ [= 65001 * =])) then { accept; }",
        ),
        (
            FilterRuleV4(action="Accept", as_path_prefix=(65001, 65002)),
            "if ((bgp_path ~ [= 65001 65002 * =])) then { accept; }",
        ),
        (
            FilterRuleV4(action="Accept", priority=512),
            "if ((defined(bgp_local_pref)&&(bgp_local_pref = 2147483135))) then { accept; }",
        ),
        (FilterRuleV4(action="Accept", peer_type="eBGP"), "if (!is_same_as) then { accept; }"),
        (
            FilterRuleV4(action="Reject", peer_type="iBGP", priority=512),
            "if (is_same_as) then { if ((defined(bgp_local_pref)&&(bgp_local_pref = 2147483135))) then { reject; } }",
        ),
        (
            FilterRuleV4(
                action="Accept",
                operations=(
                    FilterOperation(add_community=AddCommunity(value="64512:7")),
                    FilterOperation(prepend_as_path=PrependASPath(prefix=(65001, 65002))),
                    FilterOperation(add_community=AddCommunity(value="64512:7:9")),
                    FilterOperation(set_priority=SetPriority(value=256)),
                ),
            ),
            "bgp_community.add((64512, 7)); bgp_path.prepend(65002); bgp_path.prepend(65001);"
            " bgp_large_community.add((64512, 7, 9)); bgp_local_pref = 2147483391; accept;",
        ),
        (
            FilterRuleV6(action="Reject", cidr="fd00:7::0/64", match_operator="In"),
            "if ((net ~ fd00:7::0/64)) then { reject; }",
        ),
        (
            FilterRuleV4(action="Reject", cidr="10.1.2.3/16", match_operator="In"),
            "if ((net ~ 10.1.0.0/16)) then { reject; }",
        ),
        (
            FilterRuleV4(
                action="Reject", cidr="10.1.2.3/16", match_operator="In", prefix_length=PrefixLengthV4(min=20)
            ),
            "if ((net ~ [ 10.1.0.0/16{20,32} ])) then { reject; }",
        ),
    ],
)
def test_a_rule_is_a_statement(rule: FilterRuleV4 | FilterRuleV6, expected: str) -> None:
    assert statement(rule) == expected


def test_a_filter_that_asks_for_the_peers_type_takes_it() -> None:
    plain = filter_of(FilterRuleV4(action="Reject"))
    asking = filter_of(FilterRuleV4(action="Reject", peer_type="iBGP"), direction="export")
    assert list(definitions((plain, asking), IPV4)) == [
        "# v4 BGPFilter guard",
        "function 'bgp_guard_importFilterV4'() {",
        "  reject;",
        "}",
        "function 'bgp_guard_exportFilterV4'(bool is_same_as) {",
        "  if (is_same_as) then { reject; }",
        "}",
    ]
    assert list(calls((plain, asking), internal=False)) == [
        "'bgp_guard_importFilterV4'();",
        "'bgp_guard_exportFilterV4'(false);",
    ]


def test_a_name_that_is_too_long_for_a_symbol_ends_in_its_hash() -> None:
    assert function_name(filter_of(name="n" * 45)) == f"'bgp_{'n' * 45}_importFilterV4'"
    long, longer = (function_name(filter_of(name="n" * length)) for length in (46, 47))
    # printf nnn… | sha256sum
    assert long == f"'bgp_{'n' * 28}_C043D3B9697604BB_importFilterV4'"
    assert len(long) == 64 + 2
    assert longer[:33] == long[:33]
    assert longer != long


# -- bird_aggr.cfg and bird_ipam.cfg ------------------------------------------------------------------------------


def test_a_host_without_routes_has_no_static_protocol() -> None:
    text = files(config())["bird_aggr.cfg"]
    assert "# No IP blocks or static routes for this host." in text
    assert "protocol static" not in text


def test_a_tunnel_that_bird_programs_is_no_reason_to_keep_a_route() -> None:
    text = files(config(policy=ExportPolicy(tunnel_kept=False)))["bird_ipam.cfg"]
    assert '      if ((ifname ~ "*.cali") || (ifname ~ "*.calico")) then {' in text.splitlines()


def test_tunnels_are_words_of_the_fork() -> None:
    pools = tuple(
        KernelPool(cidr=parse_prefix(cidr), routes=routes)
        for cidr, routes in (("10.4.0.0/16", PoolRoutes.TUNNEL), ("10.5.0.0/16", PoolRoutes.CROSS_SUBNET))
    )
    kernel = KernelPolicy(pools=pools, subnet=parse_prefix("172.20.0.0/24"))
    lines = files(config(kernel=kernel))["bird_ipam.cfg"].splitlines()
    assert '  if (net ~ 10.4.0.0/16) then { krt_tunnel="tunl0"; accept; }' in lines
    assert (
        "  if (net ~ 10.5.0.0/16) then { if (defined(bgp_next_hop)&&(bgp_next_hop ~ 172.20.0.0/24))"
        ' then krt_tunnel=""; else krt_tunnel="tunl0"; accept; }' in lines
    )


def test_ipv6_only_says_what_it_does_not_program() -> None:
    pools = (
        KernelPool(cidr=parse_prefix("fd01::/64"), routes=PoolRoutes.DIRECT),
        KernelPool(cidr=parse_prefix("fd02::/64"), routes=PoolRoutes.VXLAN),
    )
    lines = files(config(family=IPV6, kernel=KernelPolicy(pools=pools)))["bird6_ipam.cfg"].splitlines()
    assert [line for line in lines if "fd0" in line] == [
        "  if (net ~ fd02::/64) then { reject; } # VXLAN routes are handled by Felix."
    ]


# -- the judge ----------------------------------------------------------------------------------------------------


def accepted(tmp_path: Path, one: SpeakerConfig) -> str:
    """What BIRD has against it."""
    assert BIRD is not None
    for name, text in files(one).items():
        (tmp_path / name).write_text(text)
    main = tmp_path / ("bird.cfg" if one.family == IPV4 else "bird6.cfg")
    done = subprocess.run([BIRD[one.family], "-p", "-c", main], capture_output=True, text=True, check=False)
    return done.stderr


@needs_bird16
def test_bird_takes_one_of_everything(tmp_path: Path) -> None:
    assert accepted(tmp_path, everything()) == ""


@needs_bird16
def test_bird_as_it_was_released_knows_no_tunnels(tmp_path: Path) -> None:
    """The one thing in the files that is the fork's."""
    kernel = KernelPolicy(pools=(KernelPool(cidr=parse_prefix("10.4.0.0/16"), routes=PoolRoutes.TUNNEL),))
    assert "bird_ipam.cfg" in accepted(tmp_path, config(kernel=kernel))


@needs_bird16
@pytest.mark.slow
@settings(max_examples=40)
@given(manifests())
def test_bird_takes_whatever_confd_makes_of_resources(drawn: Drawn) -> None:
    """Of all that uses no word of the fork: nothing that is drawn makes BIRD program tunnels."""
    resources = parse(yaml.safe_dump_all(drawn.documents)).resources
    confd = Confd(StillView(resources), Timers(), env=drawn.env)
    with tempfile.TemporaryDirectory() as place:
        for node in (each.metadata.name for each in resources if isinstance(each, Node)):
            for family in (IPV4, IPV6):
                one = confd.derive(node, family)
                assert one is not None
                assert accepted(Path(place), one) == ""
