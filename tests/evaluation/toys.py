"""Small data sets on disk, and methods that need no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from segwright.datasets import open_dataset
from segwright.datasets.dataset import Dataset
from segwright.files.masks import write_label_map
from segwright.files.record import versions
from segwright.images import read
from segwright.methods.base import Method, MethodSpec, NoSettings
from segwright.types import Image, Scores, Segmentation

WORDS = ("cat", "dog", "sofa")


def make_folder(root: Path, photos: int = 6, side: int = 12, seed: int = 0) -> Path:
    """Random masks of background, three words and void, and photos that differ from each other, in VOC layout."""
    rng = np.random.default_rng(seed)
    for name in ("JPEGImages", "SegmentationClass"):
        (root / name).mkdir(parents=True)
    for i in range(photos):
        shape = (side + i, side + 2 * i)
        Pillow.fromarray(rng.integers(0, 256, (*shape, 3)).astype(np.uint8)).save(root / f"JPEGImages/p{i}.png")
        write_label_map(root / f"SegmentationClass/p{i}.png", rng.choice([0, 1, 2, 3, 255], shape, p=[0.4, 0.2, 0.2, 0.15, 0.05]))
    (root / "classes.txt").write_text("\n".join(WORDS) + "\n", "utf8")
    return root


def folder(root: Path, **how: Any) -> Dataset:
    return open_dataset("folder", make_folder(root, **how))


class Bare(Method):
    """Without networks and settings."""

    name = "bare"
    settings = NoSettings()

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        return {"method": type(self).__name__, "settings": {}, "versions": versions()}


class Knowing(Bare):
    """Says the truth (void as background), by recognising the photo."""

    def __init__(self, dataset: Dataset) -> None:
        self.known = {read(item.photo).tobytes(): item.truth() for item in dataset.items}

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        truths = [self.known[image.tobytes()] for image in images]
        return [Segmentation(tuple(words or ()), np.where(t == 255, 0, t)) for t in truths]


class Empty(Bare):
    """Says background everywhere."""

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        return [Segmentation(tuple(words or ()), np.zeros(image.shape[:2], np.int64)) for image in images]


class Guessing(Bare):
    """Scores that depend on the photo's bytes alone."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        import time

        time.sleep(self.delay)
        return [self._one(image, tuple(words or ())) for image in images]

    def _one(self, image: Image, words: tuple[str, ...]) -> Segmentation:
        generator = torch.Generator().manual_seed(int(image.astype(np.int64).sum()))
        values = torch.rand(len(words) + 1, *image.shape[:2], generator=generator)
        scores = Scores(words, tuple(range(len(words) + 1)), values / values.sum(0))
        return Segmentation(words, scores.argmax().numpy(), scores)


class ToySpec(MethodSpec):
    """A spec that workers load without networks."""

    def load(self) -> Guessing:
        return Guessing()
