"""A folder in which a tenth of the files is bad, one of each kind: the rest is done, each bad one has its reason."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from toy import Toy, make_photos

from segwright.cli import main
from segwright.methods.base import MethodSpec

GOOD = 63


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, rows: bytes) -> bytes:
    """One bit a pixel."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


BAD = {
    "empty.jpg": (b"", "empty"),
    "cut.jpg": (encoded("JPEG")[:500], "cut short"),
    "cut.png": (encoded("PNG")[:500], "cut short"),
    "text.jpg": (b"This is no picture, whatever its name says.\n" * 20, "not a picture"),
    "zeros.png": (bytes(5000), "not a picture"),
    "bomb.png": (png(20_000, 20_000, zlib.compress(bytes(2501 * 20_000), 9)), "too many pixels"),
    "too-wide.png": (png(40_000, 2, zlib.compress(bytes(2 * 5001))), "40000x2"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Bad ones between the good ones: the first, the last, two in one batch, and others."""
    made = make_photos(tmp_path / "in", GOOD)
    for place, (name, (content, _)) in zip((0, 9, 10, 25, 40, 55, 99), BAD.items(), strict=True):
        (made / f"p{place}-{name}").write_bytes(content)
    return made


def test_every_kind_of_bad_file_among_good_ones(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MethodSpec, "load", lambda self: Toy())
    out = tmp_path / "run"
    assert main(["segment", str(folder), "--preset", "mini", "--words", "cat, dog", "-o", str(out)]) == 1
    said = capsys.readouterr().err
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text("utf8").splitlines()]
    assert len({line["photo"] for line in lines}) == len(lines) == GOOD + len(BAD)
    failed = {Path(line["photo"]).name.partition("-")[2]: line for line in lines if line["status"] == "failed"}
    assert failed.keys() == BAD.keys()
    for name, (_, reason) in BAD.items():
        assert name in failed[name]["reason"]
        assert reason in failed[name]["reason"]
        assert "\n" not in failed[name]["reason"]
        assert failed[name]["reason"] in said
    done = {line["name"] for line in lines if line["status"] == "done"}
    assert done == {f"p{i}" for i in range(GOOD)}
    for ending in (".png", ".overlay.png", ".json"):
        assert {p.name for p in out.glob(f"p*{ending}")} >= {f"{name}{ending}" for name in done}
    assert len(list(out.iterdir())) == 3 * GOOD + 2, "nothing of the bad ones"
    assert "7 of 70 photos could not be done" in said
