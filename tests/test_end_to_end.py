"""The whole program, as a user starts it: folders of networks, real photographs, every kind of bad file, a full disk.

Where the networks do not matter, ``blank`` stands in for the method: it finds nothing, at once.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from diffusers import StableDiffusionPipeline
from PIL import Image as Pillow

import segwright as sw
from segwright.cli import main
from segwright.errors import SegwrightError
from segwright.files import disk
from segwright.methods.base import FunctionMethod, MethodSpec
from segwright.mini.voc import data_folder
from segwright.runs.segment import Outcome, segment
from segwright.runs.store import MANIFEST, RUN
from segwright.types import Image, Segmentation

SCENES = data_folder()
TESTDATA = Path(__file__).parent.parent.parent / "shared" / "testdata"
VOC = TESTDATA / "VOCdevkit" / "VOC2012"
WORDS = "dog, car, apple"
# Nothing is dropped, so that random networks find something too.
EVERY = {
    "best": ("--words", WORDS, "--confidence", "0", "--set", "floor=0"),
    "freeseg-diff": ("--words", WORDS, "--method", "freeseg-diff", "--candidates", "none"),
}
ENDINGS = (".json", ".overlay.png", ".png")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods here find nothing, but their networks are looked for beforehand."""
    monkeypatch.setenv("SEGWRIGHT_PRESET", "mini")


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def blank(images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
    """A method that finds nothing."""
    return [Segmentation(tuple(words or ()), np.zeros(image.shape[:2], np.int64)) for image in images]


def files_in(folder: Path) -> list[str]:
    """Results; what the run itself remembers (tests/runs) is left out."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name not in (RUN, MANIFEST))


def one_sentence(text: str) -> str:
    """What stands on stderr, if it is a single line for a person."""
    # How the method's paper treats absent words is said beforehand, and is no error.
    text = "".join(line for line in text.splitlines(True) if not line.startswith("segwright: words that are absent"))
    assert text.startswith("segwright: ")
    assert len(text.strip().splitlines()) == 1, text
    assert "Traceback" not in text
    assert " at 0x" not in text
    assert len(text) < 700
    return text


def label_map(path: Path) -> np.ndarray:
    with Pillow.open(path) as picture:
        return np.asarray(picture)


def check_results(out: Path, stem: str, size: tuple[int, int]) -> dict[str, Any]:
    """The record, if label map, overlay and record of a photo of ``size`` (width, height) are there and agree."""
    record = json.loads((out / f"{stem}.json").read_text("utf8"))
    labels = label_map(out / f"{stem}.png")
    assert labels.shape == (size[1], size[0])
    assert record["size"] == list(size)
    for found in record["segments"]:
        mask = labels == found["index"]
        assert record["words"][found["index"] - 1] == found["word"]
        assert found["area"] == mask.sum() > 0
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert found["box"] == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert 0 <= found["score"] <= 1
    assert {found["index"] for found in record["segments"]} == set(np.unique(labels)) - {0}
    with Pillow.open(out / f"{stem}.overlay.png") as overlay:
        overlay.load()
        assert overlay.mode == "RGB"
        assert min(overlay.size) >= 32
    return record


# --- a folder of networks


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What save_pretrained writes: a whole Stable Diffusion pipeline, CLIP and BLIP, small and random."""
    parts = tiny.diffusion(tmp_path_factory.mktemp("parts"))
    folder = tmp_path_factory.mktemp("networks")
    pipeline = StableDiffusionPipeline.from_pretrained(parts, local_files_only=True, requires_safety_checker=False)
    pipeline.save_pretrained(folder)
    tiny.clip(folder / "clip")
    tiny.captioner(folder / "captioner")
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A drawn scene, cut so that width and height differ."""
    path = tmp_path / "photo.jpg"
    with Pillow.open(SCENES / "JPEGImages/val_00000.jpg") as scene:
        scene.crop((0, 0, 120, 90)).save(path)
    return path


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_saved_folder_runs_end_to_end(dtype: str, method: str, networks: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("segment", photo, "--preset", networks, "--dtype", dtype, *EVERY[method], "-o", out) == 0
    assert files_in(out) == [f"photo{ending}" for ending in ENDINGS]
    record = check_results(out, "photo", (120, 90))
    assert record["segments"]
    assert record["preset"] == str(networks)
    assert record["words"] == ["dog", "car", "apple"]


@pytest.mark.parametrize(
    "options",
    [(), ("--vocabulary", "voc"), ("--words", WORDS, "--refine", "pamr"), ("--method", "freeseg-diff", "--sharpen-first")],
)
def test_a_saved_folder_takes_every_road(options: tuple[str, ...], networks: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("segment", photo, "--preset", networks, *options, "-o", out) == 0
    record = check_results(out, "photo", (120, 90))
    assert isinstance(record["caption"], str)


def test_the_same_seed_gives_the_same_files(networks: Path, photo: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run("segment", photo, "--preset", networks, "--words", WORDS, "--seed", 5, "-o", tmp_path / name) == 0
    for ending in ENDINGS:
        assert (tmp_path / f"a/photo{ending}").read_bytes() == (tmp_path / f"b/photo{ending}").read_bytes()


WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "clip/model.safetensors",
    "captioner/model.safetensors",
)


def remove(path: Path) -> None:
    path.unlink()


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def keep_header(path: Path) -> None:
    """Cut within the first bytes."""
    path.write_bytes(path.read_bytes()[:5])


@pytest.mark.parametrize("damage", [remove, halve, keep_header])
@pytest.mark.parametrize("file", WEIGHTS)
def test_missing_and_truncated_weights_are_one_sentence(
    file: str, damage: Callable[[Path], None], networks: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(networks, tmp_path / "damaged"))
    damage(folder / file)
    assert run("segment", photo, "--preset", folder, *EVERY["best"], "-o", tmp_path / "out") == 2
    said = one_sentence(capfd.readouterr().err)
    assert str(folder / file) in said
    assert not (tmp_path / "out").exists()


# --- 300 damaged files


def sources() -> list[tuple[str, bytes]]:
    """(suffix, bytes) of whole JPEGs and PNGs: drawn scenes and, where they are there, real photographs made smaller."""
    kept = [(p.suffix, p.read_bytes()) for p in sorted((SCENES / "JPEGImages").glob("held_0000*.jpg"))]
    kept += [(p.suffix, p.read_bytes()) for p in sorted((SCENES / "SegmentationClass").glob("held_0000*.png"))[:4]]
    for path in [*sorted((VOC / "JPEGImages").glob("2007*.jpg")), *sorted((TESTDATA / "photos").glob("c*.jpg"))]:
        with Pillow.open(path) as picture:
            picture.thumbnail((160, 160))
            kept += [(".jpg", encoded(picture, "JPEG", progressive=len(kept) % 2 == 0)), (".png", encoded(picture, "PNG"))]
    return kept


def encoded(picture: Pillow.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes flipped anywhere or in the header, cut off, or lost from the middle."""
    how = rng.integers(4)
    if how == 0:
        return data[: rng.integers(len(data))]
    if how == 1:
        start = int(rng.integers(len(data)))
        return data[:start] + data[start + int(rng.integers(1, 400)) :]
    values = bytearray(data)
    for place in rng.integers(len(data) if how == 2 else 256, size=rng.integers(1, 12)):
        values[place] ^= int(rng.integers(1, 256))
    return bytes(values)


def fuzzed(folder: Path, count: int, seed: int) -> list[Path]:
    rng, whole = np.random.default_rng(seed), sources()
    paths = []
    for i in range(count):
        suffix, data = whole[i % len(whole)]
        paths.append(folder / f"{i:03d}{suffix}")
        paths[-1].write_bytes(damaged(data, rng))
    return paths


def check_outcomes(outcomes: Sequence[Outcome], out: Path) -> int:
    """How many were segmented; every file is whole, and every refusal a sentence."""
    for outcome in outcomes:
        if outcome.error is None:
            check_results(out, outcome.photo.stem, sw.read(outcome.photo).shape[1::-1])
            continue
        assert isinstance(outcome.error, SegwrightError)
        assert outcome.photo.name in str(outcome.error)
        one_sentence(f"segwright: {outcome.error}")
    good = [o.photo.stem for o in outcomes if o.error is None]
    assert files_in(out) == sorted(stem + ending for stem in good for ending in ENDINGS)
    return len(good)


def test_300_damaged_files_are_segmented_or_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photos = fuzzed(tmp_path / "in", 300, seed=0)
    outcomes = list(segment(photos, blank, tmp_path / "out"))
    assert [o.photo for o in outcomes] == photos
    assert 50 < check_outcomes(outcomes, tmp_path / "out") < 250, "some of each kind, or the test shows little"


def test_damaged_files_through_real_networks(networks: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photos = fuzzed(tmp_path / "in", 12, seed=2)
    method = sw.FreeSegDiff.load(networks, "cpu", candidates="none")
    assert check_outcomes(list(segment(photos, method.many, tmp_path / "out", ["dog", "car"])), tmp_path / "out") >= 2


# --- real photographs

REAL = ("photos/vintage_bike.jpeg", "photos/cat.jpg", *(f"VOCdevkit/VOC2012/JPEGImages/{n}.jpg" for n in (
    "2007_000925", "2008_000009", "2009_000039", "2011_003256",
)))  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_photographs_at_their_own_size(name: str, tmp_path: Path) -> None:
    path = TESTDATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not here; it is no part of the repository")
    assert run("segment", path, "--preset", "mini", "--vocabulary", "voc", "-o", tmp_path) == 0
    with Pillow.open(path) as picture:
        check_results(tmp_path, path.stem, picture.size)


# --- every kind of bad or unusual input

LEFT, RIGHT = (200, 30, 40), (20, 60, 220)
WHITE = (255, 255, 255)


def halves(width: int = 40, height: int = 24) -> Pillow.Image:
    """Red at the left, blue at the right."""
    picture = Pillow.new("RGB", (width, height), LEFT)
    picture.paste(RIGHT, (width // 2, 0, width, height))
    return picture


def turned() -> bytes:
    """Stored lying on its side; EXIF says how to put it upright."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return encoded(halves().transpose(Pillow.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)


def clear_half() -> Pillow.Image:
    """Red left half, right half transparent."""
    picture = halves().convert("RGBA")
    picture.paste((0, 0, 0, 0), (20, 0, 40, 24))
    return picture


def grey_16() -> bytes:
    values = np.full((24, 40), 50 * 257, np.uint16)
    values[:, 20:] = 200 * 257
    return encoded(Pillow.fromarray(values), "PNG")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(side: int = 20_000) -> bytes:
    """A PNG of 50 kB that is 400 megapixels of one bit."""
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def moving(kind: str, **options: Any) -> bytes:
    """Two frames, of which the first counts."""
    return encoded(halves(), kind, save_all=True, append_images=[Pillow.new("RGB", (40, 24), "black")], duration=50, **options)


READ: dict[str, tuple[Callable[[], bytes], tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "one-pixel.png": (lambda: encoded(Pillow.new("RGB", (1, 1), LEFT), "PNG"), (LEFT, LEFT)),
    "one-pixel.jpg": (lambda: encoded(Pillow.new("RGB", (1, 1), LEFT), "JPEG", quality=100, subsampling=0), (LEFT, LEFT)),
    "grey-16.png": (grey_16, ((50,) * 3, (200,) * 3)),
    "grey.jpg": (lambda: encoded(halves().convert("L"), "JPEG", quality=95), ((82,) * 3, (66,) * 3)),
    "palette.png": (lambda: encoded(halves().quantize(4), "PNG"), (LEFT, RIGHT)),
    "cmyk.tif": (lambda: encoded(halves().convert("CMYK"), "TIFF"), (LEFT, RIGHT)),
    "cmyk.jpg": (lambda: encoded(halves().convert("CMYK"), "JPEG", quality=95), (LEFT, RIGHT)),
    "transparent.png": (lambda: encoded(clear_half(), "PNG"), (LEFT, WHITE)),
    "turned.jpg": (turned, (LEFT, RIGHT)),
    "moving.gif": (lambda: moving("GIF"), (LEFT, RIGHT)),
    "moving.png": (lambda: moving("PNG"), (LEFT, RIGHT)),
    "moving.webp": (lambda: moving("WEBP", lossless=True), (LEFT, RIGHT)),
    "wide.png": (lambda: encoded(halves(30_000, 8), "PNG"), (LEFT, RIGHT)),
    "photo-without-suffix": (lambda: encoded(halves(), "JPEG", quality=95), (LEFT, RIGHT)),
}
SIZES = {"one-pixel.png": (1, 1), "one-pixel.jpg": (1, 1), "wide.png": (30_000, 8)}

REFUSED: dict[str, Callable[[], bytes]] = {
    "empty.jpg": bytes,
    "truncated.jpg": lambda: encoded(halves(), "JPEG")[:400],
    "truncated.png": lambda: encoded(halves(), "PNG")[:60],
    "text.jpg": lambda: b"This is no picture, whatever its name says.\n" * 20,
    "zeros.png": lambda: bytes(5000),
    "page.pdf": lambda: encoded(halves(), "PDF"),
    "bomb.png": bomb,
    "too-wide.png": lambda: encoded(Pillow.new("1", (40_000, 2)), "PNG"),
}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Image]:
    """The photos that the command hands to its method, which is ``blank``."""
    photos: list[Image] = []

    def many(images: Sequence[Image], words: Sequence[str] | None) -> list[Segmentation]:
        photos.extend(images)
        return blank(images, words)

    monkeypatch.setattr(MethodSpec, "load", lambda self: FunctionMethod(many))
    return photos


@pytest.mark.parametrize("name", READ)
def test_unusual_pictures_are_read_rightly(name: str, seen: list[Image], tmp_path: Path) -> None:
    path, (make, colours) = tmp_path / name, READ[name]
    path.write_bytes(make())
    size = SIZES.get(name, (40, 24))
    assert run("segment", path, "-o", tmp_path / "out") == 0
    check_results(tmp_path / "out", Path(name).stem, size)
    halves_seen = seen[0][:, : (size[0] + 1) // 2], seen[0][:, size[0] // 2 :]
    for half, colour in zip(halves_seen, colours, strict=True):
        assert np.abs(half.mean((0, 1)) - colour).max() < 8, "another colour, or turned the wrong way"


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_files_are_one_sentence(name: str, seen: list[Image], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_bytes(REFUSED[name]())
    assert run("segment", path, "-o", tmp_path / "out") == 2
    assert name in one_sentence(capfd.readouterr().err)
    assert not seen
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (300, 1), (5, 3), (3000, 2)])
def test_odd_sizes_through_real_networks(size: tuple[int, int], method: str, networks: Path, tmp_path: Path) -> None:
    halves(*size).save(tmp_path / "odd.png")
    assert run("segment", tmp_path / "odd.png", "--preset", networks, *EVERY[method], "-o", tmp_path / "out") == 0
    check_results(tmp_path / "out", "odd", size)


# --- a full disk


class FullDisk(io.FileIO):
    """A file on a disk that has room for ``left`` more bytes, of all such files together."""

    left = 0

    def write(self, data: Any) -> int:
        if len(data) > FullDisk.left:
            super().write(bytes(data)[: FullDisk.left])
            FullDisk.left = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        FullDisk.left -= len(data)
        return super().write(data)


@pytest.mark.parametrize("room", [0, 100, 2000])
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(
    room: int, seen: list[Image], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FullDisk, "left", room)
    monkeypatch.setattr(disk, "open", FullDisk, raising=False)
    assert run("segment", photo, "-o", tmp_path / "out") == 2
    said = one_sentence(capfd.readouterr().err)
    assert "the disk is full" in said
    assert files_in(tmp_path / "out") == []


def test_a_disk_that_fills_up_keeps_what_was_done_and_stops(
    seen: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    photos = [SCENES / f"JPEGImages/val_0000{i}.jpg" for i in range(3)]
    assert run("segment", photos[0], "-o", tmp_path / "measure") == 0
    room = sum(p.stat().st_size for p in (tmp_path / "measure").iterdir() if p.name != MANIFEST)
    monkeypatch.setattr(FullDisk, "left", room + room // 2)
    monkeypatch.setattr(disk, "open", FullDisk, raising=False)
    capfd.readouterr()
    assert run("segment", *photos, "-o", tmp_path / "out") == 2
    assert "the disk is full" in capfd.readouterr().err
    assert files_in(tmp_path / "out") == [f"val_00000{ending}" for ending in ENDINGS]


def test_a_rename_that_fails_leaves_nothing(
    seen: list[Image], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    replace, calls = os.replace, []

    def full_at_the_second(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(disk.os, "replace", full_at_the_second)
    assert run("segment", photo, "-o", tmp_path / "out") == 2
    assert "the disk is full" in one_sentence(capfd.readouterr().err)
    assert files_in(tmp_path / "out") == []
