"""What ``segwright refine`` wrote, read back as a run: for exports, overviews and reviews."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from segwright.errors import InputError
from segwright.files.journal import decode_lines, whole_lines
from segwright.files.places import Place, find_place
from segwright.images import natural
from segwright.objects import box_of
from segwright.runs.reading import Collection, Record, Segment, common_root, open_run
from segwright.runs.refine_masks import LINES, RUN_FILE, Entry
from segwright.runs.store import RUN, Line
from segwright.untrusted import decode


@dataclass(frozen=True)
class _Head:
    """What segwright-refine.json must hold for its readers; it holds more."""

    words: dict[int, str] | None = None
    versions: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Refined(Collection):
    """Masks without records: what a record says is counted in the label map. Words without name are their indices."""

    def record(self, line: Line) -> Record:
        labels = self._labels(line)
        most = int(labels.max()) if labels.size else 0
        if most > len(self.words):
            raise InputError(
                f"{self.place.path(f'{line.name}.png')!r} has index {most}, which has no word; give --words-map to refine"
            )
        return Record((labels.shape[1], labels.shape[0]), self.words, tuple(self._segments(labels)))

    def _segments(self, labels: np.ndarray) -> list[Segment]:
        found = []
        for index in (int(one) for one in np.unique(labels) if one):
            mask = labels == index
            found.append(Segment(index, self.words[index - 1], int(mask.sum()), box_of(mask), None))
        return found


def open_results(folder: str | os.PathLike[str]) -> Collection:
    """A run in a folder or URL, or what ``segwright refine`` wrote there, as far as it is done.

    Raises:
        InputError: there is neither, it is damaged, or another version wrote it.
    """
    place = find_place(folder)
    return open_refined(place) if place.exists(RUN_FILE) and not place.exists(RUN) else open_run(folder)


def open_refined(place: Place) -> Collection:
    """The refined masks in a place.

    Raises:
        InputError: they are damaged, or of a version that wrote down less.
    """
    where = place.path(RUN_FILE)
    try:
        head = decode(place.read(RUN_FILE) or b"", _Head)
    except ValueError as error:
        raise InputError(f"{where!r} is damaged ({error}); expected what segwright refine wrote") from None
    entries = decode_lines(whole_lines(place.read(LINES) or b""), partial(decode, kind=Entry), place.path(LINES))
    rows = {entry.file: entry for entry in entries}
    names = sorted((os.path.splitext(file)[0] for file in rows), key=lambda name: natural(PurePosixPath(name)))
    done = tuple(_line(rows[f"{name}.png"], name) for name in names)
    run: dict[str, Any] = {"method": "refine", "versions": {"segwright": None, **head.versions}, "preset": None}
    return _Refined(place, run, _words(head.words, place, names), done, (), common_root([line.photo for line in done]))


def _line(entry: Entry, name: str) -> Line:
    signature = str(entry.made_from[0][1])  # of the photo; the mask's stands beside it
    return Line(entry.photo, "done", name, signature=signature, files={".png": entry.digest})


def _words(named: dict[int, str] | None, place: Place, names: list[str]) -> tuple[str, ...]:
    """Label i + 1 is words[i]; an index that nobody named is called by its number."""
    if named is not None:
        return tuple(named.get(index, str(index)) for index in range(1, max(named, default=0) + 1))
    from segwright.files.masks import read_label_map

    most = max((int(read_label_map(Path(place.path(f"{name}.png"))).max()) for name in names), default=0)
    return tuple(map(str, range(1, most + 1)))
