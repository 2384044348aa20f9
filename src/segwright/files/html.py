"""What the pages share: their style, figures that hold their pictures, features and regions as colours."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from segwright.files.colors import color
from segwright.types import Image

SHOWN = 320  # pixels of the long side of a small picture

STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: #1c1c1c; }
h2 { margin: 1.6em 0 .4em; border-bottom: 1px solid #ccc; }
figure { display: inline-block; margin: 0 1em 1em 0; vertical-align: top; }
img { image-rendering: pixelated; max-width: 100%; border: 1px solid #ddd; } figcaption { max-width: 320px; color: #333; }
table { border-collapse: collapse; } td, th { padding: .2em .8em .2em 0; text-align: left; vertical-align: top; }
.kept { color: #14691b; } .dropped { color: #a02018; } code { background: #f2f2f2; padding: 0 .3em; }
"""


@dataclass(frozen=True)
class Page:
    """A page of somebody's steps.

    Attributes:
        title: of the window.
        heading: at the top.
        body: HTML.
    """

    title: str
    heading: str
    body: str

    def html(self) -> str:
        """The whole page, with its pictures in it."""
        return document(self.title, self.heading, self.body)


def document(title: str, heading: str, body: str) -> str:
    """A whole page; ``body`` is HTML, the others are text."""
    opening = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    return f"{opening}<style>{STYLE}</style><h1>{escape(heading)}</h1>{body}</html>\n"


def principal_components(features: Tensor) -> Image:
    """(C, h, w) -> (h, w, 3) uint8: the first three principal components of the cells, each stretched to 0..255."""
    cells = features.float().flatten(1).T
    cells = cells - cells.mean(0)
    u, s, _ = torch.linalg.svd(cells, full_matrices=False)
    three = torch.zeros(len(cells), 3)
    three[:, : min(3, u.shape[1])] = (u * s)[:, :3].cpu()
    low, high = three.quantile(0.02, dim=0), three.quantile(0.98, dim=0)
    scaled = ((three - low) / (high - low).clamp(min=1e-9)).clamp(0, 1) * 255
    return scaled.round().to(torch.uint8).view(*features.shape[1:], 3).numpy()


def colour_regions(regions: NDArray[np.int64]) -> Image:
    """(H, W) from 0 -> (H, W, 3) uint8, one colour a region."""
    table = np.array([color(i + 1) for i in range(int(regions.max()) + 1)], np.uint8)
    return table[regions]


def enlarged(picture: Image, side: int = SHOWN) -> Image:
    scale = side / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    how = Pillow.Resampling.NEAREST if scale > 1 else Pillow.Resampling.LANCZOS
    return np.asarray(Pillow.fromarray(picture).resize(size, how))


def image_bytes(picture: Image) -> bytes:
    """PNG bytes of an (H, W, 3) uint8 picture."""
    stream = io.BytesIO()
    Pillow.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def figure(png: bytes, caption: str, safe: bool = False) -> str:
    text = caption if safe else escape(caption)
    alt = escape(text.split("<br>")[0].replace("<b>", "").replace("</b>", "")) if safe else text
    data = base64.b64encode(png).decode()
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
