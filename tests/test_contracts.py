"""Every method and every refiner keeps its contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from contracts import check_method, check_refiner

from segwright.errors import WeightsError
from segwright.methods import METHODS, find_method
from segwright.methods.ovdiff.support import SupportSettings
from segwright.mini.voc import read_scenes
from segwright.models.sampling import SamplingSettings
from segwright.refine import REFINERS
from segwright.refine.pipeline import refiners
from segwright.weights import load


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str, tmp_path: Path) -> None:
    if name == "groupvit":  # tests/methods/test_groupvit.py keeps it to the contract
        with pytest.raises(WeightsError, match="'mini' has no groupvit"):
            find_method(name).load("mini", "cpu")
        return
    few = SupportSettings(pictures=2, sampling=SamplingSettings(2, 3.0, ""), parts=4)
    extra = {"bank": tmp_path / "bank", "support": few} if name == "ovdiff" else {}
    shown = read_scenes("val", 3)
    photos = [shown.images[0], shown.images[1][:90, :117], shown.images[2][:33]]
    check_method(find_method(name).load("mini", "cpu", **extra).many, photos, ["dog", "car", "apple", "boat", "zebra crossing"])


@pytest.mark.parametrize("name", REFINERS)
def test_refiners(name: str) -> None:
    check_refiner(refiners(load("mini", "cpu"))[name])
