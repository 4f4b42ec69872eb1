"""BGPConfigurations field by field: what the global one says, and what a node's own overrides."""

from __future__ import annotations

import pytest

from agents.confd.settings import whole_seconds
from agents.speaker.config import Debug, PeerKind, SpeakerConfig
from protocol.prefix import IPV4, IPV6, parse_address
from protocol.v3.metadata import Resource
from tests.strategies.confd import bgp_configuration, config_of, node, password, secret

ONE = node("one", "10.77.0.1/16", ipv6="fd00:77::1/64")
TWO = node("two", "10.77.0.2/16", ipv6="fd00:77::2/64")
SIX = node("six", ipv6="fd00:77::6/64")


def of_one(*settings: Resource, family: int = IPV4) -> SpeakerConfig:
    return config_of("one", ONE, TWO, *settings, family=family)


@pytest.mark.parametrize(
    ("word", "debug"),
    [
        ("Debug", Debug.ALL), ("dEBUG", Debug.ALL), ("Info", Debug.INFO), ("", Debug.INFO), ("Trace", Debug.NONE),
        ("Warning", Debug.NONE), ("Error", Debug.NONE), ("Fatal", Debug.NONE),
    ],
)  # fmt: skip
def test_log_severity(word: str, debug: Debug) -> None:
    assert of_one(bgp_configuration(log_severity_screen=word)).debug is debug


def test_a_node_has_its_own_log_severity_and_that_is_info_where_it_says_nothing() -> None:
    everywhere = bgp_configuration(log_severity_screen="Debug")
    assert of_one(everywhere, bgp_configuration("node.one", log_severity_screen="Error")).debug is Debug.NONE
    assert of_one(everywhere, bgp_configuration("node.one", listen_port=150)).debug is Debug.INFO
    assert of_one(everywhere, bgp_configuration("node.two", listen_port=150)).debug is Debug.ALL
    assert of_one().debug is Debug.INFO


def test_listen_port() -> None:
    everywhere, own = bgp_configuration(listen_port=150), bgp_configuration("node.one", listen_port=151)
    assert of_one().listen_port is None
    assert of_one(everywhere).listen_port == 150
    assert of_one(everywhere, own).listen_port == 151
    assert config_of("two", ONE, TWO, everywhere, own).listen_port == 150


def test_bind_mode() -> None:
    assert of_one().listen_address is None
    assert of_one(bgp_configuration(bind_mode="None")).listen_address is None
    everywhere = bgp_configuration(bind_mode="NodeIP")
    assert of_one(everywhere).listen_address == parse_address("10.77.0.1")
    assert of_one(everywhere, family=IPV6).listen_address == parse_address("fd00:77::1")
    assert config_of("six", SIX, everywhere).listen_address is None
    assert of_one(bgp_configuration("node.one", bind_mode="NodeIP")).listen_address is None


def test_ignored_interfaces_keep_their_order_and_are_global() -> None:
    names = ("eth1", "docker*")
    assert of_one(bgp_configuration(ignored_interfaces=names)).ignored_interfaces == names
    assert of_one(bgp_configuration("node.one", ignored_interfaces=names)).ignored_interfaces == ()


def test_each_family_has_its_normal_route_priority() -> None:
    settings = bgp_configuration(ipv4_normal_route_priority=2000, ipv6_normal_route_priority=3000)
    for family, priority in ((IPV4, 2000), (IPV6, 3000)):
        config = of_one(settings, family=family)
        assert config.policy is not None
        assert config.kernel is not None
        assert config.policy.normal_priority == config.kernel.normal_priority == priority
    default = of_one(bgp_configuration("node.one", ipv4_normal_route_priority=2000))
    assert default.policy is not None
    assert default.policy.normal_priority == 1024


def test_the_mesh_has_a_password_and_a_restart_time() -> None:
    settings = bgp_configuration(node_mesh_password=password("mesh"), node_mesh_max_restart_time="1m59.5s")
    config = of_one(settings, secret("mesh", word="sesame"))
    (peer,) = config.peers
    assert peer.kind is PeerKind.MESH
    assert (peer.password, peer.restart_time) == ("sesame", 120)
    assert config.notes == ()
    (peer,) = of_one(bgp_configuration()).peers
    assert (peer.password, peer.restart_time) == (None, None)


def test_a_mesh_password_that_is_nowhere_is_none_and_is_said() -> None:
    config = of_one(bgp_configuration(node_mesh_password=password("mesh")))
    assert [peer.password for peer in config.peers] == [None]
    assert config.notes == (
        "BGPConfiguration/default: Secret 'mesh' does not exist in calico-system or kube-system: "
        "sessions have no password",
    )


def test_others_than_default_and_those_of_nodes_mean_nothing() -> None:
    settings = bgp_configuration("defaults", as_number=65010, listen_port=150, bind_mode="NodeIP")
    assert of_one(settings) == of_one()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", None), ("90s", 90), ("1m", 60), ("499ms", 0), ("500ms", 1), ("1.4s", 1), ("2h", 7200)],
)
def test_durations_are_whole_seconds(text: str, seconds: int | None) -> None:
    assert whole_seconds(text) == seconds
