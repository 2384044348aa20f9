"""A hub on 127.0.0.1 that speaks the protocol of huggingface.co as its client and segwright use it, and can misbehave.

Repositories are dictionaries of files per commit. Large files (``LARGE`` bytes and more) lie in "LFS": their address redirects
to another path with a signature, as to the CDN, with the sha256 as linked etag; small ones have git's sha1. Ranges, listings
(``?blobs=true``, tree, paths-info), references of pull requests and discussions answer as the hub does.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 2000


@dataclass
class Repo:
    """commits: commit -> files; refs: reference -> commit; talks: discussions, None where they are disabled."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    talks: list[dict[str, Any]] | None = field(default_factory=list)
    gated: bool = False


@dataclass
class Fault:
    """What happens to requests whose path contains ``where``: ``act`` gets the handler and says whether it answered.

    ``times``: so often; None: always.
    """

    where: str
    act: Callable[[Handler], bool]
    times: int | None = None


@dataclass
class Hub:
    repos: dict[str, Repo] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    token: str = ""  # that opens gated repositories
    ranges: bool = True
    log: list[tuple[str, str]] = field(default_factory=list)  # method, path
    sent: dict[str, int] = field(default_factory=dict)  # bytes of bodies of files, by repository/name
    address: str = ""
    cdn: str = ""  # large files lie at another host

    def add(self, repo: str, files: dict[str, bytes], commit: str, **extra: Any) -> Repo:
        refs = {"main": commit}
        self.repos[repo] = Repo({commit: files}, refs, **extra)
        return self.repos[repo]

    def offer(self, repo: str, number: int, files: dict[str, bytes], author: str = "SFconvertbot", title: str = "") -> str:
        """A pull request with these files beside those of main; its commit."""
        there = self.repos[repo]
        commit = hashlib.sha1(f"{repo}{number}".encode()).hexdigest()
        there.commits[commit] = there.commits[there.refs["main"]] | files
        there.refs[f"refs/pr/{number}"] = commit
        talk = {
            "num": number,
            "title": title or "Adding `safetensors` variant of this model",
            "isPullRequest": True,
            "status": "open",
        }
        if there.talks is not None:
            there.talks.append(
                talk
                | {"author": {"name": author}, "createdAt": "2023-01-01T00:00:00.000Z", "repo": {"name": repo, "type": "model"}}
            )
        return commit

    def fault(self, where: str, act: Callable[[Handler], bool], times: int | None = None) -> None:
        self.faults.append(Fault(where, act, times))


def status(code: int, **headers: str) -> Callable[[Handler], bool]:
    """Answer with an error."""

    def act(handler: Handler) -> bool:
        handler.reply(code, b"", {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return act


def cut(after: int) -> Callable[[Handler], bool]:
    """Close the connection after so many bytes of the body."""

    def act(handler: Handler) -> bool:
        handler.limit = after
        return False

    return act


def silent(seconds: float, after: int | None = None) -> Callable[[Handler], bool]:
    """Say nothing for so long, from the beginning or after so many bytes, then close."""

    def act(handler: Handler) -> bool:
        if after is None:
            handler.hub_done.wait(seconds)
            handler.close_connection = True
            return True
        handler.limit, handler.stall = after, seconds
        return False

    return act


def alter(change: Callable[[bytes], bytes]) -> Callable[[Handler], bool]:
    """Serve other contents under the same etag and listed size."""

    def act(handler: Handler) -> bool:
        handler.change = change
        return False

    return act


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    hub_done: threading.Event

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        self.limit: int | None = None
        self.stall = 0.0
        self.change: Callable[[bytes], bytes] | None = None
        length = int(self.headers.get("Content-Length") or 0)
        self.body = json.loads(self.rfile.read(length) or b"{}") if length else {}
        split = urlsplit(self.path)
        path, query = split.path, parse_qs(split.query)
        self.hub.log.append((self.command, self.path))
        for fault in self.hub.faults:
            if fault.where in self.path and fault.times != 0:
                fault.times = None if fault.times is None else fault.times - 1
                if fault.act(self):
                    return
                break
        for pattern, answer in (
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/discussions", self._discussions),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<rev>[^/]+)(?:/.*)?", self._tree),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/paths-info/(?P<rev>[^/]+)", self._paths),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<rev>[^/]+))?", self._info),
            (r"/cdn/(?P<repo>[^/]+/[^/]+)/(?P<rev>[^/]+)/(?P<name>.+)", self._cdn),
            (r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<name>.+)", self._resolve),
        ):
            if found := re.fullmatch(pattern, path):
                parts = {name: unquote(value or "main") for name, value in found.groupdict().items()}
                return answer(query, **parts)
        self.reply(404, b"", {})

    def reply(self, code: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self.wfile.write(data if self.limit is None else data[: self.limit])
            if self.limit is not None and self.limit < len(data):
                self.wfile.flush()
                self.hub_done.wait(self.stall)
                self.close_connection = True
        except OSError:
            self.close_connection = True

    def _json(self, found: Any) -> None:
        self.reply(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _commit(self, repo: str, rev: str) -> tuple[Repo, str] | None:
        """The repository and the commit of a revision, or None after an error was answered."""
        found = self.hub.repos.get(repo)
        if found is None:
            self.reply(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif found.gated and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            why = "Access to this model is restricted. You must be authenticated and have accepted its conditions"
            self.reply(
                403 if self.headers.get("Authorization") else 401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": why}
            )
        elif found.refs.get(rev, rev) not in found.commits:
            self.reply(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {rev}"})
        else:
            return found, found.refs.get(rev, rev)
        return None

    def _info(self, query: dict[str, list[str]], repo: str, rev: str) -> None:
        if (found := self._commit(repo, rev)) is None:
            return
        there, commit = found
        blobs = "blobs" in query
        siblings = [entry(name, data) if blobs else {"rfilename": name} for name, data in there.commits[commit].items()]
        facts = {"id": repo, "_id": "0", "modelId": repo, "sha": commit, "private": False, "disabled": False, "gated": there.gated}
        self._json(facts | {"tags": [], "downloads": 0, "likes": 0, "siblings": siblings, "spaces": []})

    def _tree(self, _query: dict[str, list[str]], repo: str, rev: str) -> None:
        if (found := self._commit(repo, rev)) is not None:
            self._json([tree_entry(name, data) for name, data in found[0].commits[found[1]].items()])

    def _paths(self, _query: dict[str, list[str]], repo: str, rev: str) -> None:
        if (found := self._commit(repo, rev)) is not None:
            files = found[0].commits[found[1]]
            self._json([tree_entry(name, files[name]) for name in self.body.get("paths", []) if name in files])

    def _discussions(self, query: dict[str, list[str]], repo: str) -> None:
        if (found := self._commit(repo, "main")) is None:
            return
        if found[0].talks is None:
            return self.reply(403, b"", {"X-Error-Message": "Discussions are disabled for this repo"})
        start, size = 10 * int(query.get("p", ["0"])[0]), 10
        talks = found[0].talks
        self._json({"discussions": talks[start : start + size], "count": len(talks), "start": start})

    def _resolve(self, _query: dict[str, list[str]], repo: str, rev: str, name: str) -> None:
        if (found := self._commit(repo, rev)) is None:
            return
        data = found[0].commits[found[1]].get(name)
        if data is None:
            self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": found[1]})
        elif len(data) < LARGE:
            self._file(data, f"{repo}/{name}", {"ETag": f'"{blob_id(data)}"', "X-Repo-Commit": found[1]})
        else:
            sha = hashlib.sha256(data).hexdigest()
            linked = {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{sha}"', "X-Repo-Commit": found[1]}
            self.reply(302, b"", linked | {"Location": f"{self.hub.cdn}/cdn/{repo}/{found[1]}/{name}?Signature=x"})

    def _cdn(self, query: dict[str, list[str]], repo: str, rev: str, name: str) -> None:
        if query.get("Signature") != ["x"]:
            return self.reply(403, b"", {})
        data = self.hub.repos[repo].commits[rev][name]
        self._file(data, f"{repo}/{name}", {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Accept-Ranges": "bytes"})

    def _file(self, data: bytes, name: str, headers: dict[str, str]) -> None:
        if self.change is not None:
            data = self.change(data)
        code, start = 200, 0
        if self.hub.ranges and (found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start, code = int(found[1]), 206
            if start >= len(data):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        rest = data[start:]
        if self.command == "GET":
            going = len(rest) if self.limit is None else min(len(rest), self.limit)
            self.hub.sent[name] = self.hub.sent.get(name, 0) + going
        self.reply(code, rest, headers | {"Content-Length": str(len(rest))})


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry(name: str, data: bytes) -> dict[str, Any]:
    large = (
        {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}} if len(data) >= LARGE else {}
    )
    return {"rfilename": name, "size": len(data), "blobId": blob_id(data)} | large


def lfs(data: bytes, key: str) -> dict[str, Any]:
    if len(data) < LARGE:
        return {}
    return {"lfs": {key: hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}}


def tree_entry(name: str, data: bytes) -> dict[str, Any]:
    large = lfs(data, "oid")
    return {"type": "file", "path": name, "size": len(data), "oid": blob_id(data)} | large


@contextmanager
def serving() -> Iterator[Hub]:
    """A running hub without repositories."""
    hub, done = Hub(), threading.Event()
    handler = type("Served", (Handler,), {"hub": hub, "hub_done": done})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address, hub.cdn = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join()


def pause(seconds: float) -> Callable[[Handler], bool]:
    """Answer as usual, but later."""

    def act(_: Handler) -> bool:
        time.sleep(seconds)
        return False

    return act
