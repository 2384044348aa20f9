"""The examination says what is right and what is not: preset mini passes, random weights do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
from sklearn.metrics import roc_auc_score

from segwright.cli import main
from segwright.errors import InputError
from segwright.selfcheck.pictures import EXAMPLES, drawn
from segwright.selfcheck.report import line, page, verdict
from segwright.selfcheck.run import Finding, _auc, examine

# Shares of the picture that the hand-drawn masks cover, measured when they were looked at beside the pictures.
AREAS = {
    "astronaut.png": 0.41, "chelsea.png": 0.74, "coffee.png": 0.21, "rocket.jpg": 0.02, "motorcycle_left.png": 0.31,
    "camera.png": 0.31, "coins.png": 0.36, "clock_motion.png": 0.12,
}  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.file)
def test_the_eight_pictures_come_with_scikit_image(example: object) -> None:
    image, mask = example.read()  # type: ignore[attr-defined]
    assert mask.shape == image.shape[:2]
    assert abs(mask.mean() - AREAS[example.file]) < 0.01, mask.mean()  # type: ignore[attr-defined]
    assert example.word not in example.others  # type: ignore[attr-defined]
    assert len(EXAMPLES) == 8


def test_the_masks_lie_on_their_things() -> None:
    """Where colour alone tells: the suit is orange, the coins and the clock are bright, the rocket is brighter than the sky."""
    shown = {e.file: e.read() for e in EXAMPLES}
    image, mask = shown["astronaut.png"]
    red, green, blue = (image[..., i].astype(int) for i in range(3))
    orange = (red > 150) & (red - blue > 90) & (green < 130)
    assert (orange & mask).sum() / orange.sum() > 0.9
    for name, ratio in (("coins.png", 1.4), ("rocket.jpg", 1.8), ("clock_motion.png", 1.2)):
        image, mask = shown[name]
        assert image[mask].mean() > ratio * image[~mask].mean()


def test_drawn_scenes_have_one_main_thing() -> None:
    for _, image, mask, word, others in drawn():
        assert mask.shape == image.shape[:2]
        assert mask.mean() > 0.05
        assert word not in others
        assert len(others) == 2


def test_the_area_under_the_curve_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    values, mask = rng.integers(0, 9, (20, 30)).astype(np.float32), rng.random((20, 30)) < 0.3
    assert _auc(values, mask) == pytest.approx(roc_auc_score(mask.ravel(), values.ravel()))


def test_random_weights_are_not_as_expected(tmp_path: Path) -> None:
    found = list(examine(tiny.preset(tmp_path), "cpu", methods=["sclip"], pictures=2))
    by_name = {(f.topic, f.what): f for f in found}
    for network in ("diffusion", "clip", "captioner"):
        assert by_name[network, "tensors from files"].good
    assert by_name["captions", "name the main thing"].good is False
    assert by_name["diffusion", "image size"].good is False  # a folder's preset expects 512
    assert by_name["methods", "sclip"].good is not None
    assert "not met" in verdict(found)


def test_unknown_methods_are_refused(tmp_path: Path) -> None:
    for settings in ({"methods": ["magic"]}, {"pictures": 0}):
        with pytest.raises(InputError):
            next(iter(examine("mini", "cpu", **settings)))  # type: ignore[arg-type]


def test_the_report_is_one_page_without_scripts_or_addresses() -> None:
    found = [Finding("a", "<b>", "1 & 2", "3", False), Finding("c", "d", "e")]
    text = page(found)
    assert "&lt;b&gt;" in text
    assert "class=bad" in text
    assert "1 of 1 expectations are not met: a, &lt;b&gt;" in text
    assert "http" not in text
    assert "<script" not in text
    assert line(found[1]) == "c: d: e"


def test_preset_mini_passes_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "--preset", "mini", "--device", "cpu", "--pictures", "2", "--for", "freeseg-diff"]
    assert main([*command, "-o", str(tmp_path / "report.html")]) == 0
    told = capsys.readouterr().out
    assert "expectations are met" in told
    for word in ("versions", "tensors from files", "points at the thing", "freeseg-diff", "s a picture"):
        assert word in told
    assert (tmp_path / "report.html").read_text("utf8").startswith("<!doctype html>")
