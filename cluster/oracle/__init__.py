"""The oracle: what every FIB should hold, by the datastore alone.

Owns the judgement. A cluster has converged when the table of every living node equals what is computed here; the
first that differs is explained. There are two ways to compute it, and ``choice`` says which is taken:

    resources ─┬─ plain ─────► Facts ─── solve ──────────┐         ┌► shard: (node, expected table)
    (datastore)│  (facts)      plain values,  by each    ├─ Expected ┤
               │               each family    shard      │         └► first_differences ──► Difference
               └─ all else ──► Tables ───────────────────┘              only when a table is not equal
                 (general)     ready, computed once by the coordinator

A plain cluster (one AS, mesh or reflectors, no policy but Calico's own) may have thousands of nodes. Its oracle shares
no code with the program it judges: not with confd, whose sessions it derives another way (``sessions``), nor with the
speaker's policy and decision process; the stable state is reachability (``solver``). Common are only values:
prefixes, resources, selectors, and the entries of a FIB.

Everything else is played out without messages, sessions or timers (``general``): sessions stand where the
configurations of both ends agree (``graph``), and routes are exported, imported and decided over all of them until nothing
changes. Configurations are confd's, and policy and decision are the speaker's own functions: that these do as BIRD
does is for the tests against BIRD to show. What is judged is all that happens around them: sessions, updates,
withdrawals, Adj-RIBs, the FIB and what Felix puts there. On plain clusters both must find the same, which a test holds them to.
"""

from __future__ import annotations

from cluster.oracle.choice import plain
from cluster.oracle.differences import Difference, first_differences
from cluster.oracle.expected import Expected
from cluster.oracle.oracle import Oracle, Snapshot, snapshot
from cluster.oracle.solver import NodeCounts

__all__ = [
    "Difference",
    "Expected",
    "NodeCounts",
    "Oracle",
    "Snapshot",
    "first_differences",
    "plain",
    "snapshot",
]
