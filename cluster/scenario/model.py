"""A scenario: a cluster, what is done to it and when, and what is expected of it. Values only.

Owns ``Scenario`` and what it is made of, all frozen and compared by value. Whoever draws scenarios makes these,
``read`` makes them of YAML, ``write`` makes YAML of them again (``read(write(scenario)) == scenario``), and ``play``
plays them on a ``Stage``.

    Scenario   cluster, steps, what is expected at the end
    Step       when it is done (at once, at a time, after a time, when something is so), actions, clauses
    Action     a change of resources, pods that come and go, a fault, a wait
    Clause     something that must be so, now or within a time

``Names`` picks nodes and routers, and is looked up when the step is done: a name, ``"all"`` (every Node that there is
then), or a Calico selector over the labels of Nodes. Files are read with the scenario: what they hold is in the values,
and nothing else is needed to play it again.

Times are seconds. Left out: whether names and selectors mean anything (``read`` and ``play``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from protocol.v3.metadata import Key, Resource

Names = tuple[str, ...]

ALL: Final = "all"
PATIENCE: Final = 600.0
"""Seconds that something is waited for, unless a step or clause says how long: longer than every timer of Calico's."""


# -- the cluster ------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Cluster:
    """As ``up`` makes one. ``resources`` are those of all manifests; ``off`` are not powered on at the start."""

    nodes: int | None = None  # None: those of the resources, or as many as `up` has by default
    route_reflectors: int = 0
    pods_per_node: int = 2
    blocks_per_node: int = 1
    ip_family: Literal["ipv4", "ipv6", "dual"] = "ipv4"
    resources: tuple[Resource, ...] = ()
    off: Names = ()


# -- what is waited for -----------------------------------------------------------------------------------------------


@attrs.frozen
class WhenConverged:
    """Every FIB is exact and nothing moves."""


@attrs.frozen
class WhenSession:
    """All sessions of ``node`` with ``peer`` (a node's or router's name, or an address) are in ``state``, and there is
    one; with ``negated`` the opposite.
    """

    node: str
    peer: str
    state: str = "Established"
    negated: bool = False


Condition = WhenConverged | WhenSession


# -- what is done -----------------------------------------------------------------------------------------------------


@attrs.frozen
class Apply:
    """Create, or put in the place of what is there."""

    resources: tuple[Resource, ...]


@attrs.frozen
class Delete:
    keys: tuple[Key, ...]


PatchType = Literal["merge", "strategic", "json"]


@attrs.frozen
class Patch:
    key: Key
    patch: Any  # a JSON value
    type: PatchType = "merge"


@attrs.frozen
class Label:
    """``labels``: what they become; None removes. ``names`` are looked up for Nodes, and are plain names for other
    kinds.
    """

    names: Names
    labels: Mapping[str, str | None]
    kind: str = "Node"
    namespace: str = ""


@attrs.frozen
class AddPods:
    names: Names
    count: int = 1  # on each


@attrs.frozen
class DeletePods:
    names: Names
    count: int = 1  # of each, the first ones by name


@attrs.frozen
class Stop:
    """calico-node is gone, the kernel goes on forwarding."""

    names: Names


@attrs.frozen
class Start:
    """What was stopped or powered off."""

    names: Names


@attrs.frozen
class PowerOff:
    """The machine is gone, silently."""

    names: Names


@attrs.frozen
class Freeze:
    """The daemons hang, the kernel goes on forwarding."""

    names: Names


@attrs.frozen
class Thaw:
    names: Names


@attrs.frozen
class Restart:
    """calico-node, ``window`` at a time: stop, ``down`` seconds, start; the next ones when the sessions are up again
    that were.

    ``within``: how long one window may take for that.
    """

    names: Names
    window: int = 1
    down: float = 5.0
    within: float = PATIENCE


@attrs.frozen
class Partition:
    """Nothing gets from one side to the other."""

    one: Names
    other: Names


@attrs.frozen
class Heal:
    """What is cut between the sides; everything that is cut when there are none."""

    one: Names = ()
    other: Names = ()


@attrs.frozen
class Flap:
    """The link between two is cut for ``down`` seconds, ``times`` times; each begins ``every`` seconds after the one
    before.
    """

    one: str
    other: str
    down: float = 3.0
    every: float = 20.0
    times: int = 1


@attrs.frozen
class Wait:
    seconds: float


Fault = Stop | Start | PowerOff | Freeze | Thaw | Restart | Partition | Heal | Flap
Change = Apply | Delete | Patch | Label | AddPods | DeletePods
Action = Change | Fault | Wait


# -- what is expected -------------------------------------------------------------------------------------------------


@attrs.frozen
class Converged:
    """Every FIB is exact, and nothing moves."""

    within: float = PATIENCE


Since = Literal["step", "start"]


@attrs.frozen(kw_only=True)
class Loss:
    """No pair of nodes loses more than ``pair`` seconds, all of them together no more than ``total``.

    Counted since the step began (at the end of a scenario: the last one), or since the cluster first converged.
    """

    pair: float | None = None
    total: float | None = None
    since: Since = "step"


@attrs.frozen
class Wanted:
    """A route that must be there; ``prefix`` may be ``"blocks of NODE"``, those that IPAM has given it. ``via``: what
    it goes to, each a node's or router's name, a gateway's address, a device, or the kind of route (``blackhole``,
    ``unreachable``); all of them and no other. Empty: wherever it goes.
    """

    prefix: str
    via: Names = ()


@attrs.frozen(kw_only=True)
class Routes:
    """In the FIB of each of ``names``."""

    names: Names = (ALL,)
    present: tuple[Wanted, ...] = ()
    absent: tuple[str, ...] = ()
    within: float = 0.0


@attrs.frozen(kw_only=True)
class Sessions:
    """Ends of sessions: those of ``names`` with ``peer`` (a node's or router's name, an address, a stanza of BIRD's;
    "": any).

    ``count``: how many of them are in ``state``; or, with ``error``, are down, and BIRD's words for why have it in
    them, whatever they do about it just now. None: all of them, and there is one.
    """

    names: Names = (ALL,)
    peer: str = ""
    state: str = "Established"
    error: str = ""
    count: int | None = None
    within: float = 0.0


@attrs.frozen
class SoundIpam:
    """No address twice, no leaked block or handle; affinities and blocks agree."""


@attrs.frozen
class Refused:
    """Something that this step does is refused, or does not work, in words that have ``text`` in them. Without such a
    clause whatever does not work fails the step.
    """

    text: str = ""


@attrs.frozen
class UnsettledAllowed:
    """Prefixes that have no stable state, or several, are no failure."""


Clause = Converged | Loss | Routes | Sessions | SoundIpam | Refused | UnsettledAllowed


# -- all of it --------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Step:
    """Done at once after the step before; or ``at`` seconds after the cluster first converged; or ``after`` seconds
    after the step before was done; or when all of ``when`` is so, which may take ``within`` seconds. One of these.

    Actions are done in their order, then clauses are looked at in theirs.
    """

    name: str = ""
    at: float | None = None
    after: float | None = None
    when: tuple[Condition, ...] = ()
    within: float = PATIENCE
    do: tuple[Action, ...] = ()
    expect: tuple[Clause, ...] = ()


@attrs.frozen(kw_only=True)
class Scenario:
    name: str
    description: str = ""
    seed: int = 0
    hold_time: float = 90.0
    cluster: Cluster = Cluster()
    steps: tuple[Step, ...] = ()
    expect: tuple[Clause, ...] = (Converged(),)
