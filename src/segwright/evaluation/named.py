"""Figures of the protocol "named": what is asked for and there is found, what is asked for and not there is not.

A word is given a region if more than ``LEAST`` of the photo's counted pixels have its label. A word counts as present if
more than ``LEAST`` of them are its in the truth, as absent if none is; the few between count for IoU only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.evaluation.figures import Counts, row_means, weights
from segwright.evaluation.measuring import Record

LEAST = 0.005  # of a photo: 0.5 %
HEADLINES = {"named": "iou_present", "absent": "false_alarms", "one": "right"}


@dataclass(frozen=True)
class Pairs:
    """Every word that a photo was asked for; (n,) each.

    Attributes:
        photo: place of the photo.
        word: place of the word in the data set's list.
        truth: its share of the photo's counted pixels in the truth.
        region: the share that it was given.
        hit: pixels that are its in both.
        union: pixels that are its in either.
        score: how sure the method is that it is there, 0..1; NaN where the method does not say.
        photos: P.
        words: N.
    """

    photo: NDArray[np.int64]
    word: NDArray[np.int64]
    truth: Counts
    region: Counts
    hit: Counts
    union: Counts
    score: Counts
    photos: int
    words: int

    @property
    def present(self) -> NDArray[np.bool_]:
        """Large enough in the truth to be found."""
        return self.truth > LEAST

    @property
    def absent(self) -> NDArray[np.bool_]:
        """Nowhere in the truth."""
        return self.truth == 0

    @property
    def given(self) -> NDArray[np.bool_]:
        """Given a region."""
        return self.region > LEAST


def pairs(records: Sequence[Record], words: int) -> Pairs:
    """The asked words of all photos."""
    rows = [row for place, record in enumerate(records) for row in _rows(place, record)]
    table = np.array(rows, np.float64).reshape(len(rows), 7).T
    photo, word = table[0].astype(np.int64), table[1].astype(np.int64)
    truth, region, hit, union, score = table[2:]
    return Pairs(photo, word, truth, region, hit, union, score, len(records), words)


def _rows(place: int, record: Record) -> list[tuple[float, ...]]:
    cells = record.cells
    rows: list[tuple[float, ...]] = []
    counted = max(1, int(cells.pixels.sum()))
    for i, label in enumerate(record.asked):
        in_truth, in_result = cells.rows == label, cells.columns == label
        truth, region = int(cells.pixels[in_truth].sum()), int(cells.pixels[in_result].sum())
        hit = int(cells.pixels[in_truth & in_result].sum())
        score = record.scores[i] if record.scores else np.nan
        rows.append((place, label - 1, truth / counted, region / counted, hit, truth + region - hit, score))
    return rows


def summary(found: Pairs) -> dict[str, float]:
    """Each figure, 0..1; NaN where there is no word of its kind.

    ``iou_present``: IoU of each present word over the photos in which it is (dataset level), mean over words.
    ``found``: share of the present words that are given a region. ``false_alarms``: share of the absent ones that are.
    ``absent_area``: mean area of the absent words, of the photo. ``right``: share of present and absent words that are
    decided rightly. ``average_precision``: of "is it there?", the words ranked by the method's score.
    """
    once = np.ones((1, found.photos))
    return {name: float(values[0]) for name, values in _figures(found, once).items()}


def word_ious(found: Pairs) -> Counts:
    """(N,) IoU of each word over the photos in which it is; NaN for a word that is in none."""
    return _ious(found, np.ones((1, found.photos)))[0]


def resampled(found: Pairs, resamples: int, seed: int) -> dict[str, Counts]:
    """The figures of ``resamples`` draws of as many photos with replacement, paired with those of other methods."""
    parts = [_figures(found, drawn) for drawn in weights(found.photos, resamples, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def curve(found: Pairs) -> list[tuple[float, float, float]]:
    """(threshold of the score, share of absent words at or above it, share of present ones); falling thresholds."""
    known = ~np.isnan(found.score) & (found.present | found.absent)
    there, score = found.present[known], found.score[known]
    if not known.any() or there.all() or not there.any():
        return []
    steps = np.unique(score)[::-1]
    return [(float(t), float((score[~there] >= t).mean()), float((score[there] >= t).mean())) for t in steps]


def _figures(found: Pairs, drawn: Counts) -> dict[str, Counts]:
    """drawn (R, P): how often each photo counts -> (R,) each."""
    each = drawn[:, found.photo]
    present, absent = found.present, found.absent
    decided, right = present | absent, np.where(present, found.given, ~found.given)

    def share(of: NDArray[np.bool_], values: NDArray[Any]) -> Counts:
        return _share(each[:, of], values[of].astype(np.float64))

    return {
        "iou_present": row_means(_ious(found, drawn)),
        "found": share(present, found.given),
        "false_alarms": share(absent, found.given),
        "absent_area": share(absent, found.region),
        "right": share(decided, right),
        "average_precision": _average_precision(found, each),
    }


def _share(each: Counts, values: Counts) -> Counts:
    total = each.sum(1)
    return np.divide(each @ values, total, out=np.full_like(total, np.nan), where=total > 0)


def _ious(found: Pairs, drawn: Counts) -> Counts:
    """(R, N)."""
    there = found.truth > 0
    place = (found.photo[there], found.word[there])
    hit, union = np.zeros((found.photos, found.words)), np.zeros((found.photos, found.words))
    hit[place], union[place] = found.hit[there], found.union[there]
    above, below = drawn @ hit, drawn @ union
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)


def _average_precision(found: Pairs, each: Counts) -> Counts:
    """The sum over thresholds of precision times the gain in recall; equal scores are one threshold."""
    known = ~np.isnan(found.score) & (found.present | found.absent)
    order = np.flatnonzero(known)[np.argsort(-found.score[known], kind="stable")]
    if not len(order):
        return np.full(len(each), np.nan)
    last = np.flatnonzero(np.append(np.diff(found.score[order]) != 0, True))
    counted = each[:, order].cumsum(1)[:, last]
    true = (each[:, order] * found.present[order]).cumsum(1)[:, last]
    precision = np.divide(true, counted, out=np.zeros_like(true), where=counted > 0)
    gained = np.diff(true, axis=1, prepend=0)
    total = true[:, -1]
    return np.divide((precision * gained).sum(1), total, out=np.full_like(total, np.nan), where=total > 0)
