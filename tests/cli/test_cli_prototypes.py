"""``segwright prototypes``, ``bank``, and ``segment`` and ``explain`` with ``--method ovdiff``, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segwright as sw
from segwright.cli import main
from segwright.mini.voc import data_folder

SAMPLE = data_folder() / "JPEGImages" / "val_00000.jpg"
SMALL = ("--preset", "mini", "--device", "cpu", "--support", "3", "--batch", "2", "--steps", "2")


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "bank"
    assert run("prototypes", "tv, apple, grass", "-o", folder, *SMALL, "--stuff", "grass") == 0
    return folder


def test_a_second_run_makes_nothing_and_a_third_only_what_is_new(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prototypes", "apple, tv", "-o", bank, "--preset", "mini", "--device", "cpu") == 0, "settings come from the bank"
    assert "made nothing new; it has tv, apple, grass" in capsys.readouterr().out
    assert run("prototypes", "apple, pizza", "-o", bank, "--preset", "mini", "--device", "cpu") == 0
    assert "made pizza; it has tv, apple, grass, pizza" in capsys.readouterr().out
    assert run("bank", "remove", "pizza", bank) == 0
    assert run("bank", "remove", "pizza", bank) == 2
    assert "has no word 'pizza'" in capsys.readouterr().err


def test_other_settings_are_refused(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prototypes", "tv", "-o", bank, "--preset", "mini", "--device", "cpu", "--steps", 3) == 2
    assert "support.sampling.steps = 2, not 3" in capsys.readouterr().err
    assert run("prototypes", "tv", "-o", bank, "--preset", "mini", "--stuff", "sky") == 2
    assert "'sky' is called stuff but is not among the words" in capsys.readouterr().err
    assert run("prototypes", "x" * 500, "-o", bank, "--preset", "mini") == 2
    assert "at most 200 characters" in capsys.readouterr().err


def test_segment_with_a_bank_as_python_does(bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--method", "ovdiff", "--bank", bank, "--preset", "mini", "--device", "cpu")
    assert run("segment", SAMPLE, *common, "--words", "apple, tv", "-o", tmp_path, "--json") == 0
    record = json.loads((tmp_path / "val_00000.json").read_text("utf8"))
    assert record["words"] == ["apple", "tv"]
    assert record["prefilter"]["probabilities"]
    with Image.open(tmp_path / "val_00000.png") as mask:
        written = np.asarray(mask)
    result = sw.OVDiff.load("mini", "cpu", bank=bank)(sw.read(SAMPLE), ["apple", "tv"])
    assert np.array_equal(written, result.labels)
    assert run("segment", SAMPLE, *common, "--clusters", 3) == 2
    assert "--clusters is no setting of ovdiff" in capsys.readouterr().err
    assert run("segment", SAMPLE, "--preset", "mini", "--bank", bank) == 2
    assert "--bank is no setting of best" in capsys.readouterr().err


def test_words_that_the_bank_lacks_are_made_first_saying_so(bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--method", "ovdiff", "--bank", bank, "--preset", "mini", "--device", "cpu", "-o", tmp_path)
    assert run("segment", SAMPLE, *arguments, "--words", "tv, sofa") == 0
    assert "making prototypes of sofa" in capsys.readouterr().err
    assert run("bank", "remove", "sofa", bank) == 0


def test_explain_shows_prototypes_and_where_they_came_from(bank: Path, tmp_path: Path) -> None:
    arguments = ("--method", "ovdiff", "--bank", bank, "--preset", "mini", "--device", "cpu")
    assert run("explain", SAMPLE, *arguments, "-o", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text("utf8")
    assert "Category pre-filter" in text
    assert "support picture" in text
    assert "Stuff always takes part: grass" in text
    assert "http://" not in text
    assert "https://" not in text


def test_bank_show_and_verify(bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bank", "show", bank, "-o", tmp_path / "sheet.png") == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (110 + 3 * 100, 3 * 100)
    assert run("bank", "verify", bank) == 0
    picture = next(bank.glob("words/tv-*/pictures/000.png"))
    content = picture.read_bytes()
    picture.write_bytes(content[:-1])
    capsys.readouterr()
    assert run("bank", "verify", bank) == 1
    assert "000.png is missing, cut short or was edited" in capsys.readouterr().err
    picture.write_bytes(content)
    assert run("bank", "show", tmp_path / "none") == 2
