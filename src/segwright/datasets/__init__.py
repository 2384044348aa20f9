"""The benchmarks, each read from its official layout: photos, truths and class names; one file a family."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segwright.datasets.dataset import Dataset

_VOC_TERMS = "VOC database rights; photos under Flickr's terms, research use"
_COCO_TERMS = "annotations CC BY 4.0; photos under Flickr's terms"


@dataclass(frozen=True)
class Source:
    """One entry of ``DATASETS``, for people and for ``open_dataset``.

    Attributes:
        home: "module:function" that reads it; called with (root, split, words).
        title: what it is, in a few words.
        classes: how many words are scored, background not counted.
        background: background is scored as a class of its own.
        layout: what lies where below ``--root`` (the folder that holds it is accepted too).
        splits: names of splits; the first is the default.
        protocol: how its truth is made from its files.
        licence: terms of photos and annotations.
    """

    home: str
    title: str
    classes: int | None
    background: bool
    layout: tuple[str, ...]
    splits: tuple[str, ...]
    protocol: str
    licence: str


_VOC = (
    "VOC2012/JPEGImages/ID.jpg",
    "VOC2012/SegmentationClass/ID.png",
    "VOC2012/ImageSets/Segmentation/SPLIT.txt",
)
_CONTEXT = (
    "VOC2010/JPEGImages/ID.jpg",
    "VOC2010/SegmentationClassContext/ID.png",
    "VOC2010/ImageSets/SegmentationContext/SPLIT.txt",
)
_STUFF = (
    "coco_stuff164k/images/SPLIT2017/ID.jpg",
    "coco_stuff164k/annotations/SPLIT2017/ID_labelTrainIds.png (values 0..170) or ID.png (0..181)",
)
_DRAWN = "segwright.datasets.folders"

# The command line's name -> where and what; the modules read pictures, so each is imported when it is asked for.
DATASETS = {
    "voc": Source(
        "segwright.datasets.voc:voc", "PASCAL VOC 2012", 20, True, _VOC, ("val", "train", "trainval"),
        "background and 20 classes; void (255) is left out", _VOC_TERMS,
    ),
    "voc20": Source(
        "segwright.datasets.voc:voc20", "PASCAL VOC 2012 without background", 20, False, _VOC, ("val", "train", "trainval"),
        "20 classes; background and void pixels are left out", _VOC_TERMS,
    ),
    "voc-c": Source(
        "segwright.datasets.voc:voc_c", "VOC-C, FreeSeg-Diff's part of VOC 2012", 20, True, _VOC, ("val", "train", "trainval"),
        "our definition: the photos whose mask has background and exactly one class (void allowed); scored as voc", _VOC_TERMS,
    ),
    "context": Source(
        "segwright.datasets.context:context", "PASCAL Context", 59, True, _CONTEXT, ("val", "train"),
        "background and the 59 frequent classes", _VOC_TERMS,
    ),
    "context59": Source(
        "segwright.datasets.context:context59", "PASCAL Context without background", 59, False, _CONTEXT, ("val", "train"),
        "59 classes; background pixels are left out", _VOC_TERMS,
    ),
    "coco-object": Source(
        "segwright.datasets.coco:coco_object", "COCO 2017, thing masks", 80, True,
        ("coco/SPLIT2017/ID.jpg", "coco/annotations/instances_SPLIT2017.json"), ("val", "train"),
        "masks rendered from the annotations in their order, the later over the earlier, crowds first; everything else, "
        "void included, is background", _COCO_TERMS,
    ),
    "coco-stuff": Source(
        "segwright.datasets.coco:coco_stuff", "COCO-Stuff 164k", 171, False, _STUFF, ("val", "train"),
        "80 things and 91 kinds of stuff; unlabelled pixels are left out", _COCO_TERMS,
    ),
    "coco27": Source(
        "segwright.datasets.coco:coco27", "COCO-27, the supercategories of COCO-Stuff", 27, False,
        (*_STUFF, "coco_stuff164k/curated/val2017/Coco164kFull_Stuff_Coarse_7.txt (for --split curated)"),
        ("val", "curated", "train"),
        "COCO-Stuff's 171 classes in 27 groups; all of val2017; --split curated: the 2,175 photos that IIC chose", _COCO_TERMS,
    ),
    "ade20k": Source(
        "segwright.datasets.ade20k:ade20k", "ADE20K scene parsing", 150, False,
        ("ADEChallengeData2016/images/validation/ID.jpg", "ADEChallengeData2016/annotations/validation/ID.png"),
        ("validation", "training"), "150 classes; value 0 (none of them) is left out", "ADE20K research terms (non-commercial)",
    ),
    "cityscapes": Source(
        "segwright.datasets.cityscapes:cityscapes", "Cityscapes", 19, False,
        ("cityscapes/leftImg8bit/SPLIT/CITY/ID_leftImg8bit.png", "cityscapes/gtFine/SPLIT/CITY/ID_gtFine_labelIds.png"),
        ("val", "train"), "19 classes; label ids that are not evaluated are left out", "Cityscapes terms (non-commercial research)",
    ),
    "mini": Source(
        f"{_DRAWN}:mini", "the miniature world", 24, True,
        ("ships with segwright; with --root: what `segwright mini scenes -o ROOT` wrote",), ("val", "held"),
        "background (ground, too) and 24 things", "segwright's own, Apache-2.0",
    ),
    "folder": Source(
        f"{_DRAWN}:folder", "any folder in VOC layout", None, True,
        (
            "JPEGImages/ID.jpg, .jpeg or .png", "SegmentationClass/ID.png (0 background, i = line i of the class list, 255 void)",
            "ImageSets/Segmentation/SPLIT.txt (one ID a line; without it every mask counts)",
            "classes.txt, or another list with --words-file",
        ),
        ("val",), "background and the classes of the list; void (255) is left out", "as the folder's owner says",
    ),
}  # fmt: skip
ALIASES = {
    "voc2012": "voc",
    "context60": "context",
    "coco": "coco-object",
    "coco-stuff171": "coco-stuff",
    "coco-27": "coco27",
    "ade": "ade20k",
}


def open_dataset(
    name: str, root: str | os.PathLike[str] | None = None, split: str | None = None, words: Sequence[str] | None = None
) -> Dataset:
    """A data set of ``DATASETS``, with every file that it needs known to be there.

    Args:
        root: the folder that holds it, see ``Source.layout``; not needed for ``mini``.
        split: its default if None.
        words: the class list of a ``folder``; its ``classes.txt`` if None.

    Raises:
        InputError: unknown name or split, or a folder in which something is missing; the text says what and where it should lie.
    """
    from segwright.errors import InputError

    key = ALIASES.get(name, name)
    if key not in DATASETS:
        raise InputError(f"data must be one of {', '.join(DATASETS)}, got {name!r}; see: segwright datasets")
    source = DATASETS[key]
    if root is None and key != "mini":
        raise InputError(f"{key} needs --root, the folder that holds {source.layout[0]}")
    if words is not None and key != "folder":
        raise InputError(f"{key} has its own class list; leave the words out, or use --data folder")
    module, function = source.home.split(":")
    reader: Any = getattr(import_module(module), function)
    dataset: Dataset = reader(None if root is None else Path(root).expanduser(), split or source.splits[0], words)
    return dataset


def list_datasets() -> tuple[str, ...]:
    """The names that ``open_dataset`` takes; ``DATASETS`` says what each is."""
    return tuple(DATASETS)


def describe() -> str:
    """What is supported, as text: classes, layout, protocol and licence of each data set."""
    lines = []
    for name, source in DATASETS.items():
        classes = "its own classes" if source.classes is None else f"{source.classes} classes"
        lines.append(f"{name}: {source.title}; {classes}{' and background' if source.background else ''}")
        lines += [f"  layout    {source.layout[0]}", *(f"            {line}" for line in source.layout[1:])]
        lines += [f"  splits    {', '.join(source.splits)}", f"  protocol  {source.protocol}", f"  licence   {source.licence}"]
    return "\n".join(lines)
