"""What ``up`` says: every line of it, made from values.

Owns the wording of the header, the progress lines, the outcome and the JSON object. Pure functions, so that the
words have tests of their own; ``cli.up`` prints them, and draws the same numbers as bars on a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from cluster.convergence import Difference, Progress
from cluster.plan import Plan
from cluster.spec import DEFAULT_NAME


@attrs.frozen(kw_only=True)
class Goal:
    """The full length of the three bars."""

    nodes: int
    sessions: int
    routes: int


@attrs.frozen(kw_only=True)
class LostShard:
    """A shard process that ended by itself."""

    number: int  # from 1
    how: str  # "was killed by SIGKILL"
    nodes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of an ``up``; times are seconds since the program was started."""

    topology: str
    nodes: int
    routers: int
    shards: int
    sessions_expected: int
    sessions_established: int
    routes_expected: int
    routes_programmed: int
    routes_missing: int
    routes_extra: int
    start_seconds: float | None  # every node listens
    sessions_seconds: float | None  # every session is Established; None: not reached
    converged_seconds: float | None
    elapsed: float
    cpu_seconds: float
    memory_bytes: int | None
    differences: tuple[Difference, ...] = ()
    lost: tuple[LostShard, ...] = ()

    @property
    def converged(self) -> bool:
        """Every FIB that was asked for is as it should be; nodes of a lost shard have none."""
        return self.converged_seconds is not None and not self.lost

    @property
    def nodes_down(self) -> int:
        return sum(len(shard.nodes) for shard in self.lost)


def header(plan: Plan) -> str:
    shards = len(plan.shards)
    routers = f", {counted(plan.routers, 'router')}" if plan.routers else ""
    return (
        f"tortie: {counted(plan.nodes, 'node')}{routers}, {plan.topology}: {counted(plan.sessions, 'session')}, "
        f"{counted(plan.sockets, 'socket')}; limit {plan.descriptors:,} descriptors a process "
        f"-> {counted(shards, 'shard')}"
    )


def counted(number: int, noun: str) -> str:
    """``"1 shard"``, ``"19,900 sessions"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def progress_line(seconds: float, progress: Progress, goal: Goal) -> str:
    """The one line a second of a log."""
    return (
        f"  {seconds:4.1f} s  nodes {progress.nodes:,}/{goal.nodes:,}"
        f"  sessions {progress.session_ends // 2:,}/{goal.sessions:,} Established"
        f"  routes {progress.routes:,}/{goal.routes:,} in the FIBs"
    )


def lost_line(shard: LostShard) -> str:
    """Which shard died, and what it took with it."""
    return (
        f"shard {shard.number} {shard.how}: {counted(len(shard.nodes), 'node')} went down with it: "
        f"{name_range(shard.nodes)}"
    )


def name_range(names: Sequence[str]) -> str:
    """All of a few names, the ends of many."""
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]} … {names[-1]}"


MANY_PODS = 10
"""So many pods without an address are named; the rest of them has the same reasons."""


def pod_failure_lines(failures: Sequence[str]) -> list[str]:
    lines = [f"pod without an address: {failure}" for failure in failures[:MANY_PODS]]
    more = len(failures) - MANY_PODS
    return [*lines, f"and {counted(more, 'more pod')} without an address"] if more > 0 else lines


def outcome_lines(outcome: Outcome) -> list[str]:
    cost = f"CPU {outcome.cpu_seconds:.1f} s"
    if outcome.memory_bytes is not None:
        cost += f", {outcome.memory_bytes / 1e6:,.0f} MB"
    if outcome.converged_seconds is not None:
        fibs = outcome.nodes + outcome.routers
        line = f"converged in {outcome.converged_seconds:.1f} s ({cost}): "
        if not outcome.lost:
            every = f"all {fibs:,} FIBs are" if fibs > 1 else "its one FIB is"
            return [line + f"{every} exactly what the datastore asks for"]
        return [
            line + f"{fibs - outcome.nodes_down:,} of {fibs:,} FIBs are exactly what the datastore asks for; "
            f"{counted(outcome.nodes_down, 'node')} down"
        ]
    parts = [] if outcome.start_seconds is not None else ["the nodes were still starting"]
    parts += [
        f"{outcome.sessions_established:,} of {counted(outcome.sessions_expected, 'session')} Established"
    ]
    if outcome.routes_missing or outcome.routes_extra:
        parts.append(
            f"{outcome.routes_missing:,} of {counted(outcome.routes_expected, 'route')} missing or wrong"
        )
    if outcome.routes_extra:
        parts.append(f"{outcome.routes_extra:,} too many")
    if outcome.lost:
        parts.append(f"{counted(outcome.nodes_down, 'node')} down")
    lines = [f"not converged after {outcome.elapsed:.1f} s ({cost}): {', '.join(parts)}"]
    return lines + [f"  {difference}" for difference in outcome.differences]


def next_line(names: Sequence[str], *, cluster: str) -> str:
    """The commands to type next, about a node that exists."""
    node = names[min(16, len(names) - 1)]
    option = "" if cluster == DEFAULT_NAME else f" --name {cluster}"
    commands = [
        f"./run status{option}",
        f"./run node status{option} {node}",
        f"./run birdc{option} {node} show route",
        f"./run ip route{option} {node}",
        f"Ctrl-C or ./run down{option}",
    ]
    return "next: " + " · ".join(commands)


def json_object(outcome: Outcome) -> dict[str, Any]:
    """The object of ``-o json``."""
    return {
        "nodes": outcome.nodes,
        "routers": outcome.routers,
        "shards": outcome.shards,
        "topology": outcome.topology,
        "sessions": {"expected": outcome.sessions_expected, "established": outcome.sessions_established},
        "routes": {
            "expected": outcome.routes_expected,
            "programmed": outcome.routes_programmed,
            "missing": outcome.routes_missing,
            "extra": outcome.routes_extra,
        },
        "seconds": {
            "start": _rounded(outcome.start_seconds),
            "sessions": _rounded(outcome.sessions_seconds),
            "converged": _rounded(outcome.converged_seconds),
        },
        "cpu_seconds": _rounded(outcome.cpu_seconds),
        "memory_mb": None if outcome.memory_bytes is None else round(outcome.memory_bytes / 1e6, 1),
        "differences": [
            {
                "node": each.node,
                "prefix": each.prefix,
                "expected": each.expected,
                "found": each.found,
                "why": each.why,
            }
            for each in outcome.differences
        ],
        "lost_shards": [
            {"shard": shard.number, "how": shard.how, "nodes": list(shard.nodes)} for shard in outcome.lost
        ],
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
