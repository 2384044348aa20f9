"""ADE20K scene parsing (Zhou et al. 2017), 150 classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segwright.datasets.dataset import Dataset, check_split, counted, find_base, masked_items, of_vocabulary
from segwright.errors import InputError
from segwright.words.vocabulary import load


def ade20k(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """150 classes; pixels of none of them (0) are left out.

    Raises:
        InputError: something is missing.
    """
    part = {"val": "validation", "train": "training"}.get(split, split)
    check_split(part, ("validation", "training"), "ade20k")
    base = find_base(root, "ade20k", ("ADEChallengeData2016",), (f"images/{part}", f"annotations/{part}"))
    photos = sorted((base / "images" / part).glob("*.jpg"))
    if not photos:
        raise InputError(f"ade20k: there is no photo in {base / 'images' / part}; it should hold ID.jpg files")
    masks = [base / "annotations" / part / f"{photo.stem}.png" for photo in photos]
    vocabulary = load("ade20k")
    items = masked_items([p.stem for p in photos], photos, masks, counted(len(vocabulary.words), False), "ade20k")
    return of_vocabulary("ade20k", part, vocabulary, items, False)
