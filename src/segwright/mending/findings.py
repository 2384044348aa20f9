"""What is found in a folder that segwright wrote, and how it is mended: nothing is thrown away."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from segwright.errors import InputError, OutputError
from segwright.files.disk import TEMPORARY
from segwright.files.places import Local, Place

ENDINGS = (".png", ".json", ".jsonl", ".safetensors")  # of files that segwright writes
ASIDE = ".damaged"  # behind the name of what was set aside


@dataclass(frozen=True)
class Finding:
    """One thing that is not whole.

    Attributes:
        path: its file, or folder.
        state: "damaged", "missing", "unfinished" or "left over".
        reason: what is wrong with it.
        remedy: what becomes of it: by ``--repair``, and by the next start of its command.
        mended: by this call; a file set aside counts as mended.
    """

    path: str
    state: str
    reason: str
    remedy: str
    mended: bool = False

    @property
    def bad(self) -> bool:
        """It is neither mended nor merely unfinished."""
        return not self.mended and self.state in ("damaged", "missing")


@dataclass(frozen=True)
class Examined:
    """A folder that segwright wrote.

    Attributes:
        kind: "run", "report", "refinement", "diagnosis", "export" or "bank".
        whole: how many of its photos, words or files are as they were written.
        findings: all that is not.
    """

    folder: str
    kind: str
    whole: int
    findings: tuple[Finding, ...] = ()


@dataclass
class Mending:
    """A folder at work on: what was found, and whether it is mended."""

    place: Place
    repair: bool
    findings: list[Finding] = field(default_factory=list)

    def note(self, name: str, state: str, reason: str, remedy: str, mend: Callable[[], object] | None = None) -> None:
        """Keep a finding, after mending it if that is wanted and can be done; the first of a file says it all."""
        if not self.repair and any(known.path == self.place.path(name) for known in self.findings):
            return
        if self.repair and mend is not None:
            mend()
        self.findings.append(Finding(self.place.path(name), state, reason, remedy, self.repair and mend is not None))

    def read(self, name: str) -> bytes | None:
        """None if it is not there; nothing for a folder in its place, or what may not be read."""
        try:
            return self.place.read(name)
        except InputError:
            return b""

    def aside(self, name: str) -> None:
        """Another name for what is damaged, a folder in a file's place included.

        Raises:
            OutputError: it cannot be moved.
        """
        free = next(n for n in (f"{name}{ASIDE}{i or ''}" for i in range(10_000)) if not self._taken(n))
        if not isinstance(self.place, Local):
            if (content := self.read(name)) is not None:
                self.place.write({free: content})
                self.place.remove(name)
        elif os.path.lexists(self.place.path(name)):
            try:
                os.replace(self.place.path(name), self.place.path(free))
            except OSError as error:
                reason = error.strerror or error
                raise OutputError(
                    f"{self.place.path(name)!r} cannot be set aside ({reason}); check that you may write there"
                ) from error

    def _taken(self, name: str) -> bool:
        return os.path.lexists(self.place.path(name)) if isinstance(self.place, Local) else self.place.exists(name)


def leftovers(work: Mending) -> None:
    """What a kill left half-written; opening the place takes it away."""
    for below, _, names in _walked(work):
        for name in sorted(n for n in names if n.startswith(TEMPORARY)):
            remedy = "is taken away by --repair, and by the next start"
            work.note((below / name).as_posix(), "left over", "a kill left it half-written", remedy, lambda: None)


def empty_folders(work: Mending) -> None:
    """Empty folders in the place of files."""
    for below, folders, _ in _walked(work):
        for path in (below / name for name in sorted(folders) if name.endswith(ENDINGS)):
            if not any(Path(work.place.path(path.as_posix())).iterdir()):
                aside = partial(work.aside, path.as_posix())
                work.note(path.as_posix(), "damaged", "it is an empty folder", "is set aside by --repair", aside)


def _walked(work: Mending) -> list[tuple[Path, list[str], list[str]]]:
    """Every folder below, with the names of folders and files in it."""
    top = work.place.folder if isinstance(work.place, Local) else None
    return [] if top is None else [(Path(at).relative_to(top), folders, names) for at, folders, names in os.walk(top)]


def mended(found: Iterable[Examined]) -> list[Examined]:
    """Those in which nothing bad is left."""
    return [one for one in found if not any(finding.bad for finding in one.findings)]


def text(one: Examined) -> str:
    """Lines for a terminal: what is whole, and a line for each finding."""
    things = {"bank": "words", "export": "files"}.get(one.kind, "photos")
    lines = [f"{one.folder}: {one.kind}, {one.whole} {things} whole"]
    lines += [f"  {f.state}{', mended' if f.mended else ''}: {f.path}: {f.reason}; {f.remedy}" for f in one.findings]
    return "\n".join(lines)
