"""A method without networks for whole collections, and photos for it. Importable by worker processes and Ray's actors."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image as Pillow
from scipy import ndimage

from segwright.errors import WeightsError
from segwright.methods.base import Method, MethodSpec, NoSettings
from segwright.types import Image, Scores, Segmentation

WORDS = ("cat", "dog & co", "sofa")


@dataclass(frozen=True)
class Toy(Method):
    """Labels by brightness: blobs with several parts and holes."""

    delay: float = 0.0
    settings: ClassVar = NoSettings()
    name: ClassVar = "toy"

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        return {"method": self.name, "settings": {}}

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        time.sleep(self.delay)
        return [self._one(image, ("bright", "dark") if words is None else tuple(words)) for image in images]

    def _one(self, image: Image, words: tuple[str, ...]) -> Segmentation:
        grey = torch.from_numpy(image.astype(np.float32).mean(2) / 255)
        levels = torch.linspace(0.1, 0.9, len(words) + 1)[:, None, None]
        scores = Scores(words, tuple(range(len(words) + 1)), (-40 * (grey - levels) ** 2).softmax(0))
        return Segmentation(words, scores.argmax().numpy(), scores, {"caption": "<b>a photo</b>"})


@dataclass(frozen=True)
class ToySpec(MethodSpec):
    """A spec that workers load without networks."""

    delay: float = 0.0

    def load(self) -> Toy:
        return Toy(self.delay)


@dataclass(frozen=True)
class Mortal(Toy):
    """Its process is killed once, in the middle of the work."""

    marker: str = ""

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        made = Path(f"{self.marker}.{os.getpid()}")
        if made.exists() and not os.path.exists(self.marker):
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        made.touch()
        return super().many(images, words)


@dataclass(frozen=True)
class MortalSpec(ToySpec):
    marker: str = ""

    def load(self) -> Toy:
        return Mortal(marker=self.marker)


@dataclass(frozen=True)
class Unloadable(ToySpec):
    def load(self) -> Toy:
        raise WeightsError("the networks are not there; fetch them")


def spec(delay: float = 0.0) -> ToySpec:
    return ToySpec("maskclip", "mini", "cpu", delay=delay)


def make_photos(folder: Path, count: int, seed: int = 0) -> Path:
    """Smooth blobs, each photo of another size."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        noise = ndimage.gaussian_filter(rng.random((60 + 5 * (i % 4), 64 + 7 * (i % 3))), 4)
        grey = np.interp(noise, (noise.min(), noise.max()), (0, 255)).astype(np.uint8)
        Pillow.fromarray(grey).convert("RGB").save(folder / f"p{i}.png")
    return folder
