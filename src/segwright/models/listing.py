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
    answer = ask(f"/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true", repo, lambda e: e.kind == "RevisionNotFound")
    if answer is None:
        raise NotThereError(f"no revision {revision[:12]}")
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
        answer: Any = ask(f"/api/models/{repo}/discussions?type=pull_request&p={page}", repo, lambda e: e.code in DISABLED)
        talks = (answer or {}).get("discussions") or []
        for talk in talks:
            author = talk.get("author") or {}
            if talk.get("isPullRequest") and author.get("name") == BOT:
                found.append(f"refs/pr/{talk['num']}")
        seen += len(talks)
        if not talks or seen >= int(answer.get("count") or 0):
            break
    return found
