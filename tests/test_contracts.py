"""Every method and every refiner keeps its contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from contracts import check_method, check_refiner

from segwright.methods import METHODS, find_method
from segwright.mini.voc import read_scenes
from segwright.refine import REFINERS
from segwright.types import Scores


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str) -> None:
    shown = read_scenes("val", 3)
    photos = [shown.images[0], shown.images[1][:90, :117], shown.images[2][:33]]
    check_method(find_method(name).load("mini", "cpu").many, photos, ["dog", "car", "apple", "boat", "zebra crossing"])


@pytest.mark.parametrize("refine", REFINERS.values(), ids=REFINERS.keys())
def test_refiners(refine: Callable[..., Scores]) -> None:
    check_refiner(refine)
