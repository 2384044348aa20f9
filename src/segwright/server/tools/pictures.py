"""A picture that a task names: fetched with manners, from the places that whoever serves has allowed.

http(s) of public addresses and of hosts that were named, data URIs, and files below one folder. Each address is looked up once and
connected to as looked up, so that no name can point elsewhere the second time; redirects go the same way. Twenty seconds and
50 MB in all, and the pixel limit before decoding.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import ipaddress
import os
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urljoin, urlsplit

from segwright.errors import InputError
from segwright.images import as_image
from segwright.server.page.uploads import Limits, Named, header_size
from segwright.types import Image
from segwright.untrusted import read_bounded

SECONDS, REDIRECTS = 20.0, 5
LOCAL = "/data/local-files/"  # of Label Studio: files of its local storage
CHUNK = 1 << 16


@dataclass(frozen=True)
class Allowed:
    """From where pictures may come.

    Attributes:
        root: local files below this folder; None: none.
        hosts: "name" or "name:port" that may have a private address.
        limits: bytes and pixels.
        label_studio_url: address of the Label Studio whose uploads are meant by paths like /data/upload/...; its host is allowed.
        label_studio_token: its API token, sent to it alone.
        seconds: that fetching may take in all.
    """

    root: Path | None = None
    hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=lambda: Limits(megabytes=50.0))
    label_studio_url: str | None = None
    label_studio_token: str | None = field(default=None, repr=False)
    seconds: float = SECONDS

    def permits(self, host: str, port: int) -> bool:
        """Whether a host may have any address."""
        own = urlsplit(self.label_studio_url or "")
        known = {name.casefold() for name in self.hosts} | ({f"{own.hostname}:{_port(own)}"} if own.hostname else set())
        return bool({host.casefold(), f"{host.casefold()}:{port}"} & known)


def open_picture(address: str, allowed: Allowed) -> Image:
    """The (H, W, 3) uint8 picture at a URL, in a data URI, or in a file.

    Raises:
        InputError: not allowed, not there, too slow, too long, too many pixels, or no picture.
    """
    if not isinstance(address, str) or not address:
        raise InputError("expected a picture's address as a text")
    stream = Named(_bytes(address, allowed), _shown(address))
    width, height = header_size(stream)
    if width * height > allowed.limits.megapixels * 1e6:
        most = f"{allowed.limits.megapixels:g} megapixels at most"
        raise InputError(f"{stream.name!r} has {width}x{height} pixels; this server takes {most}: make it smaller")
    return as_image(stream)


def _bytes(address: str, allowed: Allowed) -> bytes:
    if address[:5].casefold() == "data:":
        return _of_data(address, allowed.limits)
    if address.startswith(LOCAL):
        return _of_file(parse_qs(urlsplit(address).query).get("d", [""])[0], allowed)
    if address.startswith("/data/") and allowed.label_studio_url:
        return _of_web(urljoin(allowed.label_studio_url, address), allowed)
    parts = _split(address)
    if parts.scheme in ("http", "https"):
        return _of_web(address, allowed)
    if parts.scheme in ("", "file"):
        return _of_file(unquote(parts.path) if parts.scheme else address, allowed)
    raise InputError(f"pictures come by http, https, data and from files, not by {parts.scheme[:20]!r}")


def _of_data(address: str, limits: Limits) -> bytes:
    head, comma, body = address.partition(",")
    if not comma or not head.casefold().endswith(";base64"):
        raise InputError("a data URI must hold a picture in base64: data:image/png;base64,...")
    if len(body) > limits.megabytes * 1e6 * 4 / 3 + 4:
        raise _too_long("the data URI", limits)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"the data URI's base64 is damaged ({error})") from None


def _of_file(path: str, allowed: Allowed) -> bytes:
    """A file below the root, links followed. Elsewhere and not there are one answer."""
    if allowed.root is None:
        raise InputError("local files are served below --image-root only, which was not given")
    try:
        root = allowed.root.resolve(strict=True)
        for wanted in (root / path, root / path.lstrip("/")):  # absolute, and below the root as Label Studio writes them
            real = wanted.resolve()
            if real.is_relative_to(root) and real.is_file():
                return read_bounded(real, int(allowed.limits.megabytes * 1e6))
    except InputError:
        raise _too_long(os.path.basename(path)[-80:], allowed.limits) from None
    except (OSError, ValueError, RuntimeError):  # a zero byte, a ring of links
        pass
    raise InputError(f"{path[-80:]!r} is no picture file below --image-root")


def _of_web(address: str, allowed: Allowed) -> bytes:
    end = time.monotonic() + allowed.seconds
    first = _split(address)
    for _ in range(REDIRECTS + 1):
        parts = _split(address)
        own = _split(allowed.label_studio_url or "")[:2]
        token = allowed.label_studio_token if parts[:2] == own == first[:2] else None
        found = _get(parts, allowed, end, token)
        if isinstance(found, bytes):
            return found
        address = urljoin(address, found)
    raise InputError(f"{_shown(address)!r} redirects more than {REDIRECTS} times")


def _get(parts: SplitResult, allowed: Allowed, end: float, token: str | None) -> bytes | str:
    """The content, or where it is said to be."""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"pictures come by http and https, not by {parts.scheme[:20]!r}")
    connection = _Checked(parts, allowed, end)
    headers = {"Accept": "image/*", "User-Agent": "segwright"} | ({"Authorization": f"Token {token}"} if token else {})
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers=headers)
        answer = connection.getresponse()
        if answer.status in (301, 302, 303, 307, 308):
            return answer.getheader("Location") or ""
        if answer.status != 200:
            raise InputError(f"{_shown(parts.geturl())!r} was answered with {answer.status}")
        return _read(connection, answer, allowed.limits, end, parts)
    except InputError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # the name, the connection, a line that is none
        text = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{_shown(parts.geturl())!r} cannot be fetched ({text})") from None
    finally:
        connection.close()


def _read(connection: _Checked, answer: http.client.HTTPResponse, limits: Limits, end: float, parts: SplitResult) -> bytes:
    most = int(limits.megabytes * 1e6)
    if (answer.length or 0) > most:
        raise _too_long(_shown(parts.geturl()), limits)
    found = io.BytesIO()
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise InputError(f"{_shown(parts.geturl())!r} takes too long")
        if connection.sock is not None:
            connection.sock.settimeout(left)
        part = answer.read1(CHUNK)
        if not part:
            return found.getvalue()
        if found.tell() + len(part) > most:
            raise _too_long(_shown(parts.geturl()), limits)
        found.write(part)


class _Checked(http.client.HTTPConnection):
    """A connection to the address that was looked up and found allowed."""

    def __init__(self, parts: SplitResult, allowed: Allowed, end: float) -> None:
        self.parts, self.allowed, self.end = parts, allowed, end
        super().__init__(str(parts.hostname), _port(parts))

    def connect(self) -> None:
        left = self.end - time.monotonic()
        if left <= 0:
            raise InputError(f"{self.host!r} takes too long")
        sock = socket.create_connection((self._address(), self.port), left)
        if self.parts.scheme == "https":
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=self.host)
        self.sock = sock

    def _address(self) -> str:
        found = {str(row[4][0]) for row in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)}
        if not self.allowed.permits(self.host, self.port):
            for one in found:
                if not _public(one):
                    raise InputError(
                        f"{self.host!r} is a private address; name it with --image-host if pictures may come from there"
                    )
        return sorted(found)[0]


def _public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None) or found
    return bool(inner.is_global and not inner.is_multicast and found.is_global)


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise InputError("the picture's address has a port that is none") from None


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        raise InputError("the picture's address is none that can be read") from None


def _too_long(name: str, limits: Limits) -> InputError:
    return InputError(f"{name!r} has more than {limits.megabytes:g} MB; this server takes no more: make it smaller")


def _shown(address: str) -> str:
    """An address for a message, without query and password."""
    if address[:5].casefold() == "data:":
        return "the data URI"
    parts = _split(address)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"[-120:] if parts.hostname else parts.path[-80:]
