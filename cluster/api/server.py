"""The HTTP server of a running cluster: loopback only, a token for everything.

Owns the application (``create_app``) and its life (``serve``): bind an ephemeral port of 127.0.0.1, publish address
and token in the run file, serve until cancelled.

This module is what costs 0.25 s to import (starlette, anycorn), so ``up`` imports it when the shards are on their way.

Why anycorn: it serves ASGI on trio, and survives a request that is none. Its sockets close with the cancellation of
``serve``; ``graceful_timeout`` bounds what it waits for answers under way when it is asked to stop by itself.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from functools import partial
from typing import Any, cast

import anycorn
import trio
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.api import faults, inspection, loss, resources
from cluster.api.control import ClusterControl
from cluster.api.errors import HANDLERS, status_response
from cluster.api.rundir import RunFile
from cluster.datastore.memory import MemoryStore

GRACEFUL = 0.2
"""Seconds. Every answer but a watch is there in milliseconds, and Ctrl-C promises less than a second in all."""


def create_app(control: ClusterControl, store: MemoryStore, token: str) -> ASGIApp:
    """The API of one cluster behind its token."""
    app = Starlette(
        routes=[
            *inspection.routes(control),
            *faults.routes(control),
            *loss.routes(control),
            *resources.routes(store),
        ],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False
    return _Door(app, token)


class _Door:
    """Lets in who has the token. It also answers the server's lifespan questions itself, because Starlette takes a
    cancellation for a failed shutdown, and reports that as an error."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                event = await receive()
                await send({"type": f"{event['type']}.complete"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif hmac.compare_digest(dict(scope["headers"]).get(b"authorization", b""), self._expected):
            await self._app(scope, receive, send)
        else:
            await status_response(401, "Unauthorized")(scope, receive, send)


async def serve(
    control: ClusterControl,
    store: MemoryStore,
    run_file: RunFile,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled. Started once clients can find it; gives the URL."""
    token = secrets.token_urlsafe(32)
    config = anycorn.Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = GRACEFUL
    config.include_server_header = False
    config.errorlog = logging.getLogger("tortie.api")
    config.loglevel = "WARNING"
    app = create_app(control, store, token)
    async with trio.open_nursery() as nursery:
        # The two libraries spell the same ASGI with different types.
        (url,) = await nursery.start(partial(anycorn.serve, cast("Any", app), config, mode="asgi"))
        run_file.publish(url, token)
        task_status.started(url)
