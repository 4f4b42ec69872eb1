"""Refusals as Kubernetes writes them: a ``Status`` object with a code, a reason and one sentence, and what is wrong
with a document field by field, as ``details.causes``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from cluster.api.control import NodeDown, NoSuchNode
from cluster.api.names import Name
from protocol.sync.errors import AlreadyExists, Compacted, Conflict, Invalid, NotFound, Unreachable
from protocol.v3.rules import Fault, format_path

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    500: "InternalError",
    503: "ServiceUnavailable",
}

_CODES: dict[type[Exception], int] = {
    NotFound: 404,
    AlreadyExists: 409,
    Conflict: 409,
    Compacted: 410,
    Invalid: 400,
    NoSuchNode: 404,
    NodeDown: 503,
    Unreachable: 503,
}


class NotAdmitted(Exception):
    """A document that must not be stored, and why."""

    def __init__(self, kind: Name, name: str, faults: Iterable[Fault]) -> None:
        super().__init__(name)
        self.kind = kind
        self.name = name
        self.faults = tuple(faults)


def status_object(
    code: int, message: str, *, reason: str = "", details: dict[str, Any] | None = None
) -> dict[str, Any]:
    """``kind: Status``, a failure."""
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or _REASONS.get(code, "Unknown"),
        "code": code,
    }
    return status if details is None else {**status, "details": details}


def status_response(code: int, message: str) -> JSONResponse:
    return JSONResponse(status_object(code, message), status_code=code)


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code == 404 and message == "Not Found":
        message = "the server could not find the requested resource"  # the words kubectl's users know
    response = status_response(error.status_code, message)
    response.headers.update(error.headers or {})
    return response


async def _on_known_error(request: Request, error: Exception) -> JSONResponse:
    code = next(_CODES[cls] for cls in type(error).__mro__ if cls in _CODES)
    reason = "AlreadyExists" if isinstance(error, AlreadyExists) else ""
    return JSONResponse(status_object(code, str(error), reason=reason), status_code=code)


async def _on_not_admitted(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NotAdmitted)
    kind, name = error.kind, error.name
    type_ = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details = {
        "name": name,
        "group": kind.group,
        "kind": kind.kind,
        "causes": [
            {"reason": "FieldValueInvalid", "field": format_path(fault.path), "message": fault.message}
            for fault in error.faults
        ],
    }
    message = f'{type_} "{name}" is invalid: {"; ".join(map(str, error.faults))}'
    return JSONResponse(status_object(422, message, details=details), status_code=422)


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises it again behind this answer, so that the server's log has the traceback.
    return status_response(500, f"internal error: {type(error).__name__}: {error}")


HANDLERS: dict[Any, Any] = {
    HTTPException: _on_http_error,
    NotAdmitted: _on_not_admitted,
    **dict.fromkeys(_CODES, _on_known_error),
    Exception: _on_bug,
}
