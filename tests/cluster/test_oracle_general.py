"""The general oracle: against the plain one where both know the answer, and by hand where only it does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.dataplane.fib import FibRoute, RouteKind, via
from cluster.oracle import Expected, Oracle, Snapshot, plain, snapshot
from cluster.oracle.facts import gather
from cluster.oracle.fixpoint import NEVER, SEVERAL
from cluster.oracle.general import General
from cluster.spec import Spec, build
from protocol.prefix import format_address, format_prefix
from protocol.v3.codec import encode
from tests.strategies.clusters import (
    Document,
    Listing,
    affinity,
    bgp_configuration,
    bgp_peer,
    document,
    node,
    pool,
    workload,
)

POOL = pool("pool", "192.168.0.0/16")
SIX = pool("six", "fd00::/48")
OFF = bgp_configuration(nodeToNodeMeshEnabled=False)
Tables = dict[str, dict[str, str]]


def show(route: FibRoute) -> str:
    if route.kind is not RouteKind.VIA:
        return f"dev {route.device}" if route.device else route.kind.value
    gateways = (
        f"n{gateway[3]}" if gateway[:3] == b"\x0a\x00\x00" else format_address(gateway)
        for gateway in route.gateways
    )
    return " ".join(gateways) + (f" dev {route.device}" if route.device else "")


def readable(expected: Expected, names: Iterable[str]) -> Tables:
    return {
        name: {format_prefix(prefix).removeprefix("192.168."): show(route) for prefix, route in table.items()}
        for name, table in expected.solve([*names], via)
    }


def names_of(documents: Iterable[Document]) -> list[str]:
    return [each["metadata"]["name"] for each in documents if each["kind"] in ("Node", "Router")]


def ask(documents: list[Document], **how: Any) -> Expected:
    documents = [POOL, *documents]
    assert not plain(Listing(documents))
    return Oracle().expect(snapshot(Listing(documents)), **how)


def tables(documents: list[Document], **how: Any) -> Tables:
    return readable(ask(documents, **how), names_of(documents))


def simple(number: int, *, asn: int | None = None, cluster: str = "", **labels: str) -> list[Document]:
    """Node n<number> at 10.0.0.<number> with block 192.168.<number>.0/26."""
    name = f"n{number}"
    return [
        node(name, f"10.0.0.{number}/24", asn=asn, cluster=cluster, labels=labels),
        affinity(name, f"192.168.{number}.0/26"),
    ]


def sessions(documents: list[Document], **how: Any) -> int:
    counts = ask(documents, **how).counts(names_of(documents))
    return sum(count.sessions for count in counts.values()) // 2


# -- where both know -------------------------------------------------------------------------------------------------

SELECTORS = "all()", "has(a)", "!has(a)", "a == '1'"


@st.composite
def plain_clusters(draw: st.DrawFn) -> list[Document]:
    count = draw(st.integers(2, 6))
    asn = draw(st.sampled_from([64512, 65001]))
    dual = draw(st.booleans())
    documents = [POOL, SIX, pool("secret", "192.168.64.0/18", disableBGPExport=True)]
    documents.append(bgp_configuration(nodeToNodeMeshEnabled=draw(st.booleans()), asNumber=asn))
    names = [f"n{number}" for number in range(1, count + 1)]
    for number, name in enumerate(names, 1):
        one = node(
            name,
            f"10.0.0.{number}/24",
            asn=draw(st.sampled_from([None, asn])),
            cluster=draw(st.sampled_from(["", "", "1.0.0.1", "1.0.0.2"])),
            labels={label: draw(st.sampled_from("12")) for label in "ab" if draw(st.booleans())},
        )
        if dual and draw(st.booleans()):
            one["spec"]["bgp"]["ipv6Address"] = f"fd01::{9 - number}/64"
        documents.append(one)
    states = st.sampled_from(["confirmed", "confirmed", "confirmed", "", "pending", "pendingDeletion"])
    cidrs = ["192.168.1.0/26", "192.168.1.64/26", "192.168.64.0/26", "192.168.1.128/32", "172.16.0.0/26"]
    for cidr in [*cidrs, "fd00::40/122", "fd00::80/122"]:
        for owner in draw(st.lists(st.sampled_from(names), max_size=1)):
            documents.append(affinity(owner, cidr, draw(states)))
    addresses = ["192.168.1.1/32", "192.168.1.128/32", "192.168.200.1/32", "172.16.0.9/32", "fd00::41/128"]
    for number, address in enumerate([*addresses, "192.168.1.65/32", "192.168.64.9/32"]):
        for owner in draw(st.lists(st.sampled_from(names), max_size=2, unique=True)):
            documents.append(workload(owner, address, f"cali{number}"))
    for index in range(draw(st.integers(0, 3))):
        spec: dict[str, object] = {}
        scope = draw(st.integers(0, 2))
        if scope == 1:
            spec["node"] = draw(st.sampled_from(names))
        elif scope == 2:
            spec["nodeSelector"] = draw(st.sampled_from(SELECTORS))
        if draw(st.booleans()):
            spec["peerSelector"] = draw(st.sampled_from(SELECTORS))
        else:
            spec["peerIP"] = draw(st.sampled_from([f"10.0.0.{draw(st.integers(1, 7))}", "fd01::7"]))
            spec["asNumber"] = draw(st.sampled_from([64512, 65001]))
        if draw(st.booleans()):
            spec["reversePeering"] = draw(st.sampled_from(["Auto", "Manual"]))
        documents.append(bgp_peer(f"p{index}", **spec))
    if draw(st.integers(0, 3)) == 0:
        # Everybody's, so it comes before the mesh; and nobody is in that AS.
        address = f"10.0.0.{draw(st.integers(1, count))}"
        documents.append(bgp_peer("before", peerIP=address, asNumber=65009))
    return documents


@settings(max_examples=150)
@given(plain_clusters(), st.sets(st.integers(1, 6), max_size=1), st.booleans())
def test_both_oracles_say_the_same(documents: list[Document], dead: set[int], first_link_cut: bool) -> None:
    down = {f"n{number}" for number in dead}
    cut = [("n2", "n1")] if first_link_cut else []
    listing = Listing(documents)
    assert plain(listing)
    names = names_of(documents)
    one = Expected(gather(listing, down=down, cut=cut))
    other = Expected(tables=General({}).solve(snapshot(listing).documents, down=down, cut=cut))
    assert readable(other, names) == readable(one, names)
    assert other.counts(names) == one.counts(names)
    assert not other.unsettled


class TestChoice:
    @pytest.mark.parametrize(
        "spec", [Spec(nodes=6), Spec(nodes=6, route_reflectors=2), Spec(nodes=6, ip_family="dual")]
    )
    def test_what_up_makes_of_a_few_options_is_plain(self, spec: Spec) -> None:
        """As it is written to the datastore, with all that is filled in: a thousand nodes are judged in a moment."""
        assert plain(Listing(map(encode, build(spec).resources)))

    def test_what_is_not_plain(self) -> None:
        documents = [POOL, bgp_configuration(asNumber=64512), *simple(1), *simple(2)]
        assert plain(Listing(documents))
        for more in (
            simple(3, asn=65001),
            [node("n3", "10.1.0.3/24")],
            [node("n3", "10.0.0.2/24")],
            [document("Node", "n3", {"bgp": {"ipv6Address": "fd00::1/64"}})],
            [document("BGPFilter", "f", {})],
            [pool("tunnel", "172.16.0.0/16", ipipMode="CrossSubnet")],
            [document("BGPConfiguration", "node.n1", {"listenPort": 1790})],
            [bgp_peer("p", peerIP="10.0.0.2:179")],
            [bgp_peer("p", peerSelector="all()", nextHopMode="Self")],
            [bgp_peer("p", peerSelector="all()", sourceAddress="None")],
        ):
            assert not plain(Listing([*documents, *more])), more


# -- sessions ----------------------------------------------------------------------------------------------------------


class TestSessions:
    def test_the_first_stanza_by_name_has_the_session_or_there_is_none(self) -> None:
        nodes = [*simple(1), *simple(2)]
        own = bgp_peer("p", node="n1", peerIP="10.0.0.2", asNumber=64512, ttlSecurity=1)
        assert sessions([*nodes, own]) == 1, "the mesh comes before it"
        everybodys = bgp_peer("p", peerIP="10.0.0.2", asNumber=64512, ttlSecurity=1)
        assert sessions([*nodes, everybodys]) == 0, "it comes before the mesh, which n2 has alone then"

    def test_one_names_its_as_and_the_other_does_not(self) -> None:
        """n1 expects n2 in n1's own AS, as confd does, and n2 is in the global one."""
        assert sessions([*simple(1, asn=64513), *simple(2)]) == 0
        configuration = bgp_configuration(asNumber=64513, serviceClusterIPs=[{"cidr": "10.96.0.0/12"}])
        assert sessions([configuration, *simple(1, asn=64513), *simple(2)]) == 1

    def test_a_node_peers_back_when_it_listens_at_the_port(self) -> None:
        nodes = [*simple(1), *simple(2)]
        peer = bgp_peer("p", node="n1", peerIP="10.0.0.2:1790", asNumber=64512)
        elsewhere = document("BGPConfiguration", "node.n2", {"listenPort": 179})
        there = document("BGPConfiguration", "node.n2", {"listenPort": 1790})
        assert sessions([OFF, *nodes, peer, elsewhere]) == 0
        assert sessions([OFF, *nodes, peer, there]) == 1
        assert sessions([OFF, *nodes, peer]) == 1  # n2 dials back

    def test_who_dials_must_find_the_port(self) -> None:
        """n2 is passive to the larger text, and n1 dials a port where nobody listens."""
        peers = [
            bgp_peer("there", peerIP="10.0.0.2:1790", asNumber=64512, reversePeering="Manual"),
            bgp_peer("back", peerIP="10.0.0.1", asNumber=64512, reversePeering="Manual"),
        ]
        nodes = [*simple(1), *simple(2)]
        assert sessions([OFF, *peers, *nodes]) == 1  # n2, the larger, dials
        wrong = document("BGPConfiguration", "node.n1", {"listenPort": 999})
        peers[1]["spec"]["peerIP"] = "10.0.0.1:998"
        assert sessions([OFF, *peers, *nodes, wrong]) == 0

    def test_ttl_security(self) -> None:
        there = bgp_peer(
            "there", node="n1", peerSelector="two == 'yes'", reversePeering="Manual", ttlSecurity=1
        )
        back = bgp_peer("back", node="n2", peerSelector="one == 'yes'", reversePeering="Manual")
        nodes = [*simple(1, one="yes"), *simple(2, two="yes")]
        assert sessions([OFF, there, back, *nodes]) == 0
        back["spec"]["ttlSecurity"] = 1
        assert sessions([OFF, there, back, *nodes]) == 1

    def test_passwords(self) -> None:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "bgp", "namespace": "kube-system"},
            "stringData": {"one": "x", "other": "y"},
        }
        there = bgp_peer("there", node="n1", peerSelector="two == 'yes'", reversePeering="Manual")
        back = bgp_peer("back", node="n2", peerSelector="one == 'yes'", reversePeering="Manual")
        nodes = [*simple(1, one="yes"), *simple(2, two="yes")]
        there["spec"]["password"] = {"secretKeyRef": {"name": "bgp", "key": "one"}}
        back["spec"]["password"] = {"secretKeyRef": {"name": "bgp", "key": "other"}}
        assert sessions([OFF, secret, there, back, *nodes]) == 0
        back["spec"]["password"]["secretKeyRef"]["key"] = "one"
        assert sessions([OFF, secret, there, back, *nodes]) == 1


# -- routes ------------------------------------------------------------------------------------------------------------


class TestRoutes:
    def test_an_as_per_rack(self) -> None:
        """Across racks the announcer and its rack mates offer equal paths: ECMP. Inside, LOCAL_PREF is Calico's."""
        racks = [simple(1, asn=65001), simple(2, asn=65001), simple(3, asn=65002), simple(4, asn=65002)]
        found = tables([each for rack in racks for each in rack])
        assert found == {
            "n1": {"1.0/26": "blackhole", "2.0/26": "n2", "3.0/26": "n3 n4", "4.0/26": "n3 n4"},
            "n2": {"1.0/26": "n1", "2.0/26": "blackhole", "3.0/26": "n3 n4", "4.0/26": "n3 n4"},
            "n3": {"1.0/26": "n1 n2", "2.0/26": "n1 n2", "3.0/26": "blackhole", "4.0/26": "n4"},
            "n4": {"1.0/26": "n1 n2", "2.0/26": "n1 n2", "3.0/26": "n3", "4.0/26": "blackhole"},
        }

    def test_across_a_cut_between_racks_the_next_hop_is_the_rack_mate(self) -> None:
        documents = [*simple(1, asn=65001), *simple(2, asn=65001), *simple(3, asn=65002)]
        found = tables(documents, cut=[("n1", "n3")])
        assert found["n3"] == {"1.0/26": "n2", "2.0/26": "n2", "3.0/26": "blackhole"}
        # n2 has it from over the border and hands n1 the next hop it has itself.
        assert found["n1"]["3.0/26"] == "n3"

    def test_a_filter(self) -> None:
        rule = {"action": "Reject", "matchOperator": "Equal", "cidr": "192.168.1.0/26"}
        filters = document("BGPFilter", "no-one", {"importV4": [rule]})
        peer = bgp_peer("p", nodeSelector="all()", peerSelector="all()", filters=["no-one"])
        found = tables([OFF, filters, peer, *simple(1), *simple(2)])
        assert found == {"n1": {"1.0/26": "blackhole", "2.0/26": "n2"}, "n2": {"2.0/26": "blackhole"}}

    def test_services_are_everybodys_and_in_no_kernel(self) -> None:
        configuration = bgp_configuration(serviceClusterIPs=[{"cidr": "10.96.0.0/12"}])
        found = tables([configuration, *simple(1), *simple(2)])
        assert found["n1"] == {"1.0/26": "blackhole", "2.0/26": "n2"}

    def test_a_router_outside(self) -> None:
        """What it announces is everybody's; what it hears it has through each node that announces it."""
        border = router("border", 250, 65000, ["all()"], "0.0.0.0/0")
        peer = bgp_peer("border", peerIP="10.0.0.250", asNumber=65000)
        documents = [peer, border, *simple(1), *simple(2)]
        found = tables(documents)
        assert found["n1"] == {"1.0/26": "blackhole", "2.0/26": "n2", "0.0.0.0/0": "n250"}
        assert sessions(documents) == 3
        assert found["border"]["1.0/26"] in ("n1", "n1 n2")


def router(name: str, host: int, asn: int, neighbors: Iterable[str], *announce: str) -> Document:
    spec = {
        "addresses": [f"10.0.0.{host}/24"],
        "asNumber": asn,
        "neighbors": [{"nodeSelector": selector} for selector in neighbors],
        "announce": [*announce],
    }
    return {**document("Router", name, spec), "apiVersion": "lab.tortie/v1"}


def gadget(size: int) -> list[Document]:
    """A ring in which each node likes the way through the next one's own way better than its own (Griffin's gadgets).

    Node n hears r0 and, through router r<next>, node <next>; it tells router r<n> alone. Routers tell their best only.
    """
    documents = [OFF, router("r0", 200, 65200, ["all()"], "9.9.9.0/24")]
    anything = {"action": "Accept"}, {"action": "Reject"}
    for number in range(1, size + 1):
        after = number % size + 1
        name = f"n{number}"
        path = [65200 + after, 65100 + after, 65200]
        liked = {"action": "Accept", "asPathPrefix": path, "operations": [{"setPriority": {"value": 256}}]}
        documents += [
            *simple(number, asn=65100 + number, at=str(number)),
            router(f"r{number}", 200 + number, 65200 + number, [f"at in {{'{number}', '{(number - 2) % size + 1}'}}"]),
            document("BGPFilter", f"from-{name}", {"importV4": [liked, anything[1]], "exportV4": [anything[1]]}),
            bgp_peer(f"own-{name}", node=name, peerIP="10.0.0.200", asNumber=65200, filters=["mute"]),
            bgp_peer(f"hears-{name}", node=name, peerIP=f"10.0.0.{200 + after}", asNumber=65200 + after,
                     filters=[f"from-{name}"]),
            bgp_peer(f"tells-{name}", node=name, peerIP=f"10.0.0.{200 + number}", asNumber=65200 + number,
                     filters=["deaf"]),
        ]  # fmt: skip
    documents.append(document("BGPFilter", "deaf", {"importV4": [anything[1]], "exportV4": [anything[0]]}))
    documents.append(document("BGPFilter", "mute", {"exportV4": [anything[1]]}))
    return documents


class TestUnsettled:
    def test_three_in_a_ring_never_settle(self) -> None:
        expected = ask(gadget(3))
        assert {format_prefix(prefix): why for prefix, why in expected.unsettled.items()} == {
            "9.9.9.0/24": NEVER
        }
        found = readable(expected, ["n1"])
        assert found["n1"].keys() == {"1.0/26"}

    def test_of_two_whoever_speaks_first_decides(self) -> None:
        assert [*ask(gadget(2)).unsettled.values()] == [SEVERAL]

    def test_three_of_which_one_is_down_settle(self) -> None:
        expected = ask(gadget(3), down=["n3"])
        assert not expected.unsettled
        found = readable(expected, ["n1", "n2"])
        assert (found["n1"]["9.9.9.0/24"], found["n2"]["9.9.9.0/24"]) == ("n202", "n200")


class TestHearsay:
    """A pod's route is in BIRD from the kernel, with a preference of 10: what BGP says, with 100, hides it."""

    POD = "192.168.77.5/32"

    def cluster(self, *pods: str, allowed: int = 0) -> list[Document]:
        uplink = bgp_peer("up", peerIP="10.0.0.250", asNumber=65000, numAllowedLocalASNumbers=allowed)
        return [
            OFF, uplink, router("border", 250, 65000, ["all()"]),
            *simple(1, asn=65001), *simple(2, asn=65002),
            *(workload(name, self.POD, "cali5") for name in pods),
        ]  # fmt: skip

    def unsettled(self, documents: list[Document]) -> dict[str, str]:
        return {format_prefix(prefix): why for prefix, why in ask(documents).unsettled.items()}

    def test_who_comes_second_hears_of_the_first_and_keeps_silent(self) -> None:
        assert self.unsettled(self.cluster("n1", "n2")) == {self.POD: SEVERAL}
        assert not self.unsettled(self.cluster("n1"))

    def test_who_hears_its_own_announcement_back_keeps_silent_towards_those_that_are_told_the_best_only(
        self,
    ) -> None:
        """n2 tells n1, n1 the border, the border n2: which may believe that, and tell the border nothing itself."""
        pair = bgp_peer("pair", nodeSelector="all()", peerSelector="all()")
        assert self.unsettled([*self.cluster("n2", allowed=1), pair]) == {self.POD: SEVERAL}
        assert not self.unsettled([*self.cluster("n2"), pair])

    def test_who_is_told_everything_hears_both(self) -> None:
        documents = self.cluster("n1", "n2")
        border = next(each for each in documents if each["kind"] == "Router")
        border["spec"]["addPath"] = True
        assert not self.unsettled(documents)
        assert tables(documents)["border"]["77.5/32"] == "n1 n2"


def test_tables_cross_to_a_shard() -> None:
    documents = [*simple(1, asn=65001), *simple(2, asn=65001), *simple(3, asn=65002)]
    expected = ask(documents)
    sent = msgpack.unpackb(msgpack.packb(expected.to_wire({"n3"})))
    received = Expected.from_wire(sent)
    assert dict(received.solve(["n3"], via)) == {"n3": dict(expected.solve(["n3"], via))["n3"]}
    assert received.counts(["n3"]) == expected.counts(["n3"])


def test_the_same_question_again_and_another() -> None:
    """What was kept from the last time does not show."""
    oracle = Oracle()
    documents = [POOL, *simple(1, asn=65001), *simple(2, asn=65001)]
    first = readable(oracle.expect(snapshot(Listing(documents))), ["n1", "n2"])
    smaller = readable(oracle.expect(snapshot(Listing(documents[:-1]))), ["n1", "n2"])
    assert "2.0/26" in first["n1"]
    assert "2.0/26" not in smaller["n1"]
    assert oracle.expect(Snapshot({})).solve(["n1"], via)
