"""WorkloadEndpoints of one node, few enough to collide."""

from __future__ import annotations

from hypothesis import strategies as st

from protocol.v3.metadata import Metadata
from protocol.v3.workload import WorkloadEndpoint, WorkloadEndpointSpec


def workload(name: str, *networks: str, interface: str, namespace: str = "default") -> WorkloadEndpoint:
    return WorkloadEndpoint(
        Metadata(name, namespace),
        WorkloadEndpointSpec(node="node-001", pod=name, ip_networks=networks, interface_name=interface),
    )


@st.composite
def workloads(draw: st.DrawFn) -> list[WorkloadEndpoint]:
    names = draw(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), unique=True))
    networks = st.lists(st.integers(0, 3).map(lambda host: f"192.168.4.{host}/32"), max_size=2, unique=True)
    return [
        workload(
            name,
            *draw(networks),
            interface=draw(st.sampled_from(("", f"cali{namespace}{name}"))),
            namespace=namespace,
        )
        for namespace, name in names
    ]
