"""Any order of applying the same resources, at any times and with any detours, ends in the same FIBs: the oracle's."""

from __future__ import annotations

import copy
import random

import pytest
import trio
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cluster.fuzz.oscillation import watch
from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.virtual import Virtual
from cluster.spec import HOSTED
from tests.strategies.clusters import Document
from tests.strategies.lab import labs
from tests.strategies.manifests import Drawn

PATIENCE = 400.0
"""Virtual seconds: longer than a hold time, an error wait and another dial."""
PAUSES = *(0.0,) * 6, 0.001, 0.3, 0.3, 7.0, 7.0, 95.0
DETOURS = {
    "BGPConfiguration": ("serviceClusterIPs", "prefixAdvertisements", "nodeToNodeMeshEnabled", "listenPort"),
    "BGPFilter": ("importV4", "exportV4", "importV6", "exportV6"),
    "BGPPeer": (
        "filters",
        "nextHopMode",
        "numAllowedLocalASNumbers",
        "localASNumber",
        "reversePeering",
        "ttlSecurity",
    ),
    "IPPool": ("disableBGPExport", "vxlanMode", "ipipMode"),
    "Service": ("externalIPs", "externalTrafficPolicy"),
}
"""What a resource may have lacked at first."""
CHASE, SELDOM, TURNS = 0.02, 0.25, 3
"""Seconds between two looks at whether somebody never rests; at most; and how many of them are enough."""
ROUND = 0.002
"""Seconds that a message takes, and its answer, and twice that."""


def earlier(document: Document, rng: random.Random) -> Document:
    """As somebody may have written it before: less, or elsewhere."""
    before = copy.deepcopy(document)
    spec = before.get("spec") or {}
    for field in DETOURS.get(document["kind"], ()):
        if rng.random() < 0.5:
            spec.pop(field, None)
    if document["kind"] == "Node":
        bgp = spec["bgp"]
        change = rng.randrange(4)
        if change == 0:
            before["metadata"]["labels"] = {"rack": "a"}
        elif change == 1 and "ipv4Address" in bgp:
            bgp["ipv4Address"] = f"10.77.0.{rng.randrange(200, 250)}/24"
        elif change == 2:
            bgp["asNumber"] = rng.choice((64512, 65001, 65009))
        else:
            bgp.pop("ipv6Address", None)
    elif document["kind"] == "BlockAffinity":
        spec["state"] = rng.choice(("pending", "confirmed", "pendingDeletion"))
    return before


def script(documents: tuple[Document, ...], rng: random.Random) -> list[tuple[str, Document]]:
    """Every resource once as it is; before that perhaps as it was, or there and gone again."""
    steps: list[tuple[float, str, Document]] = []
    for document in documents:
        when = rng.random()
        steps.append((when, "apply", document))
        if rng.random() < 0.3:
            first, second = sorted((rng.uniform(0, when), rng.uniform(0, when)))
            steps.append((first, "apply", earlier(document, rng)))
            if rng.random() < 0.5:
                steps.append((second, "delete", document))
    steps.sort(key=lambda step: step[0])
    return [(verb, document) for _, verb, document in steps]


async def pause(cluster: Virtual, seconds: float) -> bool:
    """Whether routes chase each other so that nobody has to wait for the rest: of a detour it is the configuration's fault, and
    each of its seconds has a thousand rounds.
    """
    end = trio.current_time() + seconds
    look, restless = CHASE, 0
    while (left := end - trio.current_time()) > 0 and restless < TURNS:
        await trio.sleep(min(look, left))
        if trio.current_time() - cluster.moved_at < ROUND:
            look, restless = CHASE, restless + 1
        else:
            look, restless = min(2 * look, SELDOM), 0
    return restless == TURNS


async def wrong(cluster: Virtual) -> list[str]:
    """What is, when nothing is done any more; nothing can be said where BGP has no rest to come to."""
    if await pause(cluster, PATIENCE / 4) and (cycles := await watch(cluster)):
        cluster.differences()
        return [str(cycle) for cycle in cycles if cycle.prefix not in cluster.unsettled]
    left = [*(await cluster.settle(PATIENCE)).differences]
    if not left:
        # And it stays so.
        await pause(cluster, 100.0)
        left = cluster.differences()
    return left


def run(drawn: Drawn, seed: int) -> list[str]:
    async def main() -> list[str]:
        rng = random.Random(seed)
        names = [each["metadata"]["name"] for each in drawn.documents if each["kind"] in HOSTED]
        async with trio.open_nursery() as nursery:
            cluster = Virtual(nursery, seed, env=drawn.env, fragment=True)
            steps = script(drawn.documents, rng)
            late = {name: rng.randrange(len(steps)) for name in names if rng.random() < 0.3}
            for number, (verb, document) in enumerate(steps):
                for name in names:
                    if not cluster.is_running(name) and late.get(name, 0) <= number:
                        await cluster.start(name)
                (cluster.apply if verb == "apply" else cluster.delete)(document)
                await pause(cluster, rng.choice(PAUSES))
            left = await wrong(cluster)
            nursery.cancel_scope.cancel()
        return left

    return run_virtual(main, seed)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_any_order_of_the_same_resources(depth: int) -> None:
    """What fails is told at once, as manifests and the seed of the order: making it smaller takes minutes."""

    @settings(
        max_examples=30 * depth,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(drawn=labs(), seed=st.integers(0, 2**32))
    def law(drawn: Drawn, seed: int) -> None:
        left = run(drawn, seed)
        manifests = yaml.safe_dump_all(drawn.documents)
        assert not left, "\n".join(
            [*left, f"the order of seed {seed}, env {dict(drawn.env)}, of:", manifests]
        )

    law()
