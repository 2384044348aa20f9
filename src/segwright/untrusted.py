"""The one door for what comes from outside: names, files' bytes, JSON. What has passed it is trusted by its type.

Pictures have theirs in ``images``, arrays in ``files.arrays``; both take their bytes from here.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from segwright.errors import InputError

JSON_MOST = 256_000_000  # bytes of a JSON file
TEXT_MOST = 16_000_000  # bytes of a list of photos
T = TypeVar("T")


def decode(content: bytes, kind: type[T]) -> T:
    """JSON checked against a type: a dataclass, a dict or list of types, or any combination.

    Raises:
        ValueError: no JSON in UTF-8, another type, or nested too deeply. Its text says where.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:  # none of them is ours to let through
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def convert(value: Any, kind: type[T]) -> T:
    """``decode`` of what is decoded already."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def decode_object(content: bytes) -> dict[str, Any]:
    """``decode`` for an object of any content."""
    return decode(content, dict[str, Any])


def safe_name(name: str) -> str:
    """A name of a file below some folder: relative, and never out of it.

    Raises:
        ValueError: empty, absolute, on a drive, with ``..`` or a zero byte.
    """
    path = Path(name)
    if not name or "\0" in name or path.is_absolute() or path.drive or path.root or ".." in path.parts or not path.parts:
        raise ValueError(f"{ascii(name)[:200]} is no name inside a folder")
    return name


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """An ordinary file opened for reading bytes; devices, pipes and sockets are not even waited for.

    Raises:
        OSError: it cannot be opened.
        InputError: no ordinary file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    held = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(held).st_mode):
        os.close(held)
        raise InputError(f"{str(path)!r} cannot be read: it is a folder, device or pipe, no ordinary file")
    return open(held, "rb")


def read_bounded(path: str | os.PathLike[str], most: int = JSON_MOST) -> bytes:
    """The bytes of an ordinary file.

    Args:
        most: bytes; a file that is longer, or grows longer while it is read, is refused.

    Raises:
        OSError: it cannot be read.
        InputError: no ordinary file, or too long.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(most + 1) if size <= most else b""
    if size > most or len(content) > most:
        raise InputError(f"{str(path)!r} has more than {most:,} bytes; no such file is read")
    return content
