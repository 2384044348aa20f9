"""PASCAL Context (Mottaghi et al. 2014): the 59 frequent classes, with background and without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segwright.datasets.dataset import Dataset, counted, find_base, masked_items, of_vocabulary, read_ids
from segwright.words.vocabulary import load

BELOW = ("VOC2010", "VOCdevkit/VOC2010")


def context(
    root: Path | None, split: str, words: Sequence[str] | None = None, background: bool = True, name: str = "context"
) -> Dataset:
    """Background and 59 classes, from the label PNGs of the usual conversion (0 background, 1..59 by name).

    Raises:
        InputError: something is missing.
    """
    base = find_base(root, name, BELOW, ("ImageSets/SegmentationContext", "JPEGImages", "SegmentationClassContext"))
    ids = read_ids(base / "ImageSets/SegmentationContext" / f"{split}.txt", name)
    photos = [base / "JPEGImages" / f"{i}.jpg" for i in ids]
    masks = [base / "SegmentationClassContext" / f"{i}.png" for i in ids]
    vocabulary = load("context59")
    table = counted(len(vocabulary.words), background)
    return of_vocabulary(name, split, vocabulary, masked_items(ids, photos, masks, table, name), background)


def context59(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """59 classes; background pixels are left out."""
    return context(root, split, words, background=False, name="context59")
