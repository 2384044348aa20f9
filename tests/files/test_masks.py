"""Label maps: real Pascal VOC masks and Pillow are the reference."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from segwright.errors import InputError
from segwright.files.masks import encode_label_map, read_label_map, voc_palette, write_label_map

VOC = Path(__file__).parents[3] / "shared" / "testdata" / "VOCdevkit" / "VOC2012" / "SegmentationClass"


def test_palette_by_hand() -> None:
    palette = voc_palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    known = {0: (0, 0, 0), 1: (128, 0, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {label: tuple(palette[label].tolist()) for label in known} == known
    assert len(np.unique(palette, axis=0)) == 256


def test_palette_and_values_of_real_masks() -> None:
    if not VOC.is_dir():
        pytest.skip(f"no Pascal VOC masks at {VOC}")
    for path in sorted(VOC.glob("*.png"))[:5]:
        with Pillow.open(path) as picture:
            stored = np.array(picture.getpalette()).reshape(-1, 3)
            assert np.array_equal(stored, voc_palette()[: len(stored)])
            assert np.array_equal(read_label_map(path), np.asarray(picture))


@pytest.mark.parametrize(("top", "mode"), [(0, "P"), (1, "P"), (255, "P"), (256, "I;16"), (65535, "I;16")])
def test_round_trip(top: int, mode: str, tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, top + 1, (13, 17))
    labels[0, 0] = top
    path = write_label_map(tmp_path / "new" / "map.png", labels)
    assert np.array_equal(read_label_map(path), labels)
    assert read_label_map(path).dtype == np.int64
    with Pillow.open(path) as picture:
        assert picture.mode in {mode, mode.split(";")[0]}
        assert picture.size == (17, 13)
        if mode == "P":
            assert np.array_equal(np.asarray(picture.convert("RGB")), voc_palette()[labels])


def test_other_layouts_of_an_array() -> None:
    labels = np.arange(12).reshape(3, 4)
    for same in (labels.T.copy().T, np.pad(labels, 1)[1:-1, 1:-1], labels.astype(np.int8), labels.astype(np.uint64)):
        assert np.array_equal(read_label_map(io.BytesIO(encode_label_map(same))), labels)


def test_grey_and_one_bit_are_labels_too() -> None:
    for values in (np.array([[0, 3, 200]], np.uint8), np.array([[True, False, True]])):
        stream = io.BytesIO()
        Pillow.fromarray(values).save(stream, "PNG")
        assert np.array_equal(read_label_map(io.BytesIO(stream.getvalue())), values)


@pytest.mark.parametrize(
    "labels", [np.zeros((2, 2)), np.zeros((2, 2, 3), int), np.zeros((0, 2), int), np.array([[-1]]), np.array([[65536]])]
)
def test_what_is_no_label_map_is_not_written(labels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a label map"):
        write_label_map(tmp_path / "a.png", labels)
    assert not list(tmp_path.iterdir())


def test_what_is_no_label_map_is_not_read(tmp_path: Path) -> None:
    Pillow.new("RGB", (4, 4)).save(tmp_path / "colours.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, reason in {"colours.png": "RGB pixels", "text.png": "not a picture", "none.png": "no file"}.items():
        with pytest.raises(InputError, match=reason):
            read_label_map(tmp_path / name)
