"""The protocols that were asked for, put together for the page's server."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segwright.errors import InputError
from segwright.server.page.guard import LOOPBACK
from segwright.server.page.uploads import Limits
from segwright.server.page.workspace import Workspace
from segwright.server.tools import label_studio, x_anylabeling
from segwright.server.tools.asgi import TokenGuard
from segwright.server.tools.asking import Segmenter
from segwright.server.tools.pictures import Allowed

MEGABYTES = 50.0  # of a task's picture
# name -> where it is served, and what serves it
TOOLS: dict[str, tuple[str, Callable[[Segmenter], Any]]] = {
    "label-studio": (label_studio.PATH, label_studio.app),
    "x-anylabeling": (x_anylabeling.PATH, x_anylabeling.app),
}


def mounted(workspace: Workspace, names: Sequence[str], allowed: Allowed, token: str | None) -> dict[str, Any]:
    """Path -> ASGI application of each tool."""
    segment = Segmenter(workspace, allowed)
    return {TOOLS[name][0]: TokenGuard(TOOLS[name][1](segment), token) for name in names}


def token_for(host: str, token: str | None) -> str | None:
    """The token that was given; where others are let in without one, a new one.

    Raises:
        InputError: one that no header can hold.
    """
    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token and token):
        raise InputError("a token must be printable ASCII without spaces around it")
    return token or (None if host in LOOPBACK else secrets.token_urlsafe(18))


def allowed_pictures(
    root: str | os.PathLike[str] | None, hosts: Sequence[str], label_studio_url: str | None, megapixels: float
) -> Allowed:
    """From where tasks' pictures may come.

    Raises:
        InputError: a root that is no folder, or an address of Label Studio that is none.
    """
    if root is not None and not Path(root).is_dir():
        raise InputError(f"--image-root must be a folder, got {str(root)!r}")
    address = label_studio_url or os.environ.get("LABEL_STUDIO_URL") or None
    if address is not None and not address.startswith(("http://", "https://")):
        raise InputError(f"Label Studio's address must begin with http:// or https://, got {address!r}")
    limits = Limits(MEGABYTES, megapixels)
    token = os.environ.get("LABEL_STUDIO_API_KEY") or None
    return Allowed(None if root is None else Path(root), tuple(hosts), limits, address, token)
