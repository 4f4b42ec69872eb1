"""What one change of a BGPFilter takes in a converged mesh: ``python -m bench.change NODES``, started by ``bench.tortie``.

Owns a mesh that one BGPPeer makes (``peerSelector: all()``, the node-to-node mesh is off), all of whose sessions have one
BGPFilter, and four writes of that filter to the datastore (``bench.live``):

    reject export   the first node no longer tells its first block
    accept export   as before
    reject import   nobody accepts that block any more
    accept import   as before

Each has two times: until the last FIB shows it, and until all tables are judged exact ("…, judged").
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from typing import Any

from bench.live import PORT, Live, run
from bench.rows import BenchError
from cluster.datastore.memory import MemoryStore
from cluster.launch import Refused, prepare
from cluster.spec import Spec

FILTER = "between-nodes"

MESH_OFF = """
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: false}
"""
PEERING = f"""
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {{name: everybody}}
spec: {{peerSelector: all(), filters: [{FILTER}]}}
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {{name: {FILTER}}}
spec:
  importV4: [{{action: Reject, matchOperator: In, cidr: 198.51.100.0/24}}]
  exportV4: [{{action: Reject, matchOperator: In, cidr: 198.51.100.0/24}}]
"""


def change(nodes: int) -> dict[str, float]:
    """Starts the mesh, changes the filter four times, ends it.

    Raises:
        Refused: it cannot be started.
        BenchError: it did not converge, or not again.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(MESH_OFF + PEERING)
        file.flush()
        prepared = prepare(Spec(nodes=nodes, bgp_port=PORT, manifests=(file.name,)))
    first = prepared.world.nodes[0].metadata.name

    async def measure(live: Live) -> dict[str, float]:
        block = next(
            affinity["spec"]["cidr"]
            for affinity in live.store.list("BlockAffinity")
            if affinity["spec"]["node"] == first
        )
        before = live.store.get("BGPFilter", FILTER)["spec"]
        all_routes = live.routes()
        times: dict[str, float] = {}
        for direction in ("export", "import"):
            rules = f"{direction}V4"
            rejected = {"action": "Reject", "matchOperator": "In", "cidr": block}
            for verb, spec, routes in (
                ("reject", {**before, rules: [rejected, *before[rules]]}, all_routes - (nodes - 1)),
                ("accept", before, all_routes),
            ):
                taken = await live.time(partial(write, live.store, spec), routes)
                times |= {f"{verb} {direction}": taken.shown, f"{verb} {direction}, judged": taken.judged}
        return times

    return run(prepared, prepared.plan.shards, measure)


def write(store: MemoryStore, spec: Mapping[str, Any]) -> None:
    store.update({**store.get("BGPFilter", FILTER), "spec": spec})


if __name__ == "__main__":
    try:
        print(json.dumps(change(int(sys.argv[1]))))
    except (Refused, BenchError) as error:
        sys.exit(str(error))
