"""The photos that are meant: files, folders, lists of paths, patterns, and anything that fsspec opens."""

from __future__ import annotations

import glob
import hashlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

from segwright.errors import InputError
from segwright.files.places import file_system, is_url, reason
from segwright.images import KINDS, find_photos, is_photo, natural, read
from segwright.types import Image
from segwright.untrusted import TEXT_MOST, open_regular, read_bounded

WHOLE = 64_000_000  # bytes of a photo of which all are hashed
SAMPLE, SAMPLES = 1 << 20, 16  # bytes of a piece of a larger one, and how many of them
READINGS = 3  # of a photo that is replaced meanwhile
PHOTO_MOST = 1_000_000_000  # bytes of a photo's file
LISTS = (".txt", ".lst", ".list")  # suffixes of a file with one path a line
Photo = Path | str  # a str is a URL
T = TypeVar("T")


def find(sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Photo]:
    """The photos meant by FOLDER, LIST, GLOB, files and URLs, each once.

    A file that ends in .txt, .lst or .list has one path or URL a line (from the list's own folder, if it is relative);
    a path with ``*``, ``?`` or ``[`` that is no file is a pattern, ``**`` for any folders; folders as in ``find_photos``.
    URLs may be photos, folders and patterns too; they come after the local photos.

    Raises:
        InputError: there is no photo at all, or a pattern or list without any.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    items = [item for source in given for item in _expanded(source)]
    remote = [url for item in items if is_url(item) for url in _below(str(item), single=len(items) == 1)]
    local = [Path(item) for item in items if not is_url(item)]
    return [*(find_photos(local) if local or not remote else []), *dict.fromkeys(remote)]


def key(photo: Photo) -> str:
    """What a photo is known by in a manifest: its whole path, or its URL."""
    path = photo if is_url(photo) else os.path.abspath(photo)
    return str(path).encode("utf8", "backslashreplace").decode()


def signature(photo: Photo) -> str | None:
    """What tells a photo from another one put in its place: its bytes, and a hash of them all.

    Of a file above ``WHOLE`` bytes the hash is of ``SAMPLES`` pieces, spread evenly, and of its time. None for URLs, and where the
    photo is not there.
    """
    if is_url(photo):
        return None
    try:
        with open_regular(photo) as file:
            return _signature(file)
    except (OSError, ValueError, InputError):
        return None


def _signature(file: BinaryIO) -> str:
    about = os.fstat(file.fileno())
    if about.st_size <= WHOLE:
        known = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
    else:
        known = hashlib.sha256(str(about.st_mtime_ns).encode())
        for number in range(SAMPLES):
            file.seek((about.st_size - SAMPLE) * number // (SAMPLES - 1))
            known.update(file.read(SAMPLE))
    return f"{about.st_size} {known.hexdigest()[:16]}"


def open_photo(photo: Photo) -> Image:
    """``segwright.read`` of a local photo or a URL.

    Raises:
        InputError: it cannot be read.
    """
    if not is_url(photo):
        return read(photo)
    stream = _Named(file_bytes(photo))
    stream.name = str(photo)
    return read(stream)


def open_signed(photo: Photo, read: Callable[[Photo], T]) -> tuple[T, str | None]:
    """What ``read`` makes of a photo, and the signature of just those bytes.

    Raises:
        InputError: as ``read``, or the photo is another one whenever it has been read.
    """
    for _ in range(READINGS):
        before, known = _stamp(photo), signature(photo)
        made = read(photo)
        if _stamp(photo) == before:
            return made, known
    raise InputError(f"{str(photo)!r} changes while it is read; start again when nothing writes to it")


def _stamp(photo: Photo) -> tuple[int, ...] | None:
    """Which file lies there, and when it was last changed."""
    try:
        about = None if is_url(photo) else os.stat(photo)
    except (OSError, ValueError):
        return None
    return about and (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def file_bytes(file: Photo) -> bytes:
    """The content of a local file or a URL.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if not is_url(file):
            return read_bounded(file, PHOTO_MOST)
        files, path = file_system(str(file))
        if "file" in (files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)):
            return read_bounded(path, PHOTO_MOST)
        with files.open(path, "rb") as stream:
            content = bytes(stream.read(PHOTO_MOST + 1))
        if len(content) > PHOTO_MOST:
            raise InputError(f"{str(file)!r} has more than {PHOTO_MOST:,} bytes; no such file is read")
        return content
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no file {str(file)!r}; check its address") from None
    except Exception as error:  # each kind of store raises its own
        raise InputError(f"{str(file)!r} cannot be read ({reason(error)}); check your access to it") from error


class _Named(io.BytesIO):
    name = ""


def _expanded(source: str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
    if is_url(source):
        return [source]
    path = Path(source)
    if path.suffix.lower() in LISTS and path.is_file():
        return _listed(path)
    if glob.has_magic(str(path)) and not os.path.lexists(path):
        found = sorted((Path(p) for p in glob.glob(str(path), recursive=True)), key=natural)
        if not found:
            raise InputError(f"no file matches the pattern {str(path)!r}; check it, or put it in quotes")
        names = {p.name for p in found}
        return [p for p in found if p.is_dir() or is_photo(p.name, names)]
    return [path]


def _listed(file: Path) -> list[str | os.PathLike[str]]:
    try:
        lines = read_bounded(file, TEXT_MOST).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list {str(file)!r} cannot be read ({reason(error)}); expected text with one path a line") from error
    paths = [line.strip() for line in lines if line.strip()]
    if not paths:
        raise InputError(f"the list {str(file)!r} is empty; expected one path a line")
    return [path if is_url(path) else file.parent / path for path in paths]


def _below(url: str, single: bool) -> list[str]:
    """The photos that a URL means: itself, those that match a pattern, or those in a folder.

    One that cannot be opened is refused if there is nothing else, and when it is read, as a bad photo, among others.
    """
    try:
        files, path = file_system(url)
        if glob.has_magic(path):
            found = files.glob(path)
        elif files.isdir(path):
            found = files.find(path)
        else:
            return [files.unstrip_protocol(path)]  # one spelling, so that a photo is known again
    except Exception as error:  # each kind of store raises its own
        if not single:
            return [url]
        if isinstance(error, InputError):
            raise
        raise InputError(f"{url!r} cannot be listed ({reason(error)}); check your access to it") from error
    beside: dict[str, set[str]] = {}
    for p in map(PurePosixPath, found):
        beside.setdefault(str(p.parent), set()).add(p.name)
    photos = sorted((p for p in map(PurePosixPath, found) if is_photo(p.name, beside[str(p.parent)])), key=natural)
    if not photos:
        raise InputError(f"no photos in {url!r}; expected {KINDS} files")
    return [files.unstrip_protocol(str(p)) for p in photos]
