"""birdc's answers, in BIRD 1.6.8's words. The transcripts were laid beside those of the real daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.speaker import birdc, birdc_reply
from agents.speaker.decision import UNKNOWN_METRIC, RouteSource
from agents.speaker.status import BgpStatus, RouteStatus, SpeakerStatus
from protocol.bgp.attributes import AS_SEQUENCE, AS_SET, Attributes, Origin
from protocol.prefix import Address, Prefix, format_address, parse_address, parse_prefix

Golden = Callable[[str, str], None]

NOON = 1_795_521_600.0  # 2026-11-24 12:00:00 UTC
NOW = NOON + 65
CAPABILITIES = ("refresh", "enhanced-refresh", "restart-able", "AS4", "add-path-rx", "add-path-tx")


def node(host: int) -> Address:
    return Address(bytes((10, 77, 0, host)))


def peer(kind: str, host: int, **changes: Any) -> BgpStatus:
    status = BgpStatus(
        name=f"{kind}_{format_address(node(host)).replace('.', '_')}",
        kind=kind,
        address=node(host),
        local_address=node(9),
        peer_as=64512,
        local_as=64512,
        peer_id=node(host),
        protocol_state="up",
        bgp_state="Established",
        since=NOON + 2,
        last_error="",
        capabilities=CAPABILITIES,
        add_path=CAPABILITIES[-2:],
        internal=True,
        rr_client=False,
        hold_time=90.0,
        hold_left=70.2,
        keepalive_time=30.0,
        keepalive_left=9.8,
        imported=2,
        exported=1,
        preferred=1,
        updates_received=4,
        updates_filtered=1,
        updates_sent=2,
        withdraws_received=1,
        withdraws_sent=0,
    )
    return attrs.evolve(status, **changes)


MESH = peer("Mesh", 2)
REFLECTOR = peer("Global", 5, rr_client=True, preferred=2)
EXTERNAL = peer("Node", 4, peer_as=65001, internal=False)
PASSIVE = peer(
    "Mesh", 3, protocol_state="start", bgp_state="Passive", since=NOON, imported=0, exported=0, preferred=0,
    updates_received=0, updates_filtered=0, updates_sent=0, withdraws_received=0, peer_id=None, capabilities=(), add_path=(),
)  # fmt: skip
REFUSED = attrs.evolve(
    PASSIVE, name="Node_10_77_0_6", kind="Node", address=node(6), peer_as=64777, internal=False,
    bgp_state="Active", last_error="Socket: Connection refused", since=NOON - 3 * 86400,
)  # fmt: skip

STATUS = SpeakerStatus(
    node="node-009",
    router_id=node(9),
    started=NOON,
    reconfigured=NOON + 1,
    now=NOW,
    peers=(MESH, PASSIVE, EXTERNAL, REFLECTOR, REFUSED),
)

IBGP = Attributes(next_hop=node(2), local_pref=100)
EBGP = Attributes(
    next_hop=node(4), as_path=((AS_SEQUENCE, (64900, 65001)),), med=50,
    communities=((65001 << 16) + 100, (65001 << 16) + 200), large_communities=((65001, 1, 2),),
)  # fmt: skip
REFLECTED = Attributes(
    next_hop=node(7), local_pref=200, originator_id=node(7), cluster_list=(parse_address("1.0.0.1"),)
)


def route(prefix: str, source: RouteSource, protocol: str, **changes: Any) -> RouteStatus:
    status = RouteStatus(
        prefix=parse_prefix(prefix), source=source, protocol=protocol, neighbour=None, gateways=(), device="",
        preference=100, best=True, since=NOON + 2, internal=False, attributes=None,
    )  # fmt: skip
    return attrs.evolve(status, **changes)


def bgp(prefix: str, sender: BgpStatus, attributes: Attributes, **changes: Any) -> RouteStatus:
    facts: dict[str, Any] = {
        "neighbour": sender.address, "gateways": (attributes.next_hop,), "device": "eth0", "internal": sender.internal,
    }  # fmt: skip
    return route(prefix, RouteSource.BGP, sender.name, attributes=attributes, **facts | changes)


SERVICE = "10.96.0.10/32"
TABLE = [
    route(
        "192.168.9.3/32", RouteSource.KERNEL, "kernel1", device="cali12345abcdef", preference=10, since=NOON
    ),
    bgp(SERVICE, MESH, IBGP),
    bgp(SERVICE, REFLECTOR, attrs.evolve(IBGP, next_hop=node(5)), best=False),
    bgp(SERVICE, EXTERNAL, EBGP, best=False),
    bgp("192.168.2.0/26", MESH, IBGP),
    bgp("192.168.4.0/26", EXTERNAL, EBGP),
    bgp("192.168.7.0/26", REFLECTOR, REFLECTED),
    bgp("192.168.8.0/26", REFLECTOR, IBGP, gateways=(), since=NOON - 21 * 3600),
    route("192.168.9.0/26", RouteSource.STATIC, "static1", preference=200, since=NOON),
    route("10.77.0.0/16", RouteSource.DIRECT, "direct1", device="eth0", preference=240, since=NOON),
]


def routes(*, prefix: Prefix | None = None, export_to: str | None = None) -> list[RouteStatus]:
    found = [entry for entry in TABLE if prefix in (None, entry.prefix)]
    if export_to == MESH.name:
        return [
            entry
            for entry in found
            if entry.source in (RouteSource.STATIC, RouteSource.BGP) and not entry.internal
        ]
    if export_to == "kernel1":
        shown = [
            entry for entry in found if entry.best and entry.source in (RouteSource.STATIC, RouteSource.BGP)
        ]
        several = {parse_prefix(SERVICE): (node(2), node(5))}
        return [attrs.evolve(entry, gateways=several.get(entry.prefix, entry.gateways)) for entry in shown]
    return found if export_to is None else []


def ask(command: str) -> tuple[str, int]:
    return birdc_reply.render(birdc.answer(command, STATUS, routes))


def session(commands: str) -> str:
    return "\n".join(f"$ birdc {command}\n{ask(command)[0]}" for command in commands.splitlines())


def test_show_status(golden: Golden) -> None:
    golden("birdc_status", session("show status"))


def test_show_protocols(golden: Golden) -> None:
    golden(
        "birdc_protocols",
        session(
            'show protocols\nshow protocols Mesh_10_77_0_2\nshow protocols "Node*"\nshow protocols "????el1"\n'
            "show protocols all"
        ),
    )


def test_restarts(golden: Golden) -> None:
    """A BIRD that recovers has one neighbour of three with everything; another BIRD has lost a neighbour that may restart."""
    recovering = attrs.evolve(
        STATUS,
        recovery_left=231.4,
        peers=(
            attrs.evolve(MESH, protocol_state="wait", exported=0),
            attrs.evolve(REFLECTOR, protocol_state="wait", exported=0, locks_recovery=True),
            attrs.evolve(PASSIVE, locks_recovery=True),
        ),
    )
    lost = attrs.evolve(
        REFUSED, restarting=True, restart_left=88.6, imported=2, preferred=2, bgp_state="Connect"
    )
    back = attrs.evolve(MESH, restarting=True)
    text = ""
    for status, commands in (
        (recovering, ("show status", "show protocols", "show protocols all")),
        (
            attrs.evolve(STATUS, peers=(lost, back)),
            (f"show protocols all {lost.name}", f"show protocols all {back.name}"),
        ),
    ):
        for command in commands:
            text += (
                f"$ birdc {command}\n{birdc_reply.render(birdc.answer(command, status, lambda **_: []))[0]}\n"
            )
    golden("birdc_restarts", text)


def test_show_route(golden: Golden) -> None:
    golden(
        "birdc_route",
        session(
            "show route\nshow route primary\nshow route count\nshow route primary count\n"
            "show route for 192.168.2.7\nshow route for 192.168.9.0/27\nshow route 192.168.9.0/26\n"
            "show route protocol Mesh_10_77_0_2\nshow route protocol static1 count\n"
            "show route primary protocol Global_10_77_0_5\nshow route export Mesh_10_77_0_2\n"
            "show route export Mesh_10_77_0_2 count\nshow route export Mesh_10_77_0_2 192.168.4.0/26\n"
            "show route export kernel1\nshow route export direct1\nshow route 10.96.0.10/32 count\nshow route all"
        ),
    )


def test_mistakes(golden: Golden) -> None:
    golden(
        "birdc_mistakes",
        session(
            "show\nshow foo\nsh stat\ns r\nsh roa\nd\nSHOW ROUTE\nconfigure\nshow memory\nshow status all\n"
            'show protocols Foo\nshow protocols "Foo*"\nshow protocols all all\nshow protocols 7\nsh ro co\n'
            "show route for\nshow route for foo\nshow route for 1.2.3.4\nshow route for 999.1.1.1\n"
            "show route for 10.1\nshow route 192.168.2.1\nshow route 192.168.2.1/26\nshow route 10.0.0.0/33\n"
            "show route 10.0.0.0/\nshow route for 192.168.2.7 192.168.4.0/26\nshow route protocol\n"
            "show route protocol Foo\nshow route protocol static1 protocol kernel1\nshow route export Foo\n"
            "show route export Mesh_10_77_0_3\nshow route where true\nshow route table master"
        ),
    )


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("sh ro", "show route"),
        ("sh statu", "show status"),
        ("sh p", "show protocols"),
        ("show protocol", "show protocols"),
        ("show proto a kernel1", "show protocols all kernel1"),
        ("  show   route count # of all", "show route count"),
        ("show route 192.168.2.0 / 26", "show route 192.168.2.0/26"),
        ("show route for 192.168.2.7 all", "show route all for 192.168.2.7"),
    ],
)
def test_abbreviations_and_spacing_mean_the_same(short: str, long: str) -> None:
    assert ask(short) == ask(long)
    assert ask(long)[1] < birdc_reply.FIRST_REFUSAL


def test_the_control_socket_s_own_lines() -> None:
    # As BIRD frames them: a code for each kind of line, a space for one more of the kind, the last code with a space.
    reply = birdc.answer("show route all for 192.168.2.7", STATUS, routes)
    assert reply == (
        "0001 BIRD 1.6.8 ready.\n"
        "1007-192.168.2.0/26     via 10.77.0.2 on eth0 [Mesh_10_77_0_2 12:00:02] * (100/0) [i]\n"
        "1008-\tType: BGP unicast univ\n"
        "1012-\tBGP.origin: IGP\n"
        " \tBGP.as_path: \n"
        " \tBGP.next_hop: 10.77.0.2\n"
        " \tBGP.local_pref: 100\n"
        "0000 \n"
    )
    assert birdc.answer("foo", STATUS, routes).splitlines()[1:] == [
        "9001 No such command. Press `?' for help."
    ]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("show status", 13),
        ("show protocols", 0),
        ("show route count", 14),
        ("show route for 1.2.3.4", 8001),
        ('show protocols "x*"', 8003),
        ("show route export Mesh_10_77_0_3", 8005),
        ("down", 8007),
        ("show protocols x", 9002),
        ("show route export x", 9001),
    ],
)
def test_reply_codes(command: str, code: int) -> None:
    assert ask(command)[1] == code


def test_a_path_that_ends_in_a_set_and_its_rarer_attributes() -> None:
    attributes = Attributes(
        next_hop=node(4),
        origin=Origin.INCOMPLETE,
        as_path=((AS_SEQUENCE, (64900,)), (AS_SET, (65003, 65004))),
        atomic_aggregate=True,
        aggregator=(65010, node(8)),
    )
    entry = bgp("10.0.0.0/8", EXTERNAL, attributes)

    def only(*, prefix: Prefix | None = None, export_to: str | None = None) -> list[RouteStatus]:
        return [entry]

    text, _ = birdc_reply.render(birdc.answer("show route all", STATUS, only))
    assert text.splitlines()[1:] == [
        "10.0.0.0/8         via 10.77.0.4 on eth0 [Node_10_77_0_4 12:00:02] * (100/0) [AS65003?]",
        "\tType: BGP unicast univ",
        "\tBGP.origin: Incomplete",
        "\tBGP.as_path: 64900 {65003 65004}",
        "\tBGP.next_hop: 10.77.0.4",
        "\tBGP.local_pref: 100",
        "\tBGP.atomic_aggr: ",
        "\tBGP.aggregator: 10.77.0.8 AS65010",
    ]


def test_bird6_and_next_hops_that_are_not_near() -> None:
    near, far = parse_address("fd00:77::2"), parse_address("fd00:99::1")
    over = attrs.evolve(MESH, address=near)
    table = [
        bgp("fd00:10::/122", over, Attributes(next_hop=near), gateways=(near,)),
        bgp("fd00:11::/122", over, Attributes(next_hop=far), gateways=(far,), metric=UNKNOWN_METRIC),
        route("fd00:12::1/128", RouteSource.KERNEL, "kernel1", device="cali7", preference=10),
        route(
            "fd00:99::1/128", RouteSource.STATIC, "static1", gateways=(near,), device="eth0", preference=200
        ),
    ]

    def routes6(*, prefix: Prefix | None = None, export_to: str | None = None) -> list[RouteStatus]:
        return [entry for entry in table if prefix in (None, entry.prefix)]

    def lines(command: str) -> list[str]:
        return birdc_reply.render(birdc.answer(command, STATUS, routes6))[0].splitlines()[1:]

    assert lines("show route") == [
        "fd00:10::/122      via fd00:77::2 on eth0 [Mesh_10_77_0_2 12:00:02] * (100/0) [i]",
        "fd00:11::/122      via fd00:99::1 on eth0 [Mesh_10_77_0_2 12:00:02 from fd00:77::2] * (100/?) [i]",
        "fd00:12::1/128     dev cali7 [kernel1 12:00:02] * (10)",
        "fd00:99::1/128     via fd00:77::2 on eth0 [static1 12:00:02] * (200)",
    ]
    assert lines("show route for fd00:10::3") == lines("show route fd00:10::/122") == lines("show route")[:1]


def test_a_node_that_heard_of_nobody() -> None:
    alone = attrs.evolve(STATUS, peers=())

    def nothing(*, prefix: Prefix | None = None, export_to: str | None = None) -> list[RouteStatus]:
        return []

    def lines(command: str) -> list[str]:
        return birdc_reply.render(birdc.answer(command, alone, nothing))[0].splitlines()[1:]

    assert [line.split()[0] for line in lines("show protocols")] == [
        "name",
        "static1",
        "kernel1",
        "device1",
        "direct1",
    ]
    assert lines("show route") == []
    assert lines("show route count") == ["0 of 0 routes for 0 networks"]
    assert lines("show route for 10.77.0.9") == ["Network not in table"]


@pytest.mark.parametrize(
    ("age", "shown"),
    [(0.0, "12:01:05"), (19 * 3600.0, "17:01:05"), (20 * 3600.0, "2026-11-23"), (-5.0, "12:01:10")],
)
def test_recent_times_are_hours_older_ones_days(age: float, shown: str) -> None:
    assert birdc_reply.format_since(NOW - age, NOW) == shown


WORDS = st.sampled_from(
    [
        *(
            "show",
            "status",
            "protocols",
            "route",
            "all",
            "for",
            "protocol",
            "export",
            "primary",
            "count",
            "kernel1",
        ),
        *("Mesh_10_77_0_2", "192.168.2.0", "/", "26", '"M*"', "192.168.9.3", "fd00::1", '"', "#", "?"),
        *("999999999999", "½", "é", "\x00"),
    ]
)


@given(
    st.one_of(
        st.text(),
        st.lists(WORDS).map(" ".join),
        st.lists(WORDS).map(lambda words: " ".join(["show", *words])),
    )
)
def test_whatever_is_typed_gets_a_well_formed_reply(command: str) -> None:
    text, code = ask(command)
    assert text.startswith("BIRD 1.6.8 ready.\n")
    assert code == 0 or 13 <= code <= 14 or 8000 <= code <= 9002


# --- what changes a running BIRD -----------------------------------------------------------------------------------


@attrs.define
class Hand:
    """Remembers what was done; ``refuses`` says where there is nothing to do."""

    done: list[tuple[object, ...]] = attrs.field(factory=list)
    refuses: tuple[str, ...] = ()

    def _do(self, name: str, *what: object) -> bool:
        self.done.append((*what, name))
        return name not in self.refuses

    def enable(self, name: str) -> bool:
        return self._do(name, "enable")

    def disable(self, name: str) -> bool:
        return self._do(name, "disable")

    def restart(self, name: str) -> bool:
        return self._do(name, "restart")

    def reload(self, name: str, *, into: bool, out: bool) -> bool:
        return self._do(name, "reload", into, out)

    def configuration(self) -> str:
        return "/etc/calico/confd/config/bird.cfg"


def tell(command: str, hand: Hand | None = None, status: SpeakerStatus = STATUS) -> list[str]:
    return birdc.answer(command, status, routes, hand or Hand()).splitlines()[1:]


@pytest.mark.parametrize(
    ("command", "done", "reply"),
    [
        ("disable Mesh_10_77_0_2", ("disable",), "0009-{}: disabled"),
        ("enable Mesh_10_77_0_2", ("enable",), "0011-{}: enabled"),
        ("restart Mesh_10_77_0_2", ("restart",), "0012-{}: restarted"),
        ("reload Mesh_10_77_0_2", ("reload", True, True), "0015-{}: reloading"),
        ("reload in Mesh_10_77_0_2", ("reload", True, False), "0015-{}: reloading"),
        ("rel out Mesh_10_77_0_2", ("reload", False, True), "0015-{}: reloading"),
    ],
)
def test_one_neighbour(command: str, done: tuple[object, ...], reply: str) -> None:
    hand = Hand()
    assert tell(command, hand) == [reply.format(MESH.name), "0000 "]
    assert hand.done == [(*done, MESH.name)]


def test_several_neighbours_and_those_where_there_is_nothing_to_do() -> None:
    hand = Hand(refuses=(PASSIVE.name,))
    assert tell('disable "Mesh*"', hand) == [
        f"0009-{MESH.name}: disabled",
        f"0008-{PASSIVE.name}: already disabled",
        "0000 ",
    ]
    assert tell('reload "Mesh*"', hand) == [f"0015-{MESH.name}: reloading", "0000 "]
    assert tell('enable "Mesh*"', hand)[1] == f"0010-{PASSIVE.name}: already enabled"
    hand.done.clear()
    tell("restart all", hand)
    assert [name for _, name in hand.done] == [each.name for each in STATUS.peers]
    off = attrs.evolve(STATUS, peers=(attrs.evolve(MESH, protocol_state="down"),))
    hand.done.clear()
    assert tell("restart all", hand, off) == [f"0008-{MESH.name}: already disabled", "0000 "]
    assert hand.done == []


def test_configuring_is_confds() -> None:
    reading = "0002-Reading configuration from /etc/calico/confd/config/bird.cfg"
    assert tell("configure") == tell("configure soft") == [reading, "0003 Reconfigured"]
    assert tell("configure check") == [reading, "0020 Configuration OK"]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("disable", "9001"),
        ("disable Foo", "9002"),
        ('disable "Foo*"', "8003"),
        ("disable kernel1", "8007"),
        ("down", "8007"),
        ("configure undo", "8007"),
        ("reload in", "9001"),
    ],
)
def test_what_is_not_done(command: str, code: str) -> None:
    hand = Hand()
    assert tell(command, hand)[-1][:4] == code
    assert hand.done == []


def test_who_only_looks_changes_nothing() -> None:
    assert birdc.answer("disable all", STATUS, routes).splitlines()[1:] == ["8007 Access denied"]
