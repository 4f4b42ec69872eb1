"""What a request carries.

Owns ``read_body``: all of it, or a refusal as soon as it is more than somebody wants to have.
"""

from __future__ import annotations

from contextlib import aclosing

from starlette.exceptions import HTTPException
from starlette.requests import Request


async def read_body(request: Request, most: int) -> bytes:
    """``most``: in bytes. Raises HTTPException."""
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                raise HTTPException(413, f"a request has at most {most:,} bytes")
    return bytes(body)
