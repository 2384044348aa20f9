"""One file from the hub into its cache: resumed within the file, verified by size and checksum, one bar for all files.

The hub's client gives the address, the token, proxies and certificates; the transfer is ours, because that client begins
a file of 3.4 GB at its first byte again whenever it was interrupted (its temporary files have random names since 1.20).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from segwright.errors import WeightsError
from segwright.models import trouble
from segwright.models.repositories import Plan, Remote, blob, cache, incomplete, reason, repository, snapshot
from segwright.models.trouble import StatusError

TRIES = 4  # times in a row without a single new byte, or with an answer that the hub is unwell
PAUSE = 0.5  # seconds before the second try; doubled each time
PATIENCE = 10  # seconds that a rate limit may ask for
CHUNK = 1 << 20


class Bar:
    """One progress bar in bytes over all files, on a terminal only (``HF_HUB_DISABLE_PROGRESS_BARS`` turns it off)."""

    def __init__(self, total: int) -> None:
        from huggingface_hub import constants
        from tqdm import tqdm

        self.bar = tqdm(total=total, unit="B", unit_scale=True, leave=False, disable=constants.HF_HUB_DISABLE_PROGRESS_BARS or None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()

    def update(self, size: int) -> None:
        self.bar.update(size)


def ask(path: str, repo: str, passed: Callable[[StatusError], bool], read: Callable[[Any], Any]) -> Any:
    """What is ``read`` from the JSON at a path of the hub; None for an error that is ``passed`` over.

    Raises:
        WeightsError: by kind (``segwright.models.trouble``); an answer that cannot be read is one too.
    """
    from huggingface_hub import constants

    def once() -> Any:
        with _answer(constants.ENDPOINT + path, {}) as response:
            _check(response)
            response.read()
            return read(response.json())

    with trouble.explained(repo, f"asking {constants.ENDPOINT} about {repo}"):
        try:
            return _again(once)
        except StatusError as error:
            if passed(error):
                return None
            raise


def move(plan: Plan, file: Remote, bar: Bar) -> None:
    """One file of a plan into its snapshot.

    Raises:
        WeightsError: by kind; what came so far stays for the next time, unless it was damaged.
    """
    from filelock import FileLock

    part, etag = plan.part, file.etag or hashlib.sha256(f"{plan.commit}/{file.name}".encode()).hexdigest()
    target, pointer = blob(part, etag), snapshot(part, plan.commit) / file.name
    lock = cache() / ".locks" / repository(part).name / f"{etag}.lock"  # the hub client's own, so that it waits for us
    with trouble.explained(part.repo, f"fetching {file.name} of {part.repo}"):
        for folder in (target.parent, pointer.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        if plan.reference:
            _remember(repository(part) / "refs" / plan.reference, plan.commit)
        with FileLock(lock):
            if not target.exists():
                _whole(plan, file, target, bar)
            _link(target, pointer)


def is_whole(path: Path, etag: str) -> bool:
    """The contents have the checksum: sha256 of large files, git's sha1 of small ones. Other etags say nothing."""
    if re.fullmatch("[0-9a-f]{64}", etag):
        digest = hashlib.sha256()
    elif re.fullmatch("[0-9a-f]{40}", etag):
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        return True
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == etag


def _whole(plan: Plan, file: Remote, target: Path, bar: Bar) -> None:
    """Fetch until all bytes are there, from where it stands; once more from the first byte if the checksum is wrong."""
    part = incomplete(target)
    url = _url(plan, file)
    for last in (False, True):
        if file.size and part.exists() and part.stat().st_size > file.size:
            part.unlink()
        _again(lambda: _stream(url, part, file, bar), lambda: _size(part))
        if (not file.size or part.stat().st_size == file.size) and is_whole(part, target.name):
            with open(part, "r+b") as done:
                os.fsync(done.fileno())  # else a power cut may leave a file of this name without its contents, taken for whole
            os.replace(part, target)
            return
        came = part.stat().st_size
        part.unlink()
        if last:
            raise WeightsError(
                f"{file.name} of {plan.part.repo} came damaged twice ({came} bytes of {file.size}, "
                f"checksum not {target.name[:12]}...); "
                "a mirror (HF_ENDPOINT) or a proxy may alter files; try again, or without it"
            )
        bar.update(-came)


def _stream(url: str, part: Path, file: Remote, bar: Bar) -> None:
    """Append what the server sends to the file. A server that ignores ranges begins anew."""
    have = _size(part)
    if file.size and have == file.size:
        return
    with _answer(url, {"Range": f"bytes={have}-"} if have else {}) as response:
        if response.status_code == 416:
            part.unlink()
            raise WeightsError(
                f"{file.name} is cut short: at the server it ends after {have} of {file.size} bytes; try a mirror (HF_ENDPOINT)"
            )
        _check(response)
        resumed = response.status_code == 206
        bar.update(0 if resumed else -have)
        with open(part, "ab" if resumed else "wb") as out:
            for chunk in response.iter_raw() if _is_plain(response) else response.iter_bytes():
                out.write(chunk)
                bar.update(len(chunk))
    if file.size and _size(part) < file.size:
        raise ConnectionError(f"the connection ended after {_size(part)} of {file.size} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_plain(response: Any) -> bool:
    return response.headers.get("Content-Encoding", "identity").lower() == "identity"


@contextmanager
def _answer(url: str, headers: dict[str, str]) -> Iterator[Any]:
    """A streamed answer of the hub; the token goes along, and is dropped where it redirects to another host."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    sent = build_hf_headers(library_name="segwright") | {"Accept-Encoding": "identity"} | headers
    with _session().stream("GET", url, headers=sent, timeout=trouble.SILENCE, follow_redirects=True) as response:
        yield response


def _session() -> Any:
    """The hub client's own; what is wrong with proxies and certificates shows when it is made."""
    from huggingface_hub import get_session

    try:
        return get_session()
    except (OSError, ValueError, ImportError) as error:
        raise WeightsError(
            f"no connection to the hub can be set up ({reason(error)}); check HTTPS_PROXY, HTTP_PROXY and SSL_CERT_FILE"
        ) from error


def _check(response: Any) -> None:
    if response.status_code >= 400:
        response.read()
        raise StatusError.of(response)


def _again(once: Callable[[], Any], done: Callable[[], int] = lambda: 0) -> Any:
    """Call until it succeeds, as long as the error may pass: a cut, one silence, a hub that is unwell or asks for a short pause.

    ``done`` counts what was achieved; whenever it grew, the tries begin anew.
    """
    tries = silences = 0
    while True:
        before = done()
        try:
            return once()
        except Exception as error:
            if done() > before:
                tries = silences = 0
            tries += 1 + trouble.is_refusal(error)
            silences += trouble.is_silence(error)
            wait = PAUSE * 2 ** (tries - 1)
            if isinstance(error, StatusError) and error.code == 429 and error.wait is not None:
                wait = error.wait
            if not trouble.may_pass(error) or tries >= TRIES or silences > 1 or wait > PATIENCE:
                raise
            time.sleep(wait)


def _url(plan: Plan, file: Remote) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{plan.part.repo}/resolve/{plan.commit}/{quote(file.name)}"


def _remember(path: Path, commit: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text("utf8") != commit:
        path.write_text(commit, "utf8")


def _link(target: Path, pointer: Path) -> None:
    """The snapshot's entry: a relative link into the blobs, or a copy where the file system has no links."""
    if pointer.exists():
        return
    pointer.unlink(missing_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(target, pointer.parent))
    except OSError:
        half = pointer.with_name(f"{pointer.name}.incomplete")
        shutil.copyfile(target, half)
        os.replace(half, pointer)
