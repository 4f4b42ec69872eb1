"""Resources to documents and back.

Owns ``KINDS`` and the two directions of the trusted conversion: ``decode`` for documents that this program wrote or
has already validated (datastore, sync wire), ``encode`` for everything that goes there.

``decode`` believes what it reads: it checks no type, only shape, because it runs for every delta on every shard. It
fills the defaults of the CRDs. Keys it does not know are ignored, as an older reader must.

``encode`` gives plain dicts, lists, strings and numbers. What is empty and would be empty again is left out
(Go's omitempty); a default that says something (``nodeSelector: all()``) is written, so that people see it.
``decode(encode(r)) == r`` for every resource.

Left out: documents that people write, which need a reason for every refusal. That is ``validate``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from protocol.v3.bgp import BGPConfiguration, BGPFilter, BGPPeer
from protocol.v3.core import EndpointSlice, Namespace, Secret, Service
from protocol.v3.felix import FelixConfiguration
from protocol.v3.fields import ALWAYS, json_names
from protocol.v3.ipam import BlockAffinity, IPAMBlock, IPAMConfiguration, IPAMHandle
from protocol.v3.ippool import IPPool, IPReservation
from protocol.v3.lab import Router
from protocol.v3.metadata import Resource
from protocol.v3.node import Node
from protocol.v3.workload import WorkloadEndpoint

__all__ = ["KINDS", "KindInfo", "Resource", "decode", "encode"]


@attrs.frozen
class KindInfo:
    kind: str
    cls: type[Resource]
    api_version: str
    plural: str
    namespaced: bool


_CLASSES: tuple[type[Resource], ...] = (
    BGPConfiguration,
    BGPFilter,
    BGPPeer,
    BlockAffinity,
    EndpointSlice,
    FelixConfiguration,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPPool,
    IPReservation,
    Namespace,
    Node,
    Router,
    Secret,
    Service,
    WorkloadEndpoint,
)

KINDS: Final[Mapping[str, KindInfo]] = MappingProxyType(
    {cls.kind: KindInfo(cls.kind, cls, cls.api_version, cls.plural, cls.namespaced) for cls in _CLASSES}
)


def decode(doc: Mapping[str, Any]) -> Resource:
    """The resource of a trusted document. Raises ValueError when its kind is none of ``KINDS``."""
    kind = doc["kind"]
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}")
    resource: Resource = _STRUCTURE[kind](doc)
    return resource


def encode(resource: Resource) -> dict[str, Any]:
    """The document of a resource, made of new dicts and lists."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        **_UNSTRUCTURE[resource.kind](resource),
    }


# -- the converter -------------------------------------------------------------------------------------------------
# cattrs writes one function a class. What it would do for leaves (convert, copy item by item, look up the hook of a
# union at run time) is replaced by the cheapest thing that is right for values known to be right.


def _bare(type_: Any) -> Any:
    """The type without its ``Annotated``."""
    return get_args(type_)[0] if hasattr(type_, "__metadata__") else type_


def _is_leaf(type_: Any) -> bool:
    """Whether no resource class is inside: text, numbers, enums, None, Any, and their unions."""
    type_ = _bare(type_)
    if attrs.has(type_) or get_origin(type_) in (tuple, dict, Mapping):
        return False
    return not any(attrs.has(_bare(arg)) for arg in get_args(type_))


def _is_leaf_tuple(type_: Any) -> bool:
    type_ = _bare(type_)
    return get_origin(type_) is tuple and not attrs.has(_bare(get_args(type_)[0]))


def _is_mapping(type_: Any) -> bool:
    return getattr(get_origin(_bare(type_)), "__name__", "") == "Mapping"


def _is_empty(default: object) -> bool:
    # An attrs.Factory (a function, for the type checker) makes an empty dict in all of our classes.
    return default in (None, "", (), False, 0) or getattr(default, "factory", None) is dict


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)

    def structure_class(cls: type) -> Any:
        renames: Any = {name: override(rename=json) for name, json in json_names(cls).items()}
        return make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=False, **renames)

    def unstructure_class(cls: type) -> Any:
        names = json_names(cls)
        overrides: Any = {
            field.name: override(
                rename=names[field.name],
                omit_if_default=_is_empty(field.default) and not field.metadata.get(ALWAYS),
            )
            for field in attrs.fields(cls)
        }
        return make_dict_unstructure_fn(cls, converter, **overrides)

    # Later registrations are asked first.
    converter.register_structure_hook_factory(attrs.has, structure_class)
    converter.register_unstructure_hook_factory(attrs.has, unstructure_class)
    converter.register_structure_hook_func(_is_leaf, lambda value, _: value)
    converter.register_unstructure_hook_func(_is_leaf, lambda value: value)
    converter.register_structure_hook_func(_is_leaf_tuple, lambda value, _: tuple(value))
    converter.register_unstructure_hook_func(_is_leaf_tuple, list)
    converter.register_structure_hook_func(_is_mapping, lambda value, _: dict(value))
    converter.register_unstructure_hook_func(_is_mapping, dict)
    return converter


_CONVERTER: Final = _make_converter()


class _Hooks(dict[str, Any]):
    """By kind. Writing a function takes milliseconds, and most clusters have few kinds: the others are written when they
    are met."""

    def __init__(self, make: Callable[[type[Resource]], Any]) -> None:
        super().__init__()
        self._make = make
        for cls in _IN_EVERY_CLUSTER:  # before shards are forked, who would each do it again
            self[cls.kind] = make(cls)

    def __missing__(self, kind: str) -> Any:
        self[kind] = hook = self._make(KINDS[kind].cls)
        return hook


_IN_EVERY_CLUSTER: Final = (
    BGPConfiguration,
    BlockAffinity,
    IPAMBlock,
    IPAMHandle,
    IPPool,
    Node,
    WorkloadEndpoint,
)
_STRUCTURE: Final = _Hooks(_CONVERTER.get_structure_hook)
_UNSTRUCTURE: Final = _Hooks(_CONVERTER.get_unstructure_hook)
