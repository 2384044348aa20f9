"""Training scenes drawn once to arrays on disk: images.npy, labels.npy and scenes.json in one folder."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from tqdm import tqdm

from segwright.mini.captions import Named
from segwright.mini.scenes import SIZE, THINGS, draw, portrait

CHUNK = 250
PORTRAITS = "portraits"  # the split of ``scenes.portrait``
CLUTTER = 255  # label of what is no thing of the list and no ground


@dataclass(frozen=True)
class Drawn:
    """images (n, S, S, 3) uint8 and labels (n, S, S) uint8 (0 ground, 1 + class, ``CLUTTER``), mapped from disk;
    things[i] = [(class index, colour, box)]; stuff[i] from the top down."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    things: list[list[tuple[int, str | None, list[int]]]]
    stuff: list[tuple[str, ...]]
    captions: list[list[str]]

    def __len__(self) -> int:
        return len(self.things)


def _draw_chunk(start: int, folder: Path, split: str, seed: int) -> list[dict]:
    images = np.load(folder / "images.npy.part", mmap_mode="r+")
    labels = np.load(folder / "labels.npy.part", mmap_mode="r+")
    notes = []
    for i in range(start, min(start + CHUNK, len(images))):
        scene = portrait(seed, i) if split == PORTRAITS else draw(split, seed, i)
        images[i], labels[i] = scene.image, np.where(scene.clutter, CLUTTER, scene.labels)
        things = [(THINGS.index(t.word), t.colour, t.box) for t in scene.things]
        notes.append({"things": things, "stuff": scene.stuff, "captions": scene.captions})
    return notes


def render(folder: Path, count: int, seed: int, split: str = "train") -> Drawn:
    """Draw ``count`` scenes into ``folder`` on all cores, or open them if they are there already."""
    key = {"split": split, "seed": seed, "count": count}
    done = folder / "scenes.json"
    if not (done.is_file() and json.loads(done.read_text("utf8"))["key"] == key):
        folder.mkdir(parents=True, exist_ok=True)
        open_memmap(folder / "images.npy.part", "w+", np.uint8, (count, SIZE, SIZE, 3))
        open_memmap(folder / "labels.npy.part", "w+", np.uint8, (count, SIZE, SIZE))
        work = partial(_draw_chunk, folder=folder, split=split, seed=seed)
        notes: list[dict] = []
        with ProcessPoolExecutor() as pool, tqdm(total=count, desc="drawing scenes", unit="scene") as bar:
            for part in pool.map(work, range(0, count, CHUNK)):
                notes += part
                bar.update(len(part))
        for name in ("images.npy", "labels.npy"):
            os.replace(folder / f"{name}.part", folder / name)
        part_file = folder / "scenes.json.part"
        part_file.write_text(json.dumps({"key": key, "scenes": notes}), "utf8")
        os.replace(part_file, done)
    notes = json.loads(done.read_text("utf8"))["scenes"]
    return Drawn(
        np.load(folder / "images.npy", mmap_mode="r"),
        np.load(folder / "labels.npy", mmap_mode="r"),
        [[tuple(t) for t in n["things"]] for n in notes],
        [tuple(n["stuff"]) for n in notes],
        [n["captions"] for n in notes],
    )


def named_things(things: list[tuple[int, str | None, list[int]]]) -> list[Named]:
    """A scene's things as captions see them."""
    return [Named(THINGS[c], colour, ((b[0] + b[2]) / 2 / SIZE, (b[1] + b[3]) / 2 / SIZE)) for c, colour, b in things]
