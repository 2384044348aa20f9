"""Overlays: what a person must be able to see, checked pixel by pixel where it can be."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFont

from segwright.errors import InputError
from segwright.files import legend
from segwright.files.colors import COUNT, OKABE_ITO, color, label_colors
from segwright.files.overlay import display_size, encode_overlay, entries, overlay
from segwright.types import Segmentation

WORDS = ("cat", "dog", "tennis racket")


def halves(height: int = 400, width: int = 600) -> Segmentation:
    """Unlabelled on the left, dog on the right."""
    labels = np.zeros((height, width), int)
    labels[:, width // 2 :] = 2
    return Segmentation(WORDS, labels)


def photo(height: int = 400, width: int = 600) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_colours_are_fixed_distinct_and_never_grey() -> None:
    colors = label_colors().astype(int)
    assert [color(i + 1) for i in range(7)] == list(OKABE_ITO)
    assert color(COUNT + 1) == color(1)
    assert len(np.unique(colors, axis=0)) == COUNT
    assert (colors.max(1) - colors.min(1)).min() >= 34
    apart = np.linalg.norm(colors[:20, None] - colors[None, :20], axis=2) + 1000 * np.eye(20)
    assert apart.min() > 45, "the first twenty can be told apart"


def without_red_or_green(colors: np.ndarray) -> list[np.ndarray]:
    """8-bit colours as a protanope and a deuteranope see them, after Vienot, Brettel and Mollon (1999)."""
    cones = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    protan = np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]])
    deutan = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    linear = (colors / 255) ** 2.2
    seen = [linear @ (np.linalg.inv(cones) @ lost @ cones).T for lost in (protan, deutan)]
    return [255 * np.clip(values, 0, 1) ** (1 / 2.2) for values in seen]


def test_first_colours_stay_apart_without_red_or_green() -> None:
    for seen in without_red_or_green(label_colors()[:16].astype(float)):
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 1000 * np.eye(16)
        assert apart.min() > 20


def test_fill_shows_photo_and_colour_and_dims_the_rest() -> None:
    image = photo()
    shown = overlay(image, halves(), alpha=0.5, legend=False)
    assert shown.shape == image.shape
    inside = np.s_[10:-10, 310:-10]
    assert np.abs(shown[inside] - (image[inside] * 0.5 + np.array(color(2)) * 0.5)).max() <= 1
    outside = shown[10:-10, 10:290]
    assert (outside == outside[..., :1]).all(), "grey"
    assert outside.std() < 0.7 * image[10:-10, 10:290].std(), "dimmed"
    assert outside.std() > 5, "but still there"
    assert np.array_equal(overlay(image, halves(), alpha=0, legend=False)[inside], image[inside])


def test_outline_is_dark_between_light() -> None:
    row = overlay(photo(), halves(), legend=False)[200, 296:304].tolist()
    assert row.count([0, 0, 0]) == 1
    dark = row.index([0, 0, 0])
    assert row[dark - 1] == row[dark + 1] == [255, 255, 255]
    none = Segmentation(WORDS, np.ones((400, 600), int))
    plain = overlay(np.full((400, 600, 3), 100, np.uint8), none, legend=False)
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) == 1, "no outline where no label changes"


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((128, 128), (384, 384)),
        ((1, 1), (384, 384)),
        ((500, 375), (512, 384)),
        ((600, 800), (600, 800)),
        ((4000, 6000), (2731, 4096)),
        ((10, 30000), (32, 4096)),
        ((100, 2000), (102, 2048)),
    ],
)
def test_size_shown(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert display_size(*size) == shown
    assert display_size(*size[::-1]) == shown[::-1]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (128, 128), (10, 3000), (3000, 10), (600, 400), (700, 2300)])
def test_legend_is_below_wide_and_beside_tall_photos(height: int, width: int) -> None:
    segmentation = halves(height, width)
    page = overlay(photo(height, width), segmentation)
    tall, wide = display_size(height, width)
    below, beside = page.shape[0] - tall, page.shape[1] - wide
    assert (below >= 24) if width >= height else (beside >= 100)
    assert page.dtype == np.uint8
    legend_part = page[tall:] if width >= height else page[:, wide:]
    for label in np.unique(segmentation.labels):
        swatch = color(int(label)) if label else (150, 150, 150)
        assert (legend_part == swatch).all(-1).sum() > 100, f"a swatch for label {label}"
    assert (legend_part < 60).all(-1).sum() > 20, "and dark letters"


def test_entries_run_from_the_largest_to_unlabelled() -> None:
    labels = np.array([[3, 3, 0, 0, 0, 0, 1, 3, 2, 2]])
    lines = entries(Segmentation(WORDS, labels))
    assert [(line.word, line.share) for line in lines] == [
        ("tennis racket", 0.3),
        ("dog", 0.2),
        ("cat", 0.1),
        ("unlabelled", 0.4),
    ]
    assert [line.color for line in lines] == [color(3), color(2), color(1), None]


def test_many_words_wrap_and_long_ones_are_cut() -> None:
    lines = [legend.Entry(color(i + 1), "a very long word " * 30, 0.01) for i in range(40)]
    below, beside = legend.draw_legend(lines, 16, width=1000), legend.draw_legend(lines, 16, height=400)
    assert below.width == 1000
    assert below.height < 40 * 16
    assert beside.height == 400
    cut = legend.elide("a very long word " * 30, 16, 150)
    assert cut.endswith("…")
    assert ImageFont.load_default(16).getlength(cut) <= 150
    assert legend.elide("cat", 16, 150) == "cat"
    assert legend.elide("line\nbreak\tand\0more", 16, 500) == "line break and more"
    assert legend.draw_legend([legend.Entry(None, "", 0.0)], 16, width=1).width > 50


def test_without_freetype_there_is_still_a_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(ImageFont, "load_default_imagefont"):
        pytest.skip("this Pillow cannot load its bitmap font while it has FreeType")
    bitmap = ImageFont.load_default_imagefont()
    monkeypatch.setattr(legend, "_font", lambda name, text: None)
    monkeypatch.setattr(legend.ImageFont, "load_default", lambda: bitmap)
    picture = legend.draw_legend([legend.Entry(color(1), "crème brûlée", 1)], 16, width=300)
    assert (np.asarray(picture) < 60).all(-1).sum() > 20


def test_deterministic_and_a_png() -> None:
    first, second = (encode_overlay(photo(), halves()) for _ in range(2))
    assert first == second
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(first))), overlay(photo(), halves()))


def test_more_words_than_colours() -> None:
    labels = np.arange(300 * 384).reshape(384, 300) % 301
    assert overlay(photo(384, 300), Segmentation(tuple(map(str, range(300))), labels)).shape[0] >= 384


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="photo is"):
        overlay(photo(), halves(20, 30))
    with pytest.raises(InputError, match="alpha"):
        overlay(photo(), halves(), alpha=2)
    with pytest.raises(InputError, match="uint8"):
        overlay(photo().astype(float), halves())
