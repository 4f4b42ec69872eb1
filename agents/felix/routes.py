"""Felix's routes of one node: from its WorkloadEndpoints to device routes.

Owns the two things that follow from the workloads of a node alone:

- ``device_routes``: what Felix programs, one scope-link route per address of a workload, over the workload's own
  interface (``192.168.9.3 dev cali…``);
- ``learned``: which of them BIRD's kernel protocol learns (``learn``: all that the kernel itself did not make). Most
  lie in the node's own blocks and are not announced; a borrowed address is, as a /32.

The law of Felix holds: the result depends on the endpoints that exist, never on the order in which they came. Where
two endpoints claim one address the first by name has it, until it goes.

Left out: routes of encapsulations, which a node without tunnels has none of; elevated priority during live migration.

Follows felix/dataplane/linux/endpoint_mgr.go and routetable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agents.dataplane.fib import FibRoute, device
from protocol.prefix import IPV4, Prefix, family_of, parse_prefix
from protocol.v3.workload import WorkloadEndpoint


def device_routes(endpoints: Iterable[WorkloadEndpoint]) -> dict[Prefix, FibRoute]:
    """The device routes of a node's endpoints, both families; an endpoint without an interface has none yet."""
    routes: dict[Prefix, FibRoute] = {}
    for endpoint in sorted(endpoints, key=lambda it: (it.metadata.namespace, it.metadata.name)):
        if endpoint.spec.interface_name:
            route = device(endpoint.spec.interface_name)
            for network in endpoint.spec.ip_networks:
                routes.setdefault(parse_prefix(network), route)
    return routes


def learned(routes: Mapping[Prefix, FibRoute], family: int = IPV4) -> dict[Prefix, FibRoute]:
    """What the BIRD of one family learns from the kernel."""
    return {prefix: route for prefix, route in routes.items() if family_of(prefix) == family}
