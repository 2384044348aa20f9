"""Batches of photos: what happens when the memory does not hold them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from segwright.runs.segment import segment
from segwright.types import Image, Segmentation


def test_too_large_for_the_memory(tmp_path: Path) -> None:
    """A batch that does not fit goes one by one; a photo that does not fit alone is reported, the rest is done."""
    for name, side in (("a", 8), ("b", 90), ("c", 9)):
        Pillow.new("RGB", (side, side)).save(tmp_path / f"{name}.png")
    sizes = []

    def method(images: Sequence[Image], words: Sequence[str] | None) -> list[Segmentation]:
        sizes.append(len(images))
        if len(images) > 1:
            raise MemoryError
        if images[0].shape[0] > 50:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return [Segmentation((), np.zeros(images[0].shape[:2], np.int64))]

    outcomes = list(segment(tmp_path, method, tmp_path / "out"))
    assert sizes == [3, 1, 1, 1]
    assert [o.error is None for o in outcomes] == [True, False, True]
    assert "90 x 90" in str(outcomes[1].error)
    assert sorted(p.name for p in (tmp_path / "out").glob("*.json")) == ["a.json", "c.json", "run.json"]


def test_other_errors_of_a_method_are_not_hidden(tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def method(images: Sequence[Image], words: Sequence[str] | None) -> list[Segmentation]:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(segment(tmp_path, method, tmp_path / "out"))
