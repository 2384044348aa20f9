"""The journal of everything that resumes: runs, reports, refined masks, diagnoses; banks compare their settings by it too.

    FOLDER/HEAD   the identity: all on which the results depend; written once, a folder begun with another one is refused
    FOLDER/LINES  one line of JSON a finished item, appended when its files are on the disk

A kill may cut the last line: it is taken off when the journal is opened again, and its item is done anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from segwright.errors import InputError
from segwright.files.places import Place
from segwright.files.record import encode_record


class Journal:
    """One folder's journal, held by one process at a time from ``open`` on."""

    def __init__(self, place: Place, identity: Mapping[str, Any], head: str, lines: str, advice: str = "") -> None:
        """
        Args:
            place: the folder.
            identity: all on which the results depend.
            head, lines: names of the two files.
            advice: what else can be done about a folder with another identity.
        """
        self.place, self.head, self.lines = place, head, lines
        self._identity, self._advice = encode_record(identity), advice
        self.begun = False

    def open(self) -> bytes:
        """Keep other processes out, then read the whole lines of an earlier run; empty, and no file is written, where there is none.

        Raises:
            InputError: a run with another identity, a damaged one, or one in which another process is at work.
            OutputError: it cannot be written.
        """
        self.place.open()  # first, so that nobody begins a run between the look and the work
        content = self.place.read(self.head)
        if content is None:
            return b""
        try:
            check_same(self._read(content), json.loads(self._identity), self.place.path("").rstrip("/"), self._advice)
        except InputError:
            self.place.close()
            raise
        self.begun = True
        found = self.place.read(self.lines) or b""
        whole = whole_lines(found)
        if whole != found:
            self.place.write({self.lines: whole})
        return whole

    def begin(self, files: Mapping[str, bytes] | None = None) -> None:
        """Write the head with the first files, once."""
        if not self.begun:
            self.place.open()
            self.place.remove(self.lines)
            self.place.write({self.head: self._identity, **(files or {})})
            self.begun = True
        elif files:
            self.place.write(files)

    def add(self, line: bytes, files: Mapping[str, bytes] | None = None) -> None:
        """Keep an item: its files, then its line; both are on the disk when this returns.

        Raises:
            OutputError: they cannot be written.
        """
        self.begin(files)
        self.place.append(self.lines, line)

    def replace(self, lines: bytes) -> None:
        """Other lines in place of all."""
        self.place.write({self.lines: lines})

    def clear(self) -> None:
        """Take head and lines out."""
        self.place.remove(self.lines)
        self.place.remove(self.head)
        self.begun = False

    def close(self) -> None:
        """Let other processes in."""
        self.place.close()

    def _read(self, content: bytes) -> dict[str, Any]:
        try:
            known = json.loads(content)
        except ValueError:
            known = None
        if not isinstance(known, dict):
            raise InputError(f"{self.place.path(self.head)!r} is damaged; remove it, or choose another folder")
        return known


def encode_line(content: Mapping[str, Any]) -> bytes:
    """A line of JSON."""
    return (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


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
