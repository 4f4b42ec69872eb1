"""A restart in real BIRD 1.6 and in an emulated cluster: the same tables, before, meanwhile and afterwards.

One of three daemons of a mesh is killed and recovers (``bird -R``) with a block less; then it is killed for longer than the others
wait, and its machine boots while another one is down: it gets and tells nothing until that one is back. The daemons have
the files of Calico's confd and network namespaces of their own; what is compared is what their kernels hold.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable

import pytest
import trio

from agents.confd.bird import files
from agents.node import Node
from agents.speaker import birdc
from agents.speaker.birdc_control import Operator
from agents.speaker.inspect import Inspector
from bench import bird16
from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.virtual import Virtual
from protocol.prefix import IPV4, format_prefix
from tests.real.bird import namespaces
from tests.real.bird.daemons import Flock
from tests.real.bird.differential import HURRIED, configurations, load
from tests.real.bird.namespaces import Wire
from tests.strategies.clusters import affinity, bgp_configuration, node, pool

PROGRAMS = bird16.find()
MISSING = bird16.INSTALL if PROGRAMS is None else namespaces.missing()

ONE, TWO, THREE = NAMES = ("node-1", "node-2", "node-3")
KEPT, TAKEN = "192.168.2.0/26", "192.168.3.0/26"
BLOCKS = {ONE: ("192.168.1.0/26",), TWO: (KEPT, TAKEN), THREE: ("192.168.4.0/26",)}
RESTART_TIME = 6
PATIENCE = 20.0

RESOURCES = (
    pool("default", "192.168.0.0/16", blockSize=26),
    bgp_configuration(nodeToNodeMeshEnabled=True, nodeMeshMaxRestartTime=f"{RESTART_TIME}s"),
    *(node(name, f"10.77.0.{number}/24") for number, name in enumerate(NAMES, 1)),
)
AFFINITIES = {block: affinity(name, block) for name, blocks in BLOCKS.items() for block in blocks}

Tables = dict[str, tuple[str, ...]]
"""Which of the blocks each node's kernel has."""
EVERYTHING: Tables = dict.fromkeys(NAMES, tuple(AFFINITIES))
WITHOUT_TAKEN: Tables = {name: tuple(block for block in AFFINITIES if block != TAKEN) for name in NAMES}


@pytest.mark.slow
def test_tables_are_the_same_whatever_restarts() -> None:
    if PROGRAMS is None or MISSING is not None:
        pytest.skip(str(MISSING))
    assert in_real_daemons(PROGRAMS) == emulated()


def in_real_daemons(programs: dict[int, str]) -> list[Tables | list[str]]:
    before, after = (
        {
            daemon: files(config)
            for daemon, config in configurations(load([*RESOURCES, *affinities.values()]), {}).items()
        }
        for affinities in (AFFINITIES, {block: AFFINITIES[block] for block in AFFINITIES if block != TAKEN})
    )
    two, three = (TWO, IPV4), (THREE, IPV4)
    with Wire(NAMES) as wire:
        for number, name in enumerate(NAMES, 1):
            wire.lay(name, [f"10.77.0.{number}/24"], [], [])

        def tables() -> Tables:
            found = {}
            for name in NAMES:
                command = wire.command(name, ["ip", "route", "show", "proto", "bird"])
                text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                found[name] = tuple(block for block in AFFINITIES if block in text)
            return found

        def wait_for(wanted: Callable[[Tables], bool]) -> Tables:
            deadline = time.monotonic() + PATIENCE
            while not wanted(found := tables()):
                assert time.monotonic() < deadline, found
                time.sleep(0.1)
            return found

        with Flock(wire, programs, before) as flock:
            seen: list[Tables | list[str]] = [wait_for(lambda found: found == EVERYTHING)]
            flock.kill(two)
            time.sleep(1)
            seen.extend((tables(), _said(flock.protocols((ONE, IPV4)))))
            flock.recover(two, after[two])
            seen.append(wait_for(_always_with_kept(lambda found: found == WITHOUT_TAKEN)))
            assert "restart-able llgr-aware" in flock.protocols((ONE, IPV4))
            flock.kill(two)
            time.sleep(RESTART_TIME / 2)
            seen.append(tables())
            seen.append(wait_for(lambda found: KEPT not in found[ONE] + found[THREE]))
            flock.kill(three)
            subprocess.run(wire.command(TWO, ["ip", "route", "flush", "proto", "bird"]), check=True)
            flock.recover(two, after[two])
            deadline = time.monotonic() + PATIENCE
            while "Established" not in flock.protocols(two):
                assert time.monotonic() < deadline, flock.protocols(two)
                time.sleep(0.1)
            time.sleep(1)
            seen.append(tables())
            assert "Graceful restart recovery in progress" in flock.status(two)
            flock.recover(three, after[three])
            seen.append(wait_for(lambda found: found == WITHOUT_TAKEN))
    return seen


def emulated() -> list[Tables | list[str]]:
    seen: list[Tables | list[str]] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            cluster = Virtual(nursery, 1, timers=HURRIED)
            for resource in (*RESOURCES, *AFFINITIES.values()):
                cluster.apply(resource)

            async def tables() -> Tables:
                routes = {name: {*map(format_prefix, await cluster.routes(name))} for name in NAMES}
                return {
                    name: tuple(block for block in AFFINITIES if block in found)
                    for name, found in routes.items()
                }

            async def wait_for(wanted: Callable[[Tables], bool]) -> Tables:
                for _ in range(round(10 * PATIENCE)):
                    found = await tables()
                    if wanted(found):
                        return found
                    await trio.sleep(0.1)
                raise AssertionError(await tables())

            await cluster.boot()
            seen.append(await wait_for(lambda found: found == EVERYTHING))
            await cluster.stop(TWO)
            await trio.sleep(1)
            seen.extend((await tables(), _said(protocols(cluster.node(ONE)))))
            cluster.delete(AFFINITIES[TAKEN])
            await cluster.start(TWO)
            seen.append(await wait_for(_always_with_kept(lambda found: found == WITHOUT_TAKEN)))
            await cluster.stop(TWO)
            await trio.sleep(RESTART_TIME / 2)
            seen.append(await tables())
            seen.append(await wait_for(lambda found: KEPT not in found[ONE] + found[THREE]))
            await cluster.stop(THREE)
            await cluster.power_off(TWO)
            await cluster.start(TWO)
            while not cluster.node(TWO).established:  # noqa: ASYNC110  # in virtual time that costs nothing
                await trio.sleep(0.1)
            await trio.sleep(1)
            seen.append(await tables())
            await cluster.start(THREE)
            seen.append(await wait_for(lambda found: found == WITHOUT_TAKEN))
            nursery.cancel_scope.cancel()

    run_virtual(main, 1)
    return seen


def protocols(node: Node) -> str:
    speaker, now = node.speakers[IPV4], trio.current_time()
    inspector = Inspector(speaker, now=now, wall=0)
    return birdc.answer("show protocols all", inspector.status(), inspector.routes, Operator(speaker, now))


def _said(text: str) -> list[str]:
    """Of the neighbour that is away: what BGP says of it, but for the seconds that are left and how the connection ended."""
    start = text.index("BGP state:", text.index("Mesh_10_77_0_2 "))
    found = []
    for line in text[start:].splitlines():
        if not line.strip():
            break
        found.append(re.sub(r"\d+/-", "N/-", line.strip()))
    return [line for line in found if not line.startswith("Last error:")]


def _always_with_kept(wanted: Callable[[Tables], bool]) -> Callable[[Tables], bool]:
    def look(found: Tables) -> bool:
        assert all(KEPT in table for table in found.values()), found
        return wanted(found)

    return look
