"""Attacks on lists of photos: endless devices, unknown protocols, byte order marks, names that are not UTF-8."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from toy import WORDS, make_photos, spec

from segwright.cli import main
from segwright.errors import InputError
from segwright.runs.segment import segment
from segwright.runs.sources import find
from segwright.words.vocabulary import check_words, read_words_file

pytest.importorskip("fsspec")
ENDLESS = pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")


@ENDLESS
@pytest.mark.parametrize("endless", ["file:///dev/zero", "local:///dev/zero", "/dev/zero"])
def test_endless_files_are_not_read(endless: str, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text(f"{endless}\n")
    (outcome,) = segment(tmp_path / "l.txt", spec(), tmp_path / "run", WORDS)
    assert "device or pipe" in str(outcome.error)
    (tmp_path / "w.txt").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="device or pipe"):
        read_words_file(tmp_path / "w.txt")


def test_one_unknown_protocol_stops_no_other_photo(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "in", 1)
    (tmp_path / "l.txt").write_text(f"nowhere://photos/a.jpg\n{photos}/p0.png\n")
    outcomes = list(segment(tmp_path / "l.txt", spec(), tmp_path / "run", WORDS))
    assert sorted(outcome.error is None for outcome in outcomes) == [False, True]
    assert "nowhere" in str(next(o.error for o in outcomes if o.error))


def test_a_byte_order_mark_loses_no_photo(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "in", 2)
    for name, encoding in (("a.txt", "utf-8-sig"), ("b.txt", "utf8")):
        (photos / name).write_text("p0.png\np1.png\n", encoding)
        assert find(photos / name) == [photos / "p0.png", photos / "p1.png"]


def test_words_hold_no_noncharacters() -> None:
    for word in ("a\ufffe", "\uffff", "a\U0001fffeb", "a\x00", "a\x85b", "a\ud800"):
        with pytest.raises(InputError, match="control characters"):
            check_words([word])


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_name_that_is_not_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toy import Toy

    from segwright.methods.base import MethodSpec

    monkeypatch.setattr(MethodSpec, "load", lambda self: Toy())
    photos = make_photos(tmp_path / "in", 1)
    os.rename(photos / "p0.png", os.fsencode(photos) + b"/\xff\xfe.png")
    command = ["segment", str(photos), "--preset", "mini", "--words", "cat, dog", "-o", str(tmp_path / "run")]
    stream = open(tmp_path / "said.txt", "w", encoding="utf8")  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(command) == main(command) == 0
    stream.close()
    assert (tmp_path / "said.txt").read_text("utf8").count("\\udcff") >= 1
