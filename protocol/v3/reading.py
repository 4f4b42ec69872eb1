"""What a document was read as: the resources it made, where in it each one stands, and how strong its word is.

Shared by the readers of documents that are no resources of ours (``foreign``).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from protocol.v3.metadata import Resource
from protocol.v3.rules import Fault, Path


class Source(enum.IntEnum):
    """Who says it, the strongest first."""

    WRITTEN = 0
    KUBERNETES = 1
    CONCLUDED = 2


@attrs.frozen(kw_only=True)
class Made:
    """A resource, and what in the document it was made of; ``path`` is () for the document as a whole."""

    resource: Resource
    path: Path = ()
    source: Source = Source.WRITTEN


@attrs.frozen
class Reading:
    made: tuple[Made, ...] = ()
    warnings: tuple[Fault, ...] = ()


def body(doc: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in doc.items() if key not in ("apiVersion", "kind")}
