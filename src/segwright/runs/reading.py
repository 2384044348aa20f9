"""A run folder read back: its words, its photos and their masks, for exports and overviews."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.errors import InputError
from segwright.files.journal import whole_lines
from segwright.files.masks import read_label_map
from segwright.files.places import Place, find_place, is_url
from segwright.files.seal import digest
from segwright.images import natural
from segwright.runs.store import MANIFEST, RUN, Line, parse_manifest, parse_run
from segwright.untrusted import decode


@dataclass(frozen=True)
class Segment:
    """One entry of NAME.json's segments, see ``segwright.files.record.segments``."""

    index: int
    word: str
    area: int
    box: tuple[int, int, int, int]
    score: float | None


@dataclass(frozen=True)
class Record:
    """What NAME.json must hold for its readers; it holds more."""

    size: tuple[int, int]
    words: tuple[str, ...]
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ValueError(f"a size of {self.size} pixels")
        for one in self.segments:
            if not 1 <= one.index <= len(self.words) or self.words[one.index - 1] != one.word:
                raise ValueError(f"index {one.index} is not {one.word!r}")


@dataclass(frozen=True)
class Done:
    """One photo's results.

    Attributes:
        photo: its path or URL.
        file: its path below the folder that holds all photos of the run.
        name: of its results, without ending.
        words: its vocabulary; label i + 1 is words[i].
        labels: (H, W) int64.
        segments: as in NAME.json: index, word, area, box, score.
    """

    photo: str
    file: str
    name: str
    words: tuple[str, ...]
    labels: NDArray[np.int64]
    segments: tuple[dict[str, Any], ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.labels.shape[1], self.labels.shape[0]

    @property
    def suffix(self) -> str:
        """Of the photo, as ".jpg"."""
        return PurePosixPath(self.photo).suffix


@dataclass(frozen=True)
class Collection:
    """A run. ``open_run`` makes it.

    Attributes:
        run: run.json's content.
        words: the run's vocabulary; in open vocabulary all words that were found, in alphabetical order.
        done: the manifest's lines of photos that are done, by name in natural order.
        failed: those of photos that failed, by photo.
        root: the folder or URL that holds all photos.
        cut: a kill or damage cut the manifest's last line, so a photo more may have been done.
    """

    place: Place
    run: dict[str, Any]
    words: tuple[str, ...]
    done: tuple[Line, ...]
    failed: tuple[Line, ...]
    root: str
    cut: bool = False

    def record(self, line: Line) -> Record:
        """NAME.json's content.

        Raises:
            InputError: missing or damaged.
        """
        try:
            return decode(self._read(line, ".json"), Record)
        except ValueError as error:
            where = self.place.path(f"{line.name}.json")
            raise InputError(f"{where!r} is damaged ({error}); run segwright segment --restart") from None

    def __iter__(self) -> Iterator[Done]:
        """One photo after the other, in the order of ``done``.

        Raises:
            InputError: a file of it is missing or damaged, or its files do not belong together.
        """
        for line in self.done:
            record = self.record(line)
            labels = self._labels(line)
            words = {one.word for one in record.segments}
            if (labels.shape[1], labels.shape[0]) != record.size or not words <= set(self.words):
                raise InputError(
                    f"{self.place.path(str(line.name))!r}: its files are not of one result; take them out and do it anew"
                )
            segments = tuple(asdict(one) for one in record.segments)
            yield Done(line.photo, self.below(line.photo), str(line.name), record.words, labels, segments)

    def _labels(self, line: Line) -> NDArray[np.int64]:
        return read_label_map(io.BytesIO(self._read(line, ".png")))

    def below(self, photo: str) -> str:
        """A photo's path below ``root``, with forward slashes."""
        return photo[len(self.root) :].replace(os.sep, "/").lstrip("/")

    def _read(self, line: Line, ending: str) -> bytes:
        """One of a photo's files, as it was written."""
        name = f"{line.name}{ending}"
        content = self.place.read(name)
        if content is None or digest(content) != line.files[ending]:
            what = "is missing" if content is None else "was edited or damaged"
            raise InputError(f"{self.place.path(name)!r} {what}; start segwright segment again to do its photo anew")
        return content


def open_run(folder: str | os.PathLike[str]) -> Collection:
    """The run in a folder or URL, as far as it is done.

    Raises:
        InputError: there is none, it is damaged, or another version wrote it.
    """
    place = find_place(folder)
    run = parse_run(place.read(RUN), place)
    found = place.read(MANIFEST) or b""
    lines = {line.photo: line for line in parse_manifest(whole_lines(found), place)}
    done = sorted((line for line in lines.values() if line.name), key=lambda line: natural(PurePosixPath(str(line.name))))
    failed = sorted((line for line in lines.values() if not line.name), key=lambda line: natural(PurePosixPath(line.photo)))
    # of "sofa; couch" the results have the first name
    words = (
        tuple(w.partition(";")[0].strip() for w in run["words"])
        if run.get("words")
        else tuple(sorted({word for line in done for word in line.words}))
    )
    root, cut = common_root([line.photo for line in done]), not found.endswith(b"\n")
    return Collection(place, run, words, tuple(done), tuple(failed), root, cut)


def common_root(photos: list[str]) -> str:
    """The deepest folder or URL that holds all photos; "" if there is none."""
    if any(map(is_url, photos)):
        first, last = min(photos), max(photos)  # all others begin as these two do
        alike = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
        return first[: first[:alike].rfind("/") + 1] if all(map(is_url, photos)) else ""
    try:
        return os.path.commonpath([Path(photo).parent for photo in photos]) if photos else ""
    except ValueError:  # several drives
        return ""
