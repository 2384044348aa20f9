"""How one glyph becomes a drawn thing: colours, outline, surface, light and pose are drawn by lot, so that none of them names it.

Arrays are float32 in 0..1: ``rgb`` (h, w, 3) and ``alpha`` (h, w).
"""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from segwright.mini.atlas import Glyph, picture
from segwright.mini.textures import any_colour, stripes, value_noise

Array = NDArray[np.float32]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
PLAIN = 0.4  # of the glyphs that come in colours keep them, but for light and tint
PAD = 3  # pixels around a glyph, for outlines
COLOURS = {  # hue in degrees
    "red": 0, "orange": 28, "yellow": 52, "green": 120, "blue": 220, "purple": 280, "pink": 325,
}  # fmt: skip
COLOUR_NAMES = (*COLOURS, "brown", "black", "white", "grey")


def thing(rng: Generator, glyph: Glyph, longest: int, plain: bool = False) -> tuple[Array, Array]:
    """(rgb, alpha) of a glyph, finished, posed and scaled to ``longest`` pixels. ``plain``: in its own colours, nothing added."""
    posed = pose(rng, picture(glyph), longest)
    values: Array = np.pad(np.asarray(posed, np.float32) / np.float32(255), ((PAD, PAD), (PAD, PAD), (0, 0)))
    rgb: Array = values[..., :3]
    alpha: Array = values[..., 3]
    if glyph.silhouette:
        rgb, alpha = fill(rng, alpha)
    elif not plain and rng.random() >= PLAIN:
        rgb = RECOLOUR[rng.integers(len(RECOLOUR))](rng, rgb, alpha)
    rgb = np.clip(rgb * rng.uniform(0.8, 1.15) * rng.uniform(0.92, 1.08, 3).astype(np.float32) + rng.uniform(-0.05, 0.05), 0, 1)
    if plain:
        return rgb.astype(np.float32), alpha
    rgb = surface(rng, rgb, alpha)
    if rng.random() < 0.3:
        rgb, alpha = outline(rng, rgb, alpha)
    return rgb.astype(np.float32), alpha.astype(np.float32)


def pose(rng: Generator, glyph: Pillow.Image, longest: int) -> Pillow.Image:
    """Flip, mild perspective and stretch, turn by up to 15 degrees, scale to ``longest`` pixels."""
    if rng.random() < 0.5:
        glyph = glyph.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
    w, h = glyph.size
    if rng.random() < 0.5:
        a, b = rng.uniform(-0.1, 0.1, (2, 4))
        corners = [w * max(0.0, a[0]), h * max(0.0, b[0]), w * max(0.0, a[1]), h * (1 - max(0.0, b[1])),
                   w * (1 - max(0.0, a[2])), h * (1 - max(0.0, b[2])), w * (1 - max(0.0, a[3])), h * max(0.0, b[3])]  # fmt: skip
        # The corners of the visible quadrilateral are taken from a padded picture, so that nothing is cut.
        wide = Pillow.new("RGBA", (round(w * 1.24), round(h * 1.24)))
        wide.paste(glyph, (round(w * 0.12), round(h * 0.12)))
        away = [c + (w if k % 2 == 0 else h) * 0.12 for k, c in enumerate(corners)]
        spread = [-0.12 * w, -0.12 * h, -0.12 * w, 0.12 * h, 0.12 * w, 0.12 * h, 0.12 * w, -0.12 * h]
        quad = [c + s for c, s in zip(away, spread, strict=True)]
        glyph = wide.transform(wide.size, Pillow.Transform.QUAD, quad, Pillow.Resampling.BILINEAR)
    turned = glyph.rotate(rng.uniform(-15, 15), Pillow.Resampling.BICUBIC, expand=True)
    turned = turned.crop(turned.getchannel("A").point(lambda v: 255 * (v > 16)).getbbox())
    stretch = np.exp(rng.uniform(-0.16, 0.16, 2)) * turned.size
    scale = longest / max(stretch)
    return turned.resize((max(1, round(stretch[0] * scale)), max(1, round(stretch[1] * scale))), Pillow.Resampling.LANCZOS)


def _vivid(rng: Generator) -> Array:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.35, 1.0), rng.uniform(0.4, 1.0)), np.float32)


def fill(rng: Generator, alpha: Array) -> tuple[Array, Array]:
    """A silhouette: its filled body in one paint, what the drawing left open (windows, eyes, stripes) in another."""
    ink = alpha > 0.5
    body = ndimage.binary_fill_holes(ink)
    if body.sum() > 1.02 * ink.sum():
        first, second = paint(rng, alpha.shape), paint(rng, alpha.shape)
        rgb = np.where(ndimage.binary_opening(ink)[..., None], first, second) if rng.random() < 0.3 else first
        rgb = rgb + (second - rgb) * (body & ~ink)[..., None]
        rgb = ndimage.gaussian_filter(rgb, (0.6, 0.6, 0))
    else:
        rgb = paint(rng, alpha.shape)
    whole = np.maximum(alpha, body.astype(np.float32))
    if rng.random() < 0.5:  # a rounded look: brighter in the middle, darker at the rim
        depth = ndimage.distance_transform_edt(np.pad(body, 1))[1:-1, 1:-1]
        rgb = rgb * (0.55 + 0.5 * np.minimum(depth / max(2.0, 0.5 * depth.max()), 1) ** 0.7)[..., None]
    return np.clip(rgb, 0, 1).astype(np.float32), whole


def paint(rng: Generator, size: tuple[int, ...]) -> Array:
    """One colour, two in a gradient, patches or stripes: (h, w, 3)."""
    h, w = size[:2]
    side = max(h, w)
    kind = rng.integers(6)
    if kind == 0:
        return stripes(rng, side)[:h, :w]
    first = np.broadcast_to(_vivid(rng) if rng.random() < 0.6 else any_colour(rng), (h, w, 3)).astype(np.float32)
    if kind == 1:
        ramp = (
            np.linspace(0, 1, h, dtype=np.float32)[:, None, None]
            if rng.random() < 0.5
            else np.linspace(0, 1, w, dtype=np.float32)[:, None]
        )
        return first + (any_colour(rng) - first) * ramp
    if kind == 2:
        cells = int(rng.integers(3, 8))
        patches = np.clip((value_noise(rng, side, cells, cells)[:h, :w, None] - 0.5) * 8 + 0.5, 0, 1)
        return first + (any_colour(rng) - first) * patches
    return first


def rotate_hue(rng: Generator, rgb: Array, alpha: Array) -> Array:
    """A turn about the grey axis."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.full((3, 3), (1 - np.cos(angle)) / 3) + np.cos(angle) * np.eye(3)
    cross = np.sin(angle) / np.sqrt(3) * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return np.clip(rgb @ (axis + cross).T.astype(np.float32), 0, 1)


def swap_channels(rng: Generator, rgb: Array, alpha: Array) -> Array:
    return rgb[..., rng.permutation(3)]


def tint(rng: Generator, rgb: Array, alpha: Array) -> Array:
    """Grey, or grey in another colour."""
    grey = (rgb @ LUMA)[..., None]
    grey = 1 - grey if rng.random() < 0.2 else grey
    return np.repeat(grey, 3, 2) if rng.random() < 0.3 else np.clip(grey * 1.3 * _vivid(rng) + 0.1 * (1 - grey), 0, 1)


def two_tone(rng: Generator, rgb: Array, alpha: Array) -> Array:
    """Two or three flat colours by brightness."""
    grey = rgb @ LUMA
    inside = grey[alpha > 0.5]
    cuts = np.quantile(inside, np.sort(rng.uniform(0.25, 0.75, rng.integers(1, 3)))) if inside.size else [0.5]
    colours = np.stack([any_colour(rng) for _ in range(len(cuts) + 1)])
    return colours[np.digitize(grey, np.sort(cuts))]


def posterise(rng: Generator, rgb: Array, alpha: Array) -> Array:
    levels = int(rng.integers(2, 5))
    return (np.round(rotate_hue(rng, rgb, alpha) * (levels - 1)) / (levels - 1)).astype(np.float32)


def line_art(rng: Generator, rgb: Array, alpha: Array) -> Array:
    """The drawing's edges as dark lines on one paint."""
    grey = ndimage.gaussian_filter(rgb @ LUMA, 0.7)
    edge = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    lines = np.clip(edge * rng.uniform(1.5, 3.5) - 0.2, 0, 1)[..., None]
    body = paint(rng, alpha.shape)
    return body + (any_colour(rng) * 0.4 - body) * lines


RECOLOUR = (rotate_hue, rotate_hue, rotate_hue, swap_channels, tint, two_tone, posterise, line_art)


def surface(rng: Generator, rgb: Array, alpha: Array) -> Array:
    """Light from one side, texture, or neither."""
    h, w = alpha.shape
    if rng.random() < 0.3:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        ramp = ((x / w - 0.5) * np.cos(angle) + (y / h - 0.5) * np.sin(angle)).astype(np.float32)
        rgb = rgb * (1 + rng.uniform(0.3, 0.9) * ramp)[..., None]
    if rng.random() < 0.25:
        cells = int(rng.integers(4, 20))
        noise = value_noise(rng, max(h, w), cells, cells)[:h, :w]
        rgb = rgb * (1 - rng.uniform(0.15, 0.45) * noise)[..., None]
    return np.clip(rgb, 0, 1)


def outline(rng: Generator, rgb: Array, alpha: Array) -> tuple[Array, Array]:
    """A line of one or two pixels added around, or the rim taken away."""
    if rng.random() < 0.25:
        return rgb, ndimage.grey_erosion(alpha, (3, 3))
    width = int(rng.integers(1, 3))
    wide = ndimage.grey_dilation(alpha, (2 * width + 1, 2 * width + 1))
    colour = np.array([0.05, 0.05, 0.05] if rng.random() < 0.5 else [0.97, 0.97, 0.97] if rng.random() < 0.5 else any_colour(rng))
    return colour + (rgb - colour) * alpha[..., None], wide


def colour_name(rgb: Array, solid: NDArray[np.bool_]) -> str | None:
    """The word for a thing's colour, if six pixels of ten agree on it."""
    values = np.asarray(Pillow.fromarray((rgb[solid][None] * 255).astype(np.uint8)).convert("HSV"), np.float32)[0]
    if not len(values):
        return None
    hue, saturation, value = values[:, 0] * 360 / 255, values[:, 1] / 255, values[:, 2] / 255
    keys = list(COLOUR_NAMES)
    apart = np.abs((hue[:, None] - np.array(list(COLOURS.values())) + 180) % 360 - 180)
    found = apart.argmin(1)
    found[(value < 0.6) & np.isin(found, (0, 1)) & (hue > 8) & (hue < 50)] = keys.index("brown")
    found[saturation < 0.18] = keys.index("grey")
    found[(saturation < 0.18) & (value > 0.82)] = keys.index("white")
    found[value < 0.2] = keys.index("black")
    counts = np.bincount(found, minlength=len(keys))
    return keys[int(counts.argmax())] if counts.max() >= 0.6 * len(found) else None
