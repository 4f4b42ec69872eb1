"""What must be so of any cluster that is left alone, whatever has happened to it.

Owns ``Checks``, which looks at a ``Virtual`` when a scenario has been played, and ``Finding``. In their order:

    dead        a task died (``trial`` hears that)
    convergence every FIB is as the datastore asks for, within PATIENCE
    oscillation routes chase each other, and the oracle says that there is a state in which they could rest
    unrest      then nothing moves and no session ends, for several hold times
    sessions    all that configurations ask for are up
    restart     nobody is taken to be restarting who is back
    address     IPAM's records are sound
    loop        no packet goes round between living nodes by one route; where nothing but Calico's defaults is configured none
                is lost
    notification  no session ended for a reason that nothing gave

A prefix that has no stable state, or several, by the oracle (``unsettled``), is the configuration's fault: such a cycle
is told (``Outcome.cycles``) and is no finding.

Of every WEIGHEDth scenario, by its seed: whether nodes hold more and more (``growth``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

import attrs

from cluster.fuzz.growth import growth
from cluster.fuzz.oscillation import Cycle, watch
from cluster.loss.failure import LOOP, Reason
from cluster.oracle import plain
from cluster.rehearsal.virtual import Virtual
from cluster.scenario import model
from cluster.scenario.form import is_name
from cluster.scenario.model import ALL, PATIENCE, Action, Scenario
from cluster.soundness import unsound
from protocol.bgp.errors import Code, describe
from protocol.prefix import contains, format_prefix, parse_prefix

GRACE: Final = 250.0
"""Seconds in which every timer of a restart that was waited for is over (BIRD's ``graceful restart wait`` is 240)."""
HOLDS: Final = 3.0
"""Hold times of quiet that are watched."""
WEIGHED: Final = 8

_OURS: Final = tuple(
    dict.fromkeys(
        describe(code, subcode) for code in (Code.HEADER, Code.UPDATE, Code.FSM) for subcode in range(1, 12)
    )
)
"""Words of NOTIFICATIONs that no configuration and no fault is a reason for: somebody speaks BGP wrongly."""
_SILENCE: Final = describe(Code.HOLD_TIMER_EXPIRED, 0)


@attrs.frozen
class Finding:
    """``kind`` is one of those that the module lists."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@attrs.define
class Checks:
    """``downs`` is filled meanwhile: every session that ended, in the journal's words."""

    scenario: Scenario
    downs: list[str] = attrs.field(factory=list)
    findings: list[Finding] = attrs.field(factory=list)
    cycles: list[Cycle] = attrs.field(factory=list)

    async def __call__(self, stage: Virtual) -> None:
        settled = await stage.settle(PATIENCE)
        unsettled = {text.partition(":")[0] for text in settled.unsettled}
        if unsettled or settled.differences:
            self._cycles(await watch(stage), settled.unsettled)
        if not self.findings:
            self._found("convergence", settled.differences)
        if not self.findings and not self.cycles:
            await self._quiet(stage)
        if not self.findings and not self.cycles:
            self._found("sessions", self._lacking(stage))
            self._found("restart", self._still_restarting(stage))
            self._found("address", unsound(stage.store.list, interrupted=self._struck(stage)))
            self._found("loop", self._lost(stage, unsettled))
        if not self.findings and not self.cycles and self.scenario.seed % WEIGHED == 0:
            self._found("growth", await growth(stage))
        self._found("notification", self._unexplained())

    def _found(self, kind: str, texts: Iterable[str]) -> None:
        self.findings += (Finding(kind, text) for text in texts)

    # --- routes ---------------------------------------------------------------------------------------------------------

    def _cycles(self, cycles: Iterable[Cycle], unsettled: Iterable[str]) -> None:
        excused = {text.partition(": ")[0]: text.partition(": ")[2] for text in unsettled}
        for cycle in cycles:
            if format_prefix(cycle.prefix) in excused:
                self.cycles.append(cycle)
            else:
                self._found("oscillation", [f"{cycle}; and the oracle knows a stable state"])

    async def _quiet(self, stage: Virtual) -> None:
        hold = self.scenario.hold_time
        await stage.sleep(GRACE + hold)
        self._note(stage)
        moved, before = stage.moved_at, len(self.downs)
        await stage.sleep(HOLDS * hold)
        self._note(stage)
        self._found("unrest", (f"{text}, though nothing happened" for text in self.downs[before:]))
        if stage.moved_at != moved and not self.findings:
            self._found("unrest", ["something moved, though nothing happened"])
        if not self.findings:
            self._found("unrest", (f"{text}, after it was right" for text in stage.differences()))

    @staticmethod
    def _note(stage: Virtual) -> None:
        """What the event log keeps back arrives in ``downs``."""
        if stage.log is not None:
            stage.log.flush()

    def _lost(self, stage: Virtual, unsettled: Collection[str]) -> Iterator[str]:
        """Packets that go nowhere, in the end."""
        if stage.account is None:
            return
        simple = not unsettled and self._is_simple(stage)
        for pair in stage.account.report(stage.now()).pairs:
            last = pair.intervals[-1]
            if not pair.lost_at_end or not {pair.source, pair.destination} <= stage.host.nodes.keys():
                continue
            if simple or (
                last.reason == Reason.LOOP.value and not unsettled and self._by_one_route(stage, last.why)
            ):
                yield f"{pair.source} to the pods of {pair.destination}: {last.why}"

    @staticmethod
    def _by_one_route(stage: Virtual, why: str) -> bool:
        """Whether all who send a packet round have a route to the same prefix, which is BGP's fault then. Where one of them sends it
        by a default route, since its kernel is to have none that is longer, it is the configuration's.
        """
        text, _, names = why.partition(LOOP)
        prefix, nodes = parse_prefix(text), stage.host.nodes
        return all(name in nodes and prefix in nodes[name].fib.routes for name in names.split(", "))

    @staticmethod
    def _is_simple(stage: Virtual) -> bool:
        """A mesh of all nodes, by Calico's defaults, in which nobody is away: whatever is lost there is a fault."""
        members = stage.members()
        return (
            plain(stage.store.list)
            and not stage.store.list("BGPPeer")
            and not stage.weather.cuts
            and not stage.weather.frozen
            and all(name in stage.host.nodes for name in members)
            and all(
                each["spec"].get("nodeToNodeMeshEnabled", True)
                for each in stage.store.list("BGPConfiguration")
            )
            and not any(each["spec"].get("disableBGPExport") for each in stage.store.list("IPPool"))
            and _in_pools(stage)
            and not any("routeReflectorClusterID" in each["spec"]["bgp"] for each in stage.store.list("Node"))
            and len({tuple(sorted(each["spec"]["bgp"])) for each in stage.store.list("Node")}) == 1
        )

    # --- sessions -------------------------------------------------------------------------------------------------------

    @staticmethod
    def _lacking(stage: Virtual) -> Iterator[str]:
        """Counted, not named: whose they are is what the configurations would have to be asked."""
        living = [name for name in stage.host.nodes if name not in stage.weather.frozen]
        for name, counts in stage.expected().counts(living).items():
            up = stage.host.nodes[name].established
            if up != counts.sessions:
                peers = [
                    f"{peer.config.name} {peer.session.last_error or peer.session.state.name}"
                    for speaker in stage.host.nodes[name].speakers.values()
                    for peer in speaker.peers.values()
                    if not peer.up
                ]
                yield f"{name} has {up} sessions, and should have {counts.sessions}: {', '.join(peers)}"

    @staticmethod
    def _still_restarting(stage: Virtual) -> Iterator[str]:
        for name, node in stage.host.nodes.items():
            if name in stage.weather.frozen:  # whatever it was told, it has not read it
                continue
            for speaker in node.speakers.values():
                for peer in speaker.peers.values():
                    if peer.up and peer.restart is not None:
                        yield f"{name}: {peer.config.name} is back, and has never said End-of-RIB"

    def _unexplained(self) -> Iterator[str]:
        silenced = any(isinstance(action, _SILENCES) for action in self._actions())
        for text in dict.fromkeys(self.downs):
            if text.endswith(_OURS) or (_SILENCE in text and not silenced):
                yield text

    # --- what was done --------------------------------------------------------------------------------------------------

    def _actions(self) -> Iterator[Action]:
        return (action for step in self.scenario.steps for action in step.do)

    def _struck(self, stage: Virtual) -> frozenset[str]:
        """Who may have died in the middle of something: anybody, if they are meant by a selector."""
        names = [name for action in self._actions() if isinstance(action, _STRIKES) for name in action.names]
        if all(name != ALL and is_name(name) for name in names):
            return frozenset(names)
        return frozenset((*names, *stage.members()))


def _in_pools(stage: Virtual) -> bool:
    """Whether every pod is; what is in none is announced to nobody."""
    pools = [parse_prefix(each["spec"]["cidr"]) for each in stage.store.list("IPPool")]
    return all(
        any(contains(pool, parse_prefix(text)) for pool in pools)
        for pod in stage.store.list("WorkloadEndpoint")
        for text in pod["spec"].get("ipNetworks") or ()
    )


_SILENCES = model.PowerOff | model.Freeze | model.Partition | model.Flap
_STRIKES = model.PowerOff | model.Stop | model.Restart
