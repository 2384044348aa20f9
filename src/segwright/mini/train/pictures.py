"""What the stages clip and guide learn from: regions on black and whole scenes, with the classes that are right for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from segwright.mini.captions import caption
from segwright.mini.scenes import SIZE, STUFF, THINGS
from segwright.mini.train.data import CLUTTER, Drawn, named_things
from segwright.mini.train.tokens import BACKGROUND_WORDS

PATCH = 8
KINDS = ("thing", "fragment", "ground", "clutter")
SHARES = (0.54, 0.33, 0.08, 0.05)  # of the masked pictures
SMOOTHING = 0.05
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
BLACK = -torch.tensor(MEAN).view(3, 1, 1) / torch.tensor(STD).view(3, 1, 1)
CLASSES = (*THINGS, *STUFF, *BACKGROUND_WORDS)
FIRST_STUFF, FIRST_BACKGROUND = len(THINGS), len(THINGS) + len(STUFF)
UNNAMED = list(range(FIRST_BACKGROUND, len(CLASSES) - 1))  # what a ground without a name may be called
SOMETHING = len(CLASSES) - 1


def kmeans_labels(images: Tensor, clusters: int, generator: Generator, cell: int = 4, rounds: int = 6) -> Tensor:
    """Crude k-means on colour and place: (b, 3, S, S) in 0..1 -> (b, S, S) int64, blocky like a method's regions."""
    small = F.avg_pool2d(images, cell)
    b, _, h, w = small.shape
    y, x = torch.meshgrid(torch.linspace(0, 1, h), torch.linspace(0, 1, w), indexing="ij")
    place = torch.stack([y, x]).expand(b, 2, h, w) * generator.uniform(0.2, 1.2)
    points = torch.cat([small, place.to(small)], 1).flatten(2).transpose(1, 2)
    start = torch.from_numpy(generator.permuted(np.tile(np.arange(h * w), (b, 1)), axis=1)[:, :clusters])
    centres = torch.gather(points, 1, start[..., None].expand(-1, -1, points.shape[2]).to(points.device))
    for _ in range(rounds):
        hot = F.one_hot(torch.cdist(points, centres).argmin(2), clusters).to(points)
        centres = hot.transpose(1, 2) @ points / hot.sum(1)[..., None].clamp(min=1)
    labels = torch.cdist(points, centres).argmin(2).view(b, h, w)
    return labels.repeat_interleave(cell, 1).repeat_interleave(cell, 2)


@dataclass
class Sample:
    """mask (S, S) of what is kept; right classes by index; whether unnamed grounds are out of the running."""

    mask: np.ndarray
    right: list[int]
    named: bool = False


def fragment(labels: np.ndarray, regions: np.ndarray, ground: list[int], named: bool, rng: Generator) -> Sample | None:
    """One region that holds at least half of some thing, or next to nothing of any."""
    known = np.where(labels == CLUTTER, 0, labels)
    areas = np.bincount(known.ravel(), minlength=len(THINGS) + 1)
    for r in rng.permutation(int(regions.max()) + 1):
        mask = regions == r
        size = int(mask.sum())
        if size < 100:
            continue
        inside = np.bincount(known[mask], minlength=len(THINGS) + 1)
        held = [c for c in np.flatnonzero(areas[1:]) if inside[c + 1] >= 0.5 * areas[c + 1]]
        if held:
            return Sample(mask, [int(c) for c in held])
        if inside[1:].sum() < 0.02 * size and not np.any(inside[1:] > 0.1 * areas[1:]):
            littered = (labels[mask] == CLUTTER).mean() > 0.15
            return Sample(mask, [*ground, SOMETHING] if littered else ground, named)
    return None


def masked_batch(data: Drawn, rng: Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """images (count, 3, S, S) in 0..1, black outside a region; targets (count, classes), rows sum to 1; barred, bool."""
    picks = np.sort(rng.integers(0, len(data), count))
    pictures = torch.from_numpy(data.images[picks]).permute(0, 3, 1, 2).float() / 255
    kinds = rng.choice(len(KINDS), count, p=SHARES)
    cut = np.flatnonzero(kinds == KINDS.index("fragment"))
    regions = dict(zip(cut.tolist(), kmeans_labels(pictures[cut], int(rng.integers(3, 7)), rng).numpy(), strict=True))
    masks = torch.ones(count, 1, SIZE, SIZE)
    targets, barred = torch.zeros(count, len(CLASSES)), torch.zeros(count, len(CLASSES), dtype=torch.bool)
    for k, i in enumerate(picks):
        sample = _sample(KINDS[kinds[k]], data, int(i), regions.get(k), rng)
        masks[k, 0] = torch.from_numpy(sample.mask)
        targets[k, sample.right] = 1 / len(sample.right)
        if sample.named:
            barred[k, UNNAMED] = True
    return pictures * masks, targets, barred


def _sample(kind: str, data: Drawn, i: int, regions: np.ndarray | None, rng: Generator) -> Sample:
    labels, stuff, there = data.labels[i], data.stuff[i], sorted({t[0] for t in data.things[i]})
    ground = [FIRST_STUFF + STUFF.index(s) for s in stuff] or UNNAMED
    sample: Sample | None = None
    if kind == "fragment" and regions is not None:
        sample = fragment(labels, regions, ground, bool(stuff), rng)
    elif kind == "clutter" and (labels == CLUTTER).sum() > 80:
        sample = Sample(labels == CLUTTER, [SOMETHING])
    elif kind == "ground":
        sample = Sample(labels == 0, ground, bool(stuff))
    if sample is None and there:
        chosen = there[rng.integers(len(there))]
        sample = Sample(labels == chosen + 1, [chosen])
    return sample or Sample(labels == 0, ground, bool(stuff))


def augment(pictures: Tensor, rng: Generator, spread: float = 0.0) -> Tensor:
    """Normalised pixels of pictures in 0..1; with ``spread`` mirrored, scaled and moved by lot.

    Scenes with captions keep their sides, since captions say left and right.
    """
    if spread:
        count = len(pictures)
        flip = torch.from_numpy(rng.choice((-1.0, 1.0), count))
        scale = torch.from_numpy(np.exp(rng.uniform(-spread, spread, count)))
        move = torch.from_numpy(rng.uniform(-spread, spread, (2, count)) * 0.5)
        zero = torch.zeros(count, dtype=torch.float64)
        turn = torch.stack([torch.stack([flip * scale, zero, move[0]], 1), torch.stack([zero, scale, move[1]], 1)], 1).float()
        grid = F.affine_grid(turn, [count, 3, SIZE, SIZE], align_corners=False)
        pictures = F.grid_sample(pictures, grid, "bilinear", "zeros", align_corners=False)
    return normalised(pictures)


def normalised(pictures: Tensor) -> Tensor:
    """(b, 3, h, w) in 0..1 as CLIP's preprocessing has them."""
    return (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def content(pixels: Tensor) -> Tensor:
    """(b, patches) share of each patch that is not black. ``pixels``: normalised."""
    return 1 - F.avg_pool2d((pixels < BLACK + 0.05).all(1, keepdim=True).float(), PATCH).flatten(1)


def cells(labels: Tensor, grounds: list[int]) -> Tensor:
    """(b, S, S) labels -> (b, patches) class of each patch that is mostly one, else -1. ``grounds``: a scene's class, or -1."""
    b = len(labels)
    table = torch.full((256,), -1)
    table[1 : len(THINGS) + 1], table[CLUTTER] = torch.arange(len(THINGS)), SOMETHING
    known = table[labels]
    known = torch.where(labels == 0, torch.tensor(grounds).view(b, 1, 1), known)
    parts = known.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).flatten(3).flatten(1, 2)
    mode = parts.mode(2).values
    return torch.where((parts == mode[..., None]).float().mean(2) >= 0.6, mode, -1)


@dataclass
class Scenes:
    """Whole scenes.

    Attributes:
        pictures: (b, 3, S, S) in 0..1.
        labels: (b, S, S) int64.
        there: (b, classes), even over a scene's things; rows sum to 1.
        grounds: the class of a scene's one ground, or -1.
        captions: one a scene.
    """

    pictures: Tensor
    labels: Tensor
    there: Tensor
    grounds: list[int]
    captions: list[str]


def scene_batch(data: Drawn, rng: Generator, count: int) -> Scenes:
    picks = np.sort(rng.integers(0, len(data), count))
    pictures = torch.from_numpy(data.images[picks]).permute(0, 3, 1, 2).float() / 255
    there, grounds, texts = torch.zeros(count, len(CLASSES)), [], []
    for k, i in enumerate(picks):
        right = sorted({t[0] for t in data.things[i]}) or UNNAMED
        there[k, right] = 1 / len(right)
        stuff = data.stuff[i]
        grounds.append(-1 if len(stuff) > 1 else FIRST_STUFF + STUFF.index(stuff[0]) if stuff else UNNAMED[0])
        texts.append(caption(rng, named_things(data.things[i]), stuff))
    return Scenes(pictures, torch.from_numpy(data.labels[picks].astype(np.int64)), there, grounds, texts)


def cross(logits: Tensor, targets: Tensor, barred: Tensor | None = None) -> Tensor:
    """Cross entropy with smoothed targets; nothing is smoothed onto barred classes."""
    even = torch.ones_like(logits) if barred is None else (~barred).float()
    return F.cross_entropy(logits, targets * (1 - SMOOTHING) + SMOOTHING * even / even.sum(1, True))
