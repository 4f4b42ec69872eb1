"""What every resource has: its metadata, its kind and its key.

Owns ``Metadata`` (the part of Kubernetes' ObjectMeta that Calico's tools read and write), ``Resource`` (the base of
every kind's class) and ``Key``. A resource is a frozen value; in the datastore and on the wire it is a document, a
plain dict, and ``codec`` turns one into the other.

Text fields that are not set are ``""``, numbers and objects that are not set are ``None``: what Go's omitempty does
to the documents people have.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, ClassVar

import attrs

from protocol.v3.fields import AnnotationValue, LabelKey, LabelValue, Subdomain

API_VERSION = "projectcalico.org/v3"

Key = tuple[str, str, str]
"""(kind, namespace or "", name)."""


@attrs.frozen
class Metadata:
    ignores: ClassVar[Container[str]] = frozenset(("generateName", "selfLink"))  # a server's

    name: Subdomain
    namespace: Subdomain = ""
    labels: Mapping[LabelKey, LabelValue] = attrs.field(factory=dict, kw_only=True)
    annotations: Mapping[str, AnnotationValue] = attrs.field(factory=dict, kw_only=True)
    resource_version: str = attrs.field(default="", kw_only=True)
    uid: str = attrs.field(default="", kw_only=True)
    creation_timestamp: str = attrs.field(default="", kw_only=True)
    generation: int | None = attrs.field(default=None, kw_only=True)
    deletion_timestamp: str = attrs.field(default="", kw_only=True)
    deletion_grace_period_seconds: int | None = attrs.field(default=None, kw_only=True)
    finalizers: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    owner_references: tuple[Mapping[str, Any], ...] = attrs.field(default=(), kw_only=True)
    managed_fields: tuple[Mapping[str, Any], ...] = attrs.field(default=(), kw_only=True)


@attrs.frozen
class Resource:
    """Base of the kinds. ``api_version``, ``kind``, ``plural`` and ``namespaced`` are the API's names for the class."""

    api_version: ClassVar[str] = API_VERSION
    kind: ClassVar[str]
    plural: ClassVar[str]
    namespaced: ClassVar[bool] = False

    metadata: Metadata

    @property
    def key(self) -> Key:
        return self.kind, self.metadata.namespace, self.metadata.name
