"""What the datastore refuses, in Calico's words, and what a stream can break.

Owns ``DatastoreError`` and its kinds. Each has a ``code``, its name on the wire: a refusal crosses the stream as
(code, text) and is raised again, as the same class with the same text, at the end that asked. ``RemoteProtocolError``
is the one error that bytes from the other end can cause.

The texts follow libcalico-go/lib/errors; a missing resource ends in ``with error: <nil>``, as calicoctl prints it
on etcd.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar

from protocol.v3.metadata import Key

Fault = tuple[str, str]
"""A refusal on the wire: (code, text)."""


class DatastoreError(Exception):
    """The datastore, or whoever else was asked, says no. Nothing was written unless the class says otherwise."""

    code: ClassVar[str] = "DatastoreError"


class NotFound(DatastoreError):
    code = "NotFound"

    @classmethod
    def of(cls, key: Key) -> NotFound:
        return cls(f"resource does not exist: {identifier(key)} with error: <nil>")


class AlreadyExists(DatastoreError):
    code = "AlreadyExists"

    @classmethod
    def of(cls, key: Key) -> AlreadyExists:
        return cls(f"resource already exists: {identifier(key)}")


class Conflict(DatastoreError):
    """Compare-and-swap: the resource is no longer the one that was read."""

    code = "Conflict"

    @classmethod
    def of(cls, key: Key) -> Conflict:
        return cls(f"update conflict: {identifier(key)}")


class Invalid(DatastoreError):
    """The request cannot mean anything: a field that must or must not be set, a call that does not exist."""

    code = "Invalid"

    @classmethod
    def fields(cls, problems: Iterable[tuple[str, str, str]]) -> Invalid:
        """From (field, value, reason) triples, in the layout of Calico's validation errors."""
        lines = [f"{field} = '{value}' ({reason})" for field, value, reason in problems]
        if len(lines) == 1:
            return cls(f"error with field {lines[0]}")
        return cls("\n-  ".join(["error with the following fields:", *lines]))


class Compacted(DatastoreError):
    """The changes after the wanted revision are no longer remembered: list again, watch from there."""

    code = "Compacted"


class Unreachable(DatastoreError):
    """The other end of the stream is gone. Whether the request was carried out is not known."""

    code = "Unreachable"


class RemoteProtocolError(Exception):
    """The other end of a stream sent what is no message. The stream is of no further use."""


_BY_CODE: Mapping[str, type[DatastoreError]] = MappingProxyType(
    {cls.code: cls for cls in (NotFound, AlreadyExists, Conflict, Invalid, Compacted, Unreachable)}
)


def identifier(key: Key) -> str:
    """``Node(node-001)``, ``WorkloadEndpoint(default/pod-1)``."""
    kind, namespace, name = key
    return f"{kind}({namespace}/{name})" if namespace else f"{kind}({name})"


def to_fault(error: DatastoreError) -> Fault:
    return error.code, str(error)


def from_fault(fault: Fault) -> DatastoreError:
    code, text = fault
    return _BY_CODE.get(code, DatastoreError)(text)
