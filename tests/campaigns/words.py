"""Words and names of photos from all troublesome classes of Unicode: right or refused, and every export read back.

python tests/campaigns/words.py [--size 2000] [--seed 0] [--seconds 3600]
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import sys
import unicodedata
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
from common import Attack, main, tried
from PIL import Image as Pillow
from runs.toy import spec

from segwright.files.overlay import overlay
from segwright.methods.ovdiff.bank import Bank
from segwright.runs.exports import FORMATS, export
from segwright.runs.overview import overview
from segwright.runs.reading import open_run
from segwright.runs.segment import segment
from segwright.runs.sources import find
from segwright.types import Segmentation
from segwright.words.vocabulary import check_words, parse_words

PIECES = (
    *("dog", "ß", "SS", "ſ", "İ", "ı", "I", "K", "\u212a", "Å", "\u212b", "A\u030a", "é", "e\u0301", "ﬁ", "\u1e9e", "Σ", "ς"),
    *("\u202e", "\u200f", "\u200d", "\ufeff", "\ufffe", "\uffff", "\U0001ffff", "\ue000", "\u2028", "\u2029", "\x85", "\xa0"),
    *("\x00", "\x01", "\x1b[31m", "\x7f", "\t", "\n", "\r\n", "\ud800", "\udcff", "👩\u200d🚀", "🏳️\u200d🌈", "中文", "ﷺ"),
    *("\U000e0041", "<", "&", "]]>", '"', "'", "\\", "/", "..", "../x", "|", ":", "*", "?", "%00", "#", "%", "{", "}", "$(x)", "`"),
    *("=", "-", ",", ";", " ", "", "null", "true", "NaN", "1", "0", "con", "NUL", "COM1", "~", "!", "a" * 60, "\u0301" * 30, "ัััั"),
)  # fmt: skip
TAME = tuple(piece for piece in PIECES if piece.isprintable() and not set(piece) & set(",;") and piece.strip())
NAMES = (
    *("a.png", "A.PNG", "a.Png", "con.png", "é.png", "e\u0301.png", "ﬁ.png", "-x.png", "a b.png", "a#b?.png", "a%20.png", "ß.png"),
    *("SS.png", "s.png", "a-2.png", "a.overlay.png", "run.png"),
)  # fmt: skip


def word(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES if rng.random() < 0.15 else TAME) for _ in range(rng.choice((1, 1, 1, 2, 3, 5))))


def name(rng: random.Random) -> bytes:
    """Of a file on this disk: bytes without slash and zero."""
    if rng.random() < 0.4:
        return os.fsencode(rng.choice(NAMES))
    made = (
        word(rng).encode("utf8", "surrogatepass" if rng.random() < 0.5 else "replace") if rng.random() < 0.9 else bytes([255, 128])
    )
    return made.replace(b"/", b"").replace(b"\0", b"").strip(b".")[:240] + b".png"


def photo(number: int) -> bytes:
    grey = np.add.outer(np.arange(6), np.arange(9) * 20 + number).astype(np.uint8)
    stream = io.BytesIO()
    Pillow.fromarray(grey).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def read_back(format: str, out: Path) -> tuple[int, set[str]]:
    """How many photos an export holds, and which words objects of it have."""
    match format:
        case "coco":
            content = json.loads((out / "annotations.json").read_text("utf8"))
            names = {c["id"]: c["name"] for c in content["categories"]}
            return len(content["images"]), {names[a["category_id"]] for a in content["annotations"]}
        case "yolo":
            import yaml

            data = yaml.safe_load((out / "data.yaml").read_text("utf8"))["names"]
            names = data if isinstance(data, dict) else dict(enumerate(data))
            files = [f for f in out.rglob("*.txt") if f.parent.name != out.name]
            rows = [row for f in files for row in f.read_text("utf8").splitlines()]
            return len(files), {str(names[int(row.split()[0])]) for row in rows if row}
        case "voc":
            files = list((out / "Annotations").rglob("*.xml"))
            found = {str(e.text) for f in files for e in ElementTree.parse(f).iterfind("object/name")}
            return len(files), found
        case "labelme":
            shapes = [json.loads(f.read_text("utf8")) for f in out.rglob("*.json")]
            return len(shapes), {s["label"] for one in shapes for s in one["shapes"]}
        case "cvat":
            images = list(ElementTree.parse(next(out.rglob("*.xml"))).iterfind("image"))
            return len(images), {str(e.get("label")) for image in images for e in image}
        case "label-studio":
            tasks = json.loads(next(p for p in out.rglob("*.json")).read_text("utf8"))
            return len(tasks), labels_of(tasks)
    import pyarrow.parquet as parquet

    rows = [row for f in out.rglob("*.parquet") for row in parquet.read_table(f).to_pylist()]
    return -1, {str(row["word"]) for row in rows if row.get("word") is not None}


def labels_of(tasks: Any) -> set[str]:
    """Every text in a list under a key that names labels."""
    if isinstance(tasks, list):
        return {label for one in tasks for label in labels_of(one)}
    if not isinstance(tasks, dict):
        return set()
    own = {str(t) for k, v in tasks.items() if k in ("brushlabels", "polygonlabels") for t in v}
    return own | {label for v in tasks.values() for label in labels_of(v)}


def same(found: set[str], wanted: set[str], format: str) -> bool:
    """XML has no place for some characters: U+FFFD stands for them."""
    if format in ("voc", "cvat"):
        wanted = {
            "".join(c if c in "\t\n" or (ord(c) >= 32 and ord(c) not in (0xFFFE, 0xFFFF)) else "\ufffd" for c in w) for w in wanted
        }
    return found == wanted


def make(folder: Path) -> Attack:
    def attack(rng: random.Random, number: int) -> str:
        place = folder / "one"
        shutil.rmtree(place, ignore_errors=True)
        (place / "photos").mkdir(parents=True)
        count = rng.choice((1, 2, 3, 5, 20)) if number % 100 else rng.choice((1000, 10_000))
        given = [word(rng) if count < 50 else f"{word(rng)} {i}" for i in range(count)]
        kept = tried(lambda: check_words(given) if rng.random() < 0.7 else parse_words(", ".join(given)))
        if kept is None:
            return "words refused"
        assert check_words(list(kept)) == kept
        for i in range(rng.choice((1, 2, 4))):
            (place / "photos" / os.fsdecode(name(rng))).write_bytes(photo(i))
        photos = len(tried(lambda: find(place / "photos")) or [])  # none that are hidden, or named as results are
        outcomes = tried(lambda: list(segment(place / "photos", spec(), place / "run", kept)))
        if outcomes is None:
            return "run refused"
        if number % 20 == 0:  # the picture with its legend is slow to draw
            overlay(np.zeros((20, 30, 3), np.uint8), Segmentation(kept, np.arange(600).reshape(20, 30) % (len(kept) + 1)))
        assert all(o.error is None for o in outcomes), [str(o.error) for o in outcomes]
        folded = [str(p.relative_to(place / "run")).casefold() for p in (place / "run").rglob("*")]
        assert len(set(folded)) == len(folded), "two results of one name on a disk that ignores case"
        assert all(o.earlier for o in segment(place / "photos", spec(), place / "run", kept)), "not known again"
        run = open_run(place / "run")
        assert list(run.words) == [str(one) for one in kept], "words are others when read back"
        wanted = {s["word"] for one in run for s in one.segments}
        assert len(run.done) == photos
        overview(place / "run", place / "page.html").read_text("utf8")
        for form in FORMATS:
            if tried(lambda form=form: export(place / "run", form, place / form)) is None:
                continue
            images, found = read_back(form, place / form)
            assert images in (-1, photos), (form, images, photos)
            assert same(found, wanted, form), (form, found, wanted)
        bank(place / "bank", kept[:5])
        return "right"

    return attack


def bank(place: Path, words: tuple[str, ...]) -> None:
    """A folder a word, none of them outside; words that differ in case or composition only share one."""
    made = Bank.make(place, {})
    keys = {unicodedata.normalize("NFC", w).casefold() for w in words}
    assert len({made.path(w).name.casefold() for w in words}) == len(keys)
    assert all(made.path(w).parent == place / "words" for w in words)


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", make, 2000))
