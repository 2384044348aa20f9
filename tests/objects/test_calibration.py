"""Maps from confidences to probabilities, where results take them from, and for which networks they hold."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import segwright as sw
from segwright.errors import WeightsError
from segwright.files.record import segments
from segwright.mini.voc import read_scenes
from segwright.objects.calibration import FILE, Calibration
from segwright.presets import find_preset, preset_folder
from segwright.types import Scores, Segmentation


@pytest.mark.parametrize("bad", [{"slope": -0.1}, {"slope": float("nan")}, {"slope": float("inf")}, {"offset": float("inf")}])
def test_maps_that_would_turn_orders_around_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="slope must be 0 or more"):
        Calibration(**{"slope": 1.0, "offset": 0.0, **bad})


def test_the_map_is_plain_arithmetic() -> None:
    made = Calibration(2.0, -1.0)
    assert made(0.5) == pytest.approx(1 / (1 + np.e))
    assert Calibration(1.0, 0.0)(0.3) == pytest.approx(0.3)
    rising = [made(float(one)) for one in np.linspace(0, 1, 101)]
    assert rising == sorted(rising)
    assert 0 < rising[0] < rising[-1] < 1
    assert Calibration(1000.0, 0.0)(0.0) == pytest.approx(0.0)


def test_a_score_is_the_confidence_calibrated() -> None:
    labels = np.array([[1, 1], [2, 0]])
    values = torch.tensor([[[0.2, 0.1], [0.3, 1.0]], [[0.8, 0.9], [0.0, 0.0]], [[0.0, 0.0], [0.7, 0.0]]])
    scores = Scores(("cat", "dog"), (0, 1, 2), values)
    plain = Segmentation(("cat", "dog"), labels, scores, {}, {"cat": 0.5})
    assert [one.score for one in plain.objects(min_area=0)] == [0.5, 0.7]  # the dog's mean score
    mapped = dataclasses.replace(plain, calibration=Calibration(1.0, 1.0))
    wanted = [round(1 / (1 + np.exp(-1)), 4), round(1 / (1 + np.exp(-1 - np.log(0.7 / 0.3))), 4)]
    assert [one.score for one in mapped.objects(min_area=0)] == wanted
    assert [one["score"] for one in segments(mapped)] == wanted
    assert [one["score"] for one in mapped.to_transformers(min_area=0)] == wanted
    assert [one.score for one in dataclasses.replace(mapped, scores=None).objects(min_area=0)] == [wanted[0], None]


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """The shipped networks, linked, so that a file can be put beside them."""
    folder, shipped = tmp_path / "preset", preset_folder(find_preset("mini"))
    folder.mkdir()
    for one in shipped.iterdir():
        if one.name != FILE:
            (folder / one.name).symlink_to(one)
    return folder


def test_maps_hold_for_the_networks_that_they_were_fitted_with(preset: Path) -> None:
    def opened() -> sw.Method:
        return sw.load_method("maskclip", str(preset), "cpu")

    scene, words = read_scenes("val", 1).images[0], ("cat", "dog", "tv")
    before = opened()
    plain = before.many([scene], words)[0]
    row = {"slope": 0.5, "offset": -2.0, "networks": {"clip": before.networks.identity("clip")}, "source": "a test"}
    (preset / FILE).write_text(json.dumps({"maskclip": row, "sclip": row}))
    mapped = opened().many([scene], words)[0]
    assert plain.confidence == mapped.confidence != {}
    assert plain.calibration is None
    assert mapped.calibration == Calibration(**row)
    assert np.array_equal(plain.labels, mapped.labels)
    word = plain.found[0]
    mask = mapped.mask(word)
    assert mapped.score(words.index(word) + 1, mask) == round(Calibration(**row)(plain.confidence[word]), 4)
    assert opened().identity()["calibration"] == row
    assert "calibration" not in before.identity()
    row["networks"] = {"clip": "sha256:another"}
    (preset / FILE).write_text(json.dumps({"maskclip": row}))
    assert opened().networks.calibration("maskclip") is None
    assert sw.load("sd15", "cpu", local_only=True).calibration("maskclip") is None


@pytest.mark.parametrize("content", ["{", '{"maskclip": {"slope": -1, "offset": 0}}', '{"maskclip": {"slope": "x"}}', "[]"])
def test_a_damaged_file_is_said(content: str, preset: Path) -> None:
    (preset / FILE).write_text(content)
    with pytest.raises(WeightsError, match=r"calibration\.json.* cannot be read"):
        sw.load(str(preset), "cpu").calibration("maskclip")


def test_refiners_do_not_change_how_sure_a_method_is() -> None:
    scene, words = read_scenes("val", 2).images[1], ("apple", "dog", "tv", "car")
    coarse = sw.load_method("freeseg-diff", "mini", "cpu", refine=None, candidates="none").many([scene], words)[0]
    assert set(coarse.confidence) == set(coarse.found)
    nearest = {row["label"]: [share for _, share in row["nearest"]] for row in coarse.notes["regions"]}
    for word, sure in coarse.confidence.items():
        shares = [s for row in coarse.notes["regions"] if row["label"] == words.index(word) + 1 for _, s in row["nearest"][:1]]
        assert min(shares) - 1e-6 <= sure <= max(shares) + 1e-6, nearest
