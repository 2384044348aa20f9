"""Fetching a repository's files from the hub, once, by name and pinned revision; used by ``segwright.weights`` alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segwright.errors import WeightsError

WAYS_OUT = "use the shipped miniature models (--preset mini) or a local folder (--preset FOLDER), or connect to the network"
BOT, OFFER = "SFconvertbot", "Adding `safetensors` variant of this model"  # the hub's own converter and its pull request


@dataclass(frozen=True)
class Part:
    """One repository on the hub.

    Attributes:
        revision: a commit of its main branch, so that the weights cannot change under us.
        size: bytes of the fetched files, about.
        files: what is fetched, and nothing else (no half-precision, pickled or single-file copies).
        converted: main has pickles only; the weights come from the pull request in which the hub's own bot
            offers them as safetensors, found when they are first fetched. With revision "main" (no commit could be
            looked up for it) main itself is tried where there is no such pull request.
    """

    repo: str
    revision: str
    licence: str
    size: int
    files: tuple[str, ...]
    converted: bool = False

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(f for f in self.files if f.endswith(".safetensors"))


def fetch(part: Part, local_only: bool, notify: Callable[[str], None]) -> Path:
    """The folder of the files, from the hub's cache on this machine or else from the hub, with its progress bar.

    Raises:
        WeightsError: not in the cache, and the network is away or not to be asked.
    """
    found = _complete(part)
    if found is not None:
        return found
    if local_only:
        raise WeightsError(f"{part.repo} is not on this machine and the network is not to be asked; {WAYS_OUT}")
    try:
        return _fetch(part, notify)
    except WeightsError:
        raise
    except Exception as error:  # offline, refused, cut short, disk full: the hub's client raises a whole family
        raise WeightsError(f"{part.repo} could not be fetched ({reason(error)}); {WAYS_OUT}") from error


def _fetch(part: Part, notify: Callable[[str], None]) -> Path:
    from huggingface_hub import constants, model_info, snapshot_download

    revision = _converted_revision(part) if part.converted else part.revision
    # Asked first, because without network it fails at once, where the download would try again for half a minute.
    listed = model_info(part.repo, revision=revision, files_metadata=True, timeout=20).siblings or []
    sizes = {file.rfilename: file.size or 0 for file in listed if file.rfilename in part.files}
    missing = [name for name in part.weights if name not in sizes]
    if missing:
        raise WeightsError(f"{part.repo} has no {missing[0]} at revision {revision[:12]}; {WAYS_OUT}")
    notify(f"Fetching {part.repo}, {human(sum(sizes.values()) or part.size)}, once, from the hub to {constants.HF_HUB_CACHE}")
    return Path(snapshot_download(part.repo, revision=revision, allow_patterns=sorted(sizes)))


def cached(part: Part) -> Path:
    """The folder of the files on this machine; nothing is fetched.

    Raises:
        WeightsError: they are not all there.
    """
    found = _complete(part)
    if found is None:
        raise WeightsError(f"{part.repo} has not been fetched yet; its first use does that, about {human(part.size)}")
    return found


def human(size: float) -> str:
    """ "4.3 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


def reason(error: BaseException) -> str:
    """An exception in a few words on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157].rstrip() + "..."


def _complete(part: Part) -> Path | None:
    """The cached snapshot that has all weights: the pinned commit, or for converted parts any that has them."""
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE) / f"models--{part.repo.replace('/', '--')}" / "snapshots"
    there = sorted(root.iterdir()) if part.converted and root.is_dir() else [root / part.revision]
    needed = [f for f in part.files if f.endswith((".safetensors", "config.json"))]
    return next((folder for folder in there if all((folder / f).is_file() for f in needed)), None)


def _converted_revision(part: Part) -> str:
    """The bot's pull request, as a reference that can be fetched."""
    from huggingface_hub import get_repo_discussions

    for talk in get_repo_discussions(part.repo):
        if talk.is_pull_request and talk.author == BOT and talk.title == OFFER:
            return talk.git_reference or f"refs/pr/{talk.num}"
    if part.revision == "main":
        return part.revision
    raise WeightsError(f"{part.repo} offers no safetensors weights, and segwright loads no pickles; {WAYS_OUT}")
