"""How long confd takes to derive what every node of a cluster is told, in this process and without any session.

Owns two clusters of N nodes, each with a block of its own:

    plain      the node-to-node mesh
    trimmings  a mesh that one BGPPeer makes, with a BGPFilter (``bench.change``), communities, and a Service for every
               tenth node, with endpoints on that node and the next

As in a shard, each node asks for both address families, all share one ``Confd``, and nothing is collected meanwhile.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

from agents.confd.derive import Confd
from agents.node import FAMILIES
from agents.speaker.config import Timers
from agents.syncer import View
from bench.change import PEERING
from bench.rows import BenchError, Case, Run
from cluster.spec import Spec, World, build, serves_workloads
from cluster.workloads import claimed_blocks
from protocol.sync.messages import InSync, Snapshot
from protocol.v3.codec import encode
from protocol.v3.ippool import IPPool
from protocol.v3.loader import STDIN, load

CONFIGURATION = """
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec:
  nodeToNodeMeshEnabled: false
  serviceClusterIPs: [{cidr: 10.96.0.0/12}]
  serviceExternalIPs: [{cidr: 203.0.113.0/24}]
  communities: [{name: pods, value: "64512:100"}, {name: services, value: "64512:200:300"}]
  prefixAdvertisements:
  - {cidr: 192.168.0.0/16, communities: [pods]}
  - {cidr: 10.96.0.0/12, communities: [services, "64512:201"]}
"""


def derive(case: Case) -> list[Run]:
    return [
        measure(event, world, case)
        for event, world in (("plain", build(Spec(nodes=case.nodes))), ("trimmings", trimmings(case.nodes)))
    ]


def trimmings(nodes: int) -> World:
    spec = Spec(nodes=nodes)
    names = [node.metadata.name for node in build(spec).nodes]
    manifests = "".join([CONFIGURATION, PEERING, *services(names)])
    return build(spec, load((STDIN,), manifests.encode()).resources)


def services(nodes: Sequence[str]) -> Iterator[str]:
    for number, (node, other) in enumerate([*pairwise(nodes)][::10]):
        yield f"""
---
apiVersion: v1
kind: Service
metadata: {{name: service-{number}, namespace: default}}
spec: {{clusterIP: 10.96.{number >> 8}.{number & 255}, externalTrafficPolicy: Local, type: NodePort}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: service-{number}, namespace: default, labels: {{kubernetes.io/service-name: service-{number}}}}}
addressType: IPv4
endpoints: [{{addresses: [192.0.2.1], nodeName: {node}}}, {{addresses: [192.0.2.2], nodeName: {other}}}]
"""


def view(world: World) -> View:
    pools = [pool for pool in world.of_kind(IPPool) if serves_workloads(pool)]
    documents = *map(encode, world.resources), *claimed_blocks(world.nodes, pools, 1, now=0.0)
    found = View()
    found.apply(Snapshot(1, documents))
    found.apply(InSync(1))
    return found


def measure(event: str, world: World, case: Case) -> Run:
    confd = Confd(view(world), Timers())
    names = [node.metadata.name for node in world.nodes]
    gc.collect()
    gc.disable()
    try:
        started, worked = time.perf_counter(), time.process_time()
        configs = [confd.derive(name, family) for name in names for family in FAMILIES]
        run = Run(event=event, wall_s=time.perf_counter() - started, cpu_s=time.process_time() - worked)
    finally:
        gc.enable()
    sessions = sum(len(config.peers) for config in configs if config is not None)
    if sessions != 2 * case.sessions:
        raise BenchError(f"{sessions} ends of sessions, not {2 * case.sessions}")
    return run
