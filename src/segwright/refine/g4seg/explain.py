"""One page that shows how G4Seg changed a coarse mask (the paper's Figs. 6 to 8): reconstructions, matches, what moved and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw
from torch import Tensor

from segwright.files.html import Page, enlarged, figure, image_bytes
from segwright.files.overlay import overlay
from segwright.refine.g4seg.method import DEFAULT, Pass, concluded, passes, starting_point
from segwright.refine.g4seg.reconstruction import Reconstructor
from segwright.refine.g4seg.settings import G4SegSettings
from segwright.types import Image, Scores, Segmentation
from segwright.weights import Networks

SHOWN = 300  # pixels of a picture's side
POINTS = 15  # matches drawn a class, as in Fig. 8
UP, DOWN, SAME = (20, 140, 40), (200, 40, 30), (90, 90, 90)


@dataclass(frozen=True)
class Move:
    """A cell and its match, (row, column) on the grid, with the class's probability before, at the match, and after."""

    here: tuple[int, int]
    there: tuple[int, int]
    before: float
    match: float
    after: float

    @property
    def colour(self) -> tuple[int, int, int]:
        return SAME if abs(self.after - self.before) < 1e-4 else UP if self.after > self.before else DOWN


def page(image: Image, scores: Scores, networks: Networks, settings: G4SegSettings = DEFAULT, title: str = "") -> Page:
    """Refine one photo's scores; the page of the steps."""
    settings = replace(settings, correspondence=True)
    own = starting_point(scores, settings)
    start = replace(scores, values=own / own.sum(0).clamp(min=1e-12))
    done = list(passes(image, scores, own, networks, settings))
    name = title or "photo"
    intro = (
        f"<p>Preset <code>{escape(networks.preset.name)}</code>, timestep {settings.timestep}, injection weights "
        f"{settings.cross:g} (cross) and {settings.self_:g} (self), beta {settings.beta:g}, "
        f"{len(done)} of {settings.passes} passes, seed {settings.seed}.</p>"
    )
    end = concluded(scores, own, done[-1].after) if done else scores
    first = (
        "<h2>1. Photo and coarse mask</h2>"
        + figure(image_bytes(enlarged(image)), f"{image.shape[1]} x {image.shape[0]} pixels")
        + figure(image_bytes(_overlay(image, start)), "coarse mask")
    )
    if not done:
        return Page(f"{name}: G4Seg, step by step", name, intro + first + f"<p>{_unchanged(settings)}</p>")
    classes = "".join(_class(image, start, networks, settings, done, k=k) for k in range(len(done[0].labels)))
    changed = int((start.argmax() != end.argmax()).sum())
    share = f"<p>{changed} of {image.shape[0] * image.shape[1]} pixels have another label than before.</p>"
    last = f"<h2>3. Refined mask</h2>{share}" + figure(image_bytes(_overlay(image, end)), "refined mask")
    how = f"<h2>2. One class at a time</h2><p>{_legend(settings)}</p>"
    return Page(f"{name}: G4Seg, step by step", name, intro + first + how + classes + last)


def _unchanged(settings: G4SegSettings) -> str:
    low, high = settings.certain or (0.0, 1.0)
    return f"Nothing to refine: no class is strongest anywhere with a probability between {low:g} and {high:g}."


def _legend(settings: G4SegSettings) -> str:
    only = f"Only probabilities from {settings.certain[0]:g} to {settings.certain[1]:g} are updated. " if settings.certain else ""
    return (
        "The photo is noised and denoised once, with the prompt of the class, without and with its coarse mask injected into "
        "attention. Each cell of the result (circle, right) looks for the cell of the photo that it resembles most (star, left), "
        f"and its probability is mixed with the one found there. {only}Green: the probability rose; red: it fell; grey: it stayed."
    )


def _class(image: Image, start: Scores, networks: Networks, settings: G4SegSettings, done: list[Pass], *, k: int) -> str:
    """Reconstructions, matches and changes of one class in the first pass."""
    shown = done[0]
    label = shown.labels[k]
    word, row = start.words[label - 1], start.labels.index(label)
    plain = _plain(image, word, shown.masks[k : k + 1], networks, settings)
    made = _picture(shown.pictures[k])
    moves = sampled(shown, row, k, settings.grid)
    apart = 255 * float((shown.pictures[k] - plain).abs().mean())
    square = np.asarray(Pillow.fromarray(image).resize((made.shape[1], made.shape[0]), Pillow.Resampling.BICUBIC))
    figures = [
        figure(image_bytes(enlarged(heat(shown.before[row]), SHOWN)), f"probability of {word} before"),
        figure(image_bytes(enlarged(_picture(plain), SHOWN)), "one-step reconstruction without injection"),
        figure(image_bytes(enlarged(made, SHOWN)), f"with injection (mean difference {apart:.2f} of 255)"),
        figure(image_bytes(drawn(square, made, moves, settings.grid)), f"{len(moves)} matches: photo left, reconstruction right"),
        figure(image_bytes(enlarged(change(done[-1].after[row] - shown.before[row]), SHOWN)), "what moved (green up, red down)"),
    ]
    rows = "".join(_row(i, m) for i, m in enumerate(moves, 1))
    head = "<tr><th></th><th>cell</th><th>matches</th><th>before</th><th>there</th><th>after</th><th></th></tr>"
    return f"<h3>{escape(word)}</h3>{''.join(figures)}<details><summary>the matches</summary><table>{head}{rows}</table></details>"


def _row(number: int, move: Move) -> str:
    if abs(move.after - move.before) < 1e-4:
        why = "outside the filter, or the same there"
    elif move.after > move.before:
        why = '<span class="kept">rose: it looks like a place inside the mask</span>'
    else:
        why = '<span class="dropped">fell: it looks like a place outside the mask</span>'
    return (
        f"<tr><td>{number}</td><td>{move.here[0]}, {move.here[1]}</td><td>{move.there[0]}, {move.there[1]}</td>"
        f"<td>{move.before:.2f}</td><td>{move.match:.2f}</td><td>{move.after:.2f}</td><td>{why}</td></tr>"
    )


def _plain(image: Image, word: str, mask: Tensor, networks: Networks, settings: G4SegSettings) -> Tensor:
    """(3, S, S) in 0..1: the reconstruction without injection."""
    from segwright.refine.g4seg.method import square

    photo = square(image, networks, settings)
    reconstructor = Reconstructor(networks.diffusion, networks.diffusion.encode(photo[None].float() / 255), settings)
    return reconstructor([word], mask, inject=False)[0]


def _picture(values: Tensor) -> Image:
    """(3, S, S) in 0..1 -> (S, S, 3) uint8."""
    return np.asarray((values * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())


def sampled(shown: Pass, row: int, k: int, grid: int, count: int = POINTS) -> list[Move]:
    """Cells spread evenly over those that moved, and where too few did, over the class's outline and inside."""

    def cells(values: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(values[None], grid)[0].flatten()

    before, after = cells(shown.before[row]), cells(shown.after[row])
    there = shown.matches[k].to(before.device)
    moved = (after - before).abs()
    order = moved.argsort(descending=True, stable=True)
    candidates = order[moved[order] > 1e-4]
    if len(candidates) < count:
        rest = order[(moved[order] <= 1e-4) & (before[order] > 0.5)]
        candidates = torch.cat([candidates, rest[:: max(1, len(rest) // count)]])[:count] if len(rest) else candidates
    if not len(candidates):
        return []
    picked = candidates[torch.linspace(0, len(candidates) - 1, min(count, len(candidates))).round().long()]
    return [
        Move(divmod(int(j), grid), divmod(int(there[j]), grid), float(before[j]), float(before[there[j]]), float(after[j]))
        for j in picked
    ]


def drawn(photo: Image, made: Image, moves: list[Move], grid: int) -> Image:
    """Photo and reconstruction side by side, with a line for each match."""
    side, gap = SHOWN, 12
    canvas = Pillow.new("RGB", (2 * side + gap, side), (255, 255, 255))
    canvas.paste(Pillow.fromarray(photo).resize((side, side), Pillow.Resampling.BICUBIC), (0, 0))
    canvas.paste(Pillow.fromarray(made).resize((side, side), Pillow.Resampling.BICUBIC), (side + gap, 0))
    draw = ImageDraw.Draw(canvas)

    def at(cell: tuple[int, int], left: int) -> tuple[float, float]:
        return left + (cell[1] + 0.5) * side / grid, (cell[0] + 0.5) * side / grid

    for move in moves:
        (x0, y0), (x1, y1) = at(move.there, 0), at(move.here, side + gap)
        draw.line((x0, y0, x1, y1), fill=move.colour, width=1)
        draw.ellipse((x1 - 4, y1 - 4, x1 + 4, y1 + 4), outline=(255, 255, 255), fill=move.colour)
        star = [(x0 + r * np.sin(a), y0 - r * np.cos(a)) for a, r in zip(np.arange(10) * np.pi / 5, [7, 3] * 5, strict=True)]
        draw.polygon(star, fill=move.colour, outline=(255, 255, 255))
    return np.asarray(canvas)


def heat(values: Tensor) -> Image:
    """(H, W) of 0..1 -> (H, W, 3) uint8, black to white."""
    grey = (values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return np.repeat(grey[..., None], 3, 2)


def change(values: Tensor) -> Image:
    """(H, W) of -1..1 -> (H, W, 3) uint8: white where nothing moved, green up, red down; full colour at the largest change."""
    signed: NDArray[np.float32] = values.cpu().numpy()
    strength = np.abs(signed)[..., None] / max(1e-6, float(np.abs(signed).max()))
    colour = np.where(signed[..., None] > 0, np.array(UP), np.array(DOWN))
    return np.asarray((255 + strength * (colour - 255)).round(), np.uint8)


def _overlay(image: Image, scores: Scores) -> Image:
    return overlay(image, Segmentation(scores.words, scores.argmax().cpu().numpy(), scores))
