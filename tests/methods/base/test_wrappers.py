"""Large photos: worked on at a bounded size, labels at their own; small ones untouched; in the identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.methods.base import Method, MethodSpec, NoSettings, Reduced, Then
from segwright.refine.upsample import shrunk
from segwright.types import Scores, Segmentation
from segwright.words.synonyms import Word


@dataclass(frozen=True)
class Bright(Method):
    """Bright pixels are the first word."""

    seen: list[Any]
    scored: bool = True
    settings: NoSettings = field(default_factory=NoSettings)
    name = "bright"

    def many(self, images: Any, words: Any = None) -> list[Segmentation]:
        self.seen.extend(image.shape for image in images)
        return [self.one(image, tuple(words)) for image in images]

    def one(self, image: Any, words: tuple[str, ...]) -> Segmentation:
        bright = torch.from_numpy(image[..., 0] / 255).float()
        scores = Scores(words, (0, 1), torch.stack([1 - bright, bright]))
        return Segmentation(words, scores.argmax().numpy(), scores if self.scored else None, {"a": 1})

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        return {"method": "bright"}


def photo(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    disc = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 3) ** 2
    return np.where(disc[..., None], 230, 20).astype(np.uint8).repeat(3, 2)


@pytest.mark.parametrize("scored", [True, False])
def test_the_same_labels_from_a_smaller_copy(scored: bool) -> None:
    image, method = photo(300, 400), Bright([], scored)
    found = Reduced(method, 0.02)(image, ["disc"])
    assert method.seen[0][0] * method.seen[0][1] == pytest.approx(20_000, rel=0.02)
    assert found.labels.shape == (300, 400)
    assert (found.labels == (image[..., 0] > 127)).mean() > 0.995
    assert found.scores is None
    assert found.notes == {"a": 1}


def test_a_small_photo_is_untouched() -> None:
    image, method = photo(30, 40), Bright([])
    found = Reduced(method, 0.02)(image, ["disc"])
    assert method.seen == [(30, 40, 3)]
    assert found.scores is not None
    assert shrunk(image, 0.02) is image


def test_identity_and_spec() -> None:
    assert Reduced(Bright([]), 2.0).identity() == {"method": "bright", "largest": 2.0}
    plain, large = (MethodSpec("maskclip", "mini", "cpu", largest=mp) for mp in (None, 4.0))
    assert large.identity() == plain.identity() | {"largest": 4.0}


@pytest.mark.parametrize("around", [lambda m: Reduced(m, 0.02), lambda m: Then(m, (), SimpleNamespace())])
@pytest.mark.parametrize("takes", [True, False])
def test_a_word_of_two_names_comes_as_the_method_takes_it(around: Any, takes: bool) -> None:
    asked: list[tuple[str, ...]] = []

    @dataclass(frozen=True)
    class Asked(Bright):
        takes_synonyms = takes

        def one(self, image: Any, words: tuple[str, ...]) -> Segmentation:
            asked.append(words)
            return super().one(image, words)

    around(Asked([]))(photo(300, 400), [Word("disc", "plate")])
    assert asked == [("disc",) if takes else ("disc", "plate")]


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf"), "4"])
def test_sizes_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(InputError, match="megapixels"):
        Reduced(Bright([]), wrong)
