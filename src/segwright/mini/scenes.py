"""The miniature world: drawn scenes with exact masks and captions.

One to three things (glyphs of Noto Color Emoji, SIL OFL 1.1) on a ground. Scene ``i`` of a split and a
seed is always the same picture, whatever was drawn before it. The font is needed to draw, never at run time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segwright.errors import InputError
from segwright.mini import textures
from segwright.mini.captions import caption

SIZE = 128
SPLITS = ("train", "val", "held")
COUNTS = (0.4, 0.4, 0.2)  # scenes of one, two, three things
LONGEST = ((40, 100), (40, 74), (40, 58))  # longest side in pixels, by number of things
MAX_COVERED = 0.08
FONT_NAMES = ("NotoColorEmoji.ttf",)
FONT_FOLDERS = ("/usr/share/fonts/truetype/noto", "/usr/share/fonts/noto", "/usr/share/fonts", "/Library/Fonts")
STRIKE = 109  # the one bitmap size that the font holds

WORLD = json.loads(resources.files("segwright.mini").joinpath("world.json").read_text("utf8"))
THINGS: tuple[str, ...] = tuple(WORLD["things"])
STUFF: tuple[str, ...] = tuple(WORLD["stuff"])


@dataclass(frozen=True)
class Thing:
    """One drawn glyph: its word, the colour it may be called by, and its box (x0, y0, x1, y1), half open."""

    word: str
    glyph: str
    colour: str | None
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """image (S, S, 3) uint8; labels (S, S) uint8, 0 = background, else 1 + index in THINGS; captions in English."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    things: tuple[Thing, ...]
    stuff: str | None
    captions: tuple[str, ...]


def find_font(font: str | Path | None = None) -> Path:
    """Path of Noto Color Emoji (the bitmap build).

    Raises:
        InputError: it is not there.
    """
    tried = [Path(font)] if font else [Path(d) / n for d in FONT_FOLDERS for n in FONT_NAMES]
    for path in tried:
        if path.is_file():
            return path
    raise InputError(
        f"the font Noto Color Emoji is needed to draw scenes, but {tried[0]} is not there; "
        "install it (Debian: apt-get install fonts-noto-color-emoji) or name its file with --font"
    )


@cache
def glyph_image(glyph: str, font: Path) -> Image.Image:
    """The glyph as RGBA, cut to its visible box (about 110-136 px)."""
    face = ImageFont.truetype(str(font), STRIKE)
    canvas = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((20, 20), glyph, font=face, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise InputError(f"{font} has no picture for {glyph!r}; use the Noto Color Emoji font")
    return canvas.crop(box)


def glyphs_of(word: str, split: str) -> list[str]:
    """The glyphs a word may be drawn with: the held split uses the held-out ones where the word has any."""
    entry = WORLD["things"][word]
    return entry["held_out"] or entry["glyphs"] if split == "held" else entry["glyphs"]


def _pose(rng: Generator, glyph: Image.Image, longest: int) -> NDArray[np.float32]:
    """Flip, turn by up to 15 degrees, scale to ``longest`` pixels, jitter colours: (h, w, 4) float32 in 0..1."""
    if rng.random() < 0.5:
        glyph = glyph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    glyph = glyph.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True)
    glyph = glyph.crop(glyph.getbbox())
    scale = longest / max(glyph.size)
    size = (max(1, round(glyph.width * scale)), max(1, round(glyph.height * scale)))
    rgba = np.asarray(glyph.resize(size, Image.Resampling.LANCZOS), np.float32) / 255
    gain = rng.uniform(0.75, 1.2) * rng.uniform(0.88, 1.12, 3).astype(np.float32)
    rgb = np.clip(rgba[..., :3] * gain.astype(np.float32) + rng.uniform(-0.06, 0.06), 0, 1)
    return np.concatenate([rgb, rgba[..., 3:]], axis=2).astype(np.float32)


def _place(rng: Generator, labels: NDArray[np.uint8], solid: NDArray[np.bool_]) -> tuple[int, int] | None:
    """A corner where the new thing hides at most MAX_COVERED of every thing that is already there."""
    size, (h, w) = labels.shape[0], solid.shape
    areas = np.bincount(labels.ravel(), minlength=256)
    for _ in range(40):
        y, x = int(rng.integers(0, size - h + 1)), int(rng.integers(0, size - w + 1))
        hidden = np.bincount(labels[y : y + h, x : x + w][solid], minlength=256)
        if np.all(hidden[1:] <= MAX_COVERED * areas[1:]):
            return y, x
    return None


def draw(split: str, seed: int, index: int, font: str | Path | None = None, captions: int = 3) -> Scene:
    """Scene ``index`` of a split and seed.

    Raises:
        InputError: unknown split, or the font is missing.
    """
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    path = find_font(font)
    rng = np.random.default_rng([SPLITS.index(split), seed, index])
    stuff = STUFF[rng.integers(len(STUFF))] if rng.random() < 0.7 else None
    ground = textures.STUFF[stuff] if stuff else textures.UNNAMED[rng.integers(len(textures.UNNAMED))]
    image = np.clip(ground(rng, SIZE) * rng.uniform(0.85, 1.1), 0, 1).astype(np.float32)
    labels = np.zeros((SIZE, SIZE), np.uint8)
    count = int(rng.choice(3, p=COUNTS)) + 1
    words = rng.choice(len(THINGS), count, replace=False)
    drawn: list[tuple[int, str]] = []
    for k in words:
        pool = glyphs_of(THINGS[k], split)
        glyph = pool[rng.integers(len(pool))]
        low, high = LONGEST[count - 1]
        rgba = _pose(rng, glyph_image(glyph, path), int(rng.integers(low, high + 1)))
        solid = rgba[..., 3] > 0.5
        corner = _place(rng, labels, solid)
        if corner is None:
            continue
        y, x = corner
        window = np.s_[y : y + solid.shape[0], x : x + solid.shape[1]]
        image[window] += (rgba[..., :3] - image[window]) * rgba[..., 3:]
        labels[window][solid] = k + 1
        drawn.append((int(k), glyph))
    things = tuple(
        Thing(THINGS[k], g, WORLD["colours"].get(g) if split != "held" else None, _box(labels == k + 1)) for k, g in drawn
    )
    pairs = [(t.word, t.colour) for t in things]
    texts = tuple(caption(rng, pairs, stuff) for _ in range(captions))
    return Scene(np.round(image * 255).astype(np.uint8), labels, things, stuff, texts)


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def scenes(split: str, seed: int, count: int, font: str | Path | None = None) -> Iterator[Scene]:
    """Scenes 0 .. count-1 of a split and seed."""
    for index in range(count):
        yield draw(split, seed, index, font)
