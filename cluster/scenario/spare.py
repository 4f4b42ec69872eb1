"""What is left of a Scenario document when all that is wrong with it is put aside, so that the rest can be looked at
too.

Owns ``without``. An action or a clause that is wrong goes as a whole, and something harmless stands in for it: what
comes behind keeps its place, by which its faults are told. Of a step, the cluster and ``spec`` a field goes.

Left out: what is wrong (``form``, ``rules``), and who looks further (``read``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from protocol.v3.rules import Fault, Path

_NOTHING: Final = {"wait": "0"}
_STAND_INS: Final = {"do": _NOTHING, "expect": {"ipam": "sound"}}


def without(document: Mapping[str, Any], faults: Iterable[Fault]) -> dict[str, Any]:
    """``document`` is left as it is."""
    rest: dict[str, Any] = _copied(document)
    for fault in faults:
        _put_aside(rest, fault.path)
    rest.setdefault("metadata", {"name": "x"})
    rest.setdefault("spec", {})
    return rest


def _put_aside(document: dict[str, Any], path: Path) -> None:
    match path:
        case ("spec", "steps", int(index), "do" | "expect" as field, int(at), *_):
            document["spec"]["steps"][index][field][at] = _STAND_INS[field]
        case ("spec", "steps", int(index), str(field), *_):
            step = document["spec"]["steps"][index]
            step.pop(field, None)
            if field == "when":
                step.pop("within", None)
            step.setdefault("do", [_NOTHING])
        case ("spec", "steps", int(index)):
            document["spec"]["steps"][index] = {"do": [_NOTHING]}
        case ("spec", "expect", int(at), *_):
            document["spec"]["expect"][at] = _STAND_INS["expect"]
        case ("spec", "cluster", str(field), *_):
            document["spec"]["cluster"].pop(field, None)
        case ("spec", str(field), *_):
            document["spec"].pop(field, None)
        case (str(field), *_):
            document.pop(field, None)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value
