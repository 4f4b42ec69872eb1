"""``exportFilter`` of a BGPConfiguration: not Calico's, but written down often enough to be understood.

Owns ``read_export_filter``, which makes of

    exportFilter:
    - action: Deny
      matchExpression: '!has(10.244.0.0/16)'

a BGPFilter for the sessions of the whole cluster (``bgp.EVERY_SESSION``), and says so. ``has(CIDR)`` is true of a route
inside the CIDR, ``!has(CIDR)`` of one of its family that is not: the example lets 10.244.0.0/16 and what is in it out, and
nothing else of IPv4. The first rule that matches decides; a route that none matches goes Calico's way.

A document that writes this may leave out its name, too: it means the configuration of the cluster, ``default``. What became
of the field is a resource of its own: whoever takes the field away again deletes the BGPFilter by its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

import attrs

from protocol.v3.bgp import EVERY_SESSION, AnyFilterRule, BGPFilter, BGPFilterSpec, FilterRuleV4, FilterRuleV6
from protocol.v3.fields import as_network
from protocol.v3.metadata import Metadata
from protocol.v3.reading import Made, Reading
from protocol.v3.rules import Fault, Path
from protocol.v3.validate import InvalidResource, resource_of, structured

EXPORT_FILTER = "exportfilter-default"
_PATH: Final[Path] = ("spec", "exportFilter")

_HAS = re.compile(r"\s*(!?)\s*has\(\s*([^()\s]+)\s*\)\s*")
_ACTIONS: Final[Mapping[str, Literal["Accept", "Reject"]]] = MappingProxyType(
    {"Allow": "Accept", "Deny": "Reject"}
)


@attrs.frozen(kw_only=True)
class _ExportRule:
    """``has(CIDR)`` is a route inside the CIDR, and ``!has(CIDR)`` one of its family that is not."""

    action: Literal["Allow", "Deny"]
    match_expression: str


@attrs.frozen(kw_only=True)
class _ExportFilter:
    export_filter: tuple[_ExportRule, ...] = ()


def read_export_filter(doc: Mapping[str, Any]) -> Reading:
    """Raises InvalidResource."""
    spec = dict(doc["spec"])
    written = {"exportFilter": spec.pop("exportFilter")}
    metadata = doc.get("metadata") or {}
    warnings = []
    if isinstance(metadata, Mapping) and not metadata.get("name"):
        metadata = {**metadata, "name": "default"}
        warnings.append(Fault(("metadata",), "no name: taken as default, which is the whole cluster's"))
    made: list[Made] = []
    faults: list[Fault] = []
    try:
        configuration = resource_of({**doc, "metadata": metadata, "spec": spec})
    except InvalidResource as error:
        faults += error.faults
    else:
        made.append(Made(resource=configuration))
        if configuration.metadata.name != "default":
            faults.append(Fault(_PATH, "can be set only in the BGPConfiguration called default"))
    try:
        filter_spec = _filter_spec(structured(_ExportFilter, written).export_filter)
    except InvalidResource as error:
        faults += [Fault((*_PATH[:-1], *fault.path), fault.message) for fault in error.faults]
    if faults:
        raise InvalidResource(faults)
    filter_rules: list[AnyFilterRule] = [*filter_spec.export_v4, *filter_spec.export_v6]
    if filter_rules:
        metadata = Metadata(EXPORT_FILTER, annotations={EVERY_SESSION: "true"})
        made.append(Made(resource=BGPFilter(metadata, filter_spec), path=_PATH))
        said = "; ".join(f"{rule.action} {rule.match_operator} {rule.cidr}" for rule in filter_rules)
        message = (
            f"Calico's BGPConfiguration has no such field. Loaded as BGPFilter/{EXPORT_FILTER} ({said}), which every "
            "BGP session of the cluster gets here, the mesh's too. In Calico write that BGPFilter and name it in "
            "spec.filters of each BGPPeer; the node-to-node mesh takes no filters"
        )
        warnings.append(Fault(_PATH, message))
    return Reading(tuple(made), tuple(warnings))


def _filter_spec(export_rules: Sequence[_ExportRule]) -> BGPFilterSpec:
    v4: list[FilterRuleV4] = []
    v6: list[FilterRuleV6] = []
    faults = []
    for index, rule in enumerate(export_rules):
        found = _HAS.fullmatch(rule.match_expression)
        try:
            if not found:
                raise ValueError(f"{rule.match_expression!r} is neither has(CIDR) nor !has(CIDR)")
            network = as_network(found[2])
        except ValueError as error:
            faults.append(Fault(("exportFilter", index, "matchExpression"), str(error)))
            continue
        action = _ACTIONS[rule.action]
        operator: Literal["In", "NotIn"] = "NotIn" if found[1] else "In"
        if network.version == 4:
            v4.append(FilterRuleV4(action=action, match_operator=operator, cidr=str(network)))
        else:
            v6.append(FilterRuleV6(action=action, match_operator=operator, cidr=str(network)))
    if faults:
        raise InvalidResource(faults)
    return BGPFilterSpec(export_v4=tuple(v4), export_v6=tuple(v6))
