"""Stage clip: CLIPModel on true masks, fragments, grounds and whole scenes, everything outside a region black.

Two losses: every picture against the prompts of all classes (several may be right), and whole scenes against
the captions of their batch. The vision tower sees a subset of the patches for most of the training (Li et al., FLIP, 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from segwright.mini.captions import caption
from segwright.mini.scenes import STUFF, THINGS
from segwright.mini.train.data import Drawn
from segwright.mini.train.loop import Plan, train
from segwright.mini.train.tokens import CONTEXT, NOTHING, TEMPLATES

STEPS_A_MINUTE = 42
BATCH = 128
KINDS = ("thing", "fragment", "ground", "scene")
SHARES = (0.36, 0.38, 0.04, 0.22)
KEPT = 56  # patches of 144 that training looks at ...
ALL_FROM = 0.8  # ... until this share of the steps
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
CLASSES = (*THINGS, *STUFF, *NOTHING)


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3,
        "num_attention_heads": 4, "max_position_embeddings": CONTEXT, "hidden_act": "gelu",
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": 160, "intermediate_size": 320, "num_hidden_layers": 5, "num_attention_heads": 5,
        "image_size": 96, "patch_size": 8, "hidden_act": "gelu",
    }  # fmt: skip
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


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
    named: bool


def fragment(labels: np.ndarray, regions: np.ndarray, ground: list[int], named: bool, rng: Generator) -> Sample | None:
    """One region that holds at least half of some thing, or next to nothing of any."""
    areas = np.bincount(labels.ravel(), minlength=len(THINGS) + 1)
    for r in rng.permutation(int(regions.max()) + 1):
        mask = regions == r
        size = int(mask.sum())
        if size < 100:
            continue
        inside = np.bincount(labels[mask], minlength=len(THINGS) + 1)
        held = [c for c in np.flatnonzero(areas[1:]) if inside[c + 1] >= 0.5 * areas[c + 1]]
        if held:
            return Sample(mask, [int(c) for c in held], False)
        if inside[1:].sum() < 0.02 * size and not np.any(inside[1:] > 0.1 * areas[1:]):
            return Sample(mask, ground, named)
    return None


def batch(data: Drawn, rng: Generator) -> tuple[Tensor, Tensor, Tensor, list[int], list[str]]:
    """images (b, 3, 96, 96) normalised; targets (b, classes) rows summing to 1; barred (b, classes) bool;
    indices of whole scenes, and their captions."""
    picks = rng.integers(0, len(data), BATCH)
    pictures = torch.from_numpy(data.images[picks]).permute(0, 3, 1, 2).float() / 255
    kinds = np.sort(rng.choice(len(KINDS), BATCH, p=SHARES))
    cut = np.flatnonzero(kinds == KINDS.index("fragment"))
    regions = kmeans_labels(pictures[cut], int(rng.integers(3, 7)), rng).numpy()
    nothing = list(range(len(THINGS) + len(STUFF), len(CLASSES)))
    masks = torch.ones(BATCH, 1, *pictures.shape[2:])
    targets, barred = torch.zeros(BATCH, len(CLASSES)), torch.zeros(BATCH, len(CLASSES), dtype=torch.bool)
    whole: list[int] = []
    texts: list[str] = []
    for k, i in enumerate(picks):
        labels, stuff = data.labels[i], data.stuff[i]
        things = data.things[i]
        ground = [len(THINGS) + STUFF.index(stuff)] if stuff else nothing
        sample: Sample | None = None
        if KINDS[kinds[k]] == "thing":
            chosen = things[rng.integers(len(things))][0]
            sample = Sample(labels == chosen + 1, [chosen], False)
        elif KINDS[kinds[k]] == "fragment":
            sample = fragment(labels, regions[k - cut[0]], ground, bool(stuff), rng)
        elif KINDS[kinds[k]] == "ground":
            sample = Sample(labels == 0, ground, bool(stuff))
        if sample is None:
            sample = Sample(np.ones_like(labels, bool), [t[0] for t in things], False)
            whole.append(k)
            texts.append(caption(rng, [(THINGS[c], colour) for c, colour, _ in things], stuff))
        masks[k, 0] = torch.from_numpy(sample.mask)
        targets[k, sample.right] = 1 / len(sample.right)
        if sample.named:
            barred[k, nothing] = True
    return augment(pictures * masks, rng), targets, barred, whole, texts


def augment(pictures: Tensor, rng: Generator) -> Tensor:
    if rng.random() < 0.5:
        pictures = pictures.flip(-1)
    small = F.interpolate(pictures, (96, 96), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return (small - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def image_features(model: CLIPModel, pixels: Tensor, kept: int | None, black: Tensor | None = None) -> Tensor:
    """Projected, unit-length features; with ``kept`` the tower sees that many patches, those with content first."""
    tower = model.vision_model
    hidden = tower.embeddings(pixels)
    if kept is not None and black is not None:
        order = (torch.rand_like(black) + 0.8 * (1 - black)).argsort(1, descending=True)[:, :kept] + 1
        order = torch.cat([torch.zeros_like(order[:, :1]), order], 1)
        hidden = torch.gather(hidden, 1, order[..., None].expand(-1, -1, hidden.shape[2]))
    hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(hidden)).last_hidden_state
    return F.normalize(model.visual_projection(tower.post_layernorm(hidden[:, 0])), dim=-1)


def text_features(model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(model.device)
    return F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)


def fit(
    data: Drawn, tokenizer: CLIPTokenizer, folder: Path, minutes: float, seed: int, device: str, steps: int | None = None
) -> tuple[CLIPModel, dict]:
    torch.manual_seed(seed)
    model = build(tokenizer).to(device)
    plan = Plan(steps or round(minutes * STEPS_A_MINUTE), lr=2e-3, muon_lr=0.02, decay=0.35)
    floor = -torch.tensor(MEAN).view(3, 1, 1) / torch.tensor(STD).view(3, 1, 1) + 0.05

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        pixels, targets, barred, whole, texts = batch(data, rng)
        black = F.avg_pool2d((pixels < floor).all(1, keepdim=True).float(), 8).flatten(1).to(device)
        pixels, targets, barred = pixels.to(device), targets.to(device), barred.to(device)
        kept = KEPT if step < ALL_FROM * plan.steps else None
        seen = image_features(model, pixels, kept, black)
        plain = step % 4 == 0
        prompts = [c if plain or c in NOTHING else TEMPLATES[rng.integers(len(TEMPLATES))].format(c) for c in CLASSES]
        words = text_features(model, tokenizer, [*prompts, *texts])
        scale = model.logit_scale.exp().clamp(max=100)
        logits = (scale * seen @ words[: len(CLASSES)].T).masked_fill(barred, -1e4)
        named = F.cross_entropy(logits, targets)
        pairs = scale * seen[whole] @ words[len(CLASSES) :].T
        same = (targets[whole] @ targets[whole].T > 0.999 / targets[whole].gt(0).sum(1, keepdim=True)).float() if whole else pairs
        same = torch.maximum(same, torch.eye(len(whole), device=device))
        both = F.cross_entropy(pairs, same / same.sum(1, True)) + F.cross_entropy(pairs.T, same / same.sum(1, True))
        right = (targets.gather(1, logits.argmax(1, keepdim=True)) > 0).float().mean()
        return named + 0.2 * both, {"right": float(right)}

    adam_only = ("embedding", "class_embedding", "projection", "logit_scale")
    notes = train("clip", model, loss, plan, folder, seed, adam_only)
    return model, notes | {"samples": plan.steps * BATCH}
