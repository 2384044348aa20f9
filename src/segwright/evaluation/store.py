"""A run's folder: its settings, one line a finished photo, the predictions. Nothing that is in it is ever half there.

``run.json`` is written once, atomically. ``photos.jsonl`` grows by one line when a photo's prediction is on disk; a line
that a kill cut short is taken off when the run is opened again, and its photo is done anew. So a kill at any moment
loses the photos in work (``batch`` times ``workers``, one by default) and nothing else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segwright.datasets.dataset import Item
from segwright.errors import InputError, OutputError
from segwright.evaluation.figures import Cells
from segwright.evaluation.measuring import Record, origin
from segwright.files.journal import Journal, decode_lines
from segwright.files.places import Local
from segwright.files.record import plain
from segwright.files.seal import unseal
from segwright.untrusted import convert, decode, read_bounded, safe_name

RUN, PHOTOS, PREDICTIONS = "run.json", "photos.jsonl", "predictions"
REPORTS = ("report.json", "report.md", "contact.png", "found-against-false-alarms.svg")


class Store:
    """An open run folder, held by one process at a time. Use it in a ``with``."""

    def __init__(
        self, out: str | os.PathLike[str], identity: Mapping[str, Any], items: Sequence[Item], resume: bool = True
    ) -> None:
        """Open or begin a run.

        Args:
            identity: all settings on which the result depends; a folder begun with others is refused.
            items: the photos of this run.
            resume: False takes an older run out of the folder first.

        Raises:
            InputError: another run's folder, or one in which somebody is at work.
            OutputError: it cannot be written.
        """
        self.folder = Path(out)
        self.predictions = self.folder / PREDICTIONS
        self._items, self._resume = {item.id: item for item in items}, resume
        self._journal = Journal(Local(self.folder, "evaluation"), plain(dict(identity)), RUN, PHOTOS)
        self.done: dict[str, Record] = {}

    def __enter__(self) -> Store:
        place = self._journal.place
        try:
            place.open()
            if not self._resume:
                self._journal.clear()
                for name in REPORTS:
                    place.remove(name)
                shutil.rmtree(self.predictions, ignore_errors=True)
            self._make_predictions()
            content = self._journal.open()
            self._journal.begin()
            records = parse_records(content, self.folder / PHOTOS)
        except BaseException:
            self._journal.close()
            raise
        latest = {record.id: record for record in records}
        self.done = {name: record for name, record in latest.items() if self._stays(record)}
        return self

    def __exit__(self, *error: object) -> None:
        self._journal.close()

    def _stays(self, record: Record) -> bool:
        """Its photo and truth are those that it was made from, and its prediction is as it was written."""
        item, place = self._items.get(record.id), Local(self.predictions)
        return item is not None and place.holds(f"{record.id}.png", record.prediction) and origin(item) == record.made_from

    def _make_predictions(self) -> None:
        try:
            self.predictions.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{str(self.folder)!r} cannot be written ({error.strerror or error}); choose another -o") from error

    def add(self, record: Record) -> None:
        """Keep one finished photo, on disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        cells = record.cells
        line = {
            "id": record.id, "size": list(record.size), "truth": cells.rows.tolist(), "predicted": cells.columns.tolist(),
            "pixels": cells.pixels.tolist(), "seconds": round(record.seconds, 6), "made_from": record.made_from,
            "prediction": record.prediction,
        }  # fmt: skip
        line |= {"asked": list(record.asked), "scores": list(record.scores)} if record.asked else {}
        self._journal.add(line)
        self.done[record.id] = record


@dataclass(frozen=True)
class Row:
    """A line of ``photos.jsonl``."""

    id: str
    size: tuple[int, int]
    truth: list[int]
    predicted: list[int]
    pixels: list[int]
    seconds: float
    made_from: str
    prediction: str
    asked: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        safe_name(self.id)
        if min(self.size) < 1 or not len(self.truth) == len(self.predicted) == len(self.pixels):
            raise ValueError("its cells do not fit each other")
        if min((0, *self.truth, *self.predicted, *self.pixels)) < 0 or sum(self.pixels) > self.size[0] * self.size[1]:
            raise ValueError("its cells are more pixels than the photo has")
        if min((1, *self.asked)) < 1 or len(self.scores) not in (0, len(self.asked)):
            raise ValueError("its scores do not fit the words that it was asked for")

    def record(self) -> Record:
        cells = Cells(*(np.array(values, np.int64) for values in (self.truth, self.predicted, self.pixels)))
        return Record(self.id, self.size, cells, self.seconds, self.asked, self.scores, self.made_from, self.prediction)


parse_row = partial(decode, kind=Row)


def parse_records(content: bytes, file: Path) -> list[Record]:
    """The lines of ``photos.jsonl``.

    Raises:
        InputError: a line is damaged or was edited.
    """
    return [row.record() for row in decode_lines(content, parse_row, str(file))]


@dataclass(frozen=True)
class _Protocol:
    name: str


@dataclass(frozen=True)
class _Run:
    """What a report's ``run`` must hold for its readers; it holds more."""

    method: str
    data: str
    split: str
    words: list[str]
    background: bool
    protocol: _Protocol


@dataclass(frozen=True)
class _Bootstrap:
    seed: int


@dataclass(frozen=True)
class _Report:
    """What report.json must hold for its readers; it holds more."""

    measure: str
    intervals: dict[str, tuple[float | None, float | None]]
    bootstrap: _Bootstrap
    photos: int
    run: _Run
    miou: float | None = None  # these three not by the protocol "named"
    miou_per_image: float | None = None
    pixel_accuracy: float | None = None


def read_report(file: Path) -> dict[str, Any]:
    """report.json's content, with all that ``compare`` reads of it.

    Raises:
        InputError: missing or damaged.
    """
    content = _read_sealed(file)
    try:
        known = convert(content, _Report)
        missing = [name for name in (known.measure, *known.intervals) if name not in content or name not in known.intervals]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        convert({name: content[name] for name in known.intervals}, dict[str, float | None])
        return content
    except ValueError as error:
        raise InputError(f"{file} is damaged ({error}); expected what segwright evaluate wrote") from None


def _read_sealed(file: Path) -> dict[str, Any]:
    """A report's content, if its checksum is right.

    Raises:
        InputError: missing or damaged.
    """
    try:
        return unseal(read_bounded(file))
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}); expected what segwright evaluate wrote") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{file} is damaged ({error}); expected what segwright evaluate wrote") from None
