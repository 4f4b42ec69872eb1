"""The Scenario document as people write it, field by field.

Owns ``form_of`` (a plain document to a ``ScenarioForm``, strictly, field by field). The forms are declared with the
types of ``protocol.v3.fields``, as resources are, so that every error says which field it is of.

What may be written in short is written out first (``_written_out``): ``- converged`` for ``- converged: {}``,
``stop: node-1`` for ``stop: [node-1]``, a prefix for ``{prefix: …}``.

Left out: what must be between the fields (``rules``); files and lines, manifests, names that nobody has (``read``);
what it all means (``values``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import attrs

from cluster.api import names as kinds
from cluster.scenario.model import ALL, PatchType
from cluster.spec import MAX_NODES
from protocol.v3 import selector
from protocol.v3.fields import (
    JSON,
    AsText,
    Check,
    LabelKey,
    LabelValue,
    Subdomain,
    as_strict_network,
    at_most,
    between,
    check_subdomain,
    counted,
    duration_seconds,
)
from protocol.v3.reading import body
from protocol.v3.validate import structured

STATES: Final = ("Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established")
MAX_SECONDS: Final = 30 * 86400.0

_SESSION: Final = re.compile(r"session\s+(\S+)\s+(\S+)\s+is(\s+not)?\s+(\S+)")
_BLOCKS: Final = "blocks of "
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")


def seconds(text: str) -> float:
    """``90``, ``"0.5"``, ``"90s"`` or ``"1m30s"``."""
    found = float(text) if _NUMBER.fullmatch(text) else duration_seconds(text)
    if not 0 <= found <= MAX_SECONDS:
        raise ValueError(f"{text} is not in 0..{MAX_SECONDS:.0f}s")
    return found


def session(text: str) -> tuple[str, str, bool, str] | None:
    """Node, peer, whether it is negated, and the state; None when the condition is another."""
    found = _SESSION.fullmatch(text)
    return None if found is None else (found[1], found[2], found[3] is not None, found[4])


def blocks_of(text: str) -> str:
    """The node whose blocks are meant by ``blocks of NODE``; "" for a prefix."""
    return text.removeprefix(_BLOCKS).strip() if text.startswith(_BLOCKS) else ""


def is_name(text: str) -> bool:
    """Whether it is one, and no selector: those have operators or brackets."""
    try:
        check_subdomain(text)
    except ValueError:
        return False
    return True


# -- the types of fields ----------------------------------------------------------------------------------------------


def _check_names(texts: tuple[str, ...]) -> None:
    for text in texts:
        if text != ALL and not is_name(text):
            try:
                selector.parse(text)
            except ValueError as error:
                raise ValueError(
                    f"{text!r} is neither a name, nor {ALL!r}, nor a selector: {error}"
                ) from None


def _check_condition(texts: tuple[str, ...]) -> None:
    for text in texts:
        found = session(text)
        if found is None and text != "converged":
            raise ValueError(f"{text!r} is neither 'converged' nor 'session NODE PEER is [not] STATE'")
        if found is not None and found[3] not in STATES:
            raise ValueError(f"{found[3]!r} is no state of a session: {', '.join(STATES)}")


def _check_prefix(text: str) -> None:
    name = blocks_of(text)
    if name:
        check_subdomain(name)
    else:
        as_strict_network(text)


def _check_kind(text: str) -> None:
    if kinds.find(text) is None:
        raise ValueError(f"{text!r} is no kind that can be written; known are {', '.join(_KINDS)}")


_KINDS: Final = tuple(name.kind for name in kinds.NAMES if not name.internal)

Seconds = Annotated[str, AsText(), Check(seconds)]
Names = Annotated[tuple[str, ...], Check(_check_names)]
SomeNames = Annotated[tuple[str, ...], counted(1, MAX_NODES), Check(_check_names)]
Conditions = Annotated[tuple[str, ...], Check(_check_condition)]
PrefixText = Annotated[str, Check(_check_prefix)]
Kind = Annotated[str, Check(_check_kind)]
Count = Annotated[int, between(1, 10_000)]
State = Literal["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"]
Since = Literal["step", "start", ""]


# -- actions ----------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class PatchForm:
    kind: Kind
    name: Subdomain
    namespace: str = ""
    type: PatchType = "merge"
    patch: Any


@attrs.frozen(kw_only=True)
class LabelForm:
    kind: Kind = "Node"
    name: SomeNames
    namespace: str = ""
    labels: Mapping[LabelKey, LabelValue | None]


@attrs.frozen(kw_only=True)
class PodsForm:
    nodes: SomeNames
    count: Count = 1


@attrs.frozen(kw_only=True)
class RestartForm:
    nodes: SomeNames
    window: Count = 1
    down: Seconds = "5"
    within: Seconds = "600"


Side = Annotated[tuple[SomeNames, ...], counted(2, 2)]


@attrs.frozen(kw_only=True)
class PartitionForm:
    between: Side


@attrs.frozen(kw_only=True)
class HealForm:
    between: Side = ()


@attrs.frozen(kw_only=True)
class LinkForm:
    between: Annotated[tuple[Subdomain, ...], counted(2, 2)]
    down: Seconds = "3"
    every: Seconds = "20"
    times: Count = 1


@attrs.frozen(kw_only=True)
class ActionForm:
    """One of them is set."""

    apply: Any = None  # files and documents, see `read`
    delete: Any = None
    patch: PatchForm | None = None
    label: LabelForm | None = None
    add_pods: PodsForm | None = attrs.field(default=None, metadata={JSON: "add-pods"})
    delete_pods: PodsForm | None = attrs.field(default=None, metadata={JSON: "delete-pods"})
    stop: SomeNames | None = None
    start: SomeNames | None = None
    power_off: SomeNames | None = attrs.field(default=None, metadata={JSON: "power-off"})
    kill: SomeNames | None = None
    freeze: SomeNames | None = None
    thaw: SomeNames | None = None
    restart: RestartForm | None = None
    partition: PartitionForm | None = None
    heal: HealForm | None = None
    link: LinkForm | None = None
    wait: Seconds | None = None


# -- clauses ----------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ConvergedForm:
    within: Seconds = "600"


@attrs.frozen(kw_only=True)
class LossForm:
    pair: Seconds | None = None
    total: Seconds | None = None
    since: Since = ""


@attrs.frozen(kw_only=True)
class WantedForm:
    prefix: PrefixText
    via: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class RoutesForm:
    nodes: SomeNames = (ALL,)
    present: tuple[WantedForm, ...] = ()
    absent: tuple[PrefixText, ...] = ()
    within: Seconds = "0"


@attrs.frozen(kw_only=True)
class SessionsForm:
    nodes: SomeNames = (ALL,)
    peer: str = ""
    state: State | None = None
    error: str = ""
    count: Annotated[int, between(0, 1 << 31)] | None = None
    within: Seconds = "0"


@attrs.frozen(kw_only=True)
class ClauseForm:
    """One of them is set."""

    converged: ConvergedForm | None = None
    loss: LossForm | None = None
    routes: RoutesForm | None = None
    sessions: SessionsForm | None = None
    ipam: Literal["sound"] | None = None
    refused: str | None = None
    unsettled: Literal["allowed"] | None = None


# -- the document -----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class StepForm:
    name: Annotated[str, AsText()] = ""
    at: Seconds | None = None
    after: Seconds | None = None
    when: Conditions = ()
    within: Seconds | None = None
    do: tuple[ActionForm, ...] = ()
    expect: tuple[ClauseForm, ...] = ()


@attrs.frozen(kw_only=True)
class ClusterForm:
    nodes: Annotated[int, between(1, MAX_NODES)] | None = None
    route_reflectors: Annotated[int, between(0, MAX_NODES)] = 0
    pods_per_node: Annotated[int, between(0, 10_000)] = 2
    blocks_per_node: Annotated[int, between(1, 100_000)] = 1
    ip_family: Literal["ipv4", "ipv6", "dual"] = "ipv4"
    manifests: tuple[str, ...] = ()
    off: Names = ()


@attrs.frozen(kw_only=True)
class SpecForm:
    description: Annotated[str, AsText()] = ""
    seed: Annotated[int, between(0, (1 << 64) - 1)] = 0
    hold_time: Seconds = "90"
    cluster: ClusterForm = ClusterForm()
    steps: Annotated[tuple[StepForm, ...], at_most(10_000)] = ()
    expect: tuple[ClauseForm, ...] | None = None


@attrs.frozen(kw_only=True)
class MetadataForm:
    name: Subdomain


@attrs.frozen(kw_only=True)
class ScenarioForm:
    metadata: MetadataForm
    spec: SpecForm


def form_of(document: Mapping[str, Any]) -> ScenarioForm:
    """Raises InvalidResource."""
    return structured(ScenarioForm, _written_out(body(document)))


def one_of(form: ActionForm | ClauseForm) -> list[tuple[str, Any]]:
    """What is set, by its name in the file."""
    return [
        (field.metadata.get(JSON, field.name), value)
        for field in attrs.fields(type(form))
        if (value := getattr(form, field.name)) is not None
    ]


# -- what is written in short -----------------------------------------------------------------------------------------

_LISTS: Final = frozenset(
    ("when", "nodes", "via", "off", "stop", "start", "power-off", "kill", "freeze", "thaw")
)
_EMPTY: Final = frozenset(("converged", "heal"))


def _written_out(value: Any) -> Any:
    document = {**value}
    spec = document["spec"] = _copied(document.get("spec"))
    if isinstance(spec, dict):
        spec["cluster"] = _listed(spec.get("cluster"))
        _each(spec, "expect", _clause)
        _each(spec, "steps", _step)
    return document


def _copied(value: Any) -> Any:
    return {**value} if isinstance(value, Mapping) else value


def _each(owner: dict[str, Any], field: str, written_out: Callable[[Any], Any]) -> None:
    found = owner.get(field)
    if isinstance(found, list):
        owner[field] = [written_out(one) for one in found]


def _listed(value: Any) -> Any:
    """A text where a list of them may be."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: [inner] if key in _LISTS and isinstance(inner, str) else inner for key, inner in value.items()
    }


def _step(value: Any) -> Any:
    step = _listed(value)
    if isinstance(step, dict):
        _each(step, "do", _action)
        _each(step, "expect", _clause)
    return step


def _keyed(value: Any) -> Any:
    if isinstance(value, str):
        return {value: {} if value in _EMPTY else None}
    if not isinstance(value, Mapping):
        return value
    return {key: {} if inner is None and key in _EMPTY else inner for key, inner in value.items()}


def _action(value: Any) -> Any:
    action = _listed(_keyed(value))
    if not isinstance(action, dict):
        return action
    if action.get("heal") == ALL:
        action["heal"] = {}
    for key, inner in action.items():
        if key not in ("apply", "delete", "patch"):
            action[key] = _listed(inner)
    label = action.get("label")
    if isinstance(label, dict) and isinstance(label.get("name"), str):
        label["name"] = [label["name"]]
    for key in ("partition", "heal"):
        cut = action[key] = _copied(action.get(key))
        if isinstance(cut, dict):
            _each(cut, "between", lambda side: [side] if isinstance(side, str) else side)
    return action


def _clause(value: Any) -> Any:
    clause = _keyed(value)
    if not isinstance(clause, dict):
        return clause
    clause = {key: _listed(inner) for key, inner in clause.items()}
    routes = clause.get("routes")
    if isinstance(routes, dict):
        _each(routes, "present", lambda one: {"prefix": one} if isinstance(one, str) else _listed(one))
    return clause
