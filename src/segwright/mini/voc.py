"""Write drawn scenes in Pascal VOC's layout, with captions.json and classes.txt; and find the shipped ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from tqdm import tqdm

from segwright.errors import InputError
from segwright.files.masks import read_label_map, write_label_map
from segwright.images import read
from segwright.mini.scenes import THINGS, Scene, draw
from segwright.types import Image

CLUTTER = 255  # in SegmentationObject


def data_folder() -> Path:
    """Where the shipped 200 val and 200 held scenes lie (VOC layout)."""
    return Path(str(resources.files("segwright.mini").joinpath("data")))


def write_scenes(output: Path, count: int, seed: int = 0, split: str = "val", words: Sequence[str] | None = None) -> None:
    """Draw ``count`` scenes of a split into ``output``; other splits that are there already stay.

    JPEGImages/SPLIT_00000.jpg (quality 95, no chroma subsampling), SegmentationClass/SPLIT_00000.png
    (0 = background, i = line i of classes.txt), SegmentationObject/SPLIT_00000.png (0 = background, i = the i-th thing of
    captions.json, 255 = clutter), ImageSets/Segmentation/SPLIT.txt, captions.json.

    Args:
        words: draw just these things in every scene (a word may come several times).

    Raises:
        InputError: count below one, unknown split or word.
    """
    if count < 1:
        raise InputError(f"count must be at least 1, got {count}")
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    file = output / "captions.json"
    notes = json.loads(file.read_text("utf8")) if file.is_file() else {}
    names = [f"{split}_{i:05d}" for i in range(count)]
    drawn = (draw(split, seed, i, words=tuple(words) if words else None) for i in range(count))
    notes |= {name: _write(output, name, scene) for name, scene in _progress(names, drawn)}
    _write_text(output / "classes.txt", "\n".join(THINGS) + "\n")
    _write_text(output / "ImageSets/Segmentation" / f"{split}.txt", "\n".join(names) + "\n")
    _write_text(file, json.dumps(notes, indent=0) + "\n")


def _progress(names: list[str], drawn: Iterable[Scene]) -> Iterable[tuple[str, Scene]]:
    return tqdm(zip(names, drawn, strict=True), total=len(names), desc="drawing scenes", unit="scene")


def _write(output: Path, name: str, scene: Scene) -> dict:
    picture = output / "JPEGImages" / f"{name}.jpg"
    part = picture.with_suffix(".part")
    Pillow.fromarray(scene.image).save(part, "JPEG", quality=95, subsampling=0)
    os.replace(part, picture)
    write_label_map(output / "SegmentationClass" / f"{name}.png", scene.labels)
    objects = np.where(scene.clutter, CLUTTER, scene.instances).astype(np.uint8)
    write_label_map(output / "SegmentationObject" / f"{name}.png", objects)
    return {"captions": list(scene.captions), "things": [t.word for t in scene.things], "stuff": list(scene.stuff)}


def _write_text(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, "utf8")
    os.replace(part, path)


@dataclass(frozen=True)
class Shipped:
    """Scenes read back: names, (H, W, 3) uint8 images, (H, W) label maps, what captions.json says of each, and (H, W)
    objects (0 = background, i = the i-th thing, 255 = clutter)."""

    names: tuple[str, ...]
    images: tuple[Image, ...]
    truths: tuple[NDArray[np.int64], ...]
    notes: tuple[dict, ...]
    objects: tuple[NDArray[np.int64], ...]


def read_scenes(split: str, limit: int | None = None, root: Path | None = None) -> Shipped:
    """The shipped scenes of a split ("val" or "held"), or those of another folder that ``write_scenes`` made.

    Raises:
        InputError: the folder has no such split.
    """
    root = root or data_folder()
    file = root / "ImageSets/Segmentation" / f"{split}.txt"
    if not file.is_file():
        raise InputError(f"{file} is missing; draw the scenes with: segwright mini scenes --split {split} -o {root}")
    names = tuple(file.read_text("utf8").split()[:limit])
    notes = json.loads((root / "captions.json").read_text("utf8"))
    return Shipped(
        names,
        tuple(read(root / "JPEGImages" / f"{n}.jpg") for n in names),
        tuple(read_label_map(root / "SegmentationClass" / f"{n}.png") for n in names),
        tuple(notes[n] for n in names),
        tuple(read_label_map(root / "SegmentationObject" / f"{n}.png") for n in names),
    )
