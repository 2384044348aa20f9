"""The journal of everything that resumes: runs, reports, refined masks, diagnoses; banks compare their settings by it too.

    FOLDER/HEAD   the identity: all on which the results depend; written once, a folder begun with another one is refused
    FOLDER/LINES  one line of JSON a finished item, with its own checksum, appended when its files are on the disk

A kill may cut the last line: it is taken off when the journal is opened again, and its item is done anew. A line that was
edited or damaged is refused by its number.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from segwright.errors import InputError
from segwright.files.places import Place
from segwright.files.record import encode_record
from segwright.untrusted import decode_object

_CHECK = re.compile(rb',"check":"([0-9a-f]{8})"}$')
T = TypeVar("T")


class Journal:
    """One folder's journal, held by one process at a time from ``open`` on."""

    def __init__(self, place: Place, identity: Mapping[str, Any], head: str, lines: str, advice: str = "") -> None:
        """Nothing is read, written or locked yet.

        Args:
            place: the folder.
            identity: all on which the results depend.
            head: name of the file that holds the identity.
            lines: name of the file of finished lines.
            advice: what else can be done about a folder with another identity.
        """
        self.place, self.head, self.lines = place, head, lines
        self._identity, self._advice = encode_record(identity), advice
        self.begun = False

    def open(self) -> bytes:
        """Keep other processes out, and read the whole lines of an earlier run; empty, and no file written, where there is none.

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
            return decode_object(content)
        except ValueError:
            raise InputError(f"{self.place.path(self.head)!r} is damaged; remove it, or choose another folder") from None


def encode_line(content: Mapping[str, Any]) -> bytes:
    """A line of JSON that ends in the CRC-32 of what stands before it."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()[:-1]
    return body + b',"check":"%08x"}\n' % zlib.crc32(body)


def decode_lines(content: bytes, read: Callable[[bytes], T], file: str) -> Iterator[T]:
    """What ``encode_line`` wrote, line by line, checked against its checksums.

    Args:
        read: what makes something of a line; a ValueError says that it cannot.

    Raises:
        InputError: a line that was damaged or edited.
    """
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line:
            continue
        check = _CHECK.search(line)
        try:
            if check is None or int(check[1], 16) != zlib.crc32(line[: check.start()]):
                raise ValueError("its checksum is another one")
            found = read(line)
        except ValueError as error:
            advice = "take it out and start again to do its item anew, or choose another folder"
            raise InputError(f"line {number} of {file!r} is damaged ({error}); {advice}") from None
        yield found


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
