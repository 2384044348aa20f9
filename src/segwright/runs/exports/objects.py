"""What every format writes: one object a word a photo, cleaned of specks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segwright.errors import InputError
from segwright.runs.exports.shapes import Mask, box_of, without_specks
from segwright.runs.reading import Done

SIMPLIFY = 0.4  # pixels, ours: the largest at which every mask of the miniature world comes back with an IoU above 0.98
MASKS = ("rle", "polygon")
# XML 1.0, 2.2; a carriage return would come back as a newline.
NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# YAML 1.1, 5.1, without the byte order mark and what breaks a line.
NOT_YAML = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class ExportSettings:
    """How a run's masks are written.

    Attributes:
        min_area: parts of fewer pixels are left out.
        simplify: how far a polygon may lie from the mask's edge, in pixels; 0: exact.
        masks: "rle" or "polygon", where a format has both; None: the format's own choice.
        copy_photos: put the photos beside their labels, where the format expects them.
    """

    min_area: int = 0
    simplify: float = SIMPLIFY
    masks: str | None = None
    copy_photos: bool = False

    def __post_init__(self) -> None:
        if not (self.min_area >= 0 and 0 <= self.simplify < math.inf):
            raise InputError(f"min_area and simplify must be numbers from 0 up, got {self.min_area} and {self.simplify}")
        if self.masks not in (None, *MASKS):
            raise InputError(f"masks must be {' or '.join(MASKS)}, got {self.masks!r}")


@dataclass(frozen=True)
class Object:
    """All pixels of one word in one photo.

    Attributes:
        category: 1 for the first of the run's words.
        box: (x0, y0, x1, y1) in pixels, with x1 and y1 just outside.
        score: mean over the word's pixels, before specks were taken out; None where the method has none.
    """

    word: str
    category: int
    mask: Mask
    area: int
    box: tuple[int, int, int, int]
    score: float | None


def xml_text(text: str) -> str:
    """The text, with U+FFFD for what no XML may hold."""
    return NOT_XML.sub("\ufffd", text)


def yaml_text(text: str) -> str:
    """The text in double quotes, with escapes for what no YAML may hold as it is."""
    return NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def objects(photo: Done, words: tuple[str, ...], min_area: int) -> Iterator[Object]:
    """A photo's objects in the order of its words.

    Args:
        words: the run's, for the categories.
    """
    for segment in photo.segments:
        mask = without_specks(np.asarray(photo.labels == segment["index"]), min_area)
        if mask.any():
            word = str(segment["word"])
            yield Object(word, words.index(word) + 1, mask, int(mask.sum()), box_of(mask), segment["score"])
