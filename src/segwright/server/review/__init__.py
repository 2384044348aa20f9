"""A run's masks reviewed in a browser: ``segwright review RUN`` and ``segwright.review``."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence

from segwright.errors import InputError

FIRST_PORT, LAST_PORT = 7960, 8060


def review(
    run: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    token: str | None = None,
    allow_hosts: Sequence[str] = (),
) -> None:
    """Serve the page until it is interrupted; decisions are kept in the run (``segwright.runs.review``).

    Args:
        run: folder that ``segwright segment`` or ``segwright refine`` wrote.
        host: "127.0.0.1": this machine only; others can come in on any other one, with a token.
        port: None: the first free one from 7960 on.
        token: what everybody must know; None: none on this machine, a random one that is printed where others are let in.
        allow_hosts: names under which the page is reached beside this machine's own.

    Raises:
        InputError: no run, one at a URL, damaged decisions, a port that is taken, or uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise InputError(
            f"the review needs the page's server, which cannot be imported ({error}); pip install 'segwright[page]'"
        ) from error
    from segwright.runs.refined import open_results
    from segwright.runs.review import Review
    from segwright.server.page.guard import LOOPBACK
    from segwright.server.review.app import app

    decided = Review(open_results(run))
    known = token or (None if host in LOOPBACK else secrets.token_urlsafe(18))
    with _listening(host, port) as sock:
        address = f"http://{host}:{sock.getsockname()[1]}/" + (f"?token={known}" if known else "")
        print(f"segwright: the review of {len(decided.names)} photos is at {address}; stop it with Ctrl+C", flush=True)
        config = uvicorn.Config(app(decided, host, known, allow_hosts), log_level="error", server_header=False)
        uvicorn.Server(config).run([sock])


def _listening(host: str, port: int | None) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: no port is free, or the host is none of this machine's.
    """
    reason: OSError | None = None
    for number in [port] if port is not None else range(FIRST_PORT, LAST_PORT):
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, number))
            sock.listen()
            return sock
        except OSError as error:
            sock.close()
            reason = error
    raise InputError(f"the review cannot be served on {host}, port {port or 'any'} ({reason}); choose another --port or --host")


__all__ = ["review"]
