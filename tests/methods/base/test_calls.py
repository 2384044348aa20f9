"""What holds wherever a method is called, whichever of its functions and however deep its class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from segwright.methods.base import Method, NoSettings, Trace
from segwright.types import Image, Segmentation


class Counted(Method):
    """Every pixel is the first word's; keeps what it was asked."""

    name = "counted"
    settings = NoSettings()

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Any]] = []

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        self.asked.append(([image.shape for image in images], words))
        return [Segmentation(tuple(words or ("sky",)), np.ones(image.shape[:2], np.int64)) for image in images]

    def trace(self, image: Image, words: Sequence[str] | None = None) -> Trace:
        return Trace(self(image, words))


class Deeper(Counted):
    """Inherits ``trace``, and asks the class above within its own ``many``."""

    name = "deeper"

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        return super().many(images, words)


def test_photos_are_read_and_words_taken_apart_for_every_function(tmp_path: Path) -> None:
    Pillow.new("RGB", (6, 4)).save(tmp_path / "photo.png")
    for kind in (Counted, Deeper):
        method = kind()
        (several,) = method.many([tmp_path / "photo.png"], ["sofa; couch", "dog"])  # type: ignore[list-item]
        traced = method.trace(Pillow.new("RGB", (6, 4)), ["sofa; couch", "dog"]).segmentation  # type: ignore[arg-type]
        assert method.asked == [([(4, 6, 3)], ["sofa", "couch", "dog"])] * 2
        assert several.words == traced.words == ("sofa", "dog")
        assert not several.own_words
        assert not traced.own_words


def test_results_without_words_say_so() -> None:
    for kind in (Counted, Deeper):
        method = kind()
        assert method.many([np.zeros((4, 6, 3), np.uint8)])[0].own_words
        assert method.trace(np.zeros((4, 6, 3), np.uint8)).segmentation.own_words
