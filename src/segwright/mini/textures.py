"""Procedural grounds of the miniature world: six kinds of stuff, and grounds without a name.

Every function takes a numpy Generator and a size S and returns (S, S, 3) float32 in 0..1.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]


def value_noise(rng: Generator, size: int, rows: int, cols: int) -> Array:
    """A (rows, cols) grid of uniform values, enlarged bicubically to (size, size), 0..1."""
    grid = rng.random((rows, cols), dtype=np.float32)
    wide = Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(wide, np.float32), 0, 1)


def _colour(rng: Generator, hue: tuple[float, float], sat: tuple[float, float], val: tuple[float, float]) -> Array:
    rgb = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*sat), rng.uniform(*val))
    return np.array(rgb, np.float32)


def any_colour(rng: Generator) -> Array:
    return _colour(rng, (0, 1), (0, 0.9), (0.15, 1.0))


def _mix(a: Array, b: Array, weight: Array) -> Array:
    return a + (b - a) * weight[..., None]


def _axes(size: int) -> tuple[Array, Array]:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    return y, x


def _slope(rng: Generator, size: int) -> Array:
    """Distance along a random direction, about -0.7..0.7."""
    y, x = _axes(size)
    angle = rng.uniform(0, np.pi)
    return ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)).astype(np.float32)


def grass(rng: Generator, size: int) -> Array:
    base = _colour(rng, (0.22, 0.38), (0.5, 0.9), (0.35, 0.75))
    blades = value_noise(rng, size, size // 8, size // 2) * 0.6 + value_noise(rng, size, 6, 6) * 0.4
    return _mix(base * 0.6, base * 1.25, blades)


def sky(rng: Generator, size: int) -> Array:
    top = _colour(rng, (0.54, 0.64), (0.4, 0.85), (0.6, 1.0))
    low = _mix(top, np.ones(3, np.float32), np.full((), rng.uniform(0.2, 0.7), np.float32))
    y, _ = _axes(size)
    cloud = value_noise(rng, size, 5, 3) * 0.7 + value_noise(rng, size, 12, 7) * 0.3
    cover = np.clip((cloud - rng.uniform(0.45, 0.7)) * 4, 0, 0.9).astype(np.float32)
    return _mix(_mix(top, low, y), np.ones(3, np.float32), cover)


def water(rng: Generator, size: int) -> Array:
    base = _colour(rng, (0.47, 0.63), (0.5, 0.95), (0.35, 0.8))
    y, _ = _axes(size)
    swell = value_noise(rng, size, 8, 3)
    waves = 0.5 + 0.5 * np.sin(2 * np.pi * (y * rng.uniform(6, 14) + swell * 1.5))
    weight = 0.6 * waves**3 + 0.4 * value_noise(rng, size, size // 4, 6)
    return _mix(base * 0.75, np.clip(base * 1.2 + 0.15, 0, 1), weight.astype(np.float32))


def sand(rng: Generator, size: int) -> Array:
    base = _colour(rng, (0.08, 0.14), (0.25, 0.55), (0.7, 0.95))
    dunes = value_noise(rng, size, 5, 3)
    grain = rng.random((size, size), dtype=np.float32)
    return _mix(base * 0.72, base * 1.08, 0.6 * dunes + 0.4 * grain)


def road(rng: Generator, size: int) -> Array:
    base = _colour(rng, (0.55, 0.7), (0, 0.1), (0.25, 0.5))
    grain = rng.random((size, size), dtype=np.float32) * 0.5 + value_noise(rng, size, 4, 4) * 0.5
    out = _mix(base * 0.85, base * 1.15, grain)
    along = _slope(rng, size)
    across = np.rot90(along)
    dashes = (np.abs(along - rng.uniform(-0.2, 0.2)) < 0.022) & (np.mod(across * 5 + rng.random(), 1) < 0.6)
    paint = np.array([0.95, 0.95, 0.9] if rng.random() < 0.6 else [0.95, 0.8, 0.2], np.float32)
    return np.where(dashes[..., None], paint, out)


def snow(rng: Generator, size: int) -> Array:
    base = _colour(rng, (0.55, 0.65), (0.02, 0.12), (0.88, 1.0))
    drift = value_noise(rng, size, 4, 4)
    out = _mix(base * 0.84, np.clip(base * 1.05, 0, 1), drift)
    flakes = rng.random((size, size)) < 0.012
    return np.where(flakes[..., None], np.float32(1.0), out)


def meadow(rng: Generator, size: int) -> Array:
    """Grass with flowers: dots on blades."""
    out = grass(rng, size)
    seeds = value_noise(rng, size, size // 3, size // 3) * value_noise(rng, size, 5, 5) > rng.uniform(0.55, 0.7)
    return np.where(seeds[..., None], _colour(rng, (0, 1), (0.3, 1), (0.7, 1)), out).astype(np.float32)


def lawn(rng: Generator, size: int) -> Array:
    """Mown grass: broad stripes of two greens."""
    base = _colour(rng, (0.24, 0.36), (0.45, 0.85), (0.35, 0.7))
    bands = np.clip(np.sin(2 * np.pi * _slope(rng, size) * rng.uniform(2, 5)) * 4 + 0.5, 0, 1)
    grain = rng.random((size, size), dtype=np.float32)
    return _mix(base * 0.85, base * 1.1, (0.7 * bands + 0.3 * grain).astype(np.float32))


def clear_sky(rng: Generator, size: int) -> Array:
    """Blue, or the colours of evening, without a cloud."""
    evening = rng.random() < 0.35
    top = _colour(rng, (0.56, 0.72), (0.4, 0.8), (0.45, 0.95))
    low = _colour(rng, (0.0, 0.12), (0.3, 0.7), (0.85, 1.0)) if evening else _colour(rng, (0.5, 0.6), (0.1, 0.35), (0.9, 1.0))
    y, _ = _axes(size)
    return _mix(top, low, y ** rng.uniform(0.7, 1.8))


def ripples(rng: Generator, size: int) -> Array:
    """Water from above: a net of light."""
    base = _colour(rng, (0.46, 0.62), (0.45, 0.9), (0.45, 0.85))
    cells = int(rng.integers(6, 14))
    net = 1 - np.abs(value_noise(rng, size, cells, cells) - value_noise(rng, size, cells, cells)) * 3
    return _mix(base * 0.85, np.clip(base * 1.1 + 0.25, 0, 1), np.clip(net, 0, 1) ** 4)


def dunes(rng: Generator, size: int) -> Array:
    """Sand in ridges."""
    base = _colour(rng, (0.07, 0.13), (0.3, 0.6), (0.75, 0.98))
    y, _ = _axes(size)
    ridge = np.mod(y * rng.uniform(2.5, 6) + value_noise(rng, size, 4, 3) * rng.uniform(0.8, 1.8), 1)
    return _mix(base * 0.68, base * 1.08, ridge.astype(np.float32))


def cobbles(rng: Generator, size: int) -> Array:
    """A road of stones in rows."""
    base = _colour(rng, (0.0, 1.0), (0, 0.08), (0.4, 0.65))
    y, x = _axes(size)
    rows = rng.uniform(7, 13)
    row = np.floor(y * rows)
    gap = (np.mod(y * rows, 1) < 0.14) | (np.mod(x * rows * 0.7 + row * 0.5, 1) < 0.1)
    shade = value_noise(rng, size, int(rows), int(rows * 0.7))
    return np.where(gap[..., None], base * 0.55, _mix(base * 0.85, base * 1.2, shade)).astype(np.float32)


def snowfield(rng: Generator, size: int) -> Array:
    """Snow with blue shadows."""
    base = _colour(rng, (0.55, 0.64), (0.0, 0.08), (0.92, 1.0))
    shade = np.clip((value_noise(rng, size, 6, 3) - rng.uniform(0.4, 0.6)) * 3, 0, 1)
    return _mix(base, _colour(rng, (0.56, 0.64), (0.15, 0.35), (0.7, 0.88)), shade)


def gradient(rng: Generator, size: int) -> Array:
    weight = np.clip(_slope(rng, size) + 0.5, 0, 1)
    return _mix(any_colour(rng), any_colour(rng), weight)


def noise(rng: Generator, size: int) -> Array:
    cells = int(rng.integers(3, 24))
    return _mix(any_colour(rng), any_colour(rng), value_noise(rng, size, cells, cells))


def stripes(rng: Generator, size: int) -> Array:
    wave = np.sin(2 * np.pi * (_slope(rng, size) * rng.uniform(3, 12) + rng.random()))
    return _mix(any_colour(rng), any_colour(rng), np.clip(wave * 4 + 0.5, 0, 1).astype(np.float32))


STUFF: dict[str, tuple[Callable[[Generator, int], Array], ...]] = {
    "grass": (grass, meadow, lawn), "sky": (sky, clear_sky), "water": (water, ripples),
    "sand": (sand, dunes), "road": (road, cobbles), "snow": (snow, snowfield),
}  # fmt: skip
UNNAMED: tuple[Callable[[Generator, int], Array], ...] = (gradient, noise, stripes)
