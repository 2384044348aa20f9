"""The miniature world: drawn scenes with exact masks and captions.

One to four things on one or two grounds, among clutter. Things are glyphs of several drawing hands (``atlas``), finished
by lot (``finish``), so that neither colour nor finish nor one outline names them. Scene ``i`` of a split and a seed is
always the same picture, whatever was drawn before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw
from scipy import ndimage

from segwright.errors import InputError
from segwright.mini import textures
from segwright.mini.atlas import HELD_HAND, Glyph, glyphs
from segwright.mini.captions import Named, caption, good_caption
from segwright.mini.finish import colour_name, thing

SIZE = 128
SPLITS = ("train", "val", "held")
COUNTS = (0.36, 0.36, 0.18, 0.10)  # scenes of one to four things
LONGEST = ((40, 110), (34, 76), (28, 60), (24, 50))  # longest side in pixels, by number of things
ALIKE = 0.12  # of the scenes of several things repeat a word
CUT = 0.15  # of the things reach over the picture's edge
MAX_OUT = 0.3  # of such a thing's longest side
MAX_COVERED = 0.25
SMALLEST = 40  # pixels that a thing shows
SILHOUETTE = 0.28  # of the training hands' things are filled silhouettes
NAMED_GROUND, TWO_GROUNDS, CLUTTER = 0.7, 0.2, 0.5
PORTRAIT_PACKS = ("noto", "twemoji", "fluent-emoji-flat")
PORTRAIT_SHAPES = 3  # names of drawings, the first of the alphabet
PORTRAIT = (42, 62)  # longest side in pixels

WORLD = json.loads(resources.files("segwright.mini").joinpath("world.json").read_text("utf8"))
THINGS: tuple[str, ...] = tuple(WORLD["things"])
STUFF: tuple[str, ...] = tuple(WORLD["stuff"])


@dataclass(frozen=True)
class Thing:
    """One drawn thing: word, glyph, the colour it may be called by, and its visible box (x0, y0, x1, y1), half open."""

    word: str
    glyph: Glyph
    colour: str | None
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """A drawn picture and all that is known of it.

    image (S, S, 3) uint8; labels (S, S) uint8, 0 = background, else 1 + index in THINGS; instances (S, S) uint8, 0 or
    1 + index in ``things``; stuff from the top down; clutter (S, S) bool; captions in English.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    clutter: NDArray[np.bool_]
    things: tuple[Thing, ...]
    stuff: tuple[str, ...]
    captions: tuple[str, ...]


@cache
def pool(word: str | None, split: str, hand: bool = False) -> tuple[tuple[Glyph, ...], tuple[Glyph, ...]]:
    """The (coloured, silhouette) glyphs that a word, or clutter (None), may be drawn with.

    train, val: the training hands without the held-out glyphs. held: with ``hand`` the held hand, else the held-out glyphs;
    a word that has none there takes what the other half has, and at last the training glyphs.
    """
    own = [g for g in glyphs() if g.word == word]
    if split == "held":
        of_hand = [g for g in own if g.pack == HELD_HAND]
        left_out = [g for g in own if g.held and g.pack != HELD_HAND]
        chosen = (of_hand or left_out) if hand else (left_out or of_hand)
    else:
        chosen = [g for g in own if not g.held]
    chosen = chosen or [g for g in own if not g.held]
    return tuple(g for g in chosen if not g.silhouette), tuple(g for g in chosen if g.silhouette)


def _pick(rng: Generator, word: str | None, split: str, hand: bool) -> Glyph:
    coloured, flat = pool(word, split, hand)
    chosen = flat if flat and (not coloured or rng.random() < SILHOUETTE) else coloured
    return chosen[rng.integers(len(chosen))]


def _ground(rng: Generator) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """A ground and the names of its kinds of stuff from the top down; sometimes one above another."""
    if rng.random() >= NAMED_GROUND:
        return textures.UNNAMED[rng.integers(len(textures.UNNAMED))](rng, SIZE), ()
    first, second = (STUFF[i] for i in rng.choice(len(STUFF), 2, replace=False))
    drawn = [textures.STUFF[s][rng.integers(len(textures.STUFF[s]))](rng, SIZE) for s in (first, second)]
    if rng.random() >= TWO_GROUNDS / NAMED_GROUND:
        return drawn[0], (first,)
    if second == "sky":  # the sky is above
        first, second, drawn = second, first, drawn[::-1]
    x = np.linspace(0, 1, SIZE, dtype=np.float32)
    horizon = rng.uniform(0.3, 0.6) + rng.uniform(0, 0.08) * np.sin(2 * np.pi * (x * rng.uniform(0.5, 3) + rng.random()))
    below = np.arange(SIZE)[:, None] >= horizon * SIZE
    return np.where(below[..., None], drawn[1], drawn[0]).astype(np.float32), (first, second)


def _shape(rng: Generator) -> NDArray[np.bool_]:
    """An ellipse, a box or a blob of corners."""
    w, h = (int(v) for v in rng.integers(8, 44, 2))
    canvas = Pillow.new("L", (w, h))
    pen, kind = ImageDraw.Draw(canvas), rng.integers(3)
    if kind == 0:
        pen.ellipse((0, 0, w - 1, h - 1), fill=255)
    elif kind == 1:
        pen.rectangle((0, 0, w - 1, h - 1), fill=255)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        reach = rng.uniform(0.5, 1, len(angles))
        pen.polygon(
            [(w / 2 * (1 + r * np.cos(a)), h / 2 * (1 + r * np.sin(a))) for a, r in zip(angles, reach, strict=True)], fill=255
        )
    return np.asarray(canvas) > 0


def _paste(image: NDArray[np.float32], rgb: NDArray[np.float32], alpha: NDArray[np.float32], y: int, x: int) -> NDArray[np.bool_]:
    """Draw at a corner that may lie outside; returns where it is solid, (S, S) bool."""
    solid = np.zeros(image.shape[:2], bool)
    top, left = max(0, y), max(0, x)
    bottom, right = min(SIZE, y + alpha.shape[0]), min(SIZE, x + alpha.shape[1])
    if top < bottom and left < right:
        part = np.s_[top - y : bottom - y, left - x : right - x]
        window = np.s_[top:bottom, left:right]
        image[window] += (rgb[part] - image[window]) * alpha[part][..., None]
        solid[window] = alpha[part] > 0.5
    return solid


def _scatter(rng: Generator, image: NDArray[np.float32], split: str, hand: bool) -> NDArray[np.bool_]:
    """Clutter that is no thing of the list: shapes, and glyphs of other things. Returns where it lies."""
    lies = np.zeros(image.shape[:2], bool)
    for _ in range(int(rng.integers(1, 5))):
        if rng.random() < 0.55:
            rgb, alpha = thing(rng, _pick(rng, None, split, hand), int(rng.integers(14, 48)))
        else:
            shape = _shape(rng)
            alpha = shape.astype(np.float32)
            rgb = np.broadcast_to(textures.any_colour(rng), (*shape.shape, 3)).astype(np.float32)
        y, x = (int(rng.integers(-side // 3, SIZE - side // 2)) for side in alpha.shape)
        lies |= _paste(image, rgb, alpha, y, x)
    return lies


def _corner(
    rng: Generator, areas: NDArray[np.int64], instances: NDArray[np.uint8], solid: NDArray[np.bool_]
) -> tuple[int, int] | None:
    """A corner where the new thing hides at most MAX_COVERED of every thing that is already there."""
    h, w = solid.shape
    out = MAX_OUT * max(h, w) if rng.random() < CUT else 0
    for _ in range(30):
        y, x = (int(np.round(rng.uniform(-out, max(0, SIZE - side) + out))) for side in (h, w))
        top, left = max(0, y), max(0, x)
        part = solid[top - y : SIZE - y, left - x : SIZE - x]
        under = instances[top : top + part.shape[0], left : left + part.shape[1]]
        part = part[: under.shape[0], : under.shape[1]]
        seen = np.bincount(instances.ravel(), minlength=len(areas))[: len(areas)]
        hidden = np.bincount(under[part], minlength=len(areas))[: len(areas)]
        if part.sum() >= max(0.6 * solid.sum(), SMALLEST) and np.all(seen[1:] - hidden[1:] >= (1 - MAX_COVERED) * areas[1:]):
            return y, x
    return None


def _shadow(rng: Generator, image: NDArray[np.float32], solid: NDArray[np.bool_]) -> None:
    """A soft shadow cast to one side, drawn before its thing."""
    dy, dx = int(rng.integers(1, 6)), int(rng.integers(-6, 7))
    soft = ndimage.gaussian_filter(np.roll(solid.astype(np.float32), (dy, dx), (0, 1)), rng.uniform(1, 3))
    image *= 1 - rng.uniform(0.2, 0.55) * soft[..., None]


def _words(rng: Generator) -> list[int]:
    count = int(rng.choice(len(COUNTS), p=COUNTS)) + 1
    words = [int(w) for w in rng.choice(len(THINGS), count, replace=False)]
    if count > 1 and rng.random() < ALIKE:
        words[1] = words[0]
        if count > 2 and rng.random() < 0.4:
            words[2] = words[0]
    return words


def draw(split: str, seed: int, index: int, captions: int = 3, words: tuple[str, ...] | None = None) -> Scene:
    """Scene ``index`` of a split and seed. ``words``: draw just these things (a word may come several times).

    Raises:
        InputError: unknown split or word.
    """
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if words is not None and (not 1 <= len(words) <= len(COUNTS) or any(w not in THINGS for w in words)):
        raise InputError(f"words must be one to {len(COUNTS)} of {', '.join(THINGS)}, got {', '.join(words) or 'none'}")
    rng = np.random.default_rng([SPLITS.index(split), seed, index])
    hand = index % 2 == 0  # of the held split, half is drawn by the held hand
    ground, stuff = _ground(rng)
    image = np.clip(ground * rng.uniform(0.85, 1.1), 0, 1).astype(np.float32)
    clutter = _scatter(rng, image, split, hand) if rng.random() < CLUTTER else np.zeros((SIZE, SIZE), bool)
    chosen = _words(rng) if words is None else [THINGS.index(w) for w in words]
    instances, labels = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    areas = np.zeros(1, np.int64)
    drawn: list[tuple[int, Glyph, str | None]] = []
    low, high = LONGEST[len(chosen) - 1]
    for k in chosen:
        glyph = _pick(rng, THINGS[k], split, hand)
        rgb, alpha = thing(rng, glyph, int(rng.integers(low, high + 1)))
        corner = _corner(rng, areas, instances, alpha > 0.5)
        if corner is None or (alpha > 0.5).sum() < SMALLEST:
            continue
        if rng.random() < 0.3:
            _shadow(rng, image, _paste(np.zeros_like(image), rgb, alpha, *corner))
        solid = _paste(image, rgb, alpha, *corner)
        drawn.append((k, glyph, colour_name(rgb, alpha > 0.5)))
        instances[solid], labels[solid], clutter[solid] = len(drawn), k + 1, False
        areas = np.append(areas, solid.sum())
    if rng.random() < 0.3:
        image += rng.normal(0, rng.uniform(0.005, 0.03), image.shape).astype(np.float32)
    things = tuple(Thing(THINGS[k], g, c, _box(instances == i + 1)) for i, (k, g, c) in enumerate(drawn))
    named = [Named(t.word, t.colour, ((t.box[0] + t.box[2]) / 2 / SIZE, (t.box[1] + t.box[3]) / 2 / SIZE)) for t in things]
    texts = tuple(caption(rng, named, stuff, bool(clutter.any())) for _ in range(captions))
    return Scene(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), labels, instances, clutter, things, stuff, texts)


def portrait(seed: int, index: int) -> Scene:
    """One whole thing in its own colours on one ground: what "a good picture of" says in the U-Net's captions.

    As on the web, where such words go with clear pictures; of all the ways to draw a thing few are kept, so that a small
    U-Net can learn to paint them.
    """
    rng = np.random.default_rng([len(SPLITS), seed, index])
    word = THINGS[rng.integers(len(THINGS))]
    drawings = [g for g in pool(word, "train")[0] if g.pack in PORTRAIT_PACKS]
    names = sorted({g.name for g in drawings})[:PORTRAIT_SHAPES]
    drawings = [g for g in drawings if g.name in names]
    glyph = drawings[rng.integers(len(drawings))]
    stuff: tuple[str, ...] = ()
    if rng.random() < NAMED_GROUND:
        stuff = (STUFF[rng.integers(len(STUFF))],)
        ground = textures.STUFF[stuff[0]][0](rng, SIZE)
    else:
        ground = np.broadcast_to(textures.any_colour(rng), (SIZE, SIZE, 3))
    image = np.clip(ground, 0, 1).astype(np.float32)
    rgb, alpha = thing(rng, glyph, int(rng.integers(PORTRAIT[0], PORTRAIT[1] + 1)), plain=True)
    y, x = (int(rng.integers(0, max(0, SIZE - side) + 1)) for side in alpha.shape)
    solid = _paste(image, rgb, alpha, y, x)
    drawn = Thing(word, glyph, colour_name(rgb, alpha > 0.5), _box(solid))
    text = good_caption(rng, word, drawn.colour, stuff)
    return Scene(
        np.round(np.clip(image, 0, 1) * 255).astype(np.uint8),
        np.where(solid, THINGS.index(word) + 1, 0).astype(np.uint8), solid.astype(np.uint8), np.zeros_like(solid),
        (drawn,), stuff, (text,),
    )  # fmt: skip


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def scenes(split: str, seed: int, count: int) -> Iterator[Scene]:
    """Scenes 0 .. count-1 of a split and seed."""
    for index in range(count):
        yield draw(split, seed, index)
