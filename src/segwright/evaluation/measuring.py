"""One photo's measurement: the method's labels against the truth, the prediction written, a record for the report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segwright.datasets.dataset import Dataset, Item, Truth
from segwright.errors import InputError
from segwright.evaluation.asking import Asking
from segwright.evaluation.figures import Cells
from segwright.evaluation.protocols import Protocol
from segwright.files.disk import atomic_write, synced
from segwright.files.masks import encode_label_map
from segwright.files.seal import digest
from segwright.images import read
from segwright.metrics import confusion
from segwright.runs.sources import open_signed, signature
from segwright.types import Image, Scores, Segmentation

Labels = NDArray[np.int64]
Found = tuple[Labels, Mapping[str, float]]  # and the confidences


@dataclass(frozen=True)
class Task:
    """What is measured, and where its predictions go.

    Attributes:
        dataset: its items are not used here.
        asked: the words given to the method: the data set's, by the protocol's names, then the extra ones.
        asking: which of them each photo is asked for.
        predictions: folder of the label PNGs.
        silent: those of ``asked`` that stand for classes which no photo is asked for.
    """

    dataset: Dataset
    protocol: Protocol
    asked: tuple[str, ...]
    asking: Asking
    predictions: Path
    silent: frozenset[str] = frozenset()

    def without_silent(self, words: Sequence[str]) -> list[str]:
        """Those of some words that the method is asked for."""
        return [word for word in words if word not in self.silent]

    @property
    def background(self) -> bool:
        """Pixels may stay unlabelled."""
        return self.dataset.background or self.protocol.unlabelled


@dataclass(frozen=True)
class Record:
    """One finished photo.

    Attributes:
        asked: the labels of the words that it was asked for; () where that is all of them.
        scores: how sure the method is of each of these, 0..1; () where it does not say.
        made_from: what tells photo and truth from others in their places, see ``origin``.
        prediction: ``files.seal.digest`` of its label PNG.
    """

    id: str
    size: tuple[int, int]
    cells: Cells
    seconds: float
    asked: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    made_from: str = ""
    prediction: str = ""


def origin(item: Item) -> str:
    """The signature of a photo's file, and a hash of its truth."""
    return _origin(signature(item.photo), item.truth())


def measure(method: Any, items: Sequence[Item], task: Task) -> list[Record]:
    """Segment some photos in one go, write their predictions, and count.

    Raises:
        InputError: a photo or mask that cannot be read or differ in size.
    """
    opened, truths = [open_signed(item.photo, read) for item in items], [item.truth() for item in items]
    images = [image for image, _ in opened]
    for item, image, truth in zip(items, images, truths, strict=True):
        if image.shape[:2] != truth.shape:
            raise InputError(
                f"{item.photo} is {image.shape[:2]} but its mask {truth.shape} pixels (H, W); they must be of one size"
            )
    labels = [task.asking.labels(item.id, truth, task.dataset) for item, truth in zip(items, truths, strict=True)]
    start = time.perf_counter()
    found = _found(method, images, [[task.asked[i - 1] for i in its] for its in labels], task)
    seconds = (time.perf_counter() - start) / len(items)
    records = []
    for item, truth, its, (predicted, confidence), (_, known) in zip(items, truths, labels, found, opened, strict=True):
        scores = tuple(float(confidence.get(task.asked[i - 1], 0.0)) for i in its) if confidence else ()
        record = replace(_record(item, truth, predicted, task, seconds), made_from=_origin(known, truth))
        records.append(record if task.asking.alike else replace(record, asked=its, scores=scores))
    return records


def measured(method: Any, items: Sequence[Item], task: Task, batch: int) -> Iterator[list[Record]]:
    """``batch`` photos at once."""
    for start in range(0, len(items), batch):
        yield measure(method, items[start : start + batch], task)


def _record(item: Item, truth: Truth, labels: Labels, task: Task, seconds: float) -> Record:
    counted = task.protocol.truth(truth, task.dataset)
    matrix = confusion(counted, labels, len(task.dataset.words) + 1, task.dataset.ignored)
    content = encode_label_map(labels)
    atomic_write(prediction_path(task.predictions, item.id), synced(content))
    return Record(item.id, (truth.shape[0], truth.shape[1]), Cells.of(matrix), seconds, prediction=digest(content))


def _origin(known: str | None, truth: Truth) -> str:
    return f"{known} {digest(repr(truth.shape).encode() + np.ascontiguousarray(truth, np.int64).tobytes())}"


def prediction_path(folder: str | os.PathLike[str], name: str) -> Path:
    """Where a photo's prediction lies."""
    return Path(folder) / f"{name}.png"


def _found(method: Any, images: Sequence[Image], asked: Sequence[Sequence[str]], task: Task) -> list[Found]:
    """Labels and confidences of each photo; all photos at once where they are asked for the same words."""
    shown = [task.protocol.shown(image) for image in images]
    if task.asking.alike:
        results = method.many(shown, task.without_silent(task.asked) if task.protocol.given else None)
    else:
        wanted = [task.without_silent(words) for words in asked]
        results = [method.many([image], words)[0] if words else None for image, words in zip(shown, wanted, strict=True)]
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    nowhere: list[Found] = [(np.zeros(size, np.int64), {}) for size in sizes]
    return [
        empty if result is None else (settle(result, size, task), result.confidence)
        for result, size, empty in zip(results, sizes, nowhere, strict=True)
    ]


def settle(result: Segmentation, size: tuple[int, int], task: Task) -> Labels:
    """(H, W) labels in the data set's numbering, at the photo's own size.

    With background, the method's own labels; resized, the argmax of its bilinearly resized scores. Without background,
    the argmax over the words' scores alone; a pixel at which every word scores 0 stays 0 and counts as wrong, and so
    does every pixel that a method without scores leaves unlabelled. Words beyond the data set's count as background.
    """
    known = task.asked[: len(task.dataset.words)]
    place = {word: i for i, word in enumerate(known, 1)}
    table = np.array([0, *(place.get(word, 0) for word in result.words)], np.int64)
    scores = result.scores
    resized = result.labels.shape != size
    if scores is None or (task.background and not resized):
        labels = np.asarray(result.labels, np.int64)
        return table[_nearest(labels, size) if resized else labels]
    return _argmax(scores, size, table, task.background)


def _argmax(scores: Scores, size: tuple[int, int], table: Labels, background: bool) -> Labels:
    values = scores.values.float()
    if tuple(values.shape[1:]) != size:
        values = torch.nn.functional.interpolate(values[None], size, mode="bilinear", align_corners=False)[0]
    places = table[list(scores.labels)]
    if background:
        return places[values.argmax(0).cpu().numpy()]
    rows = [row for row, place in enumerate(places) if place]
    if not rows:
        return np.zeros(size, np.int64)
    best, which = values[rows].max(0)
    return np.where((best > 0).cpu().numpy(), places[rows][which.cpu().numpy()], 0)


def _nearest(labels: Labels, size: tuple[int, int]) -> Labels:
    wide = torch.nn.functional.interpolate(torch.from_numpy(labels)[None, None].double(), size, mode="nearest-exact")
    return wide[0, 0].long().numpy()
