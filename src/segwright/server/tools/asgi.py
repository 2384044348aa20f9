"""The protocols' HTTP: JSON in and out, bounded, behind a token; an error is the protocol's own."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from segwright.errors import SegwrightError
from segwright.server.tools.asking import BusyError

LONGEST = 70_000_000  # bytes of a request: a picture of 50 MB in base64
Call = Callable[[bytes], Mapping[str, Any]]
Fail = Callable[[int, str], Mapping[str, Any]]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class FailureError(Exception):
    """An answer that is none: its HTTP status, and one sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class TokenGuard:
    """ASGI: without the token, 401. It comes as "Authorization: Bearer T" or "Token T", as a basic password, or as "Token: T"."""

    def __init__(self, app: Asgi, token: str | None) -> None:
        """``token``: None lets everybody in."""
        self.app, self.token = app, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or self.token is None or self._known(dict(scope["headers"])):
            return await self.app(scope, receive, send)
        text = "this server wants its token: as a Bearer or Token authorization, as a basic password, or in the header Token"
        answer = JSONResponse({"error": text, "detail": text}, 401, {"WWW-Authenticate": "Basic"})
        await answer(scope, receive, send)

    def _known(self, headers: Mapping[bytes, bytes]) -> bool:
        given = [headers.get(b"token", b"")]
        kind, _, value = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() in (b"bearer", b"token"):
            given.append(value.strip())
        elif kind.lower() == b"basic":
            with suppress(binascii.Error):
                given.append(base64.b64decode(value, validate=True).partition(b":")[2])
        return any(hmac.compare_digest(one, (self.token or "").encode()) for one in given)


def application(gets: Mapping[str, Call], posts: Mapping[str, Call], fail: Fail) -> Starlette:
    """An application of these calls, each given the request's body.

    Args:
        fail: what is answered in place of a result, of a status and a sentence.
    """
    rows = [*((path, call, "GET") for path, call in gets.items()), *((path, call, "POST") for path, call in posts.items())]
    return Starlette(routes=[Route(path, _endpoint(call, fail), methods=[verb]) for path, call, verb in rows])


def _endpoint(call: Call, fail: Fail) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def answer(request: Request) -> JSONResponse:
        try:
            body = await _body(request)
            return JSONResponse(await run_in_threadpool(call, body))
        except FailureError as error:
            return JSONResponse(fail(error.status, str(error)), error.status)
        except BusyError as error:
            return JSONResponse(fail(503, str(error)), 503, {"Retry-After": "10"})
        except SegwrightError as error:
            return JSONResponse(fail(400, str(error)), 400)
        except Exception:  # the server lives on; what happened stands in its log
            logging.getLogger("segwright").exception("a request failed")
            return JSONResponse(fail(500, "this should not have happened; the server's log says more"), 500)

    return answer


async def _body(request: Request) -> bytes:
    """Raises FailureError 413 where it is longer than ``LONGEST``, without keeping what came."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > LONGEST:
        raise FailureError(413, f"the request has more than {LONGEST:,} bytes")
    parts, total = [], 0
    async for part in request.stream():
        total += len(part)
        if total > LONGEST:
            raise FailureError(413, f"the request has more than {LONGEST:,} bytes")
        parts.append(part)
    return b"".join(parts)
