"""``/tortie/v1/loss``: counting what is lost in a running cluster.

========  =================  =========================================================================================
POST      /tortie/v1/loss    begin to count; 409 while somebody else does
GET       /tortie/v1/loss    what was lost until now, as JSON (``cluster.loss.report``)
DELETE    /tortie/v1/loss    the same, and count no more
========  =================  =========================================================================================

With ``?limit=N`` a report has no more than N pairs, the worst ones. A count that nobody asks about for LEASE seconds
ends by itself: whoever began it is gone.
"""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cluster.api.control import ClusterControl
from cluster.api.inspection import BASE

LEASE: Final = 30.0


def routes(control: ClusterControl) -> list[Route]:
    async def begin(request: Request) -> Response:
        await control.losses.begin(lease=LEASE)
        return JSONResponse({}, status_code=201)

    async def show(request: Request) -> Response:
        limit = _limit(request)
        report = await control.losses.report()
        if request.method == "DELETE":
            await control.losses.end()
        return JSONResponse(report.to_json(limit=limit))

    return [
        Route(f"{BASE}/loss", begin, methods=["POST"]),
        Route(f"{BASE}/loss", show, methods=["GET", "DELETE"]),
    ]


def _limit(request: Request) -> int | None:
    text = request.query_params.get("limit")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise HTTPException(400, f"limit={text[:10]}: must be a number")
    return int(text)
