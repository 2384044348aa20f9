"""Contact sheets: rows of equally sized pictures with names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from segwright.types import Image

GAP, TEXT = 4, 14


def grid(rows: Sequence[Sequence[Image]], names: Sequence[str], width: int = 110) -> Image:
    """Rows of equally sized pictures, each row with its name at the left, in ``width`` pixels."""
    side_y, side_x = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    canvas = Pillow.new("RGB", (width + columns * (side_x + GAP), len(rows) * (side_y + GAP)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = i * (side_y + GAP)
        draw.text((4, y + side_y // 2 - TEXT // 2), name, "black", font)
        for j, picture in enumerate(row):
            canvas.paste(Pillow.fromarray(picture), (width + j * (side_x + GAP), y))
    return np.asarray(canvas)
