"""Import and export policy, rule by rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.speaker.config import MAX_PRIORITY, Block, ExportPolicy, Filter, NextHop, PrefixCommunities
from agents.speaker.decision import PREFERENCE_BGP, PREFERENCE_KERNEL, PREFERENCE_STATIC, Path, RouteSource
from agents.speaker.peer import Peer
from agents.speaker.policy import (
    NO_ADVERTISE,
    NO_EXPORT,
    NO_EXPORT_SUBCONFED,
    ExportClass,
    Exporter,
    ImportPolicy,
)
from protocol.bgp.attributes import AS_SEQUENCE, AS_SET, LLGR_STALE, Attributes, AttributeTable, Origin
from protocol.prefix import IPV4, Address, Prefix, parse_prefix
from protocol.v3.bgp import (
    AddCommunity,
    CommunityMatch,
    FilterOperation,
    FilterRuleV4,
    PrependASPath,
    SetPriority,
)
from tests.strategies.speaker import LOCAL_AS, as_path, attributes, host, neighbour

CLUSTER, OTHER_CLUSTER = host(200), host(201)
US = host(9)
NORMAL = MAX_PRIORITY - 1024
ELEVATED = MAX_PRIORITY - 512


def prefixes(*texts: str) -> tuple[Prefix, ...]:
    return tuple(map(parse_prefix, texts))


def filters(direction: Literal["import", "export"], *rules: FilterRuleV4) -> tuple[Filter, ...]:
    return (Filter(name="f", direction=direction, family=IPV4, rules=rules),)


# --- import -------------------------------------------------------------------------------------------------------


def let_in(
    peer: Peer, told: Attributes, *texts: str, **changes: Any
) -> list[tuple[Sequence[Prefix], Attributes | None]]:
    config = attrs.evolve(peer.config, **changes)
    policy = ImportPolicy(config, router_id=US, intern=AttributeTable().intern)
    return list(policy.import_(prefixes(*(texts or ("10.1.0.0/16",))), told))


@pytest.mark.parametrize(
    ("facts", "admitted"),
    [
        ({}, True),
        ({"as_path": as_path(1, 2)}, True),
        ({"as_path": as_path(1, LOCAL_AS)}, False),
        ({"as_path": ((AS_SEQUENCE, (1,)), (AS_SET, (2, LOCAL_AS)))}, False),
        ({"originator_id": host(3)}, True),
        ({"originator_id": US}, False),
        ({"cluster_list": (CLUSTER,)}, True),  # not a client's
    ],
)
def test_loops_by_ibgp(facts: dict[str, Any], *, admitted: bool) -> None:
    told = Attributes(next_hop=host(1), local_pref=7, **facts)
    assert let_in(neighbour(1), told) == [(prefixes("10.1.0.0/16"), told if admitted else None)]


def test_a_route_through_this_node_itself_is_none() -> None:
    told = Attributes(next_hop=neighbour(1).config.local_address, local_pref=7)
    assert let_in(neighbour(1), told) == [(prefixes("10.1.0.0/16"), None)]


def test_a_clients_route_that_was_in_our_cluster_is_a_loop() -> None:
    client = neighbour(1, rr_client=True, cluster_id=CLUSTER)
    told = Attributes(next_hop=host(1), local_pref=7, cluster_list=(host(3), CLUSTER))
    assert let_in(client, told)[0][1] is None
    assert let_in(client, attrs.evolve(told, cluster_list=(host(3),)))[0][1] is not None


def test_an_external_peer_loops_by_as_alone_and_says_nothing_of_preference() -> None:
    external = neighbour(1, peer_as=1)
    told = Attributes(
        next_hop=host(1), as_path=as_path(1), originator_id=US, cluster_list=(CLUSTER,), local_pref=ELEVATED
    )
    [(_, kept)] = let_in(external, told)
    assert kept == Attributes(next_hop=host(1), as_path=as_path(1), local_pref=100)
    assert let_in(external, attrs.evolve(told, as_path=as_path(1, LOCAL_AS)))[0][1] is None


@pytest.mark.parametrize(("times", "admitted"), [(1, True), (2, True), (3, False)])
def test_our_as_may_stand_in_a_path_as_often_as_allowed(times: int, *, admitted: bool) -> None:
    told = Attributes(next_hop=host(1), as_path=as_path(1, *[LOCAL_AS] * times))
    [(_, kept)] = let_in(neighbour(1, peer_as=1), told, allow_local_as=2)
    assert (kept is not None) is admitted


def test_the_as_of_the_session_is_the_one_that_loops() -> None:
    told = Attributes(next_hop=host(1), as_path=as_path(1, LOCAL_AS))
    assert let_in(neighbour(1, peer_as=1), told, local_as=65001)[0][1] is not None


def test_a_route_without_a_preference_gets_the_default_one() -> None:
    [(_, kept)] = let_in(neighbour(1), Attributes(next_hop=host(1)))
    assert kept == Attributes(next_hop=host(1), local_pref=100)


MANY = tuple(f"10.{number}.0.0/16" for number in range(200))


def test_without_filters_an_update_is_one_piece() -> None:
    told = Attributes(next_hop=host(1), local_pref=7)
    [(found, kept)] = let_in(neighbour(1), told, *MANY)
    assert list(found) == list(prefixes(*MANY))
    assert kept is told


def test_filters_that_do_not_look_at_prefixes_leave_it_one_piece() -> None:
    reject = FilterRuleV4(action="Reject", communities=CommunityMatch(values=("65000:7",)))
    told = Attributes(next_hop=host(1), local_pref=7, communities=(65000 << 16 | 7,))
    assert let_in(neighbour(1), told, *MANY, import_filters=filters("import", reject)) == [
        (prefixes(*MANY), None)
    ]


def test_import_filters_part_an_update_by_verdict() -> None:
    rules = (
        FilterRuleV4(action="Reject", cidr="10.1.0.0/16", match_operator="Equal"),
        FilterRuleV4(
            action="Accept", cidr="10.2.0.0/15", match_operator="In",
            operations=(FilterOperation(set_priority=SetPriority(value=512)),),
        ),
    )  # fmt: skip
    told = Attributes(next_hop=host(1), local_pref=7)
    found = let_in(neighbour(1), told, *MANY[:5], import_filters=filters("import", *rules))
    assert found == [
        ([*prefixes(MANY[0], MANY[4])], told),
        ([*prefixes(MANY[1])], None),
        ([*prefixes(MANY[2], MANY[3])], attrs.evolve(told, local_pref=ELEVATED, settled=True)),
    ]


def test_an_import_filter_sees_the_way_it_came() -> None:
    rule = FilterRuleV4(action="Reject", interface="eth*", source="RemotePeers", peer_type="eBGP")
    told = Attributes(next_hop=host(1))
    assert let_in(neighbour(1, peer_as=1), told, import_filters=filters("import", rule))[0][1] is None
    assert let_in(neighbour(1), told, import_filters=filters("import", rule))[0][1] is not None


# --- export: who is told ------------------------------------------------------------------------------------------


def to(**changes: Any) -> ExportClass:
    facts: dict[str, Any] = {
        "internal": True, "local_as": LOCAL_AS, "local_address": US, "rr_client": False, "cluster_id": None,
    }  # fmt: skip
    return ExportClass(**{**facts, **changes})


IBGP, EBGP, CLIENT = to(), to(internal=False), to(rr_client=True, cluster_id=CLUSTER)

POLICY = ExportPolicy(
    blocks=tuple(
        Block(cidr=cidr, state="confirmed") for cidr in prefixes("192.168.4.64/26", "172.16.0.0/26")
    ),
    pools=prefixes("192.168.0.0/16"),
    export_disabled=prefixes("172.16.0.0/16"),
    services=prefixes("10.96.0.0/12"),
    reflected=prefixes("10.200.0.0/16"),
)
POD = parse_prefix("192.168.9.3/32")


def own(
    source: RouteSource = RouteSource.STATIC, *, hops: tuple[Address, ...] = (), ifname: str = ""
) -> Path:
    preference = PREFERENCE_STATIC if source is RouteSource.STATIC else PREFERENCE_KERNEL
    return Path(None, Attributes(next_hop=US), hops, preference, source=source, ifname=ifname)


def learned(peer: Peer, **facts: Any) -> Path:
    said = Attributes(**{"next_hop": host(1), "local_pref": 100, **facts})
    return Path(peer, said, (said.next_hop,), PREFERENCE_BGP)


def exporter(key: ExportClass = IBGP, policy: ExportPolicy | None = POLICY) -> Exporter:
    return Exporter(key, policy, router_id=US, intern=AttributeTable().intern)


def told(
    path: Path, key: ExportClass = IBGP, prefix: Prefix = POD, policy: ExportPolicy | None = POLICY
) -> Attributes | None:
    return exporter(key, policy).export(prefix, path)


def test_what_ibgp_taught_goes_on_by_reflection_alone() -> None:
    plain, client, external = neighbour(1), neighbour(2, rr_client=True), neighbour(3, peer_as=1)
    paths = {
        "own": own(), "plain": learned(plain), "client": learned(client), "external": learned(external),
    }  # fmt: skip
    silent = [
        (name, which)
        for name, path in paths.items()
        for which, key in (("ibgp", IBGP), ("client", CLIENT), ("ebgp", EBGP))
        if not exporter(key).may_tell(path)
    ]
    assert silent == [("plain", "ibgp")]
    assert told(paths["plain"]) is None


def test_two_ases_of_ours_are_no_reflection() -> None:
    """localASNumber: what one internal session taught goes to an internal one of another AS as it is."""
    other = to(local_as=65001)
    assert told(learned(neighbour(1)), other) == Attributes(next_hop=host(1), local_pref=100)


@pytest.mark.parametrize(
    ("community", "silent"),
    [(NO_EXPORT, ["ebgp"]), (NO_EXPORT_SUBCONFED, ["ebgp"]), (NO_ADVERTISE, ["ibgp", "ebgp"]), (1, [])],
)
def test_well_known_communities(community: int, silent: list[str]) -> None:
    path = learned(neighbour(1, rr_client=True), communities=(community,))
    found = {"ibgp": told(path, IBGP), "ebgp": told(path, EBGP)}
    assert [which for which, attributes_ in found.items() if attributes_ is None] == silent


def test_what_is_stale_for_long_is_told_to_those_who_know_what_that_means() -> None:
    path = learned(neighbour(1, rr_client=True), communities=(LLGR_STALE,))
    assert told(path, IBGP) is not None
    assert told(path, attrs.evolve(IBGP, llgr_aware=False)) is None


def test_well_known_communities_of_our_own_routes_bind_others() -> None:
    marked = attrs.evolve(POLICY, communities=(PrefixCommunities(cidr=POD, communities=(NO_EXPORT,)),))
    found = told(own(), EBGP, policy=marked)
    assert found is not None
    assert found.communities == (NO_EXPORT,)


def test_what_was_in_a_clients_cluster_does_not_go_back_there() -> None:
    path = learned(neighbour(1), originator_id=host(2), cluster_list=(CLUSTER,))
    assert told(path, CLIENT) is None
    assert told(path, to(rr_client=True, cluster_id=OTHER_CLUSTER)) is not None


# --- export: which prefixes leave ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "leaves"),
    [
        ("192.168.4.64/26", True),  # a block, whole
        ("192.168.4.65/32", False),  # inside one
        ("192.168.4.64/27", False),
        ("192.168.9.3/32", True),  # borrowed: another node's block, our workload
        ("192.168.9.0/26", True),  # another node's block, as a reflector tells it
        ("192.168.4.0/24", True),  # around a block, inside the pool
        ("192.168.0.0/15", False),  # more than the pool
        ("10.0.0.0/8", False),  # nobody's
        ("172.16.0.0/26", False),  # our block, but of a pool that is not exported
        ("172.16.1.0/26", False),
        ("10.96.0.0/12", True),  # services
        ("10.96.0.10/32", True),
        ("10.200.0.7/32", True),  # a client's service
    ],
)
def test_calico_export_to_bgp_peers(prefix: str, *, leaves: bool) -> None:
    tell = exporter()
    assert (tell.export(parse_prefix(prefix), own()) is not None) is leaves
    assert (tell.export(parse_prefix(prefix), own()) is not None) is leaves, "the second time, by memory"
    assert told(own(), prefix=parse_prefix(prefix), policy=None) is not None


def test_a_block_on_its_way_back_hides_nothing() -> None:
    leaving = attrs.evolve(
        POLICY, blocks=(Block(cidr=parse_prefix("192.168.4.64/26"), state="pendingDeletion"),)
    )
    assert told(own(), prefix=parse_prefix("192.168.4.65/32"), policy=leaving) is not None


@pytest.mark.parametrize(
    ("preference", "leaves"),
    [(NORMAL, False), (NORMAL + 1, True), (MAX_PRIORITY, True), (MAX_PRIORITY + 1, False), (100, False)],
)
def test_a_workload_that_migrates_leaves_its_block(preference: int, *, leaves: bool) -> None:
    path = learned(neighbour(1, rr_client=True), local_pref=preference)
    assert (told(path, prefix=parse_prefix("192.168.4.65/32")) is not None) is leaves


@pytest.mark.parametrize(
    ("ifname", "kept", "which"),
    [
        ("tunl0", True, "ebgp"),
        ("tunl0", False, "ibgp ebgp"),
        ("vxlan.calico", True, "ebgp"),
        ("wireguard.cali", False, "ebgp"),
        ("cali12345", True, "ibgp ebgp"),
        ("bpfin.cali", True, ""),
    ],
)
def test_what_felix_programmed_is_told_to_other_ases(ifname: str, *, kept: bool, which: str) -> None:
    policy = attrs.evolve(POLICY, tunnel_kept=kept)
    path = own(RouteSource.KERNEL, hops=(host(3),), ifname=ifname)
    found = [name for name, key in (("ibgp", IBGP), ("ebgp", EBGP)) if told(path, key, policy=policy)]
    assert " ".join(found) == which


def test_memory_of_verdicts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.speaker.policy.MAX_MEMO", 4)
    monkeypatch.setattr("agents.speaker.policy.MAX_PATHS", 4)
    fresh = exporter()
    for octet in range(64, 74):
        path = learned(neighbour(1, rr_client=True), med=octet)
        assert fresh.export(parse_prefix(f"192.168.4.{octet}/32"), path) is None
        found = fresh.export(POD, path)
        assert found is not None
        assert found.med == octet
        assert len(fresh._class_of) <= 4
        assert len(fresh._paths) <= 4


# --- export: what becomes of the attributes -----------------------------------------------------------------------

FULL: dict[str, Any] = {
    "next_hop": host(1), "origin": Origin.EGP, "as_path": as_path(1), "med": 5, "local_pref": 200,
    "communities": (1, 2), "large_communities": ((1, 2, 3),), "atomic_aggregate": True, "aggregator": (1, host(1)),
}  # fmt: skip


def test_a_route_of_our_own() -> None:
    assert told(own(), IBGP) == Attributes(next_hop=US, local_pref=NORMAL)
    assert told(own(), EBGP) == Attributes(next_hop=US, as_path=as_path(LOCAL_AS))


def test_a_lab_router_knows_no_priorities() -> None:
    assert told(own(), IBGP, policy=None) == Attributes(next_hop=US, local_pref=100)


def test_a_lab_router_keeps_its_own_network_to_itself() -> None:
    assert told(own(RouteSource.DIRECT, ifname="eth0"), IBGP, policy=None) is None
    assert told(own(ifname="eth0"), IBGP, policy=None) is not None


def test_a_kernel_route_has_a_priority_of_its_own() -> None:
    path = Path(
        None, Attributes(next_hop=US, local_pref=ELEVATED), (), PREFERENCE_KERNEL, source=RouteSource.KERNEL
    )
    assert told(path) == Attributes(next_hop=US, local_pref=ELEVATED)


@pytest.mark.parametrize(
    ("mode", "internal", "external"),
    [(NextHop.AUTO, host(3), US), (NextHop.KEEP, host(3), host(3)), (NextHop.SELF, US, US)],
)
def test_a_route_through_a_router(mode: NextHop, internal: Address, external: Address) -> None:
    path = own(hops=(host(3),))
    found = [told(path, to(internal=each, next_hop=mode)) for each in (True, False)]
    assert [each.next_hop for each in found if each] == [internal, external]


@pytest.mark.parametrize(
    ("mode", "internal", "external"),
    [(NextHop.AUTO, host(1), US), (NextHop.KEEP, host(1), host(1)), (NextHop.SELF, US, US)],
)
def test_whose_next_hop_a_learned_route_has(mode: NextHop, internal: Address, external: Address) -> None:
    for source in (neighbour(1, rr_client=True), neighbour(1, peer_as=1)):
        found = [told(learned(source), to(internal=each, next_hop=mode)) for each in (True, False)]
        assert [each.next_hop for each in found if each] == [internal, external]


def test_by_ebgp_the_as_is_prepended_and_what_is_ours_stays_here() -> None:
    reflected = {**FULL, "originator_id": host(2), "cluster_list": (CLUSTER,)}
    changed = {"next_hop": US, "as_path": as_path(LOCAL_AS, 1), "med": 0, "local_pref": None}
    for source in (neighbour(1), neighbour(1, peer_as=1)):
        assert told(learned(source, **reflected), EBGP) == Attributes(**{**FULL, **changed})


def test_from_ebgp_to_ibgp_nothing_changes() -> None:
    assert told(learned(neighbour(1, peer_as=1), **FULL), IBGP) == Attributes(**FULL)


def test_reflection_says_who_began_and_whom_it_passed() -> None:
    once = told(learned(neighbour(1), **FULL), CLIENT)
    assert once == Attributes(**FULL, originator_id=host(1), cluster_list=(CLUSTER,))
    # The next reflector keeps the originator and adds itself, in the order of numbers; to a non-client, as the client's cluster.
    client = neighbour(2, rr_client=True, cluster_id=OTHER_CLUSTER)
    facts = attrs.asdict(once, recurse=False, filter=lambda each, _: each.init)
    assert told(learned(client, **facts), IBGP) == Attributes(
        **FULL, originator_id=host(1), cluster_list=(CLUSTER, OTHER_CLUSTER)
    )


def test_from_one_cluster_of_ours_into_another() -> None:
    client = neighbour(2, rr_client=True, cluster_id=OTHER_CLUSTER)
    found = told(learned(client, **FULL), CLIENT)
    assert found is not None
    assert found.cluster_list == (CLUSTER, OTHER_CLUSTER)


def test_who_is_behind_a_session_may_change() -> None:
    peer, tell = neighbour(1, rr_client=True), exporter()
    tell.export(POD, learned(peer))
    peer.identifier = host(77)
    found = tell.export(POD, learned(peer))
    assert found is not None
    assert found.originator_id == host(77)


def test_communities_go_on_by_prefix() -> None:
    marked = attrs.evolve(
        POLICY,
        communities=(
            PrefixCommunities(cidr=parse_prefix("192.168.0.0/16"), communities=(7, (1, 2, 3))),
            PrefixCommunities(cidr=parse_prefix("192.168.9.0/24"), communities=(5, 7)),
        ),
    )
    inside, outside = (
        told(own(), prefix=parse_prefix(text), policy=marked) for text in ("192.168.9.3/32", "10.96.0.1/32")
    )
    assert inside == Attributes(
        next_hop=US, local_pref=NORMAL, communities=(5, 7), large_communities=((1, 2, 3),)
    )
    assert outside == Attributes(next_hop=US, local_pref=NORMAL)


@given(priority=st.integers(1, 2147483645))
def test_a_better_priority_is_a_higher_preference(priority: int) -> None:
    better, worse = (
        told(own(), policy=attrs.evolve(POLICY, normal_priority=each)) for each in (priority, priority + 1)
    )
    assert better is not None
    assert worse is not None
    assert better.rank < worse.rank


# --- export: filters ----------------------------------------------------------------------------------------------


def filtered(path: Path, *rules: FilterRuleV4, prefix: Prefix = POD, **key: Any) -> Attributes | None:
    return told(path, to(export_filters=filters("export", *rules), **key), prefix)


def test_a_filter_comes_before_calicos_own_policy() -> None:
    accept, reject = FilterRuleV4(action="Accept"), FilterRuleV4(action="Reject")
    nobodys = parse_prefix("10.0.0.0/8")
    assert filtered(own(), accept, prefix=nobodys) == Attributes(next_hop=US, local_pref=NORMAL)
    assert filtered(own(), reject) is None
    assert filtered(own(), FilterRuleV4(action="Reject", source="RemotePeers")) is not None


def test_a_filter_sees_the_path_as_it_will_be() -> None:
    ours_first = FilterRuleV4(action="Reject", as_path_prefix=(LOCAL_AS, 1))
    path = learned(neighbour(1, peer_as=1), as_path=as_path(1))
    assert filtered(path, ours_first, internal=False) is None
    assert filtered(path, ours_first) is not None


def test_a_filter_sees_priorities_and_the_uplink() -> None:
    assert filtered(own(), FilterRuleV4(action="Reject", priority=1024)) is None
    assert filtered(own(), FilterRuleV4(action="Reject", priority=1024), internal=False) is None
    assert (
        filtered(learned(neighbour(1, rr_client=True)), FilterRuleV4(action="Reject", interface="eth0"))
        is None
    )
    assert (
        filtered(own(RouteSource.KERNEL, ifname="cali7"), FilterRuleV4(action="Reject", interface="cali*"))
        is None
    )


def test_what_a_filter_prepends_comes_before_our_own_as() -> None:
    rule = FilterRuleV4(
        action="Accept",
        operations=(
            FilterOperation(prepend_as_path=PrependASPath(prefix=(7, 8))),
            FilterOperation(set_priority=SetPriority(value=5)),
            FilterOperation(add_community=AddCommunity(value="0:9")),
        ),
    )
    assert filtered(own(), rule, internal=False) == Attributes(
        next_hop=US, as_path=as_path(7, 8, LOCAL_AS), communities=(9,)
    )


def test_a_route_that_a_filter_accepts_gets_no_communities_of_its_prefix() -> None:
    marked = attrs.evolve(POLICY, communities=(PrefixCommunities(cidr=POD, communities=(7,)),))
    key = to(export_filters=filters("export", FilterRuleV4(action="Accept")))
    found = told(own(), key, policy=marked)
    assert found is not None
    assert found.communities == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(prefixes("192.168.4.64/26", "192.168.4.65/32", "192.168.9.3/32", "10.0.0.0/8", "10.96.0.0/12")),
            st.integers(1, 3), attributes(),
        ),
        max_size=12,
    ),
    st.sampled_from((IBGP, EBGP, CLIENT)),
)  # fmt: skip
def test_memory_changes_nothing(routes: list[tuple[Prefix, int, Attributes]], key: ExportClass) -> None:
    """Whatever an Exporter was asked before, it says what a new one says."""
    rule = FilterRuleV4(
        action="Accept", cidr="10.0.0.0/8", match_operator="Equal", priority=MAX_PRIORITY - 100
    )
    key = attrs.evolve(key, export_filters=filters("export", rule))
    used = exporter(key)
    peers = {1: neighbour(1), 2: neighbour(2, rr_client=True), 3: neighbour(3, peer_as=1)}
    for prefix, number, said in routes:
        path = Path(peers[number], said, (said.next_hop,), PREFERENCE_BGP)
        assert used.export(prefix, path) == exporter(key).export(prefix, path)
