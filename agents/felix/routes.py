"""Felix's routes of one node's own workloads, and what BIRD learns of all that Felix programs.

Owns ``device_routes``: one scope-link route per address of a workload, over the workload's own interface
(``192.168.9.3 dev cali…``); and ``learned``: BIRD's kernel protocol takes all that the kernel itself did not make
(``learn``). Most lies in the node's own blocks and is not announced; a borrowed address is, as a /32, and routes
to other nodes (``l3routes``) are told to other ASes.

The law of Felix holds: the result depends on the endpoints that exist, never on the order in which they came. Where
two endpoints claim one address the first by name has it, until it goes.

Left out: metrics. A route's priority is taken to be the normal one of BGPConfiguration: FelixConfiguration's own, which
ought to be the same number, and the elevated one during live migration do not show.

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
