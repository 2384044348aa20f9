"""Folders in VOC layout: the miniature world, and any of the user's own with a class list."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from segwright.datasets.dataset import Dataset, Item, check_split, counted, find_base, masked_items, of_vocabulary, read_ids
from segwright.errors import InputError
from segwright.words.vocabulary import check_words, load, read_words_file

PICTURES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
LARGEST = 254  # words, for 255 is void


def mini(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """The miniature world: 24 things and background. Without ``root`` the shipped scenes, splits val and held.

    Raises:
        InputError: there is no such split.
    """
    if root is None:
        check_split(split, ("val", "held"), "mini")
    vocabulary = load("mini")
    base = root if root is not None else Path(str(resources.files("segwright").joinpath("mini", "data")))
    return of_vocabulary("mini", split, vocabulary, _items(base, split, len(vocabulary.words), "mini"), True)


def folder(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """JPEGImages, SegmentationClass and, if there is one, ImageSets/Segmentation/SPLIT.txt; all words count as things.

    Raises:
        InputError: something is missing, or no class list.
    """
    base = find_base(root, "folder", (".",), ("JPEGImages", "SegmentationClass"))
    given = base / "classes.txt"
    if words is None and not given.is_file():
        raise InputError(f"{given} is missing; write one class a line into it, or give another list with --words-file")
    known = read_words_file(given) if words is None else check_words(words)
    if len(known) > LARGEST:
        raise InputError(f"a folder's class list may have {LARGEST} words, got {len(known)}; masks have 8 bits and 255 is void")
    items = _items(base, split, len(known), "folder")
    return Dataset("folder", split, known, ("thing",) * len(known), True, tuple(items))


def _items(root: Path, split: str, classes: int, name: str) -> list[Item]:
    base = find_base(root, name, (".",), ("JPEGImages", "SegmentationClass"))
    listing = base / "ImageSets/Segmentation" / f"{split}.txt"
    if listing.parent.is_dir():
        ids = read_ids(listing, name)
    else:
        ids = sorted(p.stem for p in (base / "SegmentationClass").glob("*.png"))
        if not ids:
            raise InputError(f"{name}: there is no mask in {base / 'SegmentationClass'}; it should hold ID.png files")
    masks = [base / "SegmentationClass" / f"{i}.png" for i in ids]
    photos = [_picture(base / "JPEGImages", i) for i in ids]
    return masked_items(ids, photos, masks, counted(classes, True), name)


def _picture(where: Path, name: str) -> Path:
    """The first of ``PICTURES`` that is there, else the JPEG that should be."""
    found = (path for suffix in PICTURES if (path := where / f"{name}{suffix}").is_file())
    return next(found, where / f"{name}.jpg")
