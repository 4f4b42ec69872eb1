"""What goes round for ever is seen and named: in clusters that filters set against themselves, and by MEDs (RFC 3345)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.speaker.speaker import Speaker
from cluster.fuzz.oscillation import TIMES, Looks, period
from cluster.fuzz.trial import attempt
from cluster.scenario.model import Cluster, Converged, Scenario, UnsettledAllowed
from protocol.bgp.attributes import Attributes
from protocol.prefix import parse_prefix
from protocol.v3.codec import decode
from tests.cluster.test_oracle_general import POOL, gadget
from tests.strategies.speaker import (
    LOCAL_AS,
    SpeakerNet,
    WireLink,
    as_path,
    host,
    peer_config,
    speaker_config,
)

EVERYWHERE = parse_prefix("9.9.9.0/24")


# -- pure ---------------------------------------------------------------------------------------------------------


@given(
    before=st.lists(st.integers(0, 3), max_size=10),
    cycle=st.lists(st.integers(0, 9), min_size=2, max_size=8, unique=True),
    more=st.integers(0, 7),
)
def test_a_cycle_is_known_by_its_length(before: list[int], cycle: list[int], more: int) -> None:
    states = before + cycle * TIMES + cycle[: more % len(cycle)]
    assert period(states) == len(cycle)


@given(st.lists(st.integers(), unique=True))
def test_what_never_comes_again_is_none(states: Sequence[int]) -> None:
    assert period(states) == 0


def test_once_again_is_chance() -> None:
    assert period([1, 2, 1, 2, 1]) == 0
    assert period([1, 2, 1, 2, 1, 2]) == 2


# -- filters that prefer each other's way -----------------------------------------------------------------------


def ring(size: int) -> Scenario:
    """Griffin's gadget: see ``gadget``."""
    resources = tuple(map(decode, [POOL, *gadget(size)]))
    cluster = Cluster(pods_per_node=0, resources=resources)
    return Scenario(name="ring", cluster=cluster, expect=(Converged(), UnsettledAllowed()))


@pytest.mark.slow
def test_filters_that_prefer_each_others_way_are_at_fault_themselves() -> None:
    outcome = attempt(ring(3))
    assert not outcome.findings
    [cycle] = outcome.cycles
    assert cycle.prefix == EVERYWHERE
    assert {"n1", "n2", "n3"} <= {*cycle.nodes}
    assert len(cycle.states) == len({*cycle.states}) > 2
    text = str(cycle)
    assert text.startswith("9.9.9.0/24: ")
    assert "AS path 65202 65102 65200" in text


# -- MEDs, behind reflectors ------------------------------------------------------------------------------------


OUTSIDE = {3: (65001, 1), 4: (65002, 0), 5: (65001, 0)}
"""By client: the AS of its neighbour outside, and the MED that this one says."""


def reflectors(*, add_path: bool) -> SpeakerNet:
    """RFC 3345, 2.1: reflector 1 with clients 3 and 4, reflector 2 with client 5, each of which hears of the prefix outside.

    What is nearer in the RFC has the lower identifier here. Reflector 1 likes 3 best; but 5 has a lower MED from the same AS, and
    then it is 4. Of 4 and 5 everybody likes 4, so that reflector 2 does not tell of 5 while it hears of 4.
    """
    net = SpeakerNet()
    peers = {
        1: [peer_config(1, 2), *(peer_config(1, each, cluster_id=host(201)) for each in (3, 4))],
        2: [peer_config(2, 1), peer_config(2, 5, cluster_id=host(202))],
    }
    for client, (asn, _) in OUTSIDE.items():
        reflector = 2 if client == 5 else 1
        peers[client] = [peer_config(client, reflector), peer_config(client, client + 10, peer_as=asn)]
        peers[client + 10] = [peer_config(client + 10, client, local_as=asn, peer_as=LOCAL_AS)]
    for number, stanzas in peers.items():
        config = speaker_config(number, stanzas, local_as=stanzas[0].local_as)
        net.add(attrs.evolve(config, add_path=add_path, policy=None))
    net.settle(2 * 7)
    return net


def tell(net: SpeakerNet) -> Looks:
    """Everybody outside speaks, and all is delivered for a long time, in step."""
    for client, (asn, med) in OUTSIDE.items():
        said = Attributes(next_hop=host(client + 10), as_path=as_path(asn), med=med)
        [frame] = net.codec.update_frames(4, nlri=[EVERYWHERE], attributes=said)
        link = net.peer(client, client + 10).link
        assert isinstance(link, WireLink)
        net.handle(host(client), [(link, frame)])
    looks = Looks()
    for turn in range(200):
        for address in sorted({link.owner for link in net.waiting()}):
            net.deliver_batch(address)
        looks.look(turn, both(net))
    return looks


def both(net: SpeakerNet) -> dict[str, Speaker]:
    return {f"r{number}": net.speakers[host(number)] for number in (1, 2)}


def test_meds_behind_reflectors() -> None:
    net = reflectors(add_path=False)
    looks = tell(net)
    [cycle] = looks.cycles()
    assert net.waiting()
    assert cycle.prefix == EVERYWHERE
    assert cycle.nodes == ("r1", "r2")
    assert "r1 takes Node_10_77_0_3's (next hop 10.77.0.13, AS path 65001, MED 1)" in str(cycle)
    assert "r1 takes Node_10_77_0_4's (next hop 10.77.0.14, AS path 65002)" in str(cycle)
    looks.look(200 + 2 * cycle.seconds, both(net))
    assert looks.cycles() == [], "what was, and has come to rest"


def test_who_tells_all_paths_comes_to_rest() -> None:
    """RFC 7964: the remedy, which Calico's nodes take among themselves."""
    net = reflectors(add_path=True)
    looks = tell(net)
    assert looks.cycles() == []
    assert not net.waiting()
