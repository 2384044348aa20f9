"""What a run folder remembers: run.json, and manifest.jsonl with one line a photo, beside the results.

    RUN/run.json        settings, words, versions and seed: all on which a mask depends
    RUN/manifest.jsonl  one line a photo with its checksum, appended when its files are on the disk, or when it failed
    RUN/NAME.png, NAME.overlay.png, NAME.json

A kill may cut the last line: it is taken off when the run is opened again, and its photo is done anew. A photo that is
done but whose files are gone or were edited, or in whose place another photo lies, is done anew as well. Until the first
photo is done no file is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from segwright.errors import InputError
from segwright.files.journal import Journal, decode_lines, read_head, whole_lines
from segwright.files.names import ENDINGS, plan_names
from segwright.files.places import Place
from segwright.files.seal import digest
from segwright.runs.sources import Photo, key, signature
from segwright.untrusted import convert, decode, safe_name

RUN, MANIFEST = "run.json", "manifest.jsonl"
ORDER = (".json", ".overlay.png", ".png")  # a lone NAME.png would pass for a photo, so it comes last
ADVICE = ", or --restart"


@dataclass(frozen=True)
class Line:
    """One line of the manifest.

    Attributes:
        photo: its whole path or URL.
        status: "done" or "failed".
        name: of its files, without their endings, relative to the run; None if it failed.
        words: those that were found, in vocabulary order.
        reason: why it failed.
        seconds: its share of the work, reading and encoding included.
        size: (width, height); None if it failed.
        signature: of the photo's file, see ``segwright.runs.sources.signature``; another one is done anew.
        files: ending -> ``files.seal.digest`` of each of its files; one that was edited is done anew.
    """

    photo: str
    status: str
    name: str | None = None
    words: tuple[str, ...] = ()
    reason: str | None = None
    seconds: float = 0.0
    size: tuple[int, int] | None = None
    signature: str | None = None
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in ("done", "failed") or (self.status == "done") != (self.name is not None):
            raise ValueError(f"status {self.status!r} does not go with name {self.name!r}")
        if self.name is not None:
            safe_name(self.name)

    @property
    def checks(self) -> dict[str, str]:
        """File -> checksum."""
        return {f"{self.name}{ending}": check for ending, check in self.files.items()}


class Store:
    """An open run, held by one process at a time. Use it in a ``with``."""

    def __init__(self, place: Place, identity: Mapping[str, Any], restart: bool = False, retry: bool = False) -> None:
        """Open or begin the run in a place.

        Args:
            identity: all on which a mask depends; a folder begun with another one is refused.
            restart: take the older run and its results out first.
            retry: try failed photos again.
        """
        self.place = place
        self._journal = Journal(place, identity, RUN, MANIFEST, ADVICE)
        self._restart, self._retry = restart, retry
        self._waiting: list[Line] = []  # failures before the first photo that was done
        self.lines: dict[str, Line] = {}  # of earlier runs, by photo

    def __enter__(self) -> Store:
        """Raises:
        InputError: a run of other settings, a damaged one, or one in which somebody is at work.
        OutputError: it cannot be written.
        """
        try:
            self.place.open()
            if self._restart and self.place.exists(RUN):
                self._remove()
            else:
                self._resume(self._journal.open())
        except BaseException:
            self.place.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.place.close()

    def add(self, line: Line, files: Mapping[str, bytes]) -> None:
        """Keep one photo; what is done is on the disk when this returns.

        Args:
            files: contents by ending, as ``files.save.encode`` gives them; none for one that failed.

        Raises:
            OutputError: it cannot be written.
        """
        named = {f"{line.name}{ending}": files[ending] for ending in ORDER if ending in files}
        line = replace(line, files={ending: digest(content) for ending, content in files.items()})
        if not self._journal.begun and not named:
            self._waiting.append(line)
            return
        self._journal.add(*map(asdict, (*self._waiting, line)), files=named)
        self._waiting.clear()

    def plan(self, photos: Sequence[Photo], folder: Path) -> dict[str, str]:
        """The name of each photo's results, by its key; those that have one keep it."""
        known = {Path(line.photo): folder / line.name for line in self.lines.values() if line.name}
        paths = {Path(key(photo)): key(photo) for photo in photos}
        plan = plan_names(list(paths), folder, known, kept=[folder / RUN])
        return {name: plan[path].relative_to(folder).as_posix() for path, name in paths.items()}

    def _resume(self, content: bytes) -> None:
        """Read the manifest, and write it anew if it holds photos that are to be done again."""
        lines = {line.photo: line for line in parse_manifest(content, self.place)}
        kept = {photo: line for photo, line in lines.items() if self._stays(line)}
        if len(kept) != content.count(b"\n"):
            self._journal.replace(map(asdict, kept.values()))
        self.lines = {photo: replace(line, words=(), signature=None) for photo, line in kept.items()}

    def _stays(self, line: Line) -> bool:
        if signature(line.photo) not in (None, line.signature):
            return False  # another photo lies there now
        if line.status == "failed":
            return not self._retry
        return all(self.place.holds(name, check) for name, check in line.checks.items())

    def _remove(self) -> None:
        content = self.place.read(MANIFEST) or b""
        for line in parse_manifest(whole_lines(content), self.place):
            for ending in ENDINGS if line.name else ():
                self.place.remove(f"{line.name}{ending}")
        self._journal.clear()


@dataclass(frozen=True)
class Head:
    """What run.json must hold for its readers; it holds more."""

    method: str | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    words: tuple[str, ...] | None = None


def parse_run(content: bytes | None, place: Place) -> dict[str, Any]:
    """run.json's content.

    Raises:
        InputError: missing or damaged.
    """
    if content is None:
        raise InputError(f"{place.path(RUN)!r} is not there; expected a folder that segwright segment wrote")
    run = read_head(content, place.path(RUN))
    try:
        head = convert(run, Head)
        return run | {"versions": {"segwright": None, **head.versions}, "method": head.method}
    except ValueError as error:
        raise InputError(f"{place.path(RUN)!r} is damaged ({error}); expected what segwright segment wrote") from None


def parse_manifest(content: bytes, place: Place) -> list[Line]:
    """The lines of a manifest.

    Raises:
        InputError: a line is damaged or was edited, or names files outside the run.
    """
    return list(decode_lines(content, parse_line, place.path(MANIFEST)))


def parse_line(content: bytes) -> Line:
    """A line as ``Store.add`` wrote it.

    Raises:
        ValueError: it is none.
    """
    line = decode(content, Line)
    if set(line.files) != (set(ENDINGS) if line.name else set()):
        raise ValueError(f"checksums of {sorted(line.files)} do not go with status {line.status!r}")
    return line
