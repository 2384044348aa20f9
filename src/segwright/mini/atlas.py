"""The shipped atlas of glyphs: what the miniature world draws its things from, and how it is made from icon packages.

``glyphs.json`` names the drawings, picked by eye, by word and npm package; ``atlas/PACK.webp`` holds them as RGBA cells.
Drawing scenes needs only the atlas; making it anew needs the packages and resvg (``pip install "segwright[atlas]"``).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segwright.errors import InputError
from segwright.files.disk import atomic_write

CELL = 96  # pixels of a cell's side; things are drawn up to 110
COLUMNS = 16
HELD_HAND = "emojione"  # the whole hand that no training scene shows
THREE_D = "fluent-emoji-3d"  # webp files by code point in @lobehub/fluent-emoji-3d, named as Noto names them
# One colour on nothing: filled, textured and shaded by ``finish``. All other packs are drawn in colours.
SILHOUETTES = frozenset(
    ("fa7-solid", "fluent", "fluent-emoji-high-contrast", "game-icons", "healthicons", "icon-park", "maki", "material-symbols",
     "mdi", "mingcute", "ph", "solar", "streamline", "streamline-flex", "streamline-plump", "tabler", "icons8")
)  # fmt: skip


@dataclass(frozen=True)
class Glyph:
    """One drawing: its word (None = clutter), package, name there, and whether no training scene may show it."""

    word: str | None
    pack: str
    name: str
    cell: int
    held: bool

    @property
    def silhouette(self) -> bool:
        return self.pack in SILHOUETTES


def _folder() -> Path:
    return Path(str(resources.files("segwright.mini").joinpath("atlas")))


@cache
def names() -> dict[str, Any]:
    """``glyphs.json``: {"things": {word: {pack: [name]}}, "clutter": {pack: [name]}, "held_out": {word: [name]}}."""
    return json.loads(resources.files("segwright.mini").joinpath("glyphs.json").read_text("utf8"))


@cache
def glyphs() -> tuple[Glyph, ...]:
    """Every glyph of the shipped atlas, in the order of its index."""
    rows = json.loads((_folder() / "atlas.json").read_text("utf8"))
    return tuple(Glyph(word, pack, name, cell, held) for word, pack, name, cell, held in rows)


@cache
def _sheet(pack: str) -> NDArray[np.uint8]:
    with Pillow.open(_folder() / f"{pack}.webp") as sheet:
        return np.asarray(sheet.convert("RGBA"))


@cache
def picture(glyph: Glyph) -> Pillow.Image:
    """RGBA, cut to its visible box, at most ``CELL`` pixels a side."""
    y, x = divmod(glyph.cell, COLUMNS)
    cell = Pillow.fromarray(_sheet(glyph.pack)[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL])
    return cell.crop(cell.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox())


def make_atlas(packages: Path, output: Path) -> int:
    """Render the glyphs that ``glyphs.json`` names into ``output`` (atlas.json and a WebP sheet a package).

    Args:
        packages: a folder with the unpacked npm packages, each in a folder that ends in its name (``iconify-json-noto-1.2.9``).

    Returns:
        How many glyphs were rendered.

    Raises:
        InputError: a package or a name in it is missing.
    """
    rows: list[tuple[str | None, str, str, int, bool]] = []
    cells: dict[str, list[Pillow.Image]] = {}
    for word, pack, name in _wanted(packages):
        held = pack == HELD_HAND or (word is not None and _held_out(word, name))
        drawn = cells.setdefault(pack, [])
        rows.append((word, pack, name, len(drawn), held))
        drawn.append(_render(packages, pack, name))
    for pack, drawn in cells.items():
        sheet = Pillow.new("RGBA", (COLUMNS * CELL, -(-len(drawn) // COLUMNS) * CELL))
        for k, cell in enumerate(drawn):
            sheet.paste(cell, (k % COLUMNS * CELL, k // COLUMNS * CELL))
        stream = io.BytesIO()
        sheet.save(stream, "WEBP", quality=82, method=6, lossless=pack in SILHOUETTES)
        atomic_write(output / f"{pack}.webp", stream.getvalue())
    atomic_write(output / "atlas.json", ("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n").encode())
    return len(rows)


def _held_out(word: str, name: str) -> bool:
    return any(part in name for part in names()["held_out"].get(word, ()))


def _wanted(packages: Path) -> Iterator[tuple[str | None, str, str]]:
    for word, packs in names()["things"].items():
        for pack, listed in packs.items():
            yield from ((word, pack, name) for name in listed)
        yield from ((word, THREE_D, name) for name in packs.get("noto", ()) if _webp(packages, name))
    for pack, listed in names()["clutter"].items():
        yield from ((None, pack, name) for name in listed)


@cache
def _package(packages: Path, name: str) -> Path:
    found = sorted(
        p for p in packages.glob(f"*{name}-[0-9]*") if p.is_dir() and p.name.split(name)[0] in ("iconify-json-", "lobehub-")
    )
    if not found:
        scope = "lobehub" if name == THREE_D else "iconify-json"
        raise InputError(f"{packages} has no package {name}; fetch it with: npm pack @{scope}/{name}, and unpack it there")
    return found[0]


@cache
def _icons(packages: Path, pack: str) -> dict[str, Any]:
    return json.loads((_package(packages, pack) / "icons.json").read_text("utf8"))


def _webp(packages: Path, name: str) -> Path | None:
    codes = json.loads((_package(packages, "noto") / "chars.json").read_text("utf8"))
    code = next((c for c, slug in codes.items() if slug == name), None)
    file = _package(packages, THREE_D) / "assets" / f"{code}.webp"
    return file if file.is_file() else None


def _render(packages: Path, pack: str, name: str) -> Pillow.Image:
    """The glyph as a CELL x CELL RGBA picture, its longer side filling the cell."""
    drawn = _open_3d(packages, name) if pack == THREE_D else _rasterise(packages, pack, name, CELL * 2)
    drawn = drawn.crop(drawn.getbbox())
    scale = CELL / max(drawn.size)
    small = drawn.resize((max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale))), Pillow.Resampling.LANCZOS)
    cell = Pillow.new("RGBA", (CELL, CELL))
    cell.paste(small, ((CELL - small.width) // 2, (CELL - small.height) // 2))
    return cell


def _open_3d(packages: Path, name: str) -> Pillow.Image:
    file = _webp(packages, name)
    if file is None:
        raise InputError(f"@lobehub/{THREE_D} has no picture of {name}")
    with Pillow.open(file) as opened:
        return opened.convert("RGBA")


def _rasterise(packages: Path, pack: str, name: str, size: int) -> Pillow.Image:
    icons = _icons(packages, pack)
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise InputError('making the atlas needs resvg: pip install "segwright[atlas]"') from error
    icon = icons["icons"].get(name) or icons["icons"].get(icons.get("aliases", {}).get(name, {}).get("parent"))
    if icon is None:
        raise InputError(f"@iconify-json/{pack} has no icon {name}; glyphs.json was picked from another version")
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    scale = size / max(width, height)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#000" '
        f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )
    png = svg_to_bytes(svg_string=svg, width=round(width * scale), height=round(height * scale))
    return Pillow.open(io.BytesIO(bytes(png))).convert("RGBA")
