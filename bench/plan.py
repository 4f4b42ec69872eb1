"""What ``plan`` takes, from the state of a mesh in hand to the words.

Owns three changes of the worst kind, each of which concerns everybody: the mesh is turned off, everybody gets another AS
number, the only pool is deleted. The copy converges anew for each, as it does for whoever asks.

Left out: fetching the state from a cluster, and the start of Python.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

from bench.rows import BenchError, Case, Run
from cluster.spec import DEFAULT_POOLS, Spec, build
from cluster.whatif.change import Change
from cluster.whatif.plan import make_plan, plan_text
from cluster.whatif.state import of_manifests
from cluster.whatif.trial import try_change
from protocol.prefix import IPV4
from protocol.sync.messages import Document

CHANGES: dict[str, tuple[str, str, dict[str, object]]] = {
    "mesh off": ("BGPConfiguration", "default", {"asNumber": 64512, "nodeToNodeMeshEnabled": False}),
    "another AS": ("BGPConfiguration", "default", {"asNumber": 64513, "nodeToNodeMeshEnabled": True}),
    "pool deleted": ("IPPool", DEFAULT_POOLS[IPV4], {"cidr": "192.168.0.0/16"}),
}


def plan(case: Case) -> Sequence[Run]:
    spec = Spec(nodes=case.nodes)
    state = of_manifests(spec, build(spec))
    runs = []
    for event, (kind, name, fields) in CHANGES.items():
        document: Document = {
            "apiVersion": "projectcalico.org/v3",
            "kind": kind,
            "metadata": {"name": name},
            "spec": fields,
        }
        change = Change(documents=(document,), places=("",), delete=event == "pool deleted")
        gc.collect()
        gc.disable()  # as the command does
        started, worked = time.perf_counter(), time.process_time()
        try:
            found = make_plan(state.name, try_change(state, change))
            plan_text(found)
        finally:
            gc.enable()
        if found.amiss or not found.pairs.lost:
            raise BenchError(f"{event}: {found.verdict}")
        runs.append(
            Run(event=event, wall_s=time.perf_counter() - started, cpu_s=time.process_time() - worked)
        )
    return runs
