"""Every method and every refiner keeps its contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from contracts import check_method, check_refiner

from segwright.errors import WeightsError
from segwright.methods import METHODS, find_method, load_method
from segwright.methods.ovdiff.support import SupportSettings
from segwright.mini.voc import read_scenes
from segwright.models.sampling import SamplingSettings
from segwright.refine import REFINERS
from segwright.weights import load


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str, tmp_path: Path) -> None:
    if name == "groupvit":  # tests/methods/test_groupvit.py keeps it to the contract
        with pytest.raises(WeightsError, match="'mini' has no groupvit"):
            find_method(name).load("mini", "cpu")
        return
    few = {"bank": tmp_path / "bank", "support": SupportSettings(pictures=2, sampling=SamplingSettings(2, 3.0, ""), parts=4)}
    options = {key: value for key, value in few.items() if key in find_method(name).options}
    shown = read_scenes("val", 3)
    photos = [shown.images[0], shown.images[1][:90, :117], shown.images[2][:33]]
    check_method(load_method(name, "mini", "cpu", **options).many, photos, ["dog", "car", "apple", "boat", "zebra crossing"])


@pytest.mark.parametrize("name", REFINERS)
def test_refiners(name: str) -> None:
    check_refiner(REFINERS[name](), networks=load("mini", "cpu"))
