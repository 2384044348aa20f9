"""Writing that is all or nothing: a temporary file in the same folder, then a rename."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from segwright.errors import OutputError

TEMPORARY = ".segwright-"  # what every name begins with that is not there yet
Content = bytes | Callable[[BinaryIO], object]


def atomic_write(path: str | os.PathLike[str], content: Content) -> Path:
    """Write one file so that it is there in full or not at all; missing folders are made.

    Args:
        path: an older file of that name is replaced.
        content: the bytes, or a function that writes them to the binary file it is given.

    Raises:
        OutputError: it cannot be written (full disk, no permission, ...); nothing is left behind.
    """
    return write_all({Path(path): content})[0]


def write_all(contents: Mapping[Path, Content]) -> list[Path]:
    """Write several files of which all are there in the end, or none: every one is prepared before the first rename.

    Where a rename fails, what was replaced comes back.

    Raises:
        OutputError: one of them cannot be written; nothing is left behind.
    """
    prepared: dict[Path, Path] = {}
    older: dict[Path, Path | None] = {}  # where what is replaced lies meanwhile; None where nothing was
    path = Path()
    try:
        for path, content in contents.items():
            prepared[path] = _temporary(path)
            _fill(prepared[path], content)
        for path in contents:
            if len(contents) > 1:  # a single rename needs no way back
                older[path] = _kept(path)
            os.replace(prepared[path], path)
    except BaseException as error:
        _restore(older, prepared)
        if isinstance(error, OSError):
            raise OutputError(_reason(error, path)) from error
        raise
    _remove([kept for kept in older.values() if kept])
    return list(contents)


def synced(data: bytes) -> Content:
    """Content that is on the disk before its file gets its name, so that a power cut leaves no empty file under it."""

    def write(file: BinaryIO) -> None:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

    return write


def _kept(path: Path) -> Path | None:
    """A second name for a file that is about to be replaced; None where there is none."""
    kept = _temporary(path)
    try:
        os.link(path, kept, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError:  # a file system without links
        os.replace(path, kept)
    return kept


def _restore(older: Mapping[Path, Path | None], prepared: Mapping[Path, Path]) -> None:
    """What was there before, and nothing else."""
    for path, kept in older.items():
        if kept is not None:
            with suppress(OSError):
                os.replace(kept, path)  # does nothing where both are the same file still
        elif not prepared[path].exists():
            _remove([path])
    _remove([*prepared.values(), *(kept for kept in older.values() if kept)])


def _temporary(path: Path) -> Path:
    """A new name beside ``path``, whose folder exists afterwards."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent / f"{TEMPORARY}{secrets.token_hex(6)}.tmp"


def _fill(path: Path, content: Content) -> None:
    with open(path, "xb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        try:
            path.unlink()
        except OSError:
            continue  # never made, already renamed, or its folder is gone


def _reason(error: OSError, path: Path) -> str:
    """One sentence that says what to do."""
    name = repr(str(path))
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the disk is full: {name} was not written; free some space or choose another folder"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{name} may not be written ({error.strerror}); choose a folder that you may write to"
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return f"{name} cannot be written because a part of its path is a file; choose another folder"
    if error.errno == errno.EISDIR:
        return f"{name} cannot be written because it is a folder; choose another name"
    if error.errno == errno.ENAMETOOLONG:
        return f"{name} cannot be written because the name is too long; choose a shorter one"
    return f"{name} was not written ({error.strerror or error}); choose another folder"
