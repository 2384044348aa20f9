"""What every method and every refiner must keep. Call these from one parametrised test each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from segwright.types import Image, Scores, Segmentation


def photo(height: int = 40, width: int = 56, seed: int = 0) -> Image:
    """A bright disc on a dark, noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2
    image = rng.integers(20, 60, (height, width, 3))
    image[disc] = [220, 180, 40]
    return image.astype(np.uint8)


def coarse_scores(height: int, width: int, labels: tuple[int, ...] = (0, 2, 3), seed: int = 0) -> Scores:
    """Smooth random scores over a vocabulary of four words."""
    raw = torch.rand(1, len(labels), 5, 7, generator=torch.Generator().manual_seed(seed)) * 4
    wide = torch.nn.functional.interpolate(raw, (height, width), mode="bilinear", align_corners=False)[0]
    return Scores(("cat", "dog", "sofa", "tree"), labels, wide.softmax(0))


def check_method(
    many: Callable[[Sequence[Image], Sequence[str] | None], list[Segmentation]], photos: Sequence[Image], words: Sequence[str]
) -> None:
    """One result a photo, at its size, in the vocabulary's numbering, the same alone and in company, with and without words."""
    kept = [p.copy() for p in photos]
    results = many(photos, words)
    assert len(results) == len(photos)
    for p, before, result in zip(photos, kept, results, strict=True):
        assert np.array_equal(p, before), "the photo was changed"
        assert result.words == tuple(words)
        assert result.labels.shape == p.shape[:2]
        assert set(result.found) <= set(words)
        if result.scores is not None:
            assert torch.equal(result.scores.argmax(), torch.from_numpy(np.asarray(result.labels, np.int64)))
        alone = many([p], words)[0]
        assert np.array_equal(alone.labels, result.labels), "company changed the result"
    for result, p in zip(many(photos, None), photos, strict=True):
        assert result.labels.shape == p.shape[:2]
        assert result.labels.max(initial=0) <= len(result.words)
    backwards = many(photos[:1], list(words)[::-1])[0]
    assert backwards.words == tuple(words)[::-1]
    tiny = many([np.full((1, 1, 3), 128, np.uint8)], words)[0]
    assert tiny.labels.shape == (1, 1)


def check_refiner(refine: Callable[..., Scores], **settings: Any) -> None:
    """Same words, labels and size; probabilities; input untouched; one label and one pixel work; the same each time."""
    image, scores = photo(), coarse_scores(40, 56)
    picture, values = image.copy(), scores.values.clone()
    refined = refine(image, scores, **settings)
    assert refined.words == scores.words
    assert refined.labels == scores.labels
    assert refined.values.shape == scores.values.shape
    assert torch.allclose(refined.values.sum(0), torch.ones(40, 56), atol=1e-4)
    assert np.array_equal(image, picture)
    assert torch.equal(scores.values, values)
    assert torch.equal(refine(image, scores, **settings).values, refined.values)
    one = Scores(("cat",), (0,), torch.ones(1, 40, 56))
    assert torch.allclose(refine(image, one, **settings).values, one.values)
    pixel = Scores(("cat",), (0, 1), torch.tensor([0.3, 0.7]).view(2, 1, 1))
    assert refine(image[:1, :1], pixel, **settings).values.shape == (2, 1, 1)
