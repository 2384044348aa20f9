"""Contact sheets for the model card: glyphs, reconstructions, generated pictures, attention, results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from segwright.files.disk import atomic_write
from segwright.files.grid import grid
from segwright.files.overlay import overlay
from segwright.methods.best.method import Best
from segwright.mini.atlas import CELL, Glyph, picture
from segwright.mini.measure import POINTING_TIMESTEP, attention_maps, generate
from segwright.mini.scenes import THINGS, pool
from segwright.mini.voc import Shipped, read_scenes
from segwright.types import Image
from segwright.weights import Networks, load

WIDE, TEXT = 288, 16  # pixels of a shown result and of its letters


def glyph_sheet(columns: int = 20) -> Image:
    """Some glyphs of every word: coloured and silhouettes that training may show, then, behind a gap, held-out ones."""
    blank = np.full((64, 64, 3), 255, np.uint8)
    rows = []
    for word in THINGS:
        coloured, flat = pool(word, "train")
        held = [g for hand in (False, True) for part in pool(word, "held", hand) for g in part if g.held]
        kept = [_glyph(g) for g in (*_spread(coloured, columns - 9), *_spread(flat, 5))]
        rows.append(kept + [blank] * (columns - 3 - len(kept)) + [_glyph(g) for g in _spread(held, 3)])
        rows[-1] += [blank] * (columns - len(rows[-1]))
    return grid(rows, THINGS)


def _spread(glyphs: Sequence[Glyph], count: int) -> list[Glyph]:
    return [glyphs[int(i)] for i in np.linspace(0, len(glyphs) - 1, min(count, len(glyphs)))]


def _glyph(glyph: Glyph) -> Image:
    drawn = picture(glyph)
    canvas = Pillow.new("RGBA", (CELL, CELL), "white")
    canvas.alpha_composite(drawn, ((CELL - drawn.width) // 2, (CELL - drawn.height) // 2))
    return np.asarray(canvas.convert("RGB").resize((64, 64), Pillow.Resampling.LANCZOS))


def scene_sheet(scenes: Shipped) -> Image:
    """Drawn scenes as they are."""
    return grid([list(scenes.images[i : i + 12]) for i in range(0, 48, 12)], [""] * 4, 4)


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
        tuple(scenes.objects[i] for i in shown),
    )
    rows, names = [], []
    for image, maps in zip(part.images, attention_maps(networks, part, POINTING_TIMESTEP), strict=True):
        row = [image, *(_heat(m) for m in maps.values())]
        rows.append(row + [np.full_like(image, 255)] * (5 - len(row)))
        names.append(",\n".join(maps))
    return grid(rows, names)


def _heat(values: NDArray[np.float32]) -> Image:
    scaled = (values - values.min()) / max(float(np.ptp(values)), 1e-9)
    return np.repeat((scaled * 255).astype(np.uint8)[..., None], 3, 2)


def result_sheet(networks: Networks, scenes: Shipped) -> Image:
    """Eight scenes with what ``best`` cuts out of them, asked for the things that are there and two that are not."""
    method, rows = Best.on(networks), []
    for start in range(0, 8, 4):
        pairs = [_found(method, scenes, i) for i in range(start, start + 4)]
        rows += [[photo for photo, _ in pairs], [found for _, found in pairs]]
    return grid(rows, ["scene", "found", "scene", "found"], 70)


def _found(method: Best, scenes: Shipped, place: int) -> tuple[Image, Image]:
    """A scene above what it was asked for, and the result, names on its regions, above what was not found; of one size."""
    there = list(dict.fromkeys(scenes.notes[place]["things"]))
    others = [word for word in THINGS if word not in there]
    absent = [others[(7 * place + 5 * k) % len(others)] for k in range(2)]
    result = method(scenes.images[place], [*there, *absent])
    lost = [word for word in result.words if word not in result.found]
    painted = _below(overlay(scenes.images[place], result, legend=False), f"not found: {', '.join(lost) or '-'}")
    draw, font = ImageDraw.Draw(painted), ImageFont.load_default(TEXT)
    for word in result.found:
        y, x = (float(v.mean()) * WIDE / scenes.images[place].shape[0] for v in np.nonzero(result.mask(word)))
        draw.text((x, y), word, "white", font, "mm", stroke_width=2, stroke_fill="black")
    return np.asarray(_below(scenes.images[place], ", ".join(result.words))), np.asarray(painted)


def _below(picture: Image, text: str) -> Pillow.Image:
    """A square picture and a line of text below it."""
    canvas = Pillow.new("RGB", (WIDE, WIDE + 2 * TEXT), "white")
    canvas.paste(Pillow.fromarray(picture).resize((WIDE, WIDE), Pillow.Resampling.LANCZOS))
    ImageDraw.Draw(canvas).text((6, WIDE + TEXT // 2), text, (60, 60, 60), ImageFont.load_default(TEXT))
    return canvas


def write_sheets(out: Path, preset: str = "mini", split: str = "val") -> list[Path]:
    """All sheets as PNG files into ``out``."""
    import io

    networks, scenes = load(preset, "cpu"), read_scenes(split)
    sheets = {
        "glyphs": glyph_sheet(),
        "scenes": scene_sheet(scenes),
        "reconstructions": reconstruction_sheet(networks, scenes),
        "generated": generated_sheet(networks),
        "attention": attention_sheet(networks, scenes),
        "results": result_sheet(networks, scenes),
    }
    written = []
    for name, sheet in sheets.items():
        stream = io.BytesIO()
        Pillow.fromarray(sheet).save(stream, "PNG", optimize=True)
        written.append(atomic_write(out / f"{name}.png", stream.getvalue()))
    return written
