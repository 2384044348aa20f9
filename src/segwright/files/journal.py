"""What folders that are worked on in several goes share: a lock, settings that must agree, lines that a kill may cut."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from segwright.errors import InputError


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: object, advice: str = "") -> None:
    """Refuse to mix two runs, with the first setting that differs; nested settings are named "settings.seed".

    Raises:
        InputError: they differ.
    """
    old, new = flat(before), flat(now)
    for name in [*new, *(n for n in old if n not in new)]:
        if old.get(name) != new.get(name):
            was, wanted = (_short(values.get(name)) for values in (old, new))
            raise InputError(
                f"{str(folder)!r} holds a run with {name} = {was}, this one has {wanted}; "
                f"choose another -o or the same settings{advice}"
            )


def whole_lines(content: bytes) -> bytes:
    """The content without a last line that was cut short."""
    return content[: content.rfind(b"\n") + 1]


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


def flat(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as "support.steps": 30; the rows of a list that holds settings are counted from 0."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, list) and item and all(isinstance(part, Mapping) for part in item):
            item = dict(enumerate(item))
        found |= flat(item, f"{above}{key}.") if isinstance(item, Mapping) else {f"{above}{key}": item}
    return found


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
