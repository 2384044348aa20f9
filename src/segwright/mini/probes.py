"""Small classifiers that judge the miniature networks from outside: linear probes, colour and outline alone, an independent judge.

All are trained on training scenes drawn for the purpose, with another seed than the networks' scenes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segwright.mini.scenes import SIZE, THINGS, Scene, draw
from segwright.types import Image

SEED = 77_000  # of the scenes that probes learn from
SCENES = 600
CELL = 8  # pixels of a probed cell


@cache
def training_scenes(count: int = SCENES) -> tuple[Scene, ...]:
    return tuple(draw("train", SEED, i) for i in range(count))


def linear_probe(seen: Tensor, labels: Tensor, classes: int, decay: float = 1e-4) -> Callable[[Tensor], Tensor]:
    """Multinomial logistic regression on standardised features (n, d) float32, by L-BFGS; returns features -> class."""
    mean, spread = seen.mean(0), seen.std(0).clamp(min=1e-6)
    inputs = (seen - mean) / spread
    weight = torch.zeros(inputs.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=150, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(inputs @ weight + bias, labels) + decay * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    w, b = weight.detach(), bias.detach()
    return lambda x: (((x - mean) / spread) @ w + b).argmax(1)


def colours(image: Image, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Shares of a mask's pixels in 6 x 6 x 6 bins of RGB, square roots: (216,)."""
    bins = (image[mask].astype(np.int64) * 6) // 256
    counts = np.bincount((bins * (36, 6, 1)).sum(1), minlength=216)
    return np.sqrt(counts / max(1, counts.sum())).astype(np.float32)


def outline(image: Image, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The mask cut to its box and brought to 20 x 20, proportions kept: (400,)."""
    ys, xs = np.nonzero(mask)
    cut = torch.from_numpy(mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].astype(np.float32))
    side = max(cut.shape)
    pad = (side - cut.shape[1], side - cut.shape[0])
    square = F.pad(cut, (pad[0] // 2, pad[0] - pad[0] // 2, pad[1] // 2, pad[1] - pad[1] // 2))
    return F.interpolate(square[None, None], (20, 20), mode="area").flatten().numpy()


Masked = tuple[Image, NDArray[np.bool_], int]


def true_masks(images: Sequence[Image], truths: Sequence[NDArray]) -> list[Masked]:
    """(image, mask, class index) of every word in every scene."""
    return [(i, t == c, int(c) - 1) for i, t in zip(images, truths, strict=True) for c in np.unique(t) if 0 < c <= len(THINGS)]


def classify_by(
    describe: Callable[[Image, NDArray[np.bool_]], NDArray[np.float32]], shown: Sequence[Masked]
) -> list[tuple[float, float]]:
    """Whether each true mask is named right, as (hit, 1) pairs, by a probe that sees nothing but ``describe`` of them (24-way)."""
    scenes = training_scenes()
    taught = true_masks([s.image for s in scenes], [s.labels for s in scenes])
    probe = linear_probe(
        torch.from_numpy(np.stack([describe(i, m) for i, m, _ in taught])), torch.tensor([c for _, _, c in taught]), len(THINGS)
    )
    found = probe(torch.from_numpy(np.stack([describe(i, m) for i, m, _ in shown])))
    return [(float(v), 1.0) for v in found == torch.tensor([c for _, _, c in shown])]


def cell_classes(truth: NDArray) -> Tensor:
    """(S, S) label map -> (S / CELL squared,) class index of cells that are mostly one thing, else -1."""
    parts = torch.from_numpy(truth.astype(np.int64)).unfold(0, CELL, CELL).unfold(1, CELL, CELL).flatten(2).flatten(0, 1)
    mode = parts.mode(1).values
    sure = ((parts == mode[:, None]).float().mean(1) >= 0.6) & (mode > 0) & (mode <= len(THINGS))
    return torch.where(sure, mode - 1, -1)


def patch_probe(
    features: Callable[[Sequence[Image]], Tensor], images: Sequence[Image], truths: Sequence[NDArray]
) -> list[tuple[float, float]]:
    """Cells of things that a linear probe on ``features`` (images -> (B, C, h, w)) names right, 24-way, as (hit, 1) pairs."""

    def collect(pictures: Sequence[Image], maps: Sequence[NDArray]) -> tuple[Tensor, Tensor]:
        vectors, classes = [], []
        for k in range(0, len(pictures), 16):
            made = F.interpolate(
                features(pictures[k : k + 16]).float(), (SIZE // CELL, SIZE // CELL), mode="bilinear", align_corners=False
            )
            found = torch.stack([cell_classes(t) for t in maps[k : k + 16]])
            vectors.append(made.flatten(2).transpose(1, 2)[found >= 0].cpu())
            classes.append(found[found >= 0])
        return torch.cat(vectors), torch.cat(classes)

    scenes = training_scenes()
    seen, labels = collect([s.image for s in scenes], [s.labels for s in scenes])
    shown, wanted = collect(images, truths)
    return [(float(v), 1.0) for v in linear_probe(seen, labels, len(THINGS))(shown) == wanted]


def raw_patches(images: Sequence[Image]) -> Tensor:
    """Each cell's own pixels: (B, 3 * CELL squared, h, w) float32."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return F.pixel_unshuffle(pixels, CELL)


class Judge(nn.Module):
    """A plain convolutional classifier of 24 things that shares nothing with the preset's networks."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, 32, 64, 96, 128)
        steps: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            steps += [
                nn.Conv2d(a, b, 3, stride=2, padding=1),
                nn.GroupNorm(8, b),
                nn.GELU(),
                nn.Conv2d(b, b, 3, padding=1),
                nn.GELU(),
            ]
        self.body = nn.Sequential(*steps)
        self.end = nn.Linear(sizes[-1], len(THINGS))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.end(self.body(pixels * 2 - 1).amax((2, 3)))


def train_judge(scenes: Sequence[Scene], steps: int = 1400, batch: int = 64, seed: int = 0) -> Judge:
    """Learn from one thing at a time: half on black, filling 70 to 130 % of the picture's side; half as drawn, and there, where
    the scene holds nothing else, from so near down to the whole picture, since whole pictures are what it is to judge."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    known = [(s, k) for s in scenes for k, t in enumerate(s.things) if min(t.box[2] - t.box[0], t.box[3] - t.box[1]) > 12]
    by_word = [[pair for pair in known if pair[0].things[pair[1]].word == w] for w in THINGS]
    for _ in range(steps):
        words = rng.integers(0, len(THINGS), batch)
        pictures = torch.stack([_cut_out(by_word[w][rng.integers(len(by_word[w]))], rng) for w in words])
        loss = F.cross_entropy(judge(pictures), torch.from_numpy(words), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


def _cut_out(shown: tuple[Scene, int], rng: np.random.Generator) -> Tensor:
    scene, k = shown
    x0, y0, x1, y1 = scene.things[k].box
    longest = max(x1 - x0, y1 - y0)
    side = longest * rng.uniform(0.8, 1.45)
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + rng.uniform(-0.08, 0.08, 2) * side
    image = scene.image
    if rng.random() < 0.5:
        image = image * (scene.instances == k + 1)[..., None]
    elif len(scene.things) == 1:
        side = rng.uniform(min(0.8 * longest, SIZE), SIZE)
        middle = middle.clip(side / 2, SIZE - side / 2)
    flip = rng.choice((-1.0, 1.0))
    turn = torch.tensor([[flip * side / SIZE, 0, middle[0] / SIZE * 2 - 1], [0, side / SIZE, middle[1] / SIZE * 2 - 1]]).float()
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    return F.grid_sample(
        pixels, F.affine_grid(turn[None], [1, 3, SIZE, SIZE], align_corners=False), "bilinear", "zeros", align_corners=False
    )[0]


@torch.no_grad()
def judged(judge: Judge, pictures: Sequence[Image]) -> NDArray[np.int64]:
    """Class index of each (S, S, 3) uint8 picture."""
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return torch.cat([judge(part).argmax(1) for part in pixels.split(64)]).numpy()


def cut(image: Image, mask: NDArray[np.bool_]) -> Image:
    """A true mask on black, moved and scaled to fill the picture."""
    ys, xs = np.nonzero(mask)
    side = max(ys.max() - ys.min(), xs.max() - xs.min()) * 1.1 + 1
    y, x = (ys.max() + ys.min()) / 2, (xs.max() + xs.min()) / 2
    pixels = torch.from_numpy(image * mask[..., None]).permute(2, 0, 1)[None].float()
    turn = torch.tensor([[[side / SIZE, 0, x / SIZE * 2 - 1], [0, side / SIZE, y / SIZE * 2 - 1]]]).float()
    grid = F.affine_grid(turn, [1, 3, SIZE, SIZE], align_corners=False)
    return F.grid_sample(pixels, grid, "bilinear", "zeros", align_corners=False)[0].permute(1, 2, 0).numpy().astype(np.uint8)
