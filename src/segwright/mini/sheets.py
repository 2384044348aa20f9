"""Contact sheets for the model card: glyphs, reconstructions, generated pictures, attention, results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from segwright.errors import SegwrightError
from segwright.files.disk import atomic_write
from segwright.files.grid import grid
from segwright.files.overlay import overlay
from segwright.methods.freeseg_diff.method import FreeSegDiff
from segwright.mini.measure import POINTING_TIMESTEP, attention_maps, generate
from segwright.mini.scenes import THINGS, WORLD, find_font, glyph_image
from segwright.mini.voc import Shipped, read_scenes
from segwright.types import Image
from segwright.weights import Networks, load


def glyph_sheet(font: str | None = None) -> Image:
    """Every word's glyphs; the held-out ones stand behind a gap."""
    path, rows = find_font(font), []
    for word in THINGS:
        entry = WORLD["things"][word]
        row = [_glyph(g, path) for g in entry["glyphs"]]
        row += [np.full((64, 64, 3), 255, np.uint8)] * (3 - len(row)) + [_glyph(g, path) for g in entry["held_out"]]
        rows.append(row)
    half = len(rows) // 2
    return np.concatenate([grid(rows[:half], THINGS[:half]), grid(rows[half:], THINGS[half:])], 1)[:, :760]


def _glyph(glyph: str, font: Path) -> Image:
    picture = glyph_image(glyph, font)
    canvas = Pillow.new("RGBA", (140, 140), "white")
    canvas.alpha_composite(picture, ((140 - picture.width) // 2, (140 - picture.height) // 2))
    return np.asarray(canvas.convert("RGB").resize((64, 64), Pillow.Resampling.LANCZOS))


def reconstruction_sheet(networks: Networks, scenes: Shipped) -> Image:
    """Photos above what the VAE makes of them."""
    pixels = networks.diffusion.pixels(scenes.images[:8])
    with torch.no_grad():
        made = networks.diffusion.decode(networks.diffusion.encode(pixels))
    back = [np.round(m.permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8) for m in made]
    return grid([list(scenes.images[:8]), back], ["picture", "VAE"])


def generated_sheet(networks: Networks, seeds: int = 8) -> Image:
    """``seeds`` pictures of "a good picture of a WORD" for every word."""
    words = [w for w in THINGS for _ in range(seeds)]
    pictures = generate(networks, [f"a good picture of a {w}" for w in words], list(range(seeds)) * len(THINGS))
    small = [np.asarray(Pillow.fromarray(p).resize((96, 96), Pillow.Resampling.LANCZOS)) for p in pictures]
    return grid([small[i : i + seeds] for i in range(0, len(small), seeds)], THINGS)


def attention_sheet(networks: Networks, scenes: Shipped) -> Image:
    """Scenes, and behind each the cross-attention of every thing that its caption names."""
    shown = [i for i, n in enumerate(scenes.notes) if len(n["things"]) > 1][:8]
    part = Shipped(
        tuple(scenes.names[i] for i in shown),
        tuple(scenes.images[i] for i in shown),
        tuple(scenes.truths[i] for i in shown),
        tuple(scenes.notes[i] for i in shown),
    )
    rows, names = [], []
    for image, maps in zip(part.images, attention_maps(networks, part, POINTING_TIMESTEP), strict=True):
        row = [image, *(_heat(m) for m in maps.values())]
        rows.append(row + [np.full_like(image, 255)] * (4 - len(row)))
        names.append(",\n".join(maps))
    return grid(rows, names)


def _heat(values: NDArray[np.float32]) -> Image:
    scaled = (values - values.min()) / max(float(np.ptp(values)), 1e-9)
    return np.repeat((scaled * 255).astype(np.uint8)[..., None], 3, 2)


def result_sheet(networks: Networks, scenes: Shipped) -> Image:
    """Scenes with what FreeSeg-Diff cuts out of them, the 24 words given."""
    results = FreeSegDiff(networks).many(scenes.images[:8], THINGS)
    cells = []
    for image, result in zip(scenes.images[:8], results, strict=True):
        painted = Pillow.fromarray(overlay(image, result, legend=False)).resize((192, 192), Pillow.Resampling.LANCZOS)
        plain = Pillow.fromarray(image).resize((192, 192), Pillow.Resampling.LANCZOS)
        cells.append((np.asarray(plain), np.asarray(painted)))
    return grid([[c[0] for c in cells[:4]], [c[1] for c in cells[:4]], [c[0] for c in cells[4:]], [c[1] for c in cells[4:]]],
                ["scene", "found", "scene", "found"], 70)  # fmt: skip


def write_sheets(out: Path, preset: str = "mini", split: str = "val") -> list[Path]:
    """All sheets as PNG files into ``out``; the glyph sheet only where the font is."""
    import io

    networks, scenes = load(preset, "cpu"), read_scenes(split)
    sheets = {
        "reconstructions": reconstruction_sheet(networks, scenes),
        "generated": generated_sheet(networks),
        "attention": attention_sheet(networks, scenes),
        "results": result_sheet(networks, scenes),
    }
    try:
        sheets["glyphs"] = glyph_sheet()
    except SegwrightError as error:
        print(f"no glyph sheet: {error}")
    written = []
    for name, picture in sheets.items():
        stream = io.BytesIO()
        Pillow.fromarray(picture).save(stream, "PNG", optimize=True)
        written.append(atomic_write(out / f"{name}.png", stream.getvalue()))
    return written
