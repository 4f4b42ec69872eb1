"""What every Felix programs, from resources.

Owns ``Felix``: the routes of a node that BIRD does not make: its own workloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from agents.dataplane.fib import device
from agents.syncer import View
from cluster.oracle.solver import Table
from protocol.prefix import parse_prefix
from protocol.v3.workload import WorkloadEndpoint


class Felix:
    def __init__(self, view: View) -> None:
        self._view = view

    def routes(self, name: str) -> Table:
        """All of one node, both families. Of two workloads with one address the first by name has it."""
        table: Table = {}
        endpoints = cast(
            "Iterable[WorkloadEndpoint]", self._view.of_node(WorkloadEndpoint.kind, name).values()
        )
        for endpoint in sorted(endpoints, key=lambda each: (each.metadata.namespace, each.metadata.name)):
            if endpoint.spec.interface_name:
                for network in endpoint.spec.ip_networks:
                    table.setdefault(parse_prefix(network), device(endpoint.spec.interface_name))
        return table
