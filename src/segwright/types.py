"""What passes between the steps: Features -> Regions -> Scores -> Segmentation. Frozen, and validated when made.

Shapes: H, W pixels; h, w feature cells; C channels; K regions; N words; M labels that have scores.
A photo is an (H, W, 3) uint8 RGB array. Label 0 is background or unlabelled; label i + 1 is ``words[i]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segwright.errors import InputError
from segwright.objects import MIN_AREA, Object, find_objects, least_pixels, neighbours, without_specks
from segwright.objects.calibration import Calibration

Image = NDArray[np.uint8]
SEEDS = 2**63 - 1  # torch's generators take as many


def check_image(image: Any) -> Image:
    """The photo itself, if it is an (H, W, 3) uint8 array of at least one pixel.

    Raises:
        InputError: anything else.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        got = f"{image.dtype} array of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"a photo must be an (H, W, 3) uint8 RGB array, got {got}; segwright.read(path) makes one")
    return image


def check_seed(seed: int, most: int = SEEDS) -> int:
    """The seed itself, if random generators take it.

    Raises:
        InputError: no whole number, negative, or above ``most``.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= most:
        raise InputError(f"a seed must be a whole number in 0..{most}, got {str(seed)[:40]}")
    return seed


@dataclass(frozen=True)
class Features:
    """One photo's features.

    Attributes:
        values: (C, h, w) floating point, any device.
        source: what they are, for people ("unet queries, t=0, 16x16").
    """

    values: Tensor
    source: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or not self.values.is_floating_point():
            raise InputError(f"features must be (C, h, w) floating point, got {self.values.dtype} {tuple(self.values.shape)}")


@dataclass(frozen=True)
class Regions:
    """Class-agnostic regions.

    Attributes:
        labels: (h, w) int64, 0 .. count-1, any resolution, any device.
        count: K.
    """

    labels: Tensor
    count: int

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.dtype != torch.int64:
            raise InputError(f"regions must be (h, w) int64, got {self.labels.dtype} {tuple(self.labels.shape)}")
        if self.labels.numel() and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.count:
            raise InputError(
                f"region labels must lie in 0..{self.count - 1}, got {int(self.labels.min())}..{int(self.labels.max())}"
            )


@dataclass(frozen=True)
class Scores:
    """How strongly each pixel belongs to each label, for the labels that are present only.

    Attributes:
        words: the vocabulary, N words; label i + 1 is words[i].
        labels: the M labels that the rows of ``values`` stand for, ascending, label 0 (background) first.
        values: (M, H, W) float32 in 0..1, summing to 1 at each pixel, any device.
        totals: (H, W) float32, not negative: what a method's own scores of these labels summed to before they were divided by it;
            None where that is not known, or where values have changed since.
    """

    words: tuple[str, ...]
    labels: tuple[int, ...]
    values: Tensor
    totals: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.totals is not None and self.totals.shape != self.values.shape[1:]:
            raise InputError(f"totals must be (H, W) of the values' size, got {tuple(self.totals.shape)}")
        if self.values.ndim != 3 or self.values.dtype != torch.float32:
            raise InputError(f"scores must be (M, H, W) float32, got {self.values.dtype} {tuple(self.values.shape)}")
        if len(self.labels) != self.values.shape[0]:
            raise InputError(f"scores have {self.values.shape[0]} rows for {len(self.labels)} labels; give one row a label")
        if not self.labels or self.labels[0] != 0 or list(self.labels) != sorted(set(self.labels)):
            raise InputError(f"labels must ascend from 0 without repeats, got {list(self.labels)}")
        if self.labels[-1] > len(self.words):
            raise InputError(f"label {self.labels[-1]} has no word: there are {len(self.words)}")
        if not bool(torch.isfinite(self.values).all()) or float(self.values.min()) < -1e-4:
            raise InputError("scores must be finite and not negative; pass probabilities, not logits")
        if float((self.values.sum(0) - 1).abs().max()) > 1e-2:
            raise InputError("scores must sum to 1 at every pixel; divide by their sum over the labels")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """``np.asarray(scores)``: the (M, H, W) values, on the CPU; row i is of label ``labels[i]``."""
        return np.array(self.values.detach().cpu().numpy(), dtype=dtype, copy=copy)

    @property
    def own(self) -> Tensor:
        """(M, H, W): each label's score by itself, as the method had it, where that is known; else ``values``."""
        return self.values if self.totals is None else self.values * self.totals

    def argmax(self) -> Tensor:
        """(H, W) int64, each pixel's strongest label (the lower one of equals), in the numbering of ``words``."""
        return torch.tensor(self.labels, device=self.values.device)[self.values.argmax(0)]


@dataclass(frozen=True)
class Segmentation:
    """The result.

    Attributes:
        words: the vocabulary; label i + 1 is words[i].
        labels: (H, W) integer array, 0 = unlabelled.
        scores: what the labels were chosen from, or None where a method has hard labels only.
        notes: how it came about (caption, keywords, candidates, settings ...), ready for JSON.
        confidence: word -> how sure the method is that it is in the photo, 0..1, of those found at least; empty: it does not say.
        features: (C, h, w) of the photo when they are asked for, which tell instances apart; a method that was called with one
            photo gives them.
        calibration: from a confidence to the probability that the word's region is right (``segwright.objects.calibration``).
        own_words: no vocabulary was given, the words are this photo's own; pictures then colour words, not labels, so that a word
            has one colour in all photos.
    """

    words: tuple[str, ...]
    labels: NDArray[np.integer]
    scores: Scores | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    features: Callable[[], NDArray[Any]] | None = field(default=None, repr=False, compare=False)
    calibration: Calibration | None = field(default=None, repr=False, compare=False)
    own_words: bool = False

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or not np.issubdtype(self.labels.dtype, np.integer):
            raise InputError(f"a label map must be (H, W) integers, got {self.labels.dtype} {self.labels.shape}")
        if self.labels.size and not 0 <= int(self.labels.min()) <= int(self.labels.max()) <= len(self.words):
            raise InputError(f"labels must lie in 0..{len(self.words)}, got {self.labels.min()}..{self.labels.max()}")

    @property
    def found(self) -> tuple[str, ...]:
        """Words that have at least one pixel, in vocabulary order."""
        return tuple(self.words[i - 1] for i in np.unique(self.labels) if i)

    def mask(self, word: str) -> NDArray[np.bool_]:
        """(H, W) bool, where ``word`` is.

        Raises:
            InputError: the word is not in the vocabulary.
        """
        if word not in self.words:
            raise InputError(f"{word!r} is not in the vocabulary ({', '.join(self.words) or 'which is empty'})")
        return np.asarray(self.labels == self.words.index(word) + 1)

    def objects(
        self, kind: str = "words", min_area: float = MIN_AREA, features: Callable[[], NDArray[Any]] | None = None
    ) -> list[Object]:
        """The things to be labelled, each with word, mask, box, area and score.

        Args:
            kind: "words": all pixels of a word; "parts": each connected part; "instances": things of one word told apart.
            min_area: smaller connected pieces take the label around them; below 1 a share of the photo, from 1 on pixels.
            features: of the photo, in place of the result's own.

        Raises:
            InputError: an unknown kind, a negative area, or instances without features.
        """
        found = features or self.features
        return find_objects(self.labels, self.words, kind, min_area, features=found, score=self.score)

    def to_supervision(self, kind: str = "words", min_area: float = MIN_AREA) -> Any:
        """``supervision.Detections`` of ``objects``; see ``segwright.objects.neighbours``."""
        return neighbours.to_supervision(self.objects(kind, min_area), (self.labels.shape[0], self.labels.shape[1]))

    def to_transformers(self, kind: str = "words", min_area: float = MIN_AREA) -> list[dict[str, Any]]:
        """A list of label, mask and score, as transformers' image-segmentation pipelines give it."""
        return neighbours.to_transformers(self.objects(kind, min_area))

    def to_fiftyone(self, kind: str = "words", min_area: float = MIN_AREA) -> Any:
        """``fiftyone.Segmentation`` for words, else ``fiftyone.Detections`` with masks."""
        labels = without_specks(self.labels, least_pixels(min_area, self.labels.shape))
        return neighbours.to_fiftyone(self.objects(kind, min_area), labels, kind)

    def score(self, label: int, mask: NDArray[np.bool_]) -> float | None:
        """How sure a label's region is, 0..1, to 4 digits; None where nothing is known.

        The method's confidence in the word, or where it does not say the label's mean score over the mask; calibrated where
        ``calibration`` is there.

        Args:
            mask: (H, W) bool, the region.
        """
        sure = self.confidence.get(self.words[label - 1], self.mean_score(label, mask))
        return None if sure is None else round(self.calibration(sure) if self.calibration else float(sure), 4)

    def mean_score(self, label: int, mask: NDArray[np.bool_]) -> float | None:
        """A label's mean score over a mask, 0..1, as refiners leave it; None without scores of that label.

        Args:
            mask: (H, W) bool.
        """
        if self.scores is None or label not in self.scores.labels:
            return None
        values = self.scores.values[self.scores.labels.index(label)].detach().cpu()
        return float(values[torch.from_numpy(mask)].double().mean())
