"""Where an export goes: never into a run, and never over a file that no export wrote."""

from __future__ import annotations

from functools import partial

from segwright.errors import InputError
from segwright.files.journal import START, decode_lines, encode_line, encode_lines, last_check, whole_lines
from segwright.files.places import Place
from segwright.runs.store import MANIFEST, RUN
from segwright.untrusted import decode

WRITTEN = "segwright-export.jsonl"  # in the target: one line a file that an export wrote, with its format


class Target:
    """A place that holds nothing but exports, or files that stay as they are. Use it in a ``with``."""

    def __init__(self, place: Place, format: str) -> None:
        self.place, self.format = place, format
        self.files: list[str] = []  # written this time
        self._new: set[str] = set()  # their names
        self._own: dict[str, set[str]] = {}  # name -> formats that have it; exports of several may share photos
        self._last = START  # checksum of the last line

    def __enter__(self) -> Target:
        """Raises:
        InputError: it holds a run, or somebody is at work in it.
        OutputError: it cannot be written.
        """
        if self.place.exists(RUN) or self.place.exists(MANIFEST):
            raise InputError(f"{self.place.path('').rstrip('/')!r} holds a run; choose another folder for the export with -o")
        self.place.open()
        try:
            found = self.place.read(WRITTEN) or b""
            lines = whole_lines(found)
            if lines != found:  # a kill cut the last one
                self.place.write({WRITTEN: lines})
            self._last = last_check(lines)
            for row in decode_lines(lines, partial(decode, kind=dict[str, str]), self.place.path(WRITTEN)):
                self._own.setdefault(row["file"], set()).add(row.get("format", ""))
        except BaseException:
            self.place.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.place.close()

    def write(self, name: str, content: bytes) -> None:
        """Write one file, whole or not at all.

        Raises:
            InputError: a file of that name is there that no export wrote.
            OutputError: it cannot be written.
        """
        if name not in self._own and self.place.exists(name):
            raise InputError(f"{self.place.path(name)!r} was written by somebody else; take it away, or choose another -o")
        if self.format not in self._own.get(name, ()):
            line = encode_line({"file": name, "format": self.format}, self._last)
            self.place.append(WRITTEN, line)
            self._own.setdefault(name, set()).add(self.format)
            self._last = last_check(line)
        self.place.write({name: content})
        self.files.append(self.place.path(name))
        self._new.add(name)

    def finish(self) -> None:
        """Remove what earlier exports of this format wrote and this one did not, so that no reader takes it for a part of this one.

        Files of other formats stay, and so do those of versions that did not write down the format.

        Raises:
            OutputError: a file cannot be removed.
        """
        old = [name for name, formats in self._own.items() if self.format in formats and name not in self._new]
        for name in old:
            self._own[name].discard(self.format)
            if not self._own[name]:
                self.place.remove(name)
                del self._own[name]
        if old:
            rows = ({"file": name, "format": one} for name, formats in self._own.items() for one in sorted(formats))
            content = encode_lines({k: v for k, v in row.items() if v} for row in rows)
            self.place.write({WRITTEN: content})
            self._last = last_check(content)
