"""PASCAL VOC 2012 (Everingham et al. 2015): segmentation with background, without it, and FreeSeg-Diff's VOC-C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segwright.datasets.dataset import IGNORED, Dataset, Truth, counted, find_base, masked_items, of_vocabulary, read_ids
from segwright.errors import InputError
from segwright.words.vocabulary import load

BELOW = ("VOC2012", "VOCdevkit/VOC2012")


def voc(root: Path | None, split: str, words: Sequence[str] | None = None, background: bool = True, name: str = "voc") -> Dataset:
    """Background and 20 classes, void left out: ROOT/VOC2012 with JPEGImages, SegmentationClass, ImageSets/Segmentation.

    Raises:
        InputError: something is missing.
    """
    base = find_base(root, name, BELOW, ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"))
    ids = read_ids(base / "ImageSets/Segmentation" / f"{split}.txt", name)
    photos = [base / "JPEGImages" / f"{i}.jpg" for i in ids]
    masks = [base / "SegmentationClass" / f"{i}.png" for i in ids]
    vocabulary = load("voc")
    table = counted(len(vocabulary.words), background)
    return of_vocabulary(name, split, vocabulary, masked_items(ids, photos, masks, table, name), background)


def voc20(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """20 classes; background and void pixels are left out."""
    return voc(root, split, words, background=False, name="voc20")


def voc_c(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """The photos whose mask has background and exactly one class, scored as ``voc`` (our definition).

    FreeSeg-Diff (Sec. 4.1) speaks of "a filtered part of Pascal VOC" used by Peekaboo without saying how it was filtered;
    its published code keeps photos with background and one class. All masks of the split are read here to find them.
    """
    whole = voc(root, split, words, name="voc-c")
    kept = tuple(item for item in whole.items if _one_class(item.truth()))
    if not kept:
        raise InputError(
            f"voc-c: no mask of split {split!r} has background and exactly one class; choose another split or data set"
        )
    return replace(whole, items=kept)


def _one_class(truth: Truth) -> bool:
    present = set(np.unique(truth).tolist()) - {IGNORED}
    return 0 in present and len(present) == 2
