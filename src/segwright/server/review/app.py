"""The review's server: its page, each photo with its mask's regions, and decisions."""

from __future__ import annotations

import hmac
import io
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from segwright.errors import InputError, SegwrightError
from segwright.files.colors import color, word_numbers
from segwright.files.html import image_bytes
from segwright.files.masks import read_label_map
from segwright.files.record import plain
from segwright.runs.review import Decision, OvertakenError, Review, doubt
from segwright.runs.sources import open_photo
from segwright.runs.store import Line
from segwright.server.page.guard import HostGuard
from segwright.untrusted import decode

ASSETS = Path(__file__).parent / "assets"
SHOWN = 1400  # pixels of the long side of a photo in the page
LONGEST = 1_000_000  # bytes of a decision
COOKIE = "segwright-token"


@dataclass(frozen=True)
class Wish:
    """What the page sends."""

    name: str
    verdict: str
    removed: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    by: str = ""
    seen: int = 0


@dataclass
class Pages:
    """The server's answers."""

    review: Review

    def __post_init__(self) -> None:
        self.lines: dict[str, Line] = {str(line.name): line for line in self.review.run.done}
        self.order = sorted(self.lines, key=lambda name: (-doubt(self.review.run.record(self.lines[name])), name))

    def state(self) -> dict[str, Any]:
        """All photos, most doubtful first, and what was decided."""
        run, decided = self.review.run, self.review.decisions()
        rows = []
        for name in self.order:
            segments = [(one.index, one.word, one.score) for one in run.record(self.lines[name]).segments]
            known = plain(asdict(decided[name])) if name in decided else None
            rows.append({"name": name, "segments": segments, "decision": known})
        return {"photos": rows, "words": list(run.words)}

    def picture(self, name: str) -> bytes:
        """A photo as JPEG, not larger than ``SHOWN``."""
        picture = Pillow.fromarray(open_photo(self._line(name).photo))
        picture.thumbnail((SHOWN, SHOWN), Pillow.Resampling.LANCZOS)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=88)
        return stream.getvalue()

    def overlay(self, name: str, hidden: frozenset[int] = frozenset()) -> bytes:
        """The regions as PNG over nothing, each in its colour, without the hidden ones."""
        labels = read_label_map(io.BytesIO(self.review.run.place.read(f"{self._line(name).name}.png") or b""))
        step = max(1, -(-max(labels.shape) // SHOWN))
        labels = labels[::step, ::step]
        rgba = np.zeros((*labels.shape, 4), np.uint8)
        run = self.review.run
        named = word_numbers(run.record(self._line(name)).words) if run.run.get("words", ()) is None else None  # no vocabulary
        for index in (int(one) for one in np.unique(labels) if one and int(one) not in hidden):
            rgba[labels == index] = (*color(index if named is None else named[index - 1]), 150)
        return image_bytes(rgba)

    def decide(self, body: bytes) -> dict[str, Any]:
        """Keep a decision.

        Raises:
            OvertakenError: somebody decided meanwhile.
            InputError: a decision that is none.
        """
        try:
            wish = decode(body, Wish)
            decision = Decision(wish.name, wish.verdict, wish.removed, wish.renamed, wish.by, seen=wish.seen)
        except ValueError as error:
            raise InputError(f"the decision cannot be read ({error})") from None
        words = {one.word for one in self.review.run.record(self._line(wish.name)).segments}
        if foreign := {*wish.removed, *wish.renamed} - words:
            raise InputError(f"{sorted(foreign)[0]!r} is no region of {wish.name!r}")
        return dict(plain(asdict(self.review.decide(decision))))

    def _line(self, name: str) -> Line:
        if name not in self.lines:
            raise InputError("there is no such photo in this run")
        return self.lines[name]


def app(review: Review, host: str, token: str | None = None, allow_hosts: Sequence[str] = ()) -> Starlette:
    """The ASGI application."""
    pages = Pages(review)

    async def page(_request: Request) -> Response:
        return HTMLResponse((ASSETS / "review.html").read_text("utf8"))

    async def state(_request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(pages.state))

    async def picture(request: Request) -> Response:
        content = await run_in_threadpool(pages.picture, request.query_params.get("name", ""))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    async def overlay(request: Request) -> Response:
        hidden = frozenset(
            int(one) for one in request.query_params.get("hidden", "").split(",") if one.isdecimal() and len(one) < 6
        )
        content = await run_in_threadpool(pages.overlay, request.query_params.get("name", ""), hidden)
        return Response(content, media_type="image/png", headers={"Cache-Control": "no-store"})

    async def decide(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":  # no form of another site
            return JSONResponse({"error": "expected JSON"}, 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LONGEST:
                return JSONResponse({"error": "the decision is too long"}, 413)
        return JSONResponse(await run_in_threadpool(pages.decide, body))

    gets = {"/": page, "/state": state, "/picture": picture, "/overlay": overlay}
    routes = [*(Route(path, call) for path, call in gets.items()), Route("/decide", decide, methods=["POST"])]
    guards = [Middleware(HostGuard, host=host, allowed=tuple(allow_hosts)), Middleware(_Token, token=token)]
    return Starlette(routes=routes, middleware=guards, exception_handlers={SegwrightError: _refused})


async def _refused(_request: Request, error: Exception) -> Response:
    if isinstance(error, OvertakenError):
        return JSONResponse({"error": str(error), "now": plain(asdict(error.now))}, 409)
    return JSONResponse({"error": str(error)}, 400)


class _Token:
    """ASGI: the token once in the address, then in a cookie; else 401."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], token: str | None) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or self.token is None:
            return await self.app(scope, receive, send)
        request = Request(scope)
        if self._same(request.query_params.get("token")):
            answer = Response(status_code=303, headers={"Location": scope["path"], "Cache-Control": "no-store"})
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
            return await answer(scope, receive, send)
        if self._same(request.cookies.get(COOKIE)):
            return await self.app(scope, receive, send)
        text = json.dumps({"error": "open the address that segwright review printed, with its token"})
        await Response(text, 401, media_type="application/json")(scope, receive, send)

    def _same(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), (self.token or "").encode())
