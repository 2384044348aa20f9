"""What a run says: a bar with time left and several lines a photo in a terminal, one line a photo elsewhere."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import segwright as sw
from segwright.cli import main
from segwright.mini.voc import data_folder

PHOTOS = sorted((data_folder() / "JPEGImages").glob("val_*.jpg"))[:3]
QUICK = ["--method", "maskclip", "--preset", "mini", "--device", "cpu", "--refine", "none", "--words"]


def test_one_line_a_photo_where_nobody_watches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", *map(str, PHOTOS), *QUICK, "dog, sofa", "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [
        re.match(rf"{re.escape(str(p))}: .* -> .*{p.stem}\.png$", line) is not None for p, line in zip(PHOTOS, lines, strict=True)
    ] == [True] * 3
    assert "photo/s" not in printed.err


def test_what_is_not_found_is_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["segment", str(PHOTOS[0]), "--method", "best", "--preset", "mini", "--device", "cpu", "--words", "zebra crossing, harp"]
    assert main([*run, "-o", str(tmp_path / "out")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    known = (tmp_path / f"out/{PHOTOS[0].stem}.json").read_text("utf8")
    said = re.findall(r"not found: (\w[\w ]*) \(best evidence (0\.\d\d) of (0\.\d\d)", line)
    assert {word for word, _, _ in said} >= {"harp"}
    for word, evidence, least in said:
        assert f"{word} (best evidence {evidence} of {least}" in known
        assert float(evidence) < float(least)


def test_a_terminal_shows_a_bar_with_time_left(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "segwright", "segment", *map(str, PHOTOS), *QUICK, "dog", "--batch", "1"]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # without a size no bar has room
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out")], stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "100"}
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert process.wait(60) == 0
    text = said.decode("utf8", "replace")
    assert re.search(r"[12]/3 \[\d+:\d+<\d+:\d+, +[\d.]+ ?(photo/s|s/photo)", text), text
    assert text.count("-> ") == 3


@pytest.mark.parametrize(("option", "smallest"), [("40", 40), ("0", None)])
def test_min_region(option: str, smallest: int | None, tmp_path: Path) -> None:
    run = ["segment", str(PHOTOS[0]), "--preset", "mini", "--device", "cpu", "--words", "bottle, radio", "--method", "freeseg-diff"]
    assert main([*run, "--min-region", option, "-o", str(tmp_path)]) == 0
    with Pillow.open(tmp_path / f"{PHOTOS[0].stem}.png") as picture:
        labels = np.asarray(picture)
    image = sw.read(PHOTOS[0])
    plain = sw.load_method("freeseg-diff", "mini", "cpu")(image, words=["bottle", "radio"])
    assert plain.scores is not None
    wanted = plain.labels if smallest is None else sw.refine.Specks(smallest)(image, plain.scores).argmax().numpy()
    assert np.array_equal(labels, wanted)
