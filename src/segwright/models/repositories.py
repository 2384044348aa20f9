"""Repositories of a model hub: which of their files are wanted, and where these lie in the hub client's own cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WAYS_OUT = "use the shipped miniature models (--preset mini) or a local folder (--preset FOLDER), or connect to the network"


@dataclass(frozen=True)
class File:
    """One file of a repository.

    Attributes:
        size: bytes; of small files about.
        sha256: what the contents must have whatever the hub says; needed for pickles, else mostly empty.
    """

    name: str
    size: int
    sha256: str = ""


@dataclass(frozen=True)
class Part:
    """One repository on the hub.

    Attributes:
        revision: a commit of its main branch, so that the weights cannot change under us.
        files: what is fetched, and nothing else.
        half: weights in half precision, fetched in place of those of the same name without ".fp16".
        converted: ``revision`` may lack the safetensors. They are then looked for in ``offers``, in the pull requests of the
            hub's own converter, and on main as it is today.
        offers: references where the safetensors were when this was written ("refs/pr/7").
        pickle: last of all this file of ``revision`` is read with ``weights_only=True`` and kept as safetensors.
        instead: a repository that does the same work, if nothing else can be had; using it is announced.
    """

    repo: str
    revision: str
    licence: str
    files: tuple[File, ...]
    half: tuple[File, ...] = ()
    converted: bool = False
    offers: tuple[str, ...] = ()
    pickle: File | None = None
    instead: Part | None = None

    @property
    def size(self) -> int:
        """Bytes of ``files``, about."""
        return sum(file.size for file in self.files)

    def wanted(self, half: bool = False) -> tuple[File, ...]:
        """The files for float32, or for half precision where there are any."""
        if not (half and self.half):
            return self.files
        full = {file.name.replace(".fp16.", ".") for file in self.half}
        return tuple(file for file in self.files if file.name not in full) + self.half


@dataclass(frozen=True)
class Remote:
    """A file as the hub lists it: size in bytes and etag, the sha256 of large files and git's sha1 of small ones."""

    name: str
    size: int
    etag: str


@dataclass(frozen=True)
class Plan:
    """What is to be fetched of one repository.

    Attributes:
        part: the repository; another than was asked for if it stands in for that.
        commit: of which the files are; they lie in the snapshot of that name.
        reference: by which the commit was found, if not by itself.
        files: those that are not in the cache, with size and checksum as the hub lists them.
        convert: the pickle's name, if it is to be converted.
    """

    part: Part
    commit: str
    reference: str = ""
    files: tuple[Remote, ...] = ()
    convert: str = ""

    @property
    def size(self) -> int:
        """Bytes still to come."""
        return sum(file.size - there_already(blob(self.part, file.etag), file.size) for file in self.files)


def cache() -> Path:
    """The hub's cache on this machine (``HF_HOME``, ``HF_HUB_CACHE``)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def repository(part: Part) -> Path:
    return cache() / f"models--{part.repo.replace('/', '--')}"


def snapshot(part: Part, commit: str) -> Path:
    return repository(part) / "snapshots" / commit


def blob(part: Part, etag: str) -> Path:
    return repository(part) / "blobs" / etag


def converted(part: Part) -> Path:
    """Where the safetensors made from a pickle lie, with the other files beside them."""
    return repository(part) / "segwright" / part.revision


def incomplete(target: Path) -> Path:
    """What has come of a file."""
    return target.with_name(f"{target.name}.incomplete")


def there_already(target: Path, size: int) -> int:
    """Bytes of a file that are in the cache, whole or in part."""
    if target.exists():
        return size
    half = incomplete(target)
    return min(size, half.stat().st_size) if half.exists() else 0


def reason(error: BaseException) -> str:
    """An exception on one line."""
    return " ".join(str(error).split()) or type(error).__name__
