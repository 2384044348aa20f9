"""COCO: thing masks of the 2017 annotations (COCO-Object), COCO-Stuff 164k, and its 27 supercategories (COCO-27)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segwright.datasets.dataset import (
    IGNORED,
    Dataset,
    Item,
    Table,
    Truth,
    check_files,
    check_split,
    find_base,
    masked_items,
    of_vocabulary,
    read_ids,
    value_table,
)
from segwright.errors import InputError
from segwright.words.vocabulary import load

STUFF_BELOW = ("coco_stuff164k", "coco-stuff164k")
# Category ids 1..182 of COCO-Stuff without the eleven that its annotators dropped: 80 things, then 91 kinds of stuff.
DROPPED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
CATEGORIES = tuple(i for i in range(1, 183) if i not in DROPPED)
CURATED = "curated/val2017/Coco164kFull_Stuff_Coarse_7.txt"
PART = tuple[int, Any]  # label, and its polygons or run lengths


def coco_object(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """Background and 80 things, rendered from ``instances_SPLIT2017.json``; all that is no thing is background.

    Published figures were measured on masks taken from COCO-Stuff's maps (GroupViT), which resolve overlaps in their own
    way; here crowds are painted first, then the annotations in their order, the later over the earlier.

    Raises:
        InputError: something is missing or damaged, or pycocotools is not installed.
    """
    check_split(split, ("val", "train"), "coco-object")
    listing = f"annotations/instances_{split}2017.json"
    base = find_base(root, "coco-object", ("coco",), (f"{split}2017", listing))
    _mask_tools()
    items = _instances(base / listing, base / f"{split}2017")
    check_files([item.photo for item in items], "coco-object", "photos")
    return of_vocabulary("coco-object", split, load("coco-object"), items, True)


def coco_stuff(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """171 classes, unlabelled pixels left out.

    Raises:
        InputError: something is missing.
    """
    return _stuff(root, split, "coco-stuff")


def coco27(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """27 groups of COCO-Stuff's classes, unlabelled pixels left out; split "curated": IIC's 2,175 photos of val2017.

    Raises:
        InputError: something is missing.
    """
    return _stuff(root, split, "coco27")


def _stuff(root: Path | None, split: str, name: str) -> Dataset:
    check_split(split, ("val", "train", "curated") if name == "coco27" else ("val", "train"), name)
    part = "val2017" if split == "curated" else f"{split}2017"
    base = find_base(root, name, STUFF_BELOW, (f"images/{part}", f"annotations/{part}"))
    ids = read_ids(base / CURATED, name) if split == "curated" else sorted(p.stem for p in (base / "images" / part).glob("*.jpg"))
    if not ids:
        raise InputError(f"{name}: there is no photo in {base / 'images' / part}; it should hold ID.jpg files")
    photos = [base / "images" / part / f"{i}.jpg" for i in ids]
    trained = [base / "annotations" / part / f"{i}_labelTrainIds.png" for i in ids]
    raw = [base / "annotations" / part / f"{i}.png" for i in ids]
    known, coarse = trained[0].is_file(), name == "coco27"
    items = masked_items(ids, photos, trained if known else raw, stuff_table(known, coarse), name)
    vocabulary = load("coco27" if coarse else "coco-stuff171")
    # Published figures of COCO-27 were measured with the stems, not with the official names that end in -things or -stuff.
    return of_vocabulary(name, split, vocabulary, items, False, official=vocabulary.words)


def stuff_table(train_ids: bool, coarse: bool) -> Table:
    """A value of a COCO-Stuff map -> its label among the 171 (or 27) words.

    Args:
        train_ids: the map holds 0..170, as the usual conversion writes it; else category ids less 1, as published (0..181).
        coarse: the 27 groups.
    """
    fine = load("coco-stuff171")
    labels = list(range(1, len(CATEGORIES) + 1))
    if coarse:
        places = {word: place for place, word in enumerate(load("coco27").words, 1)}
        labels = [places[group] for group in fine.groups]
    values = range(len(CATEGORIES)) if train_ids else [category - 1 for category in CATEGORIES]
    return value_table(dict(zip(values, labels, strict=True)), [IGNORED])


def _instances(file: Path, photos: Path) -> list[Item]:
    """An item a photo of the annotation file, in the order of the photos' ids."""
    try:
        content = json.loads(file.read_text("utf8"))
        images = sorted(content["images"], key=lambda image: image["id"])
        labels = {c["id"]: place for place, c in enumerate(sorted(content["categories"], key=lambda c: c["id"]), 1)}
        parts: dict[int, list[PART]] = defaultdict(list)
        for one in sorted(content["annotations"], key=lambda a: not a.get("iscrowd", 0)):
            parts[one["image_id"]].append((labels[one["category_id"]], one["segmentation"]))
        sizes = [(i["id"], i["file_name"], i["height"], i["width"]) for i in images]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no COCO annotation file ({type(error).__name__}: {error}); download it again") from None
    if len(labels) != len(load("coco-object").words):
        raise InputError(
            f"{file} has {len(labels)} categories; COCO-Object has {len(load('coco-object').words)}: is it instances_*.json?"
        )
    return [Item(Path(name).stem, photos / name, partial(render, tuple(parts[i]), h, w)) for i, name, h, w in sizes]


def render(parts: Sequence[PART], height: int, width: int) -> Truth:
    """(height, width) int64: every part's label painted over what came before; 0 elsewhere.

    Raises:
        InputError: pycocotools is not installed.
    """
    tools = _mask_tools()
    labels = np.zeros((height, width), np.int64)
    for label, shape in parts:
        if isinstance(shape, list):
            code = tools.merge(tools.frPyObjects(shape, height, width))
        else:
            code = tools.frPyObjects(shape, height, width) if isinstance(shape["counts"], list) else shape
        labels[tools.decode(code) > 0] = label
    return labels


def _mask_tools() -> Any:
    try:
        from pycocotools import mask
    except ImportError:
        raise InputError("coco-object needs pycocotools to draw its masks; get it with: pip install 'segwright[coco]'") from None
    return mask
