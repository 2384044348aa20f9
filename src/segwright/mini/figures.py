"""What the measurements of the miniature world share: batches, and mIoU over its 24 classes and background."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from segwright.metrics import confusion, miou, miou_per_image
from segwright.mini.scenes import THINGS
from segwright.mini.voc import Shipped
from segwright.types import Image, Segmentation

Figures = dict[str, float]
Many = Callable[[Sequence[Image], Sequence[str] | None], list[Segmentation]]
BATCH = 8


def batches(count: int) -> list[slice]:
    return [slice(i, min(i + BATCH, count)) for i in range(0, count, BATCH)]


def dataset_miou(many: Many, scenes: Shipped, words: tuple[str, ...] | None = THINGS) -> tuple[float, float]:
    """Dataset-level mIoU over the 24 classes and background, and the mean of per-image mIoU, each 0..1.

    Words that are none of the 24 count as background.
    """
    matrices = []
    for s in batches(len(scenes.images)):
        for truth, result in zip(scenes.truths[s], many(scenes.images[s], words), strict=True):
            place = {w: THINGS.index(w) + 1 for w in result.words if w in THINGS}
            table = np.array([0, *(place.get(w, 0) for w in result.words)])
            matrices.append(confusion(truth, table[result.labels], len(THINGS) + 1))
    return miou(np.sum(matrices, axis=0)), miou_per_image(matrices)
