"""One process a folder."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

from segwright.errors import InputError


def lock(file: BinaryIO | int, folder: Path, what: str) -> None:
    """One process a folder, until the file is closed; where the disk or the system has no such locks, there is none.

    Raises:
        InputError: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}:
            raise InputError(f"another {what} is at work in {str(folder)!r}; wait for it or choose another -o") from None
