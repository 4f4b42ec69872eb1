"""``/tortie/v1``: tortie's own doors, for what Kubernetes has no word for.

========  ==============================  =========================================================
GET       /tortie/v1/status               the cluster
GET       /tortie/v1/state                all that a copy of it is made of, as JSON: ``cluster.whatif.state``
POST      /tortie/v1/down                 stop it
GET       /tortie/v1/nodes/NODE/status    calicoctl node status
GET       /tortie/v1/nodes/NODE/routes    ip route
POST      /tortie/v1/nodes/NODE/birdc     the body is the command, the answer what birdc prints
GET       /tortie/v1/nodes/NODE/events    what happened at the node
GET       /tortie/v1/events               what happened at all of them
========  ==============================  =========================================================

A node's routes and its birdc are IPv4's; with ``?family=6`` IPv6's, which is bird6. Routers are nodes here.
Answers are text for people; whoever accepts ``application/json`` gets the rows. birdc's reply code is in the header
``Bird-Reply-Code``: 8000 and above is a refusal.
"""

from __future__ import annotations

import time
from contextlib import aclosing

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agents.speaker import birdc_reply
from cluster import views
from cluster.api.control import ClusterControl
from protocol.prefix import IPV4, IPV6

BASE = "/tortie/v1"

MAX_COMMAND = 4096
"""Bytes of a birdc command. BIRD's own line buffer is 1,024."""


def routes(control: ClusterControl) -> list[Route]:
    """The routes of one cluster."""
    inspection = _Inspection(control)
    return [
        Route(f"{BASE}/status", inspection.status),
        Route(f"{BASE}/state", inspection.state),
        Route(f"{BASE}/down", inspection.down, methods=["POST"]),
        Route(f"{BASE}/nodes/{{node}}/status", inspection.node_status),
        Route(f"{BASE}/nodes/{{node}}/routes", inspection.ip_route),
        Route(f"{BASE}/nodes/{{node}}/birdc", inspection.birdc, methods=["POST"]),
        Route(f"{BASE}/nodes/{{node}}/events", inspection.events),
        Route(f"{BASE}/events", inspection.events),
    ]


class _Inspection:
    def __init__(self, control: ClusterControl) -> None:
        self._control = control

    async def status(self, request: Request) -> Response:
        status = await self._control.status()
        return (
            JSONResponse(status) if wants_json(request) else PlainTextResponse(views.cluster_status(status))
        )

    async def state(self, request: Request) -> Response:
        return JSONResponse((await self._control.state()).to_json())

    async def node_status(self, request: Request) -> Response:
        rows = await self._control.node_status(request.path_params["node"])
        return JSONResponse(rows) if wants_json(request) else PlainTextResponse(views.node_status(rows))

    async def ip_route(self, request: Request) -> Response:
        rows = await self._control.ip_route(request.path_params["node"], _family(request))
        return JSONResponse(rows) if wants_json(request) else PlainTextResponse(views.ip_route(rows))

    async def birdc(self, request: Request) -> Response:
        body = b""
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_COMMAND:
                    raise HTTPException(413, f"a birdc command has at most {MAX_COMMAND:,} bytes")
        command = body.decode(errors="replace")
        text, code = birdc_reply.render(
            await self._control.birdc(request.path_params["node"], _family(request), command)
        )
        return PlainTextResponse(text, headers={"Bird-Reply-Code": f"{code:04}"})

    async def events(self, request: Request) -> Response:
        rows = await self._control.events(request.path_params.get("node"))
        return (
            JSONResponse(rows) if wants_json(request) else PlainTextResponse(views.events(rows, time.time()))
        )

    async def down(self, request: Request) -> Response:
        self._control.request_down()
        return PlainTextResponse("stopping\n", status_code=202)


def _family(request: Request) -> int:
    family = request.query_params.get("family", "4")
    if family not in ("4", "6"):
        raise HTTPException(400, f"family={family[:10]}: must be 4 or 6")
    return IPV4 if family == "4" else IPV6


def wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")
