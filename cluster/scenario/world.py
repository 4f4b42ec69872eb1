"""The cluster that a scenario begins with.

Owns ``world_of``: the same sum that ``up`` does, with the scenario's numbers and resources.
"""

from __future__ import annotations

from cluster.scenario.model import Scenario
from cluster.spec import Spec, World, build


def world_of(scenario: Scenario) -> World:
    """Raises SpecError."""
    return build(spec_of(scenario), scenario.cluster.resources)


def spec_of(scenario: Scenario) -> Spec:
    cluster = scenario.cluster
    return Spec(
        nodes=cluster.nodes,
        route_reflectors=cluster.route_reflectors,
        pods_per_node=cluster.pods_per_node,
        blocks_per_node=cluster.blocks_per_node,
        ip_family=cluster.ip_family,
        hold_time=scenario.hold_time,
        seed=scenario.seed,
    )
