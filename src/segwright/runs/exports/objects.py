"""What every format writes: the one place that makes the list of a photo's annotations."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from segwright.errors import InputError
from segwright.objects import MIN_AREA, Object, check_kind, find_objects, least_pixels
from segwright.runs.reading import Collection, Done

SIMPLIFY = 0.4  # pixels, ours: the largest at which every mask of the miniature world comes back with an IoU above 0.98
MASKS = ("rle", "polygon", "box")
# XML 1.0, 2.2; a carriage return would come back as a newline.
NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# YAML 1.1, 5.1, without the byte order mark and what breaks a line.
NOT_YAML = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
Features = Callable[[Done], Any]  # (C, h, w) of a photo, for instances


@dataclass(frozen=True)
class ExportSettings:
    """How a run's masks are written.

    Attributes:
        objects: what one annotation is: "words" (all pixels of a word in a photo), "parts" (each connected part of them) or
            "instances" (things of one word told apart by the photo's features).
        min_area: smaller connected pieces take the label around them; below 1 a share of the photo, from 1 on pixels, 0: none do.
        classes: the words that are written, in their order; empty: all.
        renamed: word -> the name it is written under; several may have the same.
        masks: "rle", "polygon" or "box", where a format has it; None: the format's own choice.
        boxes_only: boxes in place of masks; the same as masks="box".
        simplify: how far a polygon may lie from the mask's edge, in pixels; 0: exact.
        split: name -> share of the photos, each split in a folder of its own; shares sum to 1. Empty: one folder for all.
        accepted: only photos that ``segwright review`` accepted, with what was taken away and renamed there.
        copy_photos: put the photos beside their labels, where the format expects them.
        photo_root: URL or folder under which a tool finds the photos, in place of where they lie (Label Studio).
    """

    objects: str = "words"
    min_area: float = MIN_AREA
    classes: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    masks: str | None = None
    boxes_only: bool = False
    simplify: float = SIMPLIFY
    split: Mapping[str, float] = field(default_factory=dict)
    accepted: bool = False
    copy_photos: bool = False
    photo_root: str | None = None

    def __post_init__(self) -> None:
        check_kind(self.objects)
        least_pixels(self.min_area, (1, 1))
        if not 0 <= self.simplify < math.inf:
            raise InputError(f"simplify must be a number of pixels from 0 up, got {self.simplify}")
        if self.masks not in (None, *MASKS):
            raise InputError(f"masks must be {', '.join(MASKS)}, got {self.masks!r}")
        if self.boxes_only and self.masks not in (None, "box"):
            raise InputError(f"boxes_only leaves masks out, so masks cannot be {self.masks!r}; give one of the two")
        shares = self.split.values()
        if self.split and not (all(0 < share <= 1 for share in shares) and abs(sum(shares) - 1) < 1e-6):
            raise InputError(f"a split's shares must lie above 0 and sum to 1, got {dict(self.split)}; write train=0.8,val=0.2")
        if any(not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name) for name in self.split):
            raise InputError(f"a split's name has up to 40 letters, digits, - and _, got {', '.join(map(repr, self.split))}")

    @property
    def kind(self) -> str | None:
        """``masks``, or "box" for boxes only."""
        return "box" if self.boxes_only else self.masks


@dataclass(frozen=True)
class Annotated:
    """A photo and what is written of it.

    Attributes:
        photo: its path or URL.
        file: its path below the folder that holds all photos of the run.
        name: of its results, without ending.
        size: (width, height).
        suffix: of the photo, as ".jpg".
        objects: in the order of the words.
    """

    photo: str
    file: str
    name: str
    size: tuple[int, int]
    suffix: str
    objects: tuple[Object, ...]


@dataclass(frozen=True)
class Annotations:
    """A run, or one split of it, as formats see it: iterate for one ``Annotated`` after the other.

    Attributes:
        words: what is written, in order; an object's category is 1 for the first.
        run: run.json's content.
        root: the folder or URL that holds all photos.
        photos: the names of the photos' results, in order.
        folder: below the export's own, of this split, as "train/"; "" without splits.
    """

    words: tuple[str, ...]
    run: dict[str, Any]
    root: str
    photos: tuple[str, ...]
    make: Callable[[], Iterator[Annotated]]
    folder: str = ""

    def __iter__(self) -> Iterator[Annotated]:
        return self.make()


def list_annotations(run: Collection, settings: ExportSettings, features: Features | None = None) -> Annotations:
    """What is to be written of a run.

    Args:
        features: of a photo, where ``settings.objects`` are instances.

    Raises:
        InputError: classes or renamed words that the run does not have, or no photo left.
    """
    chosen = settings.classes or run.words
    for word in (*chosen, *settings.renamed):
        if word not in run.words:
            raise InputError(f"{word!r} is no word of this run; it has {', '.join(run.words) or 'none'}")
    names = {word: settings.renamed.get(word, word) for word in chosen}
    words = tuple(dict.fromkeys(names.values()))
    photos = tuple(str(line.name) for line in run.done)
    return Annotations(words, run.run, run.root, photos, partial(_each, run, settings, names, words, features=features))


def split(run: Collection, shares: Mapping[str, float]) -> dict[str, Collection]:
    """The run in parts of these shares, the same photos each time: in the order of a hash of their names, cut at the shares."""
    order = sorted(run.done, key=lambda line: hashlib.sha256(str(line.name).encode()).digest())
    parts, start, total = {}, 0, 0.0
    for name, share in shares.items():
        total += share
        end = round(total * len(order))
        chosen = {line.name for line in order[start:end]}
        parts[name] = replace(run, done=tuple(line for line in run.done if line.name in chosen))
        start = end
    return parts


def xml_text(text: str) -> str:
    """The text, with U+FFFD for what no XML may hold."""
    return NOT_XML.sub("\ufffd", text)


def yaml_text(text: str) -> str:
    """The text in double quotes, with escapes for what no YAML may hold as it is."""
    return NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _each(
    run: Collection, settings: ExportSettings, names: Mapping[str, str], words: Sequence[str], *, features: Features | None
) -> Iterator[Annotated]:
    for photo in run:
        scores = {int(one["index"]): one["score"] for one in photo.segments}
        made = find_objects(
            photo.labels,
            photo.words,
            settings.objects,
            settings.min_area,
            features=None if features is None else partial(features, photo),
            score=lambda label, mask, scores=scores: scores.get(label),  # type: ignore[misc]
        )
        kept = [replace(one, word=names[one.word], category=words.index(names[one.word]) + 1) for one in made if one.word in names]
        kept.sort(key=lambda one: one.category)
        yield Annotated(photo.photo, photo.file, photo.name, photo.size, photo.suffix, tuple(kept))
