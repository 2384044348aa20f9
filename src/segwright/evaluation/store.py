"""A run's folder: its settings, one line a finished photo, the predictions. Nothing that is in it is ever half there.

``run.json`` is written once, atomically. ``photos.jsonl`` grows by one line when a photo's prediction is on disk; a line
that a kill cut short is taken off when the run is opened again, and its photo is done anew. So a kill at any moment
loses the photos in work (``batch`` times ``workers``, one by default) and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segwright.errors import InputError, OutputError
from segwright.evaluation.figures import Cells
from segwright.evaluation.measuring import Record, prediction_path
from segwright.files.journal import Journal, encode_line
from segwright.files.places import Local
from segwright.files.record import plain

RUN, PHOTOS, PREDICTIONS = "run.json", "photos.jsonl", "predictions"
REPORTS = ("report.json", "report.md", "contact.png", "found-against-false-alarms.svg")


class Store:
    """An open run folder, held by one process at a time. Use it in a ``with``."""

    def __init__(self, out: str | os.PathLike[str], identity: Mapping[str, Any], ids: Sequence[str], resume: bool = True) -> None:
        """Open or begin a run.

        Args:
            identity: all settings on which the result depends; a folder begun with others is refused.
            ids: the photos of this run.
            resume: False takes an older run out of the folder first.

        Raises:
            InputError: another run's folder, or one in which somebody is at work.
            OutputError: it cannot be written.
        """
        self.folder = Path(out)
        self.predictions = self.folder / PREDICTIONS
        self._ids, self._resume = set(ids), resume
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
        self.done = {r.id: r for r in records if r.id in self._ids and prediction_path(self.predictions, r.id).is_file()}
        return self

    def __exit__(self, *error: object) -> None:
        self._journal.close()

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
            "pixels": cells.pixels.tolist(), "seconds": round(record.seconds, 6),
        }  # fmt: skip
        line |= {"asked": list(record.asked), "scores": list(record.scores)} if record.asked else {}
        self._journal.add(encode_line(line))
        self.done[record.id] = record


def parse_records(content: bytes, file: Path) -> list[Record]:
    """The lines of ``photos.jsonl``.

    Raises:
        InputError: a line is damaged.
    """
    records = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            data = json.loads(line)
            cells = Cells(*(np.array(data[key], np.int64) for key in ("truth", "predicted", "pixels")))
            asked, scores = tuple(map(int, data.get("asked", ()))), tuple(map(float, data.get("scores", ())))
            records.append(Record(data["id"], (data["size"][0], data["size"][1]), cells, float(data["seconds"]), asked, scores))
        except (ValueError, KeyError, TypeError, IndexError):
            raise InputError(f"line {number} of {file} is damaged; take it out and start again, or choose another -o") from None
    return records


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: missing or damaged.
    """
    try:
        content = json.loads(file.read_text("utf8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}); expected what segwright evaluate wrote") from None
    except ValueError:
        raise InputError(f"{file} is damaged; expected what segwright evaluate wrote") from None
    if not isinstance(content, dict):
        raise InputError(f"{file} is no report; expected what segwright evaluate wrote")
    return content
