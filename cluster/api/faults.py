"""``/tortie/v1/faults``: what is done to a running cluster on purpose.

========  ==========================  ================================================================================
GET       /tortie/v1/faults           who is stopped, frozen, without power, and which links are cut
POST      /tortie/v1/faults/ACTION    ``{"nodes": ["node-001", …]}``; the answer comes when it is so, and is the same
========  ==========================  ================================================================================

The actions are ``cluster.faults``'s. Answers are text for people; whoever accepts ``application/json`` gets the lists.
"""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cluster.api.bodies import read_body
from cluster.api.control import ClusterControl
from cluster.api.inspection import BASE, wants_json

MAX_BODY: Final = 1 << 20
"""Bytes of a request: the names of more nodes than there can be."""


def routes(control: ClusterControl) -> list[Route]:
    async def show(request: Request) -> Response:
        faults = control.faults
        if wants_json(request):
            return JSONResponse(faults.to_json())
        return PlainTextResponse("".join(f"{line}\n" for line in faults.lines or ["no faults"]))

    async def act(request: Request) -> Response:
        await control.fault(request.path_params["action"], await _names(request))
        return await show(request)

    return [
        Route(f"{BASE}/faults", show),
        Route(f"{BASE}/faults/{{action}}", act, methods=["POST"]),
    ]


async def _names(request: Request) -> list[str]:
    body = await read_body(request, MAX_BODY)
    try:
        value: Any = json.loads(body)
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None
    names = value.get("nodes") if isinstance(value, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise HTTPException(400, 'the body must be {"nodes": [names]}')
    return names
