"""The oracle: what every FIB should hold, by the datastore alone.

Owns the judgement. A cluster has converged when the table of every living node equals what is computed here; the
first that differs is explained.

    resources ── gather ──► Facts ── solve ──► (node, expected table) ── first_differences ──► Difference
    (datastore)  once, by    plain values,     by each shard, for its        only when a table
                 the         sent to every     own nodes                     is not equal
                 coordinator shard

- ``sessions``: who has a session with whom, by set logic over Node, BGPConfiguration and BGPPeer.
- ``facts``: the rest of what matters (who announces what, who keeps quiet about it, what is local), made compact.
- ``solver``: which route each node ends with.
- ``differences``: a table that is not what it should be, in sentences.

It shares no code with the program it judges: not with confd, whose sessions it derives another way, nor with the
speaker's policy and decision process. Common are only values: prefixes, resources, selectors, and the entries of a
FIB.

Left out, as long as the nodes leave it out: IPv6 sessions, BGP filters, communities, services, encapsulation,
add-path, localASNumber, and neighbours that are not nodes of the cluster. An address that workloads of two nodes claim at once has
no stable answer in BGP without add-path (each node keeps quiet while it hears the other); both are taken to announce
it, as BIRD with add-path does.
"""

from __future__ import annotations

from cluster.oracle.differences import Difference, first_differences
from cluster.oracle.facts import Facts, gather
from cluster.oracle.solver import expected_counts, solve

__all__ = ["Difference", "Facts", "expected_counts", "first_differences", "gather", "solve"]
