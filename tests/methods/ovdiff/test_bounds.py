"""What keeps OVDiff's memory small: features of one support picture at a time, 64 maps at a time in its page."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from segwright.methods.ovdiff import support
from segwright.methods.ovdiff.averaging import build_sides
from segwright.methods.ovdiff.explain import PROTOTYPES, decisions
from segwright.methods.ovdiff.prototypes import INSTANCE, Prototypes
from segwright.methods.ovdiff.support import _Extracted


def test_features_of_one_support_picture_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 12 pictures' features no more than one's are ever held, and each is made once a pass."""
    held: list[weakref.ref[torch.Tensor]] = []
    most = made = 0

    def extract(name: str, networks: Any, images: Any, *, support: bool) -> torch.Tensor:
        nonlocal most, made
        features = torch.stack([torch.full((3, 4, 4), float(image[0, 0, 0])) for image in images])
        held.append(weakref.ref(features))
        made += 1
        most = max(most, sum(len(one()) if one() is not None else 0 for one in held))  # type: ignore[arg-type]
        return features

    monkeypatch.setattr(support, "extract", extract)
    pictures = [np.full((8, 8, 3), i, np.uint8) for i in range(12)]
    found = build_sides(_Extracted("sd", SimpleNamespace(), pictures), {"": torch.ones(12, 4, 4, dtype=torch.bool)}, parts=2)[""]  # type: ignore[arg-type]
    assert (most, made) == (1, 12)
    assert found.vectors[found.kinds == INSTANCE][:, 0].tolist() == list(range(12))


def test_a_pages_decisions_hold_few_maps_at_a_time() -> None:
    """300 prototypes of two words' background: the winners are those of all maps at once, of which 64 are made at a time."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.rand(300, 9, 12, generator=draw)
    asked: list[int] = []

    def matched(image: Any, extractor: str, sets: list[torch.Tensor]) -> torch.Tensor:
        asked.append(len(sets))
        return maps[[int(one[0, 0]) for one in sets]]

    def some(first: int, last: int) -> Prototypes:
        numbers = torch.arange(first, last)
        kinds = torch.full((last - first,), INSTANCE)
        return Prototypes(numbers[:, None].float(), kinds, numbers - first, torch.zeros(1, 1, 1, dtype=torch.long))

    owned = (some(0, 180), some(180, 300))
    matching = SimpleNamespace(labels=(0,), sets={"sd": (owned,)}, owners=((0, 1),))
    steps = SimpleNamespace(matching=matching, words=("dog", "cat"), image=np.zeros((18, 24, 3), np.uint8))
    region = np.ones((18, 24), bool)
    found = decisions(steps, SimpleNamespace(matched=matched), 0, "sd", region)  # type: ignore[arg-type]
    assert max(asked) == PROTOTYPES < sum(asked) == 300
    winners = maps.argmax(0).repeat_interleave(2, 0).repeat_interleave(2, 1).numpy()
    assert sum(one.where.sum() for one in found) == region.size
    for one in found:
        number = one.source + (0 if one.word == "dog" else 180)
        assert np.array_equal(one.where, winners == number)
        assert one.side == "background"
