"""Who may ask, how much, and what may be named: hosts, origins and bytes of requests, and files of this page's uploads only."""

from __future__ import annotations

import ipaddress
import socket
from abc import ABCMeta
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from segwright.errors import InputError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class HostGuard:
    """ASGI: a request must name this server as its host, and come from a page of the same host; else 403.

    So no page of another site can make a browser read from here, not even one whose name was pointed at this machine
    (DNS rebinding). An IP address as the host is somebody's own choice, so where everybody is served any will do.
    """

    def __init__(self, app: Asgi, host: str, allowed: Sequence[str] = ()) -> None:
        """Stand before a page.

        Args:
            app: the page.
            host: on which the page is served.
            allowed: further names by which it is reached, a reverse proxy's for example.
        """
        self.app = app
        self.everybody = host in ("0.0.0.0", "::", "")
        own = (socket.gethostname(), socket.getfqdn()) if self.everybody else (host,)
        self.names = {name.casefold() for name in (*LOOPBACK, *own, *allowed)}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = [(name.lower(), value.decode("latin1")) for name, value in scope["headers"]]
        hosts, origins = ([v for n, v in headers if n == wanted] for wanted in (b"host", b"origin"))
        if len(hosts) == 1 and self._known(f"//{hosts[0]}") and all(self._known(origin) for origin in origins):
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        await _answer(
            send, 403, "this page is not served under that name, or the request comes from another site; see --allow-host"
        )

    def _known(self, address: str) -> bool:
        try:
            name = (urlsplit(address).hostname or "").casefold()
        except ValueError:
            return False
        return name in self.names or (self.everybody and _is_ip(name))


class BodyGuard:
    """ASGI: a request of more than so many bytes is refused with 413, by its header or as it comes in."""

    def __init__(self, app: Asgi, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        stated = next((value for name, value in scope["headers"] if name.lower() == b"content-length"), b"0")
        if not stated.isdigit() or int(stated) > self.most:
            return await _answer(send, 413, f"this page takes {self.most:,} bytes a request at most")
        came, begun = 0, False

        async def counted() -> Any:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self.most:
                raise _TooLongError
            return message

        async def watched(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except _TooLongError:
            if not begun:
                await _answer(send, 413, f"this page takes {self.most:,} bytes a request at most")
        except KeyError:  # of Gradio: a component, session or field that the page does not have
            if not begun:
                await _answer(send, 404, "there is no such part of this page")


class _TooLongError(Exception):
    pass


async def _answer(send: Any, status: int, text: str) -> None:
    body = f"{text}\n".encode()
    kind = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": kind})
    await send({"type": "http.response.body", "body": body})


def uploaded(path: str | Path, folders: Sequence[Path]) -> Path:
    """A file below one of the folders, links followed.

    Raises:
        InputError: elsewhere, no ordinary file, or not there; which of these is not told.
    """
    try:
        real = Path(path).resolve(strict=True)
        if real.is_file() and any(real.is_relative_to(folder.resolve()) for folder in folders):
            return Path(path)
    except (OSError, ValueError, RuntimeError):  # not there, a zero byte, a ring of links
        pass
    raise InputError(f"the upload {Path(path).name[:200]!r} is no longer there; upload it again")


def guarded(component: Any, folders: Sequence[Path], take: Callable[[Any], Any] | None = None) -> Any:
    """The component, which from now on takes files of these folders only, whatever a request names.

    It becomes one of a class of its own: after an update Gradio makes a session a new component of the same class, which knows
    nothing of what was set on the old one.

    Args:
        take: in place of the component's own ``preprocess``.
    """
    kind = type(component)

    def preprocess(self: Any, payload: Any) -> Any:
        try:
            for path in _paths(payload):
                uploaded(path, folders)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return kind.preprocess(self, payload) if take is None else take(payload)

    own = {"preprocess": preprocess, "__module__": kind.__module__}
    component.__class__ = ABCMeta.__new__(type(kind), kind.__name__, (kind,), own)  # Gradio's metaclass would write a file
    return component


def _paths(payload: Any) -> Iterator[str]:
    """Of every file in a payload."""
    if isinstance(payload, list | tuple):
        for part in payload:
            yield from _paths(part)
    elif isinstance(payload, dict):
        for name, part in payload.items():
            yield from [part] if name == "path" and isinstance(part, str) else _paths(part)
    elif hasattr(payload, "model_dump"):
        yield from _paths(payload.model_dump())


def _is_ip(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        return False
