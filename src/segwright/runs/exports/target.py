"""Where an export goes: never into a run, and never over a file that no export wrote."""

from __future__ import annotations

from functools import partial

from segwright.errors import InputError
from segwright.files.journal import START, decode_lines, encode_line, last_check, whole_lines
from segwright.files.places import Place
from segwright.runs.store import MANIFEST, RUN
from segwright.untrusted import decode

WRITTEN = "segwright-export.jsonl"  # in the target: one line a file that an export wrote


class Target:
    """A place that holds nothing but exports, or files that stay as they are. Use it in a ``with``."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.files: list[str] = []  # written this time
        self._own: set[str] = set()
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
            self._own = {row["file"] for row in decode_lines(lines, partial(decode, kind=dict[str, str]), self.place.path(WRITTEN))}
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
        if name not in self._own:
            if self.place.exists(name):
                raise InputError(f"{self.place.path(name)!r} was written by somebody else; take it away, or choose another -o")
            line = encode_line({"file": name}, self._last)
            self.place.append(WRITTEN, line)
            self._own.add(name)
            self._last = last_check(line)
        self.place.write({name: content})
        self.files.append(self.place.path(name))
