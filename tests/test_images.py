"""Reading any picture: Pillow and hand-made arrays are the reference; damaged files are refused in one sentence."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from PIL import ImageFile

from segwright import images
from segwright.errors import InputError

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)
CORNERS = np.array([[RED, GREEN, GREY], [BLUE, GREY, GREY]], np.uint8)  # no symmetry: every turn shows
PHOTOS = Path(__file__).parent.parent.parent / "shared" / "testdata" / "photos"


def smooth(height: int = 48, width: int = 64) -> np.ndarray:
    """A photo without edges, which JPEG keeps well."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], -1).astype(np.uint8)


def saved(image: Pillow.Image, kind: str, **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return stream


def refused(file: object) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(InputError) as caught:
        images.read(file)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert " at 0x" not in text, "no memory address belongs in a message"
    assert 20 < len(text) < 400
    return text


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int = 8, colour: int = 2, data: bytes = b"", extra: bytes = b"") -> io.BytesIO:
    """A PNG file made by hand; ``data`` are its uncompressed rows with their filter bytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))


# --- what is read


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_back_exactly(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"photo.{kind.lower()}"
    Pillow.fromarray(smooth()).save(path, kind)
    image = images.read(path)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert np.array_equal(image, smooth())
    assert np.array_equal(images.read(str(path)), image)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("JPEG2000", {})])
def test_other_formats_come_back_closely(kind: str, options: dict[str, object]) -> None:
    image = images.read(saved(Pillow.fromarray(smooth()), kind, **options))
    assert np.abs(image.astype(int) - smooth()).max() <= 12


def test_grey_palette_and_one_bit() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(images.read(saved(Pillow.fromarray(grey), "PNG")), grey[..., None].repeat(3, 2))
    palette = Pillow.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    palette.putpalette([*RED, *GREEN, *BLUE])
    assert np.array_equal(images.read(saved(palette, "PNG")), np.array([[RED, GREEN], [BLUE, GREEN]]))
    bits = np.array([[True, False, True]])
    assert np.array_equal(images.read(saved(Pillow.fromarray(bits), "PNG")), bits[..., None].repeat(3, 2) * 255)


def test_transparent_parts_lie_on_white() -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    expected = np.array([[[255, 0, 0], [255, 255, 255], [127, 127, 127]]])
    assert np.array_equal(images.read(saved(Pillow.fromarray(rgba), "PNG")), expected)
    grey_alpha = Pillow.fromarray(rgba[..., [1, 3]].copy(), "LA")
    assert np.array_equal(images.read(saved(grey_alpha, "PNG"))[0, :, 0], [0, 255, 127])
    palette = Pillow.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([*RED, *GREEN])
    assert np.array_equal(images.read(saved(palette, "PNG", transparency=1)), [[RED, (255, 255, 255)]])
    assert np.array_equal(images.read(saved(palette, "GIF", transparency=1)), [[RED, (255, 255, 255)]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    if kind == "PPM":  # by hand: old Pillows do not write it
        file = io.BytesIO(b"P5 5 1 65535\n" + values.astype(">u2").tobytes())
    else:
        file = saved(Pillow.fromarray(values), kind)
    assert images.read(file)[0, :, 1].tolist() == [0, 0, 1, 128, 255]


def test_16_bit_colours_keep_the_same_byte_as_grey() -> None:
    row = b"\0" + struct.pack(">6H", 0, 255, 256, 32768, 65535, 40000)
    assert images.read(png(2, 1, depth=16, data=row)).tolist() == [[[0, 0, 1], [128, 255, 156]]]


def test_16_bit_transparent_colours() -> None:
    def clear(*values: int) -> bytes:
        return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))

    row = b"\0" + struct.pack(">6H", 40000, 0, 0, 1000, 0, 0)
    assert images.read(png(2, 1, 16, data=row, extra=clear(40000, 0, 0))).tolist() == [[[255] * 3, [3, 0, 0]]]
    grey = b"\0" + struct.pack(">2H", 5000, 30000)
    assert images.read(png(2, 1, 16, 0, grey, clear(5000)))[0, :, 0].tolist() == [255, 117]


@pytest.mark.parametrize(("bits", "photometric", "expected"), [(16, 1, [0, 64, 255]), (16, 0, [255, 191, 0])])
def test_tiff_where_white_is_zero(bits: int, photometric: int, expected: list[int]) -> None:
    values = np.array([[0, 16384, 65535]], np.uint16)
    file = saved(Pillow.fromarray(values), "TIFF", tiffinfo={262: photometric})
    assert images.read(file)[0, :, 0].tolist() == expected


def test_cmyk_jpeg_is_the_right_way_round() -> None:
    for ink, expected in {(0, 255, 255, 0): RED, (0, 0, 0, 0): (255, 255, 255)}.items():
        flat = Pillow.new("CMYK", (16, 16), ink)
        stream = saved(flat, "JPEG", quality=95)  # Pillow writes Adobe's inverted CMYK with its marker
        assert b"Adobe" in stream.getvalue()
        assert np.abs(images.read(stream).astype(int) - expected).max() <= 3
        assert np.array_equal(images.read(saved(flat, "TIFF"))[0, 0], expected)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, CORNERS),
        (2, CORNERS[:, ::-1]),
        (3, CORNERS[::-1, ::-1]),
        (4, CORNERS[::-1]),
        (5, CORNERS.transpose(1, 0, 2)),
        (6, np.rot90(CORNERS, 1)),
        (7, CORNERS[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(CORNERS, -1)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(kind: str, orientation: int, stored: np.ndarray) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    image = images.read(saved(Pillow.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options))
    assert np.array_equal(image, CORNERS)


def test_broken_exif_does_not_lose_the_photo() -> None:
    image = images.read(saved(Pillow.fromarray(smooth()), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\0\0"))
    assert image.shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(kind: str) -> None:
    frames = [Pillow.new("RGB", (8, 6), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    stream = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.array_equal(images.read(stream), np.full((6, 8, 3), RED))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (10, 30_000), (30_000, 10)])
def test_extreme_shapes_are_read(height: int, width: int, tmp_path: Path) -> None:
    Pillow.new("RGB", (width, height), RED).save(tmp_path / "a.png")
    assert np.array_equal(images.read(tmp_path / "a.png"), np.full((height, width, 3), RED))


def test_real_photos_are_as_pillow_reads_them() -> None:
    if not PHOTOS.is_dir():
        pytest.skip(f"no real photos at {PHOTOS}")
    for path in images.find_photos(PHOTOS)[:3]:
        with Pillow.open(path) as picture:
            assert np.array_equal(images.read(path), np.asarray(picture.convert("RGB")))


# --- what is refused


def test_missing_folder_empty_and_no_picture(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("this is no picture, whatever its name says\n" * 20)
    assert "there is no file or folder" in refused(tmp_path / "none.jpg")
    assert "is a folder" in refused(tmp_path)
    assert "empty file" in refused(tmp_path / "empty.jpg")
    assert "'" + str(tmp_path / "text.jpg") + "' is not a picture" in refused(tmp_path / "text.jpg")
    assert "is empty" in refused(io.BytesIO())
    assert "as text" in refused(io.StringIO("text"))
    assert "NoneType" in refused(None)
    refused("a\0b.png")
    assert images.find_photos("a" * 5000) == [Path("a" * 5000)]
    assert "cannot be opened" in refused("a" * 5000)
    assert "\\n" in refused("two\nlines.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_truncated_files(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = saved(Pillow.fromarray(noise), kind).getvalue()
    path = tmp_path / "cut"
    for share in (0.9, 0.5, 0.1):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert str(path) in refused(path)


def test_bombs_are_refused_from_the_header() -> None:
    start = time.perf_counter()
    for width, height in [(12_000, 12_000), (20_000, 10_000), (30_000, 30_000)]:
        assert "100,000,000" in refused(png(width, height))
    for width, height in [(40_000, 1), (1, 32_769), (2**31 - 1, 2)]:
        text = refused(png(width, height))
        assert "32,768" in text or "100,000,000" in text
    assert time.perf_counter() - start < 1, "nothing may be decoded"


def test_unsupported_pixels(tmp_path: Path) -> None:
    path = tmp_path / "float.tiff"
    Pillow.fromarray(np.ones((4, 4), np.float32)).save(path)
    assert "F pixels" in refused(path)
    assert "LAB" in refused(saved(Pillow.new("LAB", (4, 4)), "TIFF"))
    assert "expected 0..65535" in refused(saved(Pillow.fromarray(np.full((4, 4), 2**20, np.int32)), "TIFF"))


def test_formats_that_run_programs_or_others_files_are_not_opened() -> None:
    refused(io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"))
    refused(saved(Pillow.new("RGB", (4, 4)), "TGA"))


def test_pillow_is_left_as_it_was() -> None:
    before = Pillow.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    refused(png(12_000, 12_000))
    images.read(saved(Pillow.fromarray(smooth()), "PNG"))
    assert (Pillow.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


def test_warnings_of_pillow_stay_inside(recwarn: pytest.WarningsRecorder) -> None:
    odd = png(1, 1, data=b"\0\1\2\3", extra=chunk(b"acTL", struct.pack(">II", 0, 0)))
    with Pillow.open(odd):
        assert len(recwarn) == 1, "Pillow warns of an animation without frames"
    odd.seek(0)
    assert images.read(odd).tolist() == [[[1, 2, 3]]]
    assert len(recwarn) == 1


def victims() -> list[bytes]:
    """JPEGs and PNGs of several kinds to damage; real ones too where there are any."""
    photo, exif = Pillow.fromarray(smooth()), Pillow.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker" * 10
    made = [
        saved(photo, "JPEG", exif=exif),
        saved(photo, "JPEG", progressive=True),
        saved(photo.convert("CMYK"), "JPEG"),
        saved(photo, "PNG", exif=exif),
        saved(photo.quantize(16), "PNG", transparency=3),
        saved(photo.convert("RGBA"), "PNG"),
        saved(Pillow.fromarray(smooth()[..., 0].astype(np.uint16) * 257), "PNG"),
        saved(photo, "PNG", save_all=True, append_images=[photo.rotate(90)]),
    ]
    real = [path.read_bytes() for path in sorted(PHOTOS.glob("cat*"))] if PHOTOS.is_dir() else []
    return [stream.getvalue() for stream in made] + real


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, in half of the cases near the start; or a piece cut off or out."""
    if rng.random() < 0.25:
        return data[: rng.integers(0, len(data))]
    if rng.random() < 0.2:
        start = int(rng.integers(0, len(data)))
        return data[:start] + data[start + int(rng.integers(1, 50)) :]
    changed = bytearray(data)
    end = len(data) if rng.random() < 0.5 else min(400, len(data))
    for place in rng.integers(0, end, int(rng.integers(1, 12))):
        changed[place] ^= int(rng.integers(1, 256))
    return bytes(changed)


def read_or_refused(path: Path) -> bool:
    """True where the file is read as a photo, False where it is refused in a sentence that names it."""
    try:
        image = images.read(path)
    except InputError as error:
        sentence = str(error)
    else:
        return image.dtype == np.uint8 and image.shape[2] == 3 and image.size > 0
    assert str(path) in sentence
    assert "\n" not in sentence
    return False


def test_300_damaged_files_are_read_or_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng, sources, outcomes = np.random.default_rng(7), victims(), [0, 0]
    path = tmp_path / "damaged"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning that escapes becomes an exception that is no InputError
        for turn in range(300):
            path.write_bytes(damaged(sources[turn % len(sources)], rng))
            outcomes[read_or_refused(path)] += 1
    assert min(outcomes) > 30, f"refused and read {outcomes}: the damage is too hard or too mild to tell anything"
    assert capfd.readouterr() == ("", "")


# --- finding photos


def test_find_photos_in_natural_order_each_once(tmp_path: Path) -> None:
    names = ["b/2.jpg", "b/10.JPG", "a.png", "notes.txt", ".hidden.png", ".git/x.png", "b/1.tiff"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = images.find_photos(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.png", "b/1.tiff", "b/2.jpg", "b/10.JPG"]
    again = images.find_photos([tmp_path / "b" / "10.JPG", str(tmp_path), tmp_path / "notes.txt", "missing.png"])
    assert [path.name for path in again] == ["10.JPG", "a.png", "1.tiff", "2.jpg", "notes.txt", "missing.png"]


def test_find_photos_leaves_results_out(tmp_path: Path) -> None:
    for name in ["cat.jpg", "cat.png", "cat.overlay.png", "cat.json", "dog.png", "dog.json"]:
        (tmp_path / name).touch()
    assert [path.name for path in images.find_photos(tmp_path)] == ["cat.jpg", "dog.png"]


def test_find_photos_finds_nothing(tmp_path: Path) -> None:
    for nothing in ([], tmp_path, [tmp_path, tmp_path]):
        with pytest.raises(InputError, match="no photos in"):
            images.find_photos(nothing)
    assert images.find_photos([tmp_path, "cat.jpg"]) == [tmp_path, Path("cat.jpg")]
    assert "without photos" in refused(tmp_path)


# --- geometry


def test_to_tensor() -> None:
    tensor = images.to_tensor(CORNERS)
    assert tensor.shape == (3, 2, 3)
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor[:, 0, 0], torch.tensor([1.0, 0, 0]))
    assert float(tensor[0, 0, 2]) == pytest.approx(128 / 255)
    with pytest.raises(InputError):
        images.to_tensor(CORNERS[..., 0])


def test_resize() -> None:
    assert np.array_equal(images.resize(CORNERS, (2, 3)), CORNERS)
    assert images.resize(smooth(), (7, 5)).shape == (7, 5, 3)
    flat = images.resize(np.full((9, 9, 3), 77, np.uint8), (31, 4))
    assert np.array_equal(flat, np.full((31, 4, 3), 77))
    fine = np.kron(np.indices((32, 32)).sum(0) % 2, np.ones((1, 1), int)).astype(np.uint8)[..., None].repeat(3, 2) * 255
    assert images.resize(fine, (8, 8)).std() < 16, "a fine chequerboard becomes grey, not stripes"
    with pytest.raises(InputError, match="0x5"):
        images.resize(smooth(), (0, 5))


@pytest.mark.parametrize("height", [1, 5, 16, 17, 33])
@pytest.mark.parametrize(("side", "stride"), [(16, 16), (16, 5), (4, 3), (1, 1)])
def test_windows_cover_and_stitch_undoes_them(height: int, side: int, stride: int) -> None:
    width = 20
    values = torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))
    places = images.windows(height, width, side, stride)
    assert len(set(places)) == len(places)
    assert all(y + h <= height and x + w <= width for y, x, h, w in places)
    assert {(h, w) for _, _, h, w in places} == {(min(side, height), min(side, width))}
    assert places[-1][0] + places[-1][2] == height
    parts = [values[:, y : y + h, x : x + w] for y, x, h, w in places]
    assert torch.allclose(images.stitch(parts, places, (height, width)), values, atol=1e-6)


def test_stitch_averages_where_windows_overlap() -> None:
    places = images.windows(1, 3, side=2, stride=1)
    assert places == [(0, 0, 1, 2), (0, 1, 1, 2)]
    assert images.stitch([torch.zeros(1, 2), torch.ones(1, 2)], places, (1, 3)).tolist() == [[0, 0.5, 1]]


def test_windows_and_stitch_refuse_nonsense() -> None:
    for wrong in [(10, 10, 4, 5), (10, 10, 4, 0), (0, 10, 4, 4), (10, 10, 0, 0)]:
        with pytest.raises(InputError):
            images.windows(*wrong)
    place = (0, 0, 2, 2)
    for parts, places, size in [
        ([], [], (2, 2)),
        ([torch.ones(2, 2)], [place, place], (2, 2)),
        ([torch.ones(2, 2)], [place], (3, 2)),
        ([torch.ones(3, 2)], [place], (2, 2)),
    ]:
        with pytest.raises(InputError):
            images.stitch(parts, places, size)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_strips_of_any_height_give_the_same(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    picture = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (37, 23, 4), np.uint8))
    whole = images.read(saved(picture, "PNG", exif=exif))
    monkeypatch.setattr("segwright.images.STRIP", 100)
    assert np.array_equal(images.read(saved(picture, "PNG", exif=exif)), whole)


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [("WEBP", {}, "WEBP"), ("JPEG2000", {}, "JPEG2000"), ("AVIF", {}, "AVIF"), ("JPEG", {"progressive": True}, "progressive JPEG")],
)
def test_formats_whose_decoders_need_much_memory_have_limits_of_their_own(
    kind: str, options: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.BytesIO()
    try:
        Pillow.new("RGB", (64, 64)).save(stream, kind, **options)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    assert images.read(io.BytesIO(stream.getvalue())).shape == (64, 64, 3)
    monkeypatch.setitem(images.MAX_OF, named, 64 * 64 - 1)
    with pytest.raises(InputError, match=rf"64x64 pixels; of {named} at most 4,095 are read, for its memory: make it smaller"):
        images.read(io.BytesIO(stream.getvalue()))
    if "progressive" in named:
        plain = io.BytesIO()
        Pillow.new("RGB", (64, 64)).save(plain, kind)
        assert images.read(io.BytesIO(plain.getvalue())).shape == (64, 64, 3)
