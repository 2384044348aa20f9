"""Cityscapes (Cordts et al. 2016), the 19 evaluated classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segwright.datasets.dataset import IGNORED, Dataset, check_split, find_base, masked_items, of_vocabulary, value_table
from segwright.errors import InputError
from segwright.words.vocabulary import load

# Label ids of the 19 classes in the order of their train ids (the benchmark's own table); all others are not evaluated.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
ENDING = "_leftImg8bit.png"


def cityscapes(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """19 classes from the ``gtFine`` label ids; the rest is left out.

    Raises:
        InputError: something is missing.
    """
    check_split(split, ("val", "train"), "cityscapes")
    base = find_base(root, "cityscapes", ("cityscapes",), (f"leftImg8bit/{split}", f"gtFine/{split}"))
    folder = base / "leftImg8bit" / split
    photos = sorted(folder.glob(f"*/*{ENDING}"))
    if not photos:
        raise InputError(f"cityscapes: there is no photo in {folder}; it should hold CITY/ID{ENDING} files")
    ids = [photo.relative_to(folder).as_posix().removesuffix(ENDING) for photo in photos]
    masks = [base / "gtFine" / split / f"{i}_gtFine_labelIds.png" for i in ids]
    table = value_table({label: place for place, label in enumerate(LABEL_IDS, 1)}, otherwise=IGNORED)
    return of_vocabulary("cityscapes", split, load("cityscapes"), masked_items(ids, photos, masks, table, "cityscapes"), False)
