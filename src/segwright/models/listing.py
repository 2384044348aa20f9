"""What the hub says of a repository: its files at a revision, and the pull requests that offer it as safetensors."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from segwright.models.download import ask
from segwright.models.repositories import Remote

BOT = "SFconvertbot"  # the hub's own converter of pickles to safetensors
DISABLED = (401, 403, 404, 410)  # how a repository without discussions answers
PAGES = 5  # of discussions that are looked through


class NotThereError(Exception):
    """The repository has no such revision."""


def files(repo: str, revision: str) -> tuple[str, dict[str, Remote]]:
    """The commit of a revision, and its files by name.

    Raises:
        NotThereError: no such revision.
        WeightsError: no network, refused, no such repository ...
    """
    path = f"/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    found: tuple[str, dict[str, Remote]] | None = ask(path, repo, lambda e: e.kind == "RevisionNotFound", _listed)
    if found is None:
        raise NotThereError(f"no revision {revision[:12]}")
    return found


def _listed(answer: Any) -> tuple[str, dict[str, Remote]]:
    listed = {}
    for entry in answer.get("siblings") or ():
        large = entry.get("lfs") or {}
        etag = large.get("sha256") or large.get("oid") or entry.get("blobId") or ""
        listed[entry["rfilename"]] = Remote(entry["rfilename"], int(large.get("size") or entry.get("size") or 0), etag)
    return str(answer["sha"]), listed


def offered(repo: str) -> list[str]:
    """References of pull requests by the hub's converter; none if the repository's discussions are disabled."""
    found: list[str] = []
    seen = 0
    for page in range(PAGES):
        path = f"/api/models/{repo}/discussions?type=pull_request&p={page}"
        references, there, count = ask(path, repo, lambda e: e.code in DISABLED, _offers) or ([], 0, 0)
        found += references
        seen += there
        if not there or seen >= count:
            break
    return found


def _offers(answer: Any) -> tuple[list[str], int, int]:
    """References of the converter's pull requests on a page of discussions, how many are on it, and how many there are."""
    talks = answer.get("discussions") or []
    ours = [talk for talk in talks if talk.get("isPullRequest") and (talk.get("author") or {}).get("name") == BOT]
    return [f"refs/pr/{talk['num']}" for talk in ours], len(talks), int(answer.get("count") or 0)
