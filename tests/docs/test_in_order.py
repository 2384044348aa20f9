"""The README's and the tour's commands, one after the other in a fresh folder, as somebody does who reads them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import segwright as sw
from segwright.cli import main
from segwright.files.masks import write_label_map
from segwright.mini.voc import data_folder

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
# What is not run here, and where it is tested.
ELSEWHERE = {
    "segwright fetch": "tests/test_fetching.py, with a hub of its own",
    "segwright serve": "tests/server",
    "segwright mini train": "tests/mini/test_train.py; here it takes a day",
}
# Slow, and run for the README already.
DONE = dict.fromkeys(("segwright explain", "segwright table", "segwright diagnose"), "README")
# What makes a command quick, and nothing else about it other.
QUICKER = {
    "segwright prototypes": "--support 2 --steps 2",
    "segwright evaluate": "--limit 2",
    "segwright table": "--limit 1",
    "segwright mini scenes": "--count 2",
}


def lines(name: str) -> list[str]:
    blocks = [body for kind, body in FENCED.findall((ROOT / name).read_text("utf8")) if kind in ("sh", "")]
    return [line.strip() for body in blocks for line in body.replace("\\\n", " ").splitlines()]


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("SEGWRIGHT_PRESET", "SEGWRIGHT_BANKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pictures = sorted((data_folder() / "JPEGImages").glob("val_*.jpg"))
    (tmp_path / "photos").mkdir()
    for place in (tmp_path / "street.jpg", tmp_path / "photos/one.jpg", tmp_path / "photos/two.jpg"):
        place.write_bytes(pictures.pop(0).read_bytes())
    labels = np.zeros(sw.read(tmp_path / "street.jpg").shape[:2], np.int64)
    labels[20:80, 20:80] = 12
    write_label_map(tmp_path / "coarse.png", labels)
    return tmp_path


@pytest.mark.parametrize("name", ["README.md", "docs/tour.md"])
def test_commands_in_order(name: str, street: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ran = []
    for line in lines(name):
        if found := re.match(r"export (SEGWRIGHT_\w+)=(\S+)", line):
            monkeypatch.setenv(*found.groups())
        left_out = ELSEWHERE if name == "README.md" else {**ELSEWHERE, **DONE}
        if not line.startswith("segwright ") or any(line.startswith(other) for other in left_out):
            continue
        more = next((options for start, options in QUICKER.items() if line.startswith(start)), "")
        words = [*shlex.split(line, comments=True)[1:], *more.split()]
        assert main(words) == 0, (line, capsys.readouterr().err)
        ran.append(words)
    assert len(ran) >= 12
    capsys.readouterr()
    for words in ran:  # the same again, into the same -o
        if words[0] in ("segment", "refine", "evaluate", "prototypes"):
            assert main(words) == 0, (words, capsys.readouterr().err)
    with Pillow.open(street / ("out/street/street.png" if name == "README.md" else "out/street.png")) as picture:
        assert picture.size == (128, 128)


def test_the_readmes_python(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWRIGHT_PRESET", "mini")
    sw.prototypes(["dog", "sofa"], "bank", preset="mini", support={"pictures": 2, "sampling": {"steps": 2}})
    block = next(body for kind, body in FENCED.findall((ROOT / "README.md").read_text("utf8")) if kind == "python")
    exec(compile(block, "README.md", "exec"), {})
    assert (street / "out/python/one.png").is_file()
