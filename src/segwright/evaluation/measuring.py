"""One photo's measurement: the method's labels against the truth, the prediction written, a record for the report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segwright.datasets.dataset import Dataset, Item, Truth
from segwright.errors import InputError
from segwright.evaluation.figures import Cells
from segwright.evaluation.protocols import Protocol
from segwright.files.masks import write_label_map
from segwright.images import read
from segwright.metrics import confusion
from segwright.types import Image, Scores, Segmentation

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What is measured, and where its predictions go.

    Attributes:
        dataset: its items are not used here.
        asked: the words given to the method: the data set's, by the protocol's names, then the extra ones.
        present_only: each photo is asked for the words in its truth only, as weakly supervised seeds are measured.
        predictions: folder of the label PNGs.
    """

    dataset: Dataset
    protocol: Protocol
    asked: tuple[str, ...]
    present_only: bool
    predictions: Path


@dataclass(frozen=True)
class Record:
    """One finished photo."""

    id: str
    size: tuple[int, int]
    cells: Cells
    seconds: float


def measure(method: Any, items: Sequence[Item], task: Task) -> list[Record]:
    """Segment some photos in one go, write their predictions, and count.

    Raises:
        InputError: a photo or mask that cannot be read or differ in size.
    """
    images, truths = [read(item.photo) for item in items], [item.truth() for item in items]
    for item, image, truth in zip(items, images, truths, strict=True):
        if image.shape[:2] != truth.shape:
            raise InputError(
                f"{item.photo} is {image.shape[:2]} but its mask {truth.shape} pixels (H, W); they must be of one size"
            )
    start = time.perf_counter()
    found = _labels(method, images, truths, task)
    seconds = (time.perf_counter() - start) / len(items)
    counted = zip(items, truths, found, strict=True)
    return [_record(item, truth, labels, task, seconds) for item, truth, labels in counted]


def measured(method: Any, items: Sequence[Item], task: Task, batch: int) -> Iterator[list[Record]]:
    """``batch`` photos at once."""
    for start in range(0, len(items), batch):
        yield measure(method, items[start : start + batch], task)


def _record(item: Item, truth: Truth, labels: Labels, task: Task, seconds: float) -> Record:
    counted = task.protocol.truth(truth, task.dataset)
    matrix = confusion(counted, labels, len(task.dataset.words) + 1, task.dataset.ignored)
    write_label_map(prediction_path(task.predictions, item.id), labels)
    return Record(item.id, (truth.shape[0], truth.shape[1]), Cells.of(matrix), seconds)


def prediction_path(folder: str | os.PathLike[str], name: str) -> Path:
    """Where a photo's prediction lies."""
    return Path(folder) / f"{name}.png"


def _labels(method: Any, images: Sequence[Image], truths: Sequence[Truth], task: Task) -> list[Labels]:
    shown = [task.protocol.shown(image) for image in images]
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    if not task.present_only:
        results = method.many(shown, task.asked)
        return [settle(r, size, task) for r, size in zip(results, sizes, strict=True)]
    words = [[task.asked[i - 1] for i in np.unique(t) if i not in (0, task.dataset.ignored)] for t in truths]
    labels = []
    for image, asked, size in zip(shown, words, sizes, strict=True):
        labels.append(settle(method.many([image], asked)[0], size, task) if asked else np.zeros(size, np.int64))
    return labels


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
    if scores is None or (task.dataset.background and not resized):
        labels = np.asarray(result.labels, np.int64)
        return table[_nearest(labels, size) if resized else labels]
    return _argmax(scores, size, table, task.dataset.background)


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
