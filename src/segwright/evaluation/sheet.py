"""The contact sheet: photo, truth and prediction of the best, the median and the worst photos."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from segwright.datasets.dataset import Item
from segwright.evaluation.measuring import Task, prediction_path
from segwright.files.colors import color
from segwright.files.legend import INK, PAPER, elide, font_for
from segwright.files.masks import read_label_map
from segwright.files.overlay import overlay
from segwright.images import read
from segwright.types import Image, Segmentation

TILE, GAP, TEXT = 176, 6, 14
VOID = (255, 255, 255)
LONGEST = 14  # a word in the legend, in heights of the text


def encode_sheet(items: Mapping[str, Sequence[Item]], scores: Mapping[str, float], task: Task) -> bytes:
    """A PNG file's bytes: for each group of ``items`` a block of rows, each photo | truth | prediction.

    Args:
        items: "best", "median", "worst" -> photos.
        scores: photo's id -> its own mean IoU, 0..1.
    """
    words = task.dataset.words
    blocks, seen = [], set()
    for name, group in items.items():
        if group:
            rows = [_row(item, scores[item.id], task) for item in group]
            seen |= {label for _, labels in rows for label in labels}
            blocks.append(_stacked([_title(name), *(row for row, _ in rows)]))
    whole = _beside(blocks)
    stream = io.BytesIO()
    _stacked([whole, _legend(sorted(seen), words, whole.width)] if seen else [whole]).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _row(item: Item, score: float, task: Task) -> tuple[Pillow.Image, set[int]]:
    """One photo's three pictures under its name, and the labels in them."""
    image, found = read(item.photo), read_label_map(prediction_path(task.predictions, item.id))
    truth = task.protocol.truth(item.truth(), task.dataset)
    pictures = [Pillow.fromarray(p) for p in (image, _painted(image, truth, task), _painted(image, found, task))]
    row = Pillow.new("RGB", (3 * (TILE + GAP), TILE + TEXT + 2 * GAP), PAPER)
    for place, picture in enumerate(pictures):
        row.paste(_fitted(picture, TILE), (place * (TILE + GAP), TEXT + 2 * GAP))
    text = f"{elide(item.id, TEXT, 2 * TILE)}  {100 * score:.1f}"
    ImageDraw.Draw(row).text((0, GAP // 2), text, INK, font_for(text, TEXT))
    return row, {int(v) for v in np.union1d(np.unique(truth), np.unique(found))} - {0, task.dataset.ignored}


def _painted(image: Image, labels: np.ndarray, task: Task) -> Image:
    """The photo under its labels at a tile's size; what is left out is white."""
    picture = np.array(_fitted(Pillow.fromarray(image), 2 * TILE))
    size = picture.shape[1], picture.shape[0]
    shown = np.array(Pillow.fromarray(labels.astype(np.int32)).resize(size, Pillow.Resampling.NEAREST))
    void = shown == task.dataset.ignored
    painted = overlay(picture, Segmentation(task.dataset.words, np.where(void, 0, shown)), alpha=0.65, legend=False)
    mask = np.array(Pillow.fromarray(void).resize((painted.shape[1], painted.shape[0]), Pillow.Resampling.NEAREST))
    return np.where(mask[..., None], np.array(VOID, np.uint8), painted)


def _title(name: str) -> Pillow.Image:
    picture = Pillow.new("RGB", (3 * (TILE + GAP), TEXT + 3 * GAP), PAPER)
    draw, font = ImageDraw.Draw(picture), font_for(name, TEXT + 2)
    for place, text in enumerate((f"{name}: photo", "truth (white: left out)", "prediction")):
        draw.text((place * (TILE + GAP), GAP), text, INK, font)
    return picture


def _fitted(picture: Pillow.Image, side: int) -> Pillow.Image:
    """The picture with a long side of ``side``."""
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Pillow.Resampling.LANCZOS)


def _legend(labels: Sequence[int], words: Sequence[str], width: int) -> Pillow.Image:
    """Colours and words in rows."""
    names = [elide(words[label - 1], TEXT, LONGEST * TEXT) for label in labels]
    column = round(max(font_for(name, TEXT).getlength(name) for name in names)) + 3 * TEXT
    across = max(1, (width - GAP) // column)
    picture = Pillow.new("RGB", (width, -(-len(names) // across) * 2 * TEXT + GAP), PAPER)
    pen = ImageDraw.Draw(picture)
    for number, (label, name) in enumerate(zip(labels, names, strict=True)):
        x, y = GAP + number % across * column, GAP + number // across * 2 * TEXT
        pen.rectangle((x, y, x + TEXT, y + TEXT), fill=color(label), outline=INK)
        pen.text((x + round(1.5 * TEXT), y), name, INK, font_for(name, TEXT))
    return picture


def _stacked(pictures: Sequence[Pillow.Image]) -> Pillow.Image:
    whole = Pillow.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER)
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole


def _beside(pictures: Sequence[Pillow.Image]) -> Pillow.Image:
    whole = Pillow.new("RGB", (sum(p.width + 2 * GAP for p in pictures), max(p.height for p in pictures)), PAPER)
    left = GAP
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + 2 * GAP
    return whole
