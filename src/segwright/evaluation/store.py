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
from typing import Any, BinaryIO

import numpy as np

from segwright.errors import InputError, OutputError
from segwright.evaluation.figures import Cells
from segwright.evaluation.measuring import Record, prediction_path
from segwright.files.disk import atomic_write
from segwright.files.journal import check_same, lock, whole_lines
from segwright.files.record import encode_record, plain

RUN, PHOTOS, PREDICTIONS = "run.json", "photos.jsonl", "predictions"
REPORTS = ("report.json", "report.md", "contact.png")


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
        self._identity, self._ids, self._resume = plain(dict(identity)), set(ids), resume
        self._file: BinaryIO | None = None
        self.done: dict[str, Record] = {}

    def __enter__(self) -> Store:
        try:
            self.predictions.mkdir(parents=True, exist_ok=True)
            self._file = open(self.folder / PHOTOS, "a+b")
            lock(self._file, self.folder, "evaluation")
            self._begin()
        except OSError as error:
            self.__exit__()
            raise OutputError(f"{str(self.folder)!r} cannot be written ({error.strerror or error}); choose another -o") from error
        except InputError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        assert self._file is not None  # opened right before
        run = self.folder / RUN
        if not self._resume:
            for name in (RUN, *REPORTS):
                (self.folder / name).unlink(missing_ok=True)
            self._file.truncate(0)
            shutil.rmtree(self.predictions)
            self.predictions.mkdir()
        if run.exists():
            check_same(read_json(run), self._identity, self.folder)
        else:
            self._file.truncate(0)
            atomic_write(run, encode_record(self._identity))
        self.done = self._finished()

    def _finished(self) -> dict[str, Record]:
        assert self._file is not None  # opened right before
        self._file.seek(0)
        content = self._file.read()
        whole = whole_lines(content)
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        records = parse_records(whole, self.folder / PHOTOS)
        return {r.id: r for r in records if r.id in self._ids and prediction_path(self.predictions, r.id).is_file()}

    def add(self, record: Record) -> None:
        """Keep one finished photo, on disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        if self._file is None:
            raise OutputError("the run folder is not open; use it in a with statement")
        cells = record.cells
        line = {
            "id": record.id, "size": list(record.size), "truth": cells.rows.tolist(), "predicted": cells.columns.tolist(),
            "pixels": cells.pixels.tolist(), "seconds": round(record.seconds, 6),
        }  # fmt: skip
        try:
            self._file.write((json.dumps(line, separators=(",", ":")) + "\n").encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{self.folder / PHOTOS} cannot be written ({reason}); free some space and start again") from error
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
            records.append(Record(data["id"], (data["size"][0], data["size"][1]), cells, float(data["seconds"])))
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
