"""The journal of everything that resumes: runs, reports, refined masks, diagnoses; banks compare their settings by it too.

    FOLDER/HEAD   the identity: all on which the results depend; written once, a folder begun with another one is refused
    FOLDER/LINES  one line of JSON a finished item, with its own checksum and that of the line before it, appended when its
                  files are on the disk

A kill may cut the last line: it is taken off when the journal is opened again, and its item is done anew. A line that was
edited, damaged, moved or taken out is refused by its number; ``surviving`` has those that are whole.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from segwright.errors import InputError
from segwright.files.places import Place
from segwright.files.record import encode_record, plain
from segwright.files.seal import seal, unseal
from segwright.untrusted import decode_object

START = "0" * 8  # what stands for the checksum before the first line
REPAIR = "run: segwright doctor --repair"
_CHECK = re.compile(rb',"after":"([0-9a-f]{8})","check":"([0-9a-f]{8})"}$')
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
        self._identity, self._advice = decode_object(encode_record(identity)), advice
        self._last = START
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
            check_same(read_head(content, self.place.path(self.head)), self._identity, self._folder, self._advice)
        except InputError:
            self.place.close()
            raise
        self.begun = True
        found = self.place.read(self.lines) or b""
        whole = whole_lines(found)
        if whole != found:
            self.place.write({self.lines: whole})
        self._last = last_check(whole)
        return whole

    def begin(self, files: Mapping[str, bytes] | None = None) -> None:
        """Write the head with the first files, once."""
        if not self.begun:
            self.place.open()
            self.place.remove(self.lines)
            self.place.write({self.head: seal(self._identity), **(files or {})})
            self.begun, self._last = True, START
        elif files:
            self.place.write(files)

    def add(self, *lines: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> None:
        """Keep items: their files, then their lines; both are on the disk when this returns.

        Raises:
            OutputError: they cannot be written.
        """
        self.begin(files)
        content = encode_lines(lines, self._last)
        self.place.append(self.lines, content)
        self._last = last_check(content, self._last)

    def replace(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Other lines in place of all."""
        content = encode_lines(lines)
        self.place.write({self.lines: content})
        self._last = last_check(content)

    def clear(self) -> None:
        """Take head and lines out."""
        self.place.remove(self.lines)
        self.place.remove(self.head)
        self.begun = False

    def close(self) -> None:
        """Let other processes in."""
        self.place.close()

    @property
    def _folder(self) -> str:
        return self.place.path("").rstrip("/")


def read_head(content: bytes, file: str) -> dict[str, Any]:
    """An identity as it was written.

    Raises:
        InputError: damaged or edited, or an earlier version's.
    """
    try:
        return unseal(content)
    except ValueError as error:
        raise InputError(f"{file!r} is damaged ({error}); remove it, or choose another folder") from None


def encode_line(content: Mapping[str, Any], after: str = START) -> bytes:
    """A line of JSON that ends in the checksum of the line before it, and the CRC-32 of all that stands before that.

    Args:
        content: one entry or more, none of them called "after" or "check".
    """
    if not content or {"after", "check"} & set(content):
        raise ValueError(f"a line needs entries of other names than the journal's own, got {sorted(content)}")
    body = json.dumps(plain(content), ensure_ascii=False, separators=(",", ":")).encode()[:-1] + b',"after":"%s"' % after.encode()
    return body + b',"check":"%08x"}\n' % zlib.crc32(body)


def encode_lines(contents: Iterable[Mapping[str, Any]], after: str = START) -> bytes:
    """Lines, each of which knows the one before it."""
    lines = []
    for content in contents:
        lines.append(encode_line(content, after))
        after = last_check(lines[-1])
    return b"".join(lines)


def decode_lines(content: bytes, read: Callable[[bytes], T], file: str) -> Iterator[T]:
    """What ``encode_lines`` wrote, line by line, checked against its checksums.

    Args:
        read: what makes something of a line; a ValueError says that it cannot.

    Raises:
        InputError: a line that was damaged or edited, or the lines before it were.
    """
    last = START
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            before, check = _checked(line)
            if before != last:
                raise ValueError("the line before it is another one")
            found, last = read(line), check
        except ValueError as error:
            raise InputError(f"line {number} of {file!r} is damaged ({error}); {REPAIR}, then start again") from None
        yield found


def surviving(content: bytes, read: Callable[[bytes], T]) -> tuple[list[T], list[int]]:
    """What ``read`` makes of the lines that are whole by their own checksum, and the numbers of the others.

    The number of a line that follows others than it did is among these too, though the line itself is kept.
    """
    found: list[T] = []
    wrong: list[int] = []
    after: str | None = START
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else (), 1):
        try:
            before, check = _checked(line)
            found.append(read(line))
        except ValueError:
            wrong.append(number)
            after = None  # what follows it cannot know
            continue
        if after not in (None, before):
            wrong.append(number)
        after = check
    return found, wrong


def last_check(lines: bytes, otherwise: str = START) -> str:
    """The checksum of the last of some whole lines."""
    check = _CHECK.search(lines[-80:].rstrip(b"\n"))
    return check[2].decode() if check else otherwise


def _checked(line: bytes) -> tuple[str, str]:
    """The checksums of the line before and of this one.

    Raises:
        ValueError: it was damaged or edited.
    """
    check = _CHECK.search(line)
    if check is None or int(check[2], 16) != zlib.crc32(line[: check.start(2) - len(b',"check":"')]):
        raise ValueError("its checksum is another one")
    return check[1].decode(), check[2].decode()


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
