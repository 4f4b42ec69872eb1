"""Refusals as Kubernetes writes them: a ``Status`` object with a code, a reason and one sentence."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from cluster.api.control import NodeDown, NoSuchNode
from protocol.sync.errors import Compacted, Conflict, Invalid, NotFound, Unreachable

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    422: "Invalid",
    500: "InternalError",
    503: "ServiceUnavailable",
}

_CODES: dict[type[Exception], int] = {
    NotFound: 404,
    Conflict: 409,
    Compacted: 410,
    Invalid: 400,
    NoSuchNode: 404,
    NodeDown: 503,
    Unreachable: 503,
}


def status_object(code: int, message: str) -> dict[str, Any]:
    """``kind: Status``, a failure."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, "Unknown"),
        "code": code,
    }


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
    return status_response(next(_CODES[cls] for cls in type(error).__mro__ if cls in _CODES), str(error))


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises it again behind this answer, so that the server's log has the traceback.
    return status_response(500, f"internal error: {type(error).__name__}: {error}")


HANDLERS: dict[Any, Any] = {
    HTTPException: _on_http_error,
    **dict.fromkeys(_CODES, _on_known_error),
    Exception: _on_bug,
}
