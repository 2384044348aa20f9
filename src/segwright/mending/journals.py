"""Runs, reports, refined masks, diagnoses and exports: each has a journal, whose lines know their files' checksums."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from segwright.diagnosis.averages import RECORDS
from segwright.errors import InputError, SegwrightError
from segwright.evaluation.store import PHOTOS, PREDICTIONS, parse_row, read_report
from segwright.files.journal import encode_lines, read_head, surviving, whole_lines
from segwright.files.masks import read_label_map
from segwright.files.names import ENDINGS
from segwright.files.overlay import encode_overlay
from segwright.files.places import Local, Place
from segwright.files.seal import digest
from segwright.mending.findings import Examined, Mending, empty_folders, leftovers
from segwright.runs.exports.target import WRITTEN
from segwright.runs.reading import Record
from segwright.runs.refine_masks import LINES, RUN_FILE, Entry
from segwright.runs.sources import open_photo, signature
from segwright.runs.store import MANIFEST, RUN, Line, parse_line
from segwright.types import Segmentation
from segwright.untrusted import decode, decode_object

REPORT = "report.json"


@dataclass(frozen=True)
class Kind:
    """How the folders of one command are read.

    Attributes:
        head: the file of the identity; None: it has none.
        lines: the file of finished items.
        read: a line's content; a ValueError says that it is none.
        item: what a row is of; a later row of the same counts.
        checks: file -> checksum of a row.
        again: the command that makes its items.
    """

    kind: str
    head: str | None
    lines: str
    read: Callable[[bytes], Any]
    item: Callable[[Any], str]
    checks: Callable[[Any], Mapping[str, str]]
    again: str


def _no_files(row: Any) -> Mapping[str, str]:
    return {}


KINDS = (
    Kind("run", RUN, MANIFEST, parse_line, lambda r: str(r.photo), lambda r: r.checks, "segwright segment"),
    Kind(
        "report", RUN, PHOTOS, parse_row, lambda r: str(r.id), lambda r: {f"{PREDICTIONS}/{r.id}.png": r.prediction},
        "segwright evaluate",
    ),
    Kind(
        "refinement", RUN_FILE, LINES, partial(decode, kind=Entry), lambda r: str(r.file), lambda r: {r.file: r.digest},
        "segwright refine",
    ),
    Kind("diagnosis", RUN, RECORDS, decode_object, repr, _no_files, "segwright diagnose"),  # a photo has several lines
    Kind("export", None, WRITTEN, decode_object, lambda r: str(r.get("file")), _no_files, "segwright export"),
)  # fmt: skip


def examine_journal(place: Place, kind: Kind, repair: bool) -> Examined:
    work = Mending(place, repair)
    leftovers(work)
    if repair:
        place.open()  # keeps others out, and takes what a kill left half-written away
    try:
        empty_folders(work)
        _head(work, kind)
        content = work.read(kind.lines) or b""
        pairs, wrong = surviving(content, lambda line: (decode_object(line), kind.read(line)))
        rows = {kind.item(row): (raw, row) for raw, row in pairs}
        kept = {item: pair for item, pair in rows.items() if _files(work, kind, pair[1])}
        _lines(work, kind, content, wrong, [raw for raw, _ in kept.values()], gone=len(rows) - len(kept))
        if kind.kind == "run":
            _strays(work, {row.name for _, row in kept.values()})
        if kind.kind == "report":
            _report(work, kind, len(rows))
    finally:
        if repair:
            place.close()
    whole = sum(not isinstance(row, Line) or row.name is not None for _, row in kept.values())
    return Examined(place.path("").rstrip("/"), kind.kind, whole, tuple(work.findings))


def _head(work: Mending, kind: Kind) -> None:
    if kind.head is None:
        return
    content = work.read(kind.head)
    remedy = f"cannot be made again; the results stay, and {kind.again} --restart (or another folder) does them anew"
    if kind.kind in ("refinement", "diagnosis"):
        remedy = f"cannot be made again; the results stay, and {kind.again} into another folder does them anew"
    if content is None:
        return work.note(kind.head, "missing", "it says how the results came about", remedy)
    try:
        read_head(content, work.place.path(kind.head))
    except InputError as error:
        work.note(kind.head, "damaged", str(error).partition("(")[2].partition(")")[0] or str(error), remedy)


def _files(work: Mending, kind: Kind, row: Any) -> bool:
    """Whether an item's files are as they were written, or are again; if not, its line goes, so that it is made anew."""
    bad = {name: state for name, check in kind.checks(row).items() if (state := _state(work.place, name, check))}
    if not bad:
        return True
    made = _overlay(work.place, row) if kind.kind == "run" and set(bad) == {f"{row.name}{ENDINGS[1]}"} else None
    for name, state in bad.items():
        reason = "it is not there" if state == "missing" else "it was edited or damaged"
        aside = partial(work.aside, name) if state == "damaged" else (lambda: None)
        remedy = f"--repair {'sets it aside' if state == 'damaged' else 'takes its line out'}, and {kind.again} makes it again"
        if made is not None:
            remedy = "--repair makes it again"
        work.note(name, state, reason, remedy, aside)
    if made is not None and work.repair:
        work.place.write({next(iter(bad)): made})
    return made is not None


def _state(place: Place, name: str, check: str) -> str:
    """ "" for a whole file."""
    try:
        content = place.read(name)
    except InputError:
        return "damaged"
    return "missing" if content is None else "" if digest(content) == check else "damaged"


def _overlay(place: Place, line: Line) -> bytes | None:
    """A photo's overlay made again from its label map; None where that does not give the bytes that were there."""
    with suppress(SegwrightError, ValueError):
        if signature(line.photo) != line.signature or line.signature is None:
            return None
        labels = read_label_map(io.BytesIO(place.read(f"{line.name}.png") or b""))
        words = decode(place.read(f"{line.name}.json") or b"", Record).words
        made = encode_overlay(open_photo(Path(line.photo)), Segmentation(words, labels))
        return made if digest(made) == line.files[ENDINGS[1]] else None
    return None


def _lines(work: Mending, kind: Kind, content: bytes, wrong: list[int], kept: list[dict[str, Any]], *, gone: int) -> None:
    cut = whole_lines(content) != content
    numbers = [number for number in wrong if not cut or number <= content.count(b"\n")]

    def rewrite() -> None:
        if numbers:
            work.aside(kind.lines)
        bare = [{name: value for name, value in raw.items() if name not in ("after", "check")} for raw in kept]
        work.place.write({kind.lines: encode_lines(bare)})

    if numbers:
        which = ", ".join(map(str, numbers[:5])) + (" ..." if len(numbers) > 5 else "")
        reason = f"line {which} was edited or damaged, or a line before it is gone"
        remedy = f"--repair keeps the lines that are whole; {kind.again} does the others' items again"
        work.note(kind.lines, "damaged", reason, remedy, rewrite)
    elif cut:
        work.note(kind.lines, "unfinished", "its last line was cut", "is cut off by --repair, and by the next start", rewrite)
    elif gone and work.repair:
        rewrite()


def _strays(work: Mending, names: Iterable[str | None]) -> None:
    """Results that no line names: unfinished work, or that of lines which are gone."""
    if not isinstance(work.place, Local):
        return
    known, stray = set(names), []
    for parent, _, files in os.walk(work.place.folder):
        for file in files:
            stem = Path(parent, file.removesuffix(".json")).relative_to(work.place.folder).as_posix()
            if file.endswith(".json") and f"{Path(stem).name}.png" in files and stem not in known:
                stray.append(stem)
    for name in sorted(stray):
        work.note(f"{name}.json", "unfinished", "no line of the manifest names it", "segwright segment makes it again")


def _report(work: Mending, kind: Kind, photos: int) -> None:
    again = f"{kind.again} makes it again; photos that are done are not done again"
    if not os.path.lexists(work.place.path(REPORT)):
        return work.note(REPORT, "unfinished", "it is not there yet", again)
    try:
        known = read_report(Path(work.place.path(REPORT)))["photos"]
    except InputError as error:
        reason = str(error).partition("(")[2].partition(")")[0] or str(error)
        return work.note(REPORT, "damaged", reason, f"is set aside by --repair; {again}", partial(work.aside, REPORT))
    if known != photos:
        work.note(REPORT, "unfinished", f"it is of {known} photos, and {kind.lines} of {photos}", again)
